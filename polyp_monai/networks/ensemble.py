"""Several networks as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


class Ensemble(nn.Module):
    """The mean of its members' probabilities, as logits: what follows a network takes it for one.

    In: (B, 3, H, W) RGB float in 0..1. Out: (B, C, H, W) logits. The members keep the contract of `FrameNetwork`.

    Args:
        members: networks, one at least.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([member(x) for member in self.members])
        # log(p) - log(1 - p) of the mean p, without a probability that rounds to 0 or 1
        return torch.logsumexp(logsigmoid(logits), 0) - torch.logsumexp(logsigmoid(-logits), 0)
