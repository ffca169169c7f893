"""DeepLabV3+ with ResNet-50 at output stride 16.

L.-C. Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018; the
encoder is K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride on the 3x3
convolution, as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNetFeatures
from torch import Tensor, nn


class ResNet50(ResNetFeatures):
    """MONAI's 2D ResNet-50 with atrous convolutions instead of the last stride; maps of strides 4 and 16."""

    channels = (256, 2048)

    def __init__(self) -> None:
        super().__init__("resnet50", pretrained=False, spatial_dims=2, in_channels=3)
        for block in self.layer4:
            block.conv2.stride, block.conv2.dilation, block.conv2.padding = (1, 1), (2, 2), (2, 2)
        self.layer4[0].downsample[0].stride = (1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        fine = self.layer1(x)
        return [fine, self.layer4(self.layer3(self.layer2(fine)))]

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take torchvision's ResNet-50 weights, whose names are the same.

        Raises:
            KeyError, RuntimeError: the weights are of another network.
        """
        self.load_state_dict({key: weights[key] for key in self.state_dict()})


def _norm_act(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def _pointwise(inp: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inp, out, 1, bias=False), *_norm_act(out))


def _separable(inp: int, out: int, dilation: int = 1) -> nn.Sequential:
    filters = nn.Conv2d(inp, inp, 3, padding=dilation, dilation=dilation, groups=inp, bias=False)
    return nn.Sequential(filters, nn.Conv2d(inp, out, 1, bias=False), *_norm_act(out))


class ASPP(nn.Module):
    """Atrous spatial pyramid of separable convolutions, with the mean of the whole frame as a level of its own."""

    def __init__(self, inp: int, out: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_pointwise(inp, out), *(_separable(inp, out, d) for d in dilations)])
        self.frame = nn.Sequential(nn.AdaptiveAvgPool2d(1), _pointwise(inp, out))
        self.project = nn.Sequential(_pointwise((len(dilations) + 2) * out, out), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        levels = [branch(x) for branch in self.branches]
        levels.append(self.frame(x).expand_as(levels[0]))
        return self.project(torch.cat(levels, dim=1))


class DeepLabV3Plus(nn.Module):
    """(B, 3, H, W), H and W multiples of 16, to logits (B, out_channels, H, W).

    Args:
        out_channels: classes.
        features: channels of the pyramid and of the decoder.
        dilations: of the pyramid's convolutions; the paper's for output stride 16.
    """

    def __init__(self, out_channels: int = 1, features: int = 256, dilations: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        self.encoder = ResNet50()
        fine, coarse = self.encoder.channels
        self.pyramid = nn.Sequential(ASPP(coarse, features, dilations), _separable(features, features))
        self.fine = _pointwise(fine, 48)
        self.fuse = _separable(features + 48, features)
        self.head = nn.Conv2d(features, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.encoder(x)
        coarse = F.interpolate(self.pyramid(coarse), fine.shape[2:], mode="bilinear", align_corners=False)
        logits = self.head(self.fuse(torch.cat([coarse, self.fine(fine)], dim=1)))
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
