from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polyp_monai.metrics.pixel import pixel_scores

masks = arrays(np.uint8, (6, 7), elements=st.integers(0, 1))


def test_by_hand():
    truth = np.array([[1, 1, 1, 0]])
    prediction = np.array([[0, 1, 1, 1]])
    scores = pixel_scores(prediction, truth)
    assert scores == pytest.approx({"dice": 4 / 6, "iou": 2 / 4, "sensitivity": 2 / 3, "precision": 2 / 3})


def test_a_missed_polyp_scores_zero_and_no_polyp_has_no_score():
    polyp, empty = np.ones((3, 3)), np.zeros((3, 3))
    assert set(pixel_scores(empty, polyp).values()) == {0.0}
    assert all(math.isnan(v) for v in pixel_scores(polyp, empty).values())
    assert all(math.isnan(v) for v in pixel_scores(empty, empty).values())


def test_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        pixel_scores(np.zeros((3, 4)), np.zeros((4, 3)))


@given(masks, masks)
def test_identities(prediction, truth):
    scores, swapped = pixel_scores(prediction, truth), pixel_scores(truth, prediction)
    if not truth.any() or not prediction.any():
        return
    assert scores["iou"] <= scores["dice"] <= 1
    assert scores["iou"] == pytest.approx(scores["dice"] / (2 - scores["dice"]))
    assert scores["sensitivity"] == swapped["precision"]
    assert scores["dice"] == swapped["dice"]
    assert set(pixel_scores(truth, truth).values()) == {1.0}


@given(masks, masks)
def test_agrees_with_monai(prediction, truth):
    import torch
    from monai.metrics import compute_dice

    if truth.any():
        monai = compute_dice(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
        assert pixel_scores(prediction, truth)["dice"] == pytest.approx(monai.item())
