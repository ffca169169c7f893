"""In what two sets of frames differ before any network sees them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from polyp_monai.data import files

SAMPLE = 100  # frames of a set that are looked at
BLACK = 16  # grey value below which a pixel counts as border
WORTH_SAYING = 0.25  # relative difference of a median


def describe(samples: Sequence[dict]) -> dict[str, float]:
    """Medians over evenly chosen frames: brightness (0..255), hue (degrees, red is 0), polyp area and black border
    (shares 0..1), and megapixels."""
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(SAMPLE, len(samples))).astype(int)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(_describe, chosen))
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]}


def _describe(sample: dict) -> dict[str, float]:
    import cv2

    image = files.read_rgb(sample["image"])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    inside = grey >= BLACK
    hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 0][inside].astype(np.float32) * 2
    return {
        "brightness": float(grey[inside].mean()) if inside.any() else 0.0,
        "hue": float(np.median((hue + 180) % 360 - 180)) if inside.any() else 0.0,  # red lies at both ends
        "polyp_area": float(files.read_mask(sample["label"]).mean()),
        "black_border": float(1 - inside.mean()),
        "megapixels": grey.size / 1e6,
    }


def note(reference: dict[str, float], other: dict[str, float]) -> str:
    """In words, what in `other` is far from `reference`."""
    differences = []
    for key in ("brightness", "polyp_area", "black_border", "megapixels"):
        scale = max(reference[key], 0.05)
        if abs(other[key] - reference[key]) > WORTH_SAYING * scale:
            differences.append(f"{key.replace('_', ' ')} {other[key]:.3g} instead of {reference[key]:.3g}")
    if abs(other["hue"] - reference["hue"]) > 8:
        differences.append(f"hue {other['hue']:.0f} degrees instead of {reference['hue']:.0f}")
    return ", ".join(differences) or "much like it"
