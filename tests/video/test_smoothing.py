from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyp_monai.errors import PolypError
from polyp_monai.video.smoothing import CUT, NAMES, difference, smoother

SIDE = 64
ZEROS, ONES = (np.full((SIDE, SIDE), value, np.float32) for value in (0, 1))


def _texture(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """A smooth random picture, (side, side, 3)."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)


IMAGE = _texture()


@pytest.mark.parametrize("name", NAMES)
def test_the_first_map_is_as_it_came(name):
    probability = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(smoother(name, 0.1)(probability, IMAGE, 0.0), probability)


@pytest.mark.parametrize(("name", "half_life"), [("none", 0.3), ("exponential", 0), ("flow", 0)])
def test_nothing_is_smoothed(name, half_life):
    smooth = smoother(name, half_life)
    for seed in range(3):
        probability = np.random.default_rng(seed).random((SIDE, SIDE), np.float32)
        np.testing.assert_array_equal(smooth(probability, IMAGE, 0.04), probability)


@pytest.mark.parametrize("name", ["exponential", "flow"])
def test_half_is_left_after_a_half_life(name):
    smooth = smoother(name, 0.2)
    smooth(ONES, IMAGE, 0.0)
    assert smooth(ZEROS, IMAGE, 0.2) == pytest.approx(0.5, abs=1e-6)
    assert smooth(ZEROS, IMAGE, 0.4) == pytest.approx(0.125, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1), st.sampled_from(NAMES[1:]))
def test_how_time_is_cut_changes_nothing(steps, before, now, name):
    small = IMAGE[:32, :32]
    one, many = smoother(name, 0.3), smoother(name, 0.3)
    for smooth in (one, many):
        smooth(np.full((32, 32), before, np.float32), small, 0.0)
    probability = np.full((32, 32), now, np.float32)
    for seconds in steps:
        result = many(probability, small, seconds)
    np.testing.assert_allclose(result, one(probability, small, sum(steps)), atol=1e-5)
    assert min(before, now) - 1e-6 <= result.min() <= result.max() <= max(before, now) + 1e-6


@pytest.mark.parametrize("name", ["exponential", "flow"])
def test_a_cut_a_step_back_in_time_another_size_and_a_reset_start_anew(name):
    other = 255 - IMAGE
    assert difference(IMAGE[..., 0], other[..., 0]) > CUT
    for image, seconds in ((other, 0.04), (IMAGE, -1.0)):
        smooth = smoother(name, 10)
        smooth(ONES, IMAGE, 0.0)
        assert smooth(ZEROS, image, seconds).max() == 0
    smooth(ONES[:32, :40], IMAGE[:32, :40], 0.04)
    assert smooth(ZEROS, IMAGE, 0.04).max() == 0
    smooth(ONES, IMAGE, 0.04)
    smooth.reset()
    assert smooth(ZEROS, IMAGE, 0.04).max() == 0


def test_nan_does_not_stay():
    smooth, broken = smoother("exponential", 10), ONES.copy()
    broken[3, 3] = np.nan
    smooth(ONES, IMAGE, 0.0)
    assert np.isnan(smooth(broken, IMAGE, 0.04)).any()
    np.testing.assert_array_equal(smooth(ONES, IMAGE, 0.04), ONES)


def test_what_came_is_neither_kept_nor_changed():
    smooth, buffer = smoother("exponential", 0.1), ONES.copy()
    smooth(buffer, IMAGE, 0.0)
    buffer[:] = 0
    assert smooth(buffer, IMAGE, 0.1) == pytest.approx(0.5)
    assert buffer.max() == 0


def test_flow_moves_along_with_the_picture():
    scene, side = _texture(3, 320), 176

    def view(step: int) -> tuple[np.ndarray, np.ndarray]:
        """The camera moves 4 pixels a frame over a scene with a disc in it."""
        disc = cv2.circle(np.zeros((320, 320), np.float32), (170, 150), 30, 1.0, cv2.FILLED)
        cut = np.s_[20 : 20 + side, 4 * step : 4 * step + side]
        return disc[cut], np.ascontiguousarray(scene[cut])

    off = {}
    for name in ("exponential", "flow"):
        smooth = smoother(name, 0.2)
        for step in range(20):
            probability, image = view(step)
            smoothed = smooth(probability, image, 0.04)
        off[name] = np.abs(smoothed - probability).sum() / probability.sum()
    assert off["flow"] < 0.25 * off["exponential"]


@pytest.mark.parametrize(("name", "half_life"), [("kalman", 0.1), ("flow", -1), ("none", float("nan"))])
def test_what_makes_no_sense_is_refused(name, half_life):
    with pytest.raises(PolypError, match=r"unknown|expected"):
        smoother(name, half_life)
