"""The network contract, kept once for every network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def cap(logits: Tensor, presence: float) -> Tensor:
    """Logits (B, C, H, W), none higher than the highest of its frame less `presence`, 0 or more.

    Of several classes, the highest is that of a polyp of whichever class, whose probability is the sum of theirs: a
    polyp whose class is in doubt is there all the same.
    """
    if presence > 0:
        if logits.shape[1] == 1:
            highest = logits.amax((2, 3), keepdim=True)
        else:
            polyp = torch.sigmoid(logits.float()).sum(1, keepdim=True).amax((2, 3), keepdim=True)
            highest = torch.logit(polyp.clamp(1e-6, 1 - 1e-6)).to(logits.dtype)
        logits = torch.minimum(logits, highest - presence)
    return logits


class FrameNetwork(nn.Module):
    """Makes any fully convolutional network take plain frames of any size.

    In: (B, 3, H, W) RGB float in 0..1, H and W >= 32. Out: (B, C, H, W) logits; of a body with deep supervision, in
    training, a list of them, best head first. The frame is normalized (by buffers,
    so that an exported file takes plain frames too), padded at its far edges to a multiple of `divisor`, and the logits
    are cropped back. The two spatial axes may come in either order.

    Args:
        body: network from (B, 3, H, W) to (B, C, H, W), for sizes that `divisor` divides.
        divisor: product of the body's strides.
        mean, std: statistics of a channel, in 0..1.
        presence: logits by which the highest of a frame has to clear the threshold, or the frame stays empty: outside
            of training no logit is higher than the highest less `presence`. 0 leaves all as they are. A network draws
            weak outlines on mucosa without a polyp; a polyp has a sure core.
    """

    if TYPE_CHECKING:  # buffers; at run time TorchScript would read the annotations
        mean: Tensor
        std: Tensor

    def __init__(
        self,
        body: nn.Module,
        divisor: int = 32,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        presence: float = 0.0,
    ) -> None:
        super().__init__()
        if presence < 0:
            raise ValueError(f"presence {presence} must be 0 or more")
        self.presence = float(presence)
        self.body = body
        self.divisor = divisor
        # constants of the config, not of the weights
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor):
        height, width = x.shape[2], x.shape[3]
        x = (x - self.mean) / self.std
        # written so that torch.export can follow the sizes
        down = (height + self.divisor - 1) // self.divisor * self.divisor - height
        right = (width + self.divisor - 1) // self.divisor * self.divisor - width
        x = F.pad(x, (0, right, 0, down), mode="replicate")
        logits = self.body(x)
        if not torch.jit.is_scripting() and isinstance(logits, (list, tuple)):  # deep supervision
            return [F.pad(head, (0, -right, 0, -down)) for head in logits]
        logits = F.pad(logits, (0, -right, 0, -down))
        return logits if self.training else cap(logits, self.presence)
