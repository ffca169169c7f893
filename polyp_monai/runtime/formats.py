"""The one list of files that hold a network: what `polyp export` writes, and what reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
FASTEST = ("openvino", "onnxruntime")  # on a CPU, in this order, and both before PyTorch
_SLOW = "PyTorch takes seconds a frame for it on a CPU"


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: of `--format`.
        suffix: of its files.
        readers: the runtimes that read them, the fastest first.
        precisions: of `PRECISIONS`, those that it can hold and a CPU can run.
        write: name of the function in `export.writers`.
        refused: why not, of precisions that one might expect.
        beside: suffix of a second file that belongs to it.
    """

    name: str
    suffix: str
    readers: tuple[str, ...]
    precisions: tuple[str, ...]
    write: str
    refused: dict[str, str] = field(default_factory=dict)
    beside: str | None = None


FORMATS = {
    form.name: form
    for form in (
        Format(
            "onnx",
            ".onnx",
            FASTEST,
            ("fp32", "fp16", "int8"),
            "onnx",
            {"bf16": "ONNX Runtime cannot run it on a CPU"},
        ),
        Format("openvino", ".xml", ("openvino",), ("fp32", "fp16", "bf16", "int8"), "openvino_from", beside=".bin"),
        Format("torch-export", ".pt2", ("torch",), ("fp32", "bf16"), "torch_export", {"fp16": _SLOW}),
        Format("torchscript", ".ts", ("torch",), ("fp32", "bf16"), "torchscript", {"fp16": _SLOW}),
        Format("tensorrt", ".ts", ("torch",), ("fp32", "fp16"), "tensorrt"),
    )
}
READERS = {form.suffix: form.readers for form in FORMATS.values()}  # suffix -> runtimes
