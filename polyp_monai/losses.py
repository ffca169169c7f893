"""Losses on logits that neither MONAI nor torch has; `configs/losses.yaml` of a bundle names all that can be chosen.

Shapes: logits (B, C, H, W), target (B, C, H, W) of {0, 1}. All work in float32 whatever the network's precision: sums
over a frame's pixels overflow float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FocalTverskyLoss(nn.Module):
    """mean of (1 - TI)^(1 / gamma), with the Tversky index TI = TP / (TP + false_negative * FN + false_positive * FP).

    N. Abraham and N. Khan, "A novel Focal Tversky loss function with improved attention U-Net for lesion segmentation",
    ISBI 2019, equations 3 and 4; theirs are gamma = 4/3, alpha = 0.7 on false negatives. The index is taken over each
    frame and channel.

    Args:
        false_negative: weight of polyp pixels that are missed (alpha in the paper); the weight of false alarms is
            1 - false_negative.
        gamma: 1 is the Tversky loss; above 1, frames that are nearly right keep a large gradient.
        smooth: pixels added above and below the fraction.

    A frame without a polyp has no overlap to measure: it counts for nothing, and learns by a cross-entropy beside this
    loss. A batch of such frames alone gives 0.
    """

    def __init__(self, false_negative: float = 0.7, gamma: float = 4 / 3, smooth: float = 1.0) -> None:
        super().__init__()
        if not 0 <= false_negative <= 1 or gamma <= 0:
            raise ValueError(f"false_negative {false_negative} must be in 0..1 and gamma {gamma} above 0")
        self.false_negative, self.gamma, self.smooth = false_negative, gamma, smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape != target.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ")
        p, t = logits.float().sigmoid().flatten(2), target.float().flatten(2)
        hit = (p * t).sum(2)
        missed, false_alarm = t.sum(2) - hit, p.sum(2) - hit
        weighed = self.false_negative * missed + (1 - self.false_negative) * false_alarm
        # 1 - TI, without the difference of two nearly equal numbers; the root's slope is infinite at 0
        wrong = weighed / (hit + weighed + self.smooth)
        shows = t.sum(2) > 0
        return (wrong.clamp_min(1e-6).pow(1 / self.gamma) * shows).sum() / shows.sum().clamp_min(1)


class PresenceLoss(nn.Module):
    """Whether there is a polyp at all: cross-entropy of the frame's highest logits.

    Of a frame without a polyp these are the pixels that come nearest to a false outline; of one with a polyp, those
    within it. The mean over all pixels hardly feels either.

    Args:
        share: of the frame's pixels that count, from 0 to 1; of a polyp, at most all of its pixels.
    """

    def __init__(self, share: float = 0.003) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share {share} must be above 0 and at most 1")
        self.share = share

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        z, t = logits.float().flatten(2), target.float().flatten(2)
        area = t.sum(2)
        shows = area > 0
        pixels = max(1, round(self.share * z.shape[2]))
        highest = z.masked_fill((t < 0.5) & shows[..., None], -torch.inf).topk(pixels, dim=2).values
        counted = torch.arange(pixels, device=z.device) < torch.where(shows, area, pixels)[..., None]
        wrong = F.softplus(torch.where(shows[..., None], -highest, highest).masked_fill(~counted, -torch.inf))
        return (wrong.sum(2) / counted.sum(2)).mean()


class ProbabilityLoss(nn.Module):
    """A loss that is made for probabilities (such as `torch.nn.MSELoss`) on logits."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.loss(logits.float().sigmoid(), target.float())


class WeightedSumLoss(nn.Module):
    """Sum of `losses`, each times its weight (all 1 by default)."""

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = [1.0] * len(losses) if weights is None else list(weights)
        if len(self.weights) != len(self.losses):
            raise ValueError(f"{len(self.weights)} weights for {len(self.losses)} losses")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.weights, self.losses, strict=True)
        return sum(weight * loss(logits.float(), target.float()) for weight, loss in pairs)
