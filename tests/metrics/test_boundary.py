from __future__ import annotations

import math

import numpy as np
import pytest

from polyp_monai.metrics.boundary import hd95


def _square(corner: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((80, 90), np.uint8)
    mask[corner : corner + side, corner : corner + side] = 1
    return mask


def test_same_masks_have_distance_zero():
    assert hd95(_square(10), _square(10)) == 0


def test_a_shift_is_measured_in_pixels():
    assert hd95(_square(10), _square(10)[:, ::-1]) == hd95(_square(10)[:, ::-1], _square(10))
    shifted = np.roll(_square(10), 7, axis=1)
    assert hd95(_square(10), shifted) == pytest.approx(7, abs=1e-5)


def test_no_distance_to_nothing():
    empty = np.zeros((80, 90), np.uint8)
    for pair in ((_square(3), empty), (empty, _square(3)), (empty, empty)):
        assert math.isnan(hd95(*pair))
