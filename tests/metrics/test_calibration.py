from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polyp_monai.metrics.calibration import conformal_presence, conformal_threshold, reliability
from polyp_monai.metrics.curves import histograms


def test_reliability_by_hand():
    polyp, background = np.zeros(256, int), np.zeros(256, int)
    polyp[255], polyp[51], background[51], background[0] = 5, 1, 3, 11  # certain and right, .2 but .25, certain
    result = reliability(polyp, background, bins=5)
    assert result["count"].tolist() == [15, 0, 0, 0, 5]  # bins are (low, high]
    assert result["confidence"][[0, 4]] == pytest.approx([4 * 0.2 / 15, 1])
    assert result["accuracy"][[0, 4]] == pytest.approx([1 / 15, 1])
    assert np.isnan(result["accuracy"][1:4]).all()
    assert result["expected_calibration_error"] == pytest.approx(15 / 20 * abs(1 / 15 - 0.8 / 15))


@given(arrays(np.uint8, (40,), elements=st.integers(0, 255)), arrays(bool, (40,)))
def test_reliability_agrees_with_scikit_learn(levels, truth):
    from sklearn.calibration import calibration_curve

    result = reliability(*histograms(levels[None] / 255, truth[None]), bins=16)  # no level on an inner edge
    accuracy, confidence = calibration_curve(truth, levels / 255, n_bins=16)
    filled = result["count"] > 0
    np.testing.assert_allclose(result["accuracy"][filled], accuracy, atol=1e-12)
    np.testing.assert_allclose(result["confidence"][filled], confidence, atol=1e-12)


def test_levels_on_the_edge_of_15_bins_belong_to_the_lower_one():
    polyp = np.zeros(256, int)
    polyp[[17, 18, 34]] = 1
    assert reliability(polyp, np.zeros(256, int))["count"][:3].tolist() == [1, 2, 0]


def _images(levels: list[int]) -> np.ndarray:
    """One image a level, its polyp wholly at that level."""
    return np.eye(256, dtype=int)[levels] * 100


def test_the_conformal_threshold_by_hand():
    calibration = _images([10, 50, *[200] * 18])  # at 51..200 two of 20 polyps are lost, at 11..50 one
    assert conformal_threshold(calibration, 0.15)["level"] == 200  # (2 + 1) / 21 = .143
    assert conformal_threshold(calibration, 0.10)["level"] == 50  # (1 + 1) / 21 = .095
    result = conformal_threshold(calibration, 0.05)
    assert (result["level"], result["threshold"], result["missed"], result["images"]) == (10, 10 / 255, 0, 20)
    assert result["bound"] == pytest.approx(1 / 21)


def test_images_without_a_polyp_are_left_out():
    calibration = _images([10, 50, *[200] * 18])
    padded = np.concatenate([calibration, np.zeros((7, 256), int)])
    assert conformal_threshold(padded, 0.1) == conformal_threshold(calibration[::-1], 0.1)


def test_too_few_images_are_refused():
    assert conformal_threshold(_images([7] * 9), 0.1)["level"] == 7
    with pytest.raises(ValueError, match=r"8 images .* at least 9"):
        conformal_threshold(_images([7] * 8), 0.1)
    with pytest.raises(ValueError, match="0 images"):
        conformal_threshold(np.zeros((3, 256), int), 0.1)
    with pytest.raises(ValueError, match="alpha"):
        conformal_threshold(_images([7]), 1.0)


def test_the_promise_is_kept_on_new_images():
    rng = np.random.default_rng(0)
    missed = []
    for _ in range(300):
        levels = rng.integers(0, 256, 41)
        level = conformal_threshold(_images(levels[:40]), 0.2)["level"]
        missed.append(levels[40] < level)
    assert 0.1 < np.mean(missed) < 0.2 + 3 * 0.4 / np.sqrt(300)  # in the mean at most .2, and not needlessly low


@given(st.lists(st.integers(0, 200), min_size=20, max_size=60), st.sampled_from([0.05, 0.1, 0.3]))
def test_no_larger_share_of_negatives_reaches_the_presence(levels, alpha):
    found = conformal_presence(np.array(levels), alpha)
    reach = np.sum(np.array(levels) >= found["level"])
    assert reach <= alpha * (len(levels) + 1)  # one of the n + 1 that are exchangeable is the new one
    assert found["left_empty"] == pytest.approx(1 - reach / len(levels))


@pytest.mark.parametrize(
    ("levels", "alpha", "text"),
    [
        ([3] * 8, 0.1, "it takes at least 9"),
        ([255] * 3 + [0] * 7, 0.2, "is sure that there is one"),
        ([1], 1.0, "alpha"),
    ],
)
def test_false_alarms_that_nothing_can_bound(levels, alpha, text):
    with pytest.raises(ValueError, match=text):
        conformal_presence(np.array(levels), alpha)
