from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion, distance_transform_edt

from polyp_monai.metrics.boundary import hd95, surface_dice, tolerance

EMPTY = np.zeros((80, 90), np.uint8)


def _square(corner: int, side: int = 20) -> np.ndarray:
    mask = EMPTY.copy()
    mask[corner : corner + side, corner : corner + side] = 1
    return mask


def test_same_masks_have_distance_zero():
    assert hd95(_square(10), _square(10)) == 0


def test_a_shift_is_measured_in_pixels():
    assert hd95(_square(10), _square(10)[:, ::-1]) == hd95(_square(10)[:, ::-1], _square(10))
    shifted = np.roll(_square(10), 7, axis=1)
    assert hd95(_square(10), shifted) == pytest.approx(7, abs=1e-5)


def test_no_distance_to_nothing():
    for pair in ((_square(3), EMPTY), (EMPTY, _square(3)), (EMPTY, EMPTY)):
        assert math.isnan(hd95(*pair))


def test_surface_dice_of_a_shifted_square():
    shifted = np.roll(_square(10), 3, axis=1)
    assert surface_dice(_square(10), shifted, 3) == 1
    # 76 edge pixels each; scipy says how many lie within a pixel of the other's
    edge = [m & ~binary_erosion(m) for m in (_square(10).astype(bool), shifted.astype(bool))]
    near = sum((distance_transform_edt(~other)[one] <= 1).sum() for one, other in (edge, edge[::-1]))
    assert 0 < near < 2 * 76
    assert surface_dice(_square(10), shifted, 1) == pytest.approx(near / (2 * 76))


def test_surface_dice_of_empty_masks():
    assert surface_dice(_square(10), EMPTY, 2) == surface_dice(EMPTY, _square(10), 2) == 0
    assert math.isnan(surface_dice(EMPTY, EMPTY, 2))
    with pytest.raises(ValueError, match="tolerance"):
        surface_dice(_square(10), _square(10), -1)


def test_the_tolerance_is_a_share_of_the_diagonal():
    assert tolerance((300, 400)) == 2.5
    assert tolerance((300, 400), 0.01) == 5


@pytest.mark.parametrize("seed", range(6))
def test_equals_monai_to_the_last_digit(seed):
    rng = np.random.default_rng(seed)
    one, other = (np.kron(rng.random((9, 8)) < 0.2, np.ones((11, 7), bool)) for _ in range(2))
    if seed % 2:  # as MONAI's (C, W, H) arrays lie
        one, other = np.asfortranarray(one), np.asfortranarray(other)
    batches = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (one, other)]
    assert hd95(one, other) == float(compute_hausdorff_distance(*batches, include_background=True, percentile=95))
    for pixels in (0.0, math.sqrt(2), 3.3):
        theirs = float(compute_surface_dice(*batches, [pixels], include_background=True))
        assert surface_dice(one, other, pixels) == theirs
