"""Where something is in an image, and how an image lies in memory."""

from __future__ import annotations

import numpy as np


def by_rows(image: np.ndarray) -> np.ndarray:
    """`image` (H, W) row after row in memory: itself, or a copy of one that lies column after column, as MONAI's do."""
    import cv2

    if image.flags.c_contiguous or not image.flags.f_contiguous or not image.size:
        return np.ascontiguousarray(image)
    turned = image.T.view(np.uint8) if image.dtype == bool else image.T
    return cv2.transpose(turned).view(image.dtype)  # several times as fast as numpy's


def box_of(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box around the pixels of a bool mask (H, W), C-contiguous; None without any."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
