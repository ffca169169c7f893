"""The outline that is drawn over a frame: its color, and how thick it is."""

from __future__ import annotations

import cv2
import numpy as np

from polyp_monai.data.classes import COLORS

OUTLINE = (255, 221, 0)  # RGB yellow, which mucosa never has


def draw_contour(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = OUTLINE) -> np.ndarray:
    """A copy of the (H, W, 3) image with the outline of the (H, W) mask {0, 1}, about 0.4 % of the width thick."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, color, max(1, round(image.shape[1] / 250)))


def draw_classes(image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """A copy of the (H, W, 3) image with an outline around each class in the (H, W) mask of their numbers."""
    for number, color in enumerate(COLORS, 1):
        if (of_class := (numbers == number).astype(np.uint8)).any():
            image = draw_contour(image, of_class, color)
    return image
