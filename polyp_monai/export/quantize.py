"""int8 by calibration: ONNX Runtime's static quantizer, which inserts steps (QDQ) that every runtime understands."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from polyp_monai.runtime import about
from polyp_monai.runtime.about import quiet


def int8(source: Path, target: Path, frames: Iterable[Tensor]) -> None:
    """Quantize the ONNX file `source` into `target`; metadata are not carried over.

    Weights are rounded a channel each, activations by the smallest and the greatest value they took on the frames.
    Weights get 7 of the 8 bits: processors without VNNI add two products in 16 bits, which 8 would overflow, and it
    costs no accuracy here.

    Args:
        frames: (1, 3, W, H) float in 0..1 each, of the data that the network was trained on.
    """
    about.require("int8", "onnx", "onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet():
        simplified = Path(folder) / "simplified.onnx"
        quant_pre_process(source, simplified, skip_symbolic_shape=True)  # which fails on free sizes
        quantize_static(
            simplified,
            target,
            _reader(frames),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def _reader(frames: Iterable[Tensor]):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Hands out one frame after the other."""

        def __init__(self) -> None:
            self.rest = iter(frames)

        def get_next(self) -> dict | None:
            frame = next(self.rest, None)
            return None if frame is None else {about.INPUT: frame.numpy()}

    return Reader()
