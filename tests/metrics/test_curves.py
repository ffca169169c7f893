from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polyp_monai.metrics.curves import best_threshold, histograms, precision_recall, threshold_curves
from polyp_monai.metrics.pixel import pixel_scores

eight_bit = arrays(np.uint8, (5, 6), elements=st.integers(0, 255))
masks = arrays(bool, (5, 6))


def test_levels_are_floors():
    probability = np.array([[0, 1 / 255, 1.9 / 255, 1.0, 0.9999]])
    polyp, background = histograms(probability, np.array([[True, False, True, True, False]]))
    assert dict(enumerate(polyp[[0, 1, 255]])) == {0: 1, 1: 1, 2: 1}
    assert (polyp.sum(), background.sum(), background[1], background[254]) == (3, 2, 1, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_8_bit_map_keeps_its_levels(dtype):
    levels = np.arange(256, dtype=np.uint8)[None]
    assert (histograms(levels.astype(dtype) / 255, levels >= 0)[0] == 1).all()


@pytest.mark.parametrize("wrong", [np.nan, 1.01, -0.01])
def test_values_outside_are_refused(wrong):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        histograms(np.array([[0.5, wrong]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        histograms(np.zeros((1, 2)), np.ones((2, 1), bool))


@given(eight_bit, masks)
def test_every_threshold_equals_the_scores_of_its_mask(levels, truth):
    curves = threshold_curves(*histograms(levels / 255, truth))
    for level in (0, 1, 100, 255):
        for name, value in pixel_scores(levels >= level, truth).items():
            assert curves[name][level] == pytest.approx(value, nan_ok=True)


@given(eight_bit, masks)
def test_stacked_histograms_give_stacked_curves(levels, truth):
    one, other = histograms(levels / 255, truth), histograms(levels / 255, ~truth)
    stacked = threshold_curves(np.stack([one[0], other[0]]), np.stack([one[1], other[1]]))
    np.testing.assert_array_equal(stacked["iou"][1], threshold_curves(*other)["iou"])


@given(eight_bit, masks)
def test_precision_recall_agrees_with_scikit_learn(levels, truth):
    from sklearn.metrics import average_precision_score, precision_recall_curve

    if not truth.any():
        return
    curve = precision_recall(*histograms(levels / 255, truth))
    precision, recall, thresholds = precision_recall_curve(truth.ravel(), levels.ravel())
    np.testing.assert_allclose(curve["precision"][thresholds.astype(int)], precision[:-1])
    np.testing.assert_allclose(curve["recall"][thresholds.astype(int)], recall[:-1])
    assert curve["average_precision"] == pytest.approx(average_precision_score(truth.ravel(), levels.ravel()))


def test_no_polyp_has_no_recall():
    curve = precision_recall(np.zeros(256, int), np.ones(256, int))
    assert np.isnan(curve["recall"]).all()
    assert np.isnan(curve["average_precision"])


def test_the_best_threshold_is_that_of_the_mean_over_images_with_a_polyp():
    truth = np.array([[True, True, False, False]])
    maps = [np.array([[90, 90, 80, 0]]), np.array([[200, 100, 70, 0]]), np.array([[250, 250, 250, 250]])]
    pairs = [histograms(m / 255, t) for m, t in zip(maps, [truth, truth, ~truth & truth], strict=True)]
    best = best_threshold(threshold_curves(*map(np.stack, zip(*pairs, strict=True))))
    assert best == {"level": 90, "threshold": 90 / 255, "dice": 1.0}  # 81..90 are equal, 90 is nearest to the middle


def test_a_binary_map_is_cut_in_the_middle():
    truth = np.array([[True, False]])
    assert best_threshold(threshold_curves(*histograms(truth.astype(float), truth)))["level"] == 128
    with pytest.raises(ValueError, match="no image with a polyp"):
        best_threshold(threshold_curves(*histograms(truth.astype(float), truth & False)))
