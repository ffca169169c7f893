"""Feature pyramid on EfficientNet-Lite: a U-shaped network whose decoder works at a quarter of the frame's size.

T.-Y. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017; the head that sums the levels is that of
A. Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
"""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn

from polyp_monai.networks.encoders.efficientnet_lite import EfficientNetLite


class EfficientUNet(nn.Module):
    """(B, 3, H, W), H and W multiples of 32, to logits (B, out_channels, H, W).

    MONAI's `FlexibleUNet` would take the encoder, but its decoder goes on to the full size, where a CPU spends several
    times what the encoder takes; a quarter of the size is fine enough for outlines drawn by hand.

    Args:
        size: 0 to 4, for EfficientNet-Lite0 to Lite4.
        out_channels: classes.
        features: channels of each level of the pyramid.
        dropout: share of channels dropped before the last layer in training.
    """

    def __init__(self, size: int = 0, out_channels: int = 1, features: int = 96, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(size)
        self.pyramid = FeaturePyramidNetwork(2, self.encoder.channels, features)
        self.norms = nn.ModuleList(nn.BatchNorm2d(features) for _ in self.encoder.channels)
        self.head = nn.Sequential(
            Convolution(2, features, features, act="RELU", norm="BATCH", bias=False, adn_ordering="NA"),
            nn.Dropout2d(dropout),
            nn.Conv2d(features, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        levels = list(self.pyramid({str(i): level for i, level in enumerate(self.encoder(x))}).values())
        summed: list[Tensor] = []
        for i, norm in enumerate(self.norms):  # a module list in a loop: what TorchScript can follow
            summed.append(F.relu(norm(levels[i])))
        total = summed[0]
        for level in summed[1:]:
            total = total + F.interpolate(level, total.shape[2:], mode="bilinear", align_corners=False)
        return F.interpolate(self.head(total), x.shape[2:], mode="bilinear", align_corners=False)
