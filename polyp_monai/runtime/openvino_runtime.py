"""OpenVINO: its own .xml with a .bin beside it, and .onnx files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from polyp_monai import provenance
from polyp_monai.errors import PolypError
from polyp_monai.runtime import about
from polyp_monai.runtime.exported import ExportedNetwork, through_numpy

SECTIONS = {".xml": "polyp_monai", ".onnx": "framework"}  # of rt_info; into the latter OpenVINO reads ONNX's metadata


def load(path: Path, device: torch.device) -> ExportedNetwork:
    """The network in an OpenVINO or ONNX file, on the CPU whatever `device` is.

    Raises:
        PolypError: OpenVINO is missing, the file is damaged, or no export of polyp_monai.
    """
    about.require("--runtime openvino", "openvino")
    import openvino

    if path.suffix == ".xml" and path.is_file() and not path.with_suffix(".bin").is_file():
        raise PolypError(f"{path.with_suffix('.bin')}: is missing; it belongs beside {path.name}")
    engine = core()
    model = about.readable(lambda: engine.read_model(path), path, "OpenVINO")
    about.check_ports(_ports(model.inputs), _ports(model.outputs), path)
    section = SECTIONS[path.suffix]
    facts = about.parse(
        {key: str(model.get_rt_info([section, key]).value) for key in about.KEYS if model.has_rt_info([section, key])},
        path,
    )
    if path.suffix == ".xml":
        _check_bin(model, section, path)
    request = engine.compile_model(model, "CPU", settings(facts.precision)).create_infer_request()
    version = ".".join(openvino.__version__.split(".")[:2])
    return ExportedNetwork(
        through_numpy(lambda pixels: request.infer({0: pixels})[0]),
        facts,
        f"OpenVINO {version} {facts.precision}, {torch.get_num_threads()} threads",
    )


@cache
def core() -> Any:
    """The one engine of this process, which never ends.

    On processors with AMX it gives the thread in which it first compiles a stack for signals, and frees that where it
    ends, be it in another thread: the next Ctrl-C of the first one would then be written over other objects.
    """
    import openvino

    return openvino.Core()


def _check_bin(model, section: str, path: Path) -> None:
    """Raises PolypError when the .bin is of another export: OpenVINO takes any that is large enough."""
    numbers, key = path.with_suffix(".bin"), [section, about.BIN]
    if not model.has_rt_info(key) or provenance.digest(numbers) != model.get_rt_info(key).value:
        raise PolypError(f"{numbers}: is damaged, or does not belong to {path.name}; export it again")


def settings(precision: str) -> dict[str, Any]:
    """How a file is compiled: where the processor has bfloat16, OpenVINO would take it for files of float32 too."""
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _ports(ends: list) -> dict[str, list]:
    return {
        min(end.get_names(), default="unnamed"): [
            size.get_length() if size.is_static else None for size in end.partial_shape
        ]
        for end in ends
    }
