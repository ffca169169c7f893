"""Writes weights as .safetensors: a header in JSON, then the numbers. Nothing in it can run."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from polyp_monai.errors import PolypError

if TYPE_CHECKING:
    import torch


def write(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None = None) -> None:
    """Write named tensors, sorted by name, so that equal tensors give equal bytes.

    Raises:
        PolypError: a kind of number that the format does not have.
    """
    import torch

    kinds = {
        **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
        **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
        torch.bool: "BOOL",
    }
    header: dict[str, object] = {"__metadata__": about} if about else {}
    parts: list[bytes] = []
    position = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        if tensor.dtype not in kinds:
            raise PolypError(f"{path}: {name} is of {tensor.dtype}, which safetensors does not have")
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        end = position + len(parts[-1])
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *parts]))
