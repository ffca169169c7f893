"""Distance between the outlines of two masks."""

from __future__ import annotations

import math

import numpy as np


def hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    """95th percentile of the symmetric Hausdorff distance in pixels (MONAI's), masks of one shape, {0, 1} or bool.

    NaN when either mask is empty: there is no distance to nothing, and neither 0 nor infinity belongs into a mean.
    """
    import torch
    from monai.metrics import compute_hausdorff_distance

    if not prediction.any() or not truth.any():
        return math.nan
    one, other = (torch.from_numpy(m.astype(np.uint8))[None, None] for m in (prediction, truth))
    return float(compute_hausdorff_distance(one, other, include_background=True, percentile=95))
