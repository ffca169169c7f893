"""An exported file as a module, whichever runtime runs it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from polyp_monai.runtime.about import About


class ExportedNetwork(nn.Module):
    """(B, 3, H, W) RGB float in 0..1 to logits (B, C, H, W), on the device of the frames.

    It has no parameters of its own, and no training mode.

    Args:
        call: does the work.
        about: what the file says of itself.
        description: runtime, precision and threads, to tell a user.
    """

    def __init__(self, call: Callable[[Tensor], Tensor], about: About, description: str) -> None:
        super().__init__()
        self.call, self.about, self.description = call, about, description
        self.eval()

    def forward(self, frames: Tensor) -> Tensor:
        return self.call(frames)


def through_numpy(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor], Tensor]:
    """A function of arrays (float32, C order) as one of tensors, which come back to the device they came from."""

    def call(frames: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(frames.detach().to("cpu", torch.float32).numpy())
        return torch.from_numpy(run(pixels)).to(frames.device)

    return call
