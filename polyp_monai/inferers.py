"""Test-time augmentation as an inferer: what any network gains from seeing a frame mirrored too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

MIRRORS = ((), (2,), (3,), (2, 3))  # axes of (B, C, W, H)


class FlipInferer(Inferer):
    """Mean of the logits of `inferer` over the frame and its mirror images, which takes four times as long.

    Args:
        inferer: what predicts each.
        flips: false predicts the frame alone.
    """

    def __init__(self, inferer: Inferer, flips: bool = False) -> None:
        super().__init__()
        self.inferer = inferer
        self.mirrors = MIRRORS if flips else MIRRORS[:1]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if len(self.mirrors) == 1:
            return self.inferer(inputs, network, *args, **kwargs)
        total = sum(self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes) for axes in self.mirrors)
        return total / len(self.mirrors)
