"""In which precision the network computes, and whether it is compiled: `amp` and `compile` of configs/train.yaml.

float16 is MONAI's own way, with a scaled loss, on CUDA. bfloat16 has the range of float32, so nothing is scaled: the
network alone trains in it; losses, optimizer and validation stay in float32.
"""

from __future__ import annotations

import platform
import shutil
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

from polyp_monai.errors import PolypError

AUTO, OFF, BF16, FP16 = "auto", "off", "bf16", "fp16"


def scaled(amp: str | bool, device: str) -> bool:
    """Whether MONAI's engines run in float16: `amp` of both. "auto" does on CUDA.

    Raises:
        PolypError: this device cannot compute in that precision, or only slowly.
    """
    if amp == FP16 and device != "cuda":
        raise PolypError("--amp fp16: needs a CUDA device; on a CPU give bf16 or off")
    if amp == BF16 and device == "cpu" and not _has_bf16():
        raise PolypError("--amp bf16: this CPU has neither AMX nor AVX512-BF16, and would be slower; give off")
    return amp in (AUTO, FP16) and device == "cuda"


def _has_bf16() -> bool:
    """Of an x86 CPU what torch says; the others are taken at the user's word."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    ask = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return any(question() for question in ask if question is not None)


def prepared(network: nn.Module, amp: str | bool, device: str) -> nn.Module:
    """`network` itself, whose depthwise convolutions stay in float32 where a CPU is to compute in bfloat16.

    They have few products a number that is read, so that the conversion costs more than it saves.
    """
    if amp == BF16 and device == "cpu":
        for module in network.modules():
            if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
                module.__class__ = Float32Conv2d  # the state dict stays what it is
    return network


class Float32Conv2d(nn.Conv2d):
    """A convolution in float32, whatever stands around it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class AutocastInferer(Inferer):
    """An inferer whose network runs in bfloat16 if `amp` says so; its logits are float32.

    Args:
        inferer: what to do with frames and network.
        amp: of configs/train.yaml.
    """

    def __init__(self, inferer: Inferer, amp: str | bool) -> None:
        super().__init__()
        self.inferer, self.amp = inferer, amp

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self.amp != BF16:
            return self.inferer(inputs, network, *args, **kwargs)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            found = self.inferer(inputs, network, *args, **kwargs)
        return [head.float() for head in found] if isinstance(found, (list, tuple)) else found.float()


def compiled(compile: bool, device: str) -> bool:  # noqa: A002  as the option
    """`compile` itself. Raises PolypError when there is nothing to compile with."""
    if compile and device == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        raise PolypError("--compile: on a CPU needs a C++ compiler, such as g++")
    return compile
