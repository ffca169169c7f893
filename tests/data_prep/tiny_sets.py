"""Tiny data sets on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from polyp_monai.data import files


def frame(seed: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A smooth random picture (H, W, 3) of `size` (W, H); two seeds never look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)


def polyp(size: tuple[int, int] = (64, 48), radius: int = 10) -> np.ndarray:
    """A round mask of {0, 1}."""
    mask = np.zeros(size[::-1], np.uint8)
    return cv2.circle(mask, (size[0] // 2, size[1] // 2), radius, 1, -1)


def write_set(root: Path, names: list[str], images: str = "images", masks: str = "masks", suffix: str = ".png") -> Path:
    """root/images/NAME.png and root/masks/NAME.png."""
    for seed, name in enumerate(names):
        (root / images / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / images / f"{name}{suffix}"), frame(seed))
        files.write_mask(root / masks / f"{name}.png", polyp())
    return root
