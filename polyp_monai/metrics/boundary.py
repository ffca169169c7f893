"""Distance between the outlines of two masks: MONAI's scores to the last digit, since tools differ (arXiv 2410.02630).

Masks are (H, W) of one shape, {0, 1} or bool. MONAI and torch themselves are not loaded: what is measured is the same,
once for all scores, and in a process that has no use for them otherwise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from polyp_monai.metrics.arrays import box_of, by_rows


class Distances(NamedTuple):
    """From each pixel of one mask's outline to the nearest of the other's, in pixels: float32 (n,) and (m,)."""

    of_prediction: np.ndarray
    of_truth: np.ndarray


def hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    """95th percentile of the symmetric Hausdorff distance in pixels.

    NaN when either mask is empty: there is no distance to nothing, and neither 0 nor infinity belongs into a mean.
    """
    return hd95_of(distances(prediction, truth))


def surface_dice(prediction: np.ndarray, truth: np.ndarray, tolerance_px: float) -> float:
    """Normalized surface Dice (NSD), 0..1: share of both outlines within `tolerance_px` of the other one.

    S. Nikolov et al., arXiv 1809.04430, on edge pixels. 0 when one mask is empty, NaN when both are.
    ValueError for a tolerance that is negative or not finite.
    """
    if not (math.isfinite(tolerance_px) and tolerance_px >= 0):
        raise ValueError(f"the tolerance is a number of pixels, 0 or more, not {tolerance_px}")
    if not (np.any(prediction) or np.any(truth)):
        return math.nan
    return surface_dice_of(distances(prediction, truth), tolerance_px)


def distances(prediction: np.ndarray, truth: np.ndarray) -> Distances | None:
    """What `hd95_of` and `surface_dice_of` are made of; None when either mask is empty."""
    from scipy.spatial import KDTree

    outlines = [_outline(mask) for mask in (prediction, truth)]
    if not all(len(outline) for outline in outlines):
        return None
    found = (KDTree(b, leafsize=32).query(a)[0] for a, b in (outlines, outlines[::-1]))
    return Distances(*(distance.astype(np.float32) for distance in found))


def hd95_of(found: Distances | None) -> float:
    """`hd95`, where the distances are known."""
    return math.nan if found is None else max(_percentile(side, 0.95) for side in found)


def surface_dice_of(found: Distances | None, tolerance_px: float) -> float:
    """`surface_dice` of two masks of which one at least is not empty, where the distances are known."""
    if found is None:
        return 0.0
    near = sum(np.count_nonzero(side <= np.float32(tolerance_px)) for side in found)
    return float(np.float32(near) / np.float32(sum(map(len, found))))


def tolerance(shape: tuple[int, int], share: float = 0.005) -> float:
    """Pixels that `share` of the image's diagonal makes; shape is (H, W)."""
    return share * math.hypot(*shape)


def _outline(mask: np.ndarray) -> np.ndarray:
    """(n, 2) places of the pixels that have a 4-neighbour outside the mask; the image's edge is outside."""
    import cv2

    mask = by_rows(mask.astype(bool, copy=False))
    box = box_of(mask)
    if box is None:
        return np.empty((0, 2))
    inside = np.ascontiguousarray(mask[box]).view(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    eroded = cv2.erode(inside, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.argwhere(inside != eroded) + [float(side.start) for side in box]


def _percentile(values: np.ndarray, share: float) -> float:
    """torch.quantile of float32 values: everything in float32, but a product and its sum are rounded once."""
    values = np.sort(values)
    rank = np.float32(share) * np.float32(len(values) - 1)
    low, high = values[int(np.floor(rank))], values[int(np.ceil(rank))]
    weight, step = rank - np.floor(rank), np.float64(high - low)  # double: a product of two float32 is exact in it
    return float(np.float32(low + weight * step if weight < 0.5 else high - step * (np.float32(1) - weight)))
