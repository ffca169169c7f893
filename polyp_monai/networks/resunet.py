"""Deep residual U-Net.

Z. Zhang, Q. Liu and Y. Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 15(5), 2018, table I.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UpSample
from torch import Tensor, nn


def preactivated(inp: int, out: int, stride: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, 3x3 convolution: the order that lets a residual sum pass unchanged."""
    return nn.Sequential(nn.BatchNorm2d(inp), nn.ReLU(inplace=True), nn.Conv2d(inp, out, 3, stride, padding=1))


class ResidualUnit(nn.Module):
    """Two convolutions and a shortcut of 1x1 convolution and batch norm.

    Args:
        first: the unit stands at the input, where there is nothing to normalize yet.
    """

    def __init__(self, inp: int, out: int, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        start = nn.Conv2d(inp, out, 3, stride, padding=1) if first else preactivated(inp, out, stride)
        self.residual = nn.Sequential(start, preactivated(out, out))
        # every other pixel, then the 1x1 convolution: as one strided convolution of under 16 channels, oneDNN writes
        # past its memory in the backward pass on channels_last (uxlfoundation/oneDNN issue 6035)
        self.shortcut = nn.Sequential(nn.MaxPool2d(1, stride), nn.Conv2d(inp, out, 1), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class ResUNet(nn.Module):
    """(B, 3, H, W), H and W multiples of 8, to logits (B, out_channels, H, W).

    Args:
        features: channels of the levels of strides 1, 2, 4 and 8; the paper's by default.
        out_channels: classes.
    """

    def __init__(self, features: Sequence[int] = (64, 128, 256, 512), out_channels: int = 1) -> None:
        super().__init__()
        steps = list(pairwise(features))
        self.down = nn.ModuleList([ResidualUnit(3, features[0], first=True)])
        self.down.extend(ResidualUnit(fine, coarse, stride=2) for fine, coarse in steps)
        self.upsample = UpSample(2, scale_factor=2, mode="nontrainable")
        self.up = nn.ModuleList(ResidualUnit(coarse + fine, fine) for fine, coarse in reversed(steps))
        self.head = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels: list[Tensor] = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        x = levels.pop()
        for up in self.up:
            x = up(torch.cat([self.upsample(x), levels.pop()], dim=1))
        return self.head(x)
