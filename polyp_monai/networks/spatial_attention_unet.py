"""U-Net whose skip connections pass through spatial attention.

O. Ronneberger et al., "U-Net", MICCAI 2015; the attention is the spatial module of S. Woo et al., "CBAM: Convolutional
Block Attention Module", ECCV 2018, section 3.1, equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import Tensor, nn


class SpatialAttention(nn.Module):
    """x * sigmoid(conv7x7([mean over channels, maximum over channels])); the shape (B, C, H, W) stays."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.conv(summary).sigmoid()


class SpatialAttentionUNet(nn.Module):
    """(B, 3, H, W), H and W multiples of 2 ** (levels - 1), to logits (B, out_channels, H, W).

    Encoder of two convolutions with batch norm and ReLU a level, and max pooling between; decoder of transposed
    convolutions.

    Args:
        features: channels of each level, the full size first.
        out_channels: classes.
    """

    def __init__(self, features: Sequence[int] = (32, 64, 128, 256, 512), out_channels: int = 1) -> None:
        super().__init__()
        common = {"act": ("relu", {"inplace": True}), "norm": ("batch", {}), "bias": False}
        steps = list(pairwise(features))
        self.stem = TwoConv(2, 3, features[0], **common)
        self.down = nn.ModuleList(Down(2, fine, coarse, **common) for fine, coarse in steps)
        self.attention = nn.ModuleList(SpatialAttention() for _ in steps)
        self.up = nn.ModuleList(
            UpCat(2, coarse, fine, fine, **common, halves=False, is_pad=False) for fine, coarse in reversed(steps)
        )
        self.head = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels.pop()
        for attention, up in zip(self.attention, self.up):  # noqa: B905 - TorchScript knows no strict
            x = up(x, attention(levels.pop()))
        return self.head(x)
