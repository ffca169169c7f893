"""What validation says of frames with and without a polyp."""

from __future__ import annotations

import math

import pytest
import torch

from polyp_monai.training.handlers import Specificity, ValidationScore

EMPTY = torch.zeros(1, 4, 4)
LEFT, TOP = EMPTY.clone(), EMPTY.clone()
LEFT[:, :2] = TOP[:, :, :2] = 1  # Dice of the two: .5


def measured(metric, *pairs: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Of (pred, label) in two batches."""
    metric.reset()
    for batch in (pairs[:1], pairs[1:]):
        metric.update(tuple(zip(*batch, strict=True)) or ((), ()))
    return metric.compute()


def test_the_score_is_the_mean_of_dice_and_specificity():
    pairs = [(LEFT, LEFT), (LEFT, TOP), (EMPTY, EMPTY), (EMPTY, EMPTY), (LEFT, EMPTY), (EMPTY, EMPTY)]
    assert measured(Specificity(), *pairs) == pytest.approx(0.75)
    assert measured(ValidationScore(), *pairs) == pytest.approx((0.75 + 0.75) / 2)


def test_the_score_is_what_there_is_to_measure():
    assert measured(ValidationScore(), (LEFT, TOP)) == pytest.approx(0.5)
    assert math.isnan(measured(Specificity(), (LEFT, TOP)))
    assert measured(ValidationScore(), (EMPTY, EMPTY), (LEFT, EMPTY)) == pytest.approx(0.5)
    assert measured(ValidationScore(), (EMPTY, LEFT)) == 0
