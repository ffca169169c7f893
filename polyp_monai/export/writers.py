"""A network into each of the formats, with its metadata inside."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polyp_monai import provenance
from polyp_monai.errors import PolypError, summary
from polyp_monai.runtime import about
from polyp_monai.runtime.about import About, quiet
from polyp_monai.runtime.torch_network import EXTRA

LOW = {"fp16": torch.float16, "bf16": torch.bfloat16}
EXAMPLE = (2, 3, 97, 131)  # an example batch of one frame would fix the batch
SMALLEST, LARGEST = 33, 8192  # pixels a side; torch.export's reasoning about the padding fails at 32


class Lowered(nn.Module):
    """`network` in a lower precision, between frames and logits of float32."""

    if TYPE_CHECKING:  # a buffer; at run time TorchScript would read the annotation
        kind: Tensor

    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(kind)
        self.register_buffer("kind", torch.zeros(1, dtype=kind), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image.to(self.kind.dtype)).float()


def onnx(network: nn.Module, path: Path, facts: About) -> None:
    """Write ONNX with free batch, width and height; weights and sums in half where `facts` says fp16."""
    about.require("an export to ONNX", "onnx", "onnxscript")
    with refusals(facts, "onnx"), quiet():
        torch.onnx.export(
            _lowered(network, facts.precision),
            (torch.rand(EXAMPLE),),
            path,
            dynamic_shapes=(_free_sizes(),),
            input_names=[about.INPUT],
            output_names=[about.OUTPUT],
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    describe_onnx(path, facts)


def describe_onnx(path: Path, facts: About) -> None:
    """Put the metadata into an ONNX file, in place, and take out what PyTorch notes of each step, paths among it."""
    import onnx as package

    model = package.load(path)
    for part in (model.graph, *model.functions):
        for step in part.node:
            del step.metadata_props[:]
    package.helper.set_model_props(model, facts.texts() | {about.CONTENT[".onnx"]: about.UNSEALED})
    package.save(model, path)
    about.seal(path)


def openvino(source: Path, path: Path, facts: About) -> None:
    """Turn the ONNX file `source` into `path` and a .bin beside it, whose digest `path` holds; fp16 halves the .bin."""
    about.require("an export to OpenVINO", "openvino")
    import openvino as package

    model = package.Core().read_model(source)
    for key, text in facts.texts().items():
        model.set_rt_info(text, ["polyp_monai", key])
    package.save_model(model, path, compress_to_fp16=facts.precision == "fp16")
    digest = provenance.digest(path.with_suffix(".bin"))
    for key, text in {about.BIN: digest, about.CONTENT[".xml"]: about.UNSEALED}.items():
        model.set_rt_info(text, ["polyp_monai", key])
    package.save_model(model, path, compress_to_fp16=facts.precision == "fp16")
    about.seal(path)


def openvino_from(network: nn.Module, path: Path, facts: About) -> None:
    """Write OpenVINO's two files; bf16 is left to the processor when it runs, so the file holds float32."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx(network, source, About(**{**asdict(facts), "precision": "fp32"}))
        openvino(source, path, facts)


def torch_export(network: nn.Module, path: Path, facts: About) -> None:
    """Write a .pt2 of torch.export with free batch, height and width."""
    with refusals(facts, "torch-export"), quiet():
        program = torch.export.export(
            _lowered(network, facts.precision), (torch.rand(EXAMPLE),), dynamic_shapes=(_free_sizes(),)
        )
        torch.export.save(program, path, extra_files={EXTRA: json.dumps(facts.texts())})


def torchscript(network: nn.Module, path: Path, facts: About) -> None:
    """Write TorchScript, which takes any size."""
    with refusals(facts, "torchscript"), quiet():
        scripted = torch.jit.script(_lowered(network, facts.precision))
        torch.jit.save(scripted, path, _extra_files={EXTRA: json.dumps(facts.texts())})


def tensorrt(network: nn.Module, path: Path, facts: About) -> None:
    """Write TorchScript around an engine of TensorRT, by MONAI's converter, for 1 to 8 frames of its image size.

    Raises:
        PolypError: there is no CUDA device or no torch_tensorrt here.
    """
    if not torch.cuda.is_available():
        raise PolypError("--format tensorrt: needs a CUDA device, and there is none here; take onnx or openvino")
    if not about.installed("torch_tensorrt"):
        raise PolypError("--format tensorrt: needs torch_tensorrt, not installed here; pip install torch_tensorrt")
    from monai.networks import convert_to_trt

    with refusals(facts, "tensorrt"), quiet():
        engine = convert_to_trt(
            copy.deepcopy(network),
            facts.precision,
            [1, 3, facts.image_size, facts.image_size],
            dynamic_batchsize=[1, 4, 8],
            disable_tf32=facts.precision == "fp32",
        )
        torch.jit.save(engine, path, _extra_files={EXTRA: json.dumps(facts.texts())})


def _lowered(network: nn.Module, precision: str) -> nn.Module:
    return Lowered(network, LOW[precision]).eval() if precision in LOW else network.eval()


def _free_sizes() -> dict[int, torch.export.Dim]:
    width, height = (torch.export.Dim(name, min=SMALLEST, max=LARGEST) for name in ("width", "height"))
    return {0: torch.export.Dim("batch", min=1, max=4096), 2: width, 3: height}


@contextmanager
def refusals(facts: About, form: str) -> Iterator[None]:
    """What an exporter raises, on a network it cannot follow, becomes one PolypError."""
    try:
        yield
    except (PolypError, OSError):
        raise
    except Exception as error:  # exporters raise anything
        raise PolypError(f"{facts.bundle}: its network cannot be exported as {form}: {summary(error)}") from error
