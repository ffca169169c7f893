"""Test-time augmentation as an inferer: what any network gains from seeing a frame mirrored too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from polyp_monai.errors import PolypError

MODES = {"none": ((),), "flip": ((), (2,), (3,), (2, 3))}  # axes of (B, C, W, H) to mirror


class TTAInferer(Inferer):
    """Mean of the logits of `inferer` over the frame and its mirror images, which takes four times as long.

    Args:
        inferer: what predicts each.
        tta: "none" predicts the frame alone, "flip" its mirror images too.
    """

    def __init__(self, inferer: Inferer, tta: str = "none") -> None:
        super().__init__()
        self.inferer = inferer
        if tta not in MODES:
            raise PolypError(f"--tta {tta}: expected {' or '.join(MODES)}")
        self.tta, self.mirrors = tta, MODES[tta]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if len(self.mirrors) == 1:
            return self.inferer(inputs, network, *args, **kwargs)
        total = sum(self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes) for axes in self.mirrors)
        return total / len(self.mirrors)
