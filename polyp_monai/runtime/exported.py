"""An exported file as a module, whichever runtime runs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from polyp_monai.networks.frame_network import cap
from polyp_monai.runtime.about import About

ROUNDING = 1e-3  # of a logit, as a share of the greatest
Call = Callable[[Tensor], Tensor]


class ExportedNetwork(nn.Module):
    """(B, 3, H, W) RGB float in 0..1 to logits (B, C, H, W), on the device of the frames.

    It has no parameters of its own, and no training mode.

    Args:
        call: does the work.
        about: what the file says of itself.
        description: runtime, precision and threads, to tell a user.

    Attributes:
        presence: as that of `FrameNetwork`, beyond the one that the file holds.
    """

    def __init__(self, call: Call, about: About, description: str) -> None:
        super().__init__()
        self.call, self.about, self.description = call, about, description
        self.presence = 0.0
        self.eval()

    def forward(self, frames: Tensor) -> Tensor:
        return cap(self.call(frames), self.presence)


def through_numpy(run: Callable[[np.ndarray], np.ndarray]) -> Call:
    """A function of arrays (float32, C order) as one of tensors, which come back to the device they came from."""

    def call(frames: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(frames.detach().to("cpu", torch.float32).numpy())
        return torch.from_numpy(run(pixels)).to(frames.device)

    return call


@torch.no_grad()
def same_logits(one: Call, other: Call, frames: Tensor | None = None) -> bool:
    """Whether both give the same logits, but for rounding; by default of one small frame of noise, which is quick."""
    if frames is None:
        frames = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected, found = one(frames), other(frames)
    limit = ROUNDING * (1 + float(expected.abs().max()))
    return expected.shape == found.shape and bool((expected - found).abs().max() <= limit)
