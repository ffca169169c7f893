"""ONNX Runtime: .onnx files."""

from __future__ import annotations

from pathlib import Path

import torch

from polyp_monai.runtime import about
from polyp_monai.runtime.exported import ExportedNetwork, through_numpy


def load(path: Path, device: torch.device) -> ExportedNetwork:
    """The network in an ONNX file; on a CUDA device by its CUDA provider where onnxruntime-gpu is installed.

    Raises:
        PolypError: ONNX Runtime is missing, the file is damaged, or no export of polyp_monai.
    """
    about.require("--runtime onnxruntime", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors come as exceptions
    session = about.readable(
        lambda: onnxruntime.InferenceSession(str(path), options, providers=_providers(device)), path, "ONNX Runtime"
    )
    inputs, outputs = ({end.name: end.shape for end in ends} for ends in (session.get_inputs(), session.get_outputs()))
    about.check_ports(inputs, outputs, path)
    facts = about.parse(session.get_modelmeta().custom_metadata_map, path)
    version = ".".join(onnxruntime.__version__.split(".")[:2])
    return ExportedNetwork(
        through_numpy(lambda pixels: session.run([about.OUTPUT], {about.INPUT: pixels})[0]),
        facts,
        f"ONNX Runtime {version} {facts.precision}, {torch.get_num_threads()} threads",
    )


def _providers(device: torch.device) -> list[str]:
    import onnxruntime

    wanted = ["CUDAExecutionProvider"] * (device.type == "cuda") + ["CPUExecutionProvider"]
    return [name for name in wanted if name in onnxruntime.get_available_providers()]
