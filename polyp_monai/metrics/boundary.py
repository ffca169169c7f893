"""Distance between the outlines of two masks: MONAI's figures, since tools differ (arXiv 2410.02630).

Masks are (H, W) of one shape, {0, 1} or bool.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    """95th percentile of the symmetric Hausdorff distance in pixels.

    NaN when either mask is empty: there is no distance to nothing, and neither 0 nor infinity belongs into a mean.
    """
    from monai.metrics import compute_hausdorff_distance

    if not prediction.any() or not truth.any():
        return math.nan
    with _quiet():
        return float(compute_hausdorff_distance(*_batches(prediction, truth), include_background=True, percentile=95))


def surface_dice(prediction: np.ndarray, truth: np.ndarray, tolerance_px: float) -> float:
    """Normalized surface Dice (NSD), 0..1: share of both outlines within `tolerance_px` of the other one.

    S. Nikolov et al., arXiv 1809.04430, on edge pixels. 0 when one mask is empty, NaN when both are.
    ValueError for a tolerance that is negative or not finite.
    """
    from monai.metrics import compute_surface_dice

    if not prediction.any() or not truth.any():
        return 0.0 if prediction.any() or truth.any() else math.nan
    with _quiet():
        return float(compute_surface_dice(*_batches(prediction, truth), [tolerance_px], include_background=True))


def tolerance(shape: tuple[int, int], share: float = 0.005) -> float:
    """Pixels that `share` of the image's diagonal makes; shape is (H, W)."""
    return share * math.hypot(*shape)


@contextmanager
def _quiet() -> Iterator[None]:
    """MONAI 1.6 calls itself in a way that it calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _batches(*masks: np.ndarray) -> list[torch.Tensor]:
    import torch

    return [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in masks]
