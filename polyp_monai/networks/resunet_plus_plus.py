"""ResUNet++: residual units with squeeze-and-excitation, an ASPP bridge, and attention in the decoder.

D. Jha et al., "ResUNet++: An Advanced Architecture for Medical Image Segmentation", ISM 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ChannelSELayer, Convolution, UpSample
from torch import Tensor, nn

from polyp_monai.networks.resunet import ResidualUnit, preactivated


class SqueezedResidualUnit(nn.Sequential):
    """Residual unit, then channels weighed by squeeze-and-excitation (reduction 8)."""

    def __init__(self, inp: int, out: int, stride: int = 1, first: bool = False) -> None:
        super().__init__(ResidualUnit(inp, out, stride, first), ChannelSELayer(2, out, r=8))


class SummedASPP(nn.Module):
    """Atrous spatial pyramid: the sum of 3x3 convolutions of several dilations, then a 1x1 convolution.

    MONAI's `SimpleASPP` puts the branches side by side instead, each with a share of the channels.
    """

    def __init__(self, inp: int, out: int, dilations: Sequence[int] = (1, 6, 12, 18)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            Convolution(2, inp, out, dilation=dilation, norm="BATCH", act=None) for dilation in dilations
        )
        self.project = nn.Conv2d(out, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.branches]
        total = maps[0]
        for other in maps[1:]:  # torch.stack would lose channels_last
            total = total + other
        return self.project(total)


class Attention(nn.Module):
    """Weighs the decoder's map, (B, coarse, H, W), by what the encoder's map of twice that size shows."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(preactivated(fine, coarse), nn.MaxPool2d(2))
        self.decoder = preactivated(coarse, coarse)
        self.weigh = preactivated(coarse, coarse)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return coarse * self.weigh(self.encoder(fine) + self.decoder(coarse))


class ResUNetPlusPlus(nn.Module):
    """(B, 3, H, W), H and W multiples of 8, to logits (B, out_channels, H, W).

    Args:
        features: channels of the levels of strides 1, 2, 4 and 8, and of the bridge.
        out_channels: classes.
    """

    def __init__(self, features: Sequence[int] = (16, 32, 64, 128, 256), out_channels: int = 1) -> None:
        super().__init__()
        one, two, four, eight, bridge = features
        self.down = nn.ModuleList(
            [
                SqueezedResidualUnit(3, one, first=True),
                SqueezedResidualUnit(one, two, stride=2),
                SqueezedResidualUnit(two, four, stride=2),
            ]
        )
        self.bottom = nn.Sequential(SqueezedResidualUnit(four, eight, stride=2), SummedASPP(eight, bridge))
        steps = [(four, bridge, eight), (two, eight, four), (one, four, two)]  # encoder's, decoder's, out
        self.attention = nn.ModuleList(Attention(fine, coarse) for fine, coarse, _ in steps)
        self.upsample = UpSample(2, scale_factor=2, mode="nontrainable")
        self.up = nn.ModuleList(SqueezedResidualUnit(fine + coarse, out) for fine, coarse, out in steps)
        self.head = nn.Sequential(SummedASPP(two, one), nn.Conv2d(one, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        levels: list[Tensor] = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        x = self.bottom(x)
        for attention, up in zip(self.attention, self.up):  # noqa: B905 - TorchScript knows no strict
            fine = levels.pop()
            x = up(torch.cat([self.upsample(attention(fine, x)), fine], dim=1))
        return self.head(x)
