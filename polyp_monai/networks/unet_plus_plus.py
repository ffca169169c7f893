"""UNet++ with deep supervision.

Z. Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import Tensor, nn


class UNetPlusPlus(nn.Module):
    """MONAI's `BasicUNetPlusPlus` under the network contract.

    (B, 3, H, W), H and W multiples of 16, to logits (B, out_channels, H, W); in training to a list of four such, the
    deepest head, which is the one that is used, first. (MONAI always gives a list, and that head last.)

    Args:
        features: channels of the five levels, and of the last layer.
        out_channels: classes.
    """

    def __init__(self, features: Sequence[int] = (32, 32, 64, 128, 256, 32), out_channels: int = 1) -> None:
        super().__init__()
        self.net = BasicUNetPlusPlus(
            spatial_dims=2,
            in_channels=3,
            out_channels=out_channels,
            features=features,
            deep_supervision=True,
            norm=("batch", {}),
        )

    def forward(self, x: Tensor):
        heads = self.net(x)
        if torch.jit.is_scripting():
            return heads[-1]
        else:
            return heads[::-1] if self.training else heads[-1]
