"""Figures over all thresholds, from histograms: 512 numbers an image stand for its probability map.

Level t (0..255) keeps the pixels with floor(probability * 255) >= t, which is probability >= t / 255: the bins of
pysodmetrics, and exact for 8-bit maps. Histograms of many images stack to (N, 256).
"""

from __future__ import annotations

import numpy as np

from polyp_monai.metrics.arrays import by_rows
from polyp_monai.metrics.pixel import Counts, scores

LEVELS = 256


def histograms(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels per level inside and outside the polyp, int (256,) each.

    probability: (H, W) in 0..1; truth: bool (H, W). ValueError for two shapes, NaN or values outside 0..1.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"probability is {probability.shape} but truth is {truth.shape}")
    if not (probability.min() >= 0 and probability.max() <= 1):  # also refuses NaN
        raise ValueError(f"probability must be in 0..1, not {probability.min()} to {probability.max()}")
    level, truth = by_rows((probability * 255).astype(np.uint8)), by_rows(truth.astype(bool, copy=False))
    polyp = np.bincount(level[truth], minlength=LEVELS)
    return polyp, np.bincount(level.ravel(), minlength=LEVELS) - polyp


def at_least(histogram: np.ndarray) -> np.ndarray:
    """Pixels at level t or above, for every t; of the histogram's shape (..., 256)."""
    return np.flip(np.cumsum(np.flip(histogram, -1), -1), -1)


def threshold_curves(polyp: np.ndarray, background: np.ndarray) -> dict[str, np.ndarray]:
    """`pixel.scores` at every level: arrays of the histograms' shape, (256,) or (N, 256) for N images."""
    tp, fp = at_least(polyp), at_least(background)
    return scores(Counts(tp, fp, tp[..., :1] - tp, fp[..., :1] - fp))


def best_threshold(curves: dict[str, np.ndarray], metric: str = "dice") -> dict[str, float]:
    """The level with the highest mean of `metric` over the images with a polyp; on validation, never on test.

    Among equal levels the one nearest to the middle: the sweep of a binary map is flat, and its ends are no choice.
    ValueError when no image holds a polyp.
    """
    curve = np.atleast_2d(curves[metric])
    curve = curve[~np.isnan(curve[:, 0])]
    if not len(curve):
        raise ValueError("no image with a polyp: there is no best threshold")
    mean = curve.mean(0)
    best = np.flatnonzero(mean == mean.max())
    level = int(best[np.abs(best - LEVELS // 2).argmin()])
    return {"level": level, "threshold": level / 255, metric: float(mean[level])}


def precision_recall(polyp_total: np.ndarray, background_total: np.ndarray) -> dict[str, np.ndarray | float]:
    """Precision-recall curve of all pixels of a set pooled, from the sums of its histograms.

    `threshold`, `precision` and `recall` are (256,), in falling order of recall; precision is 1 where nothing is
    predicted, and `average_precision` is the sum of precision times the step in recall (both as scikit-learn has it).
    Without a polyp recall is NaN.
    """
    tp, predicted = at_least(polyp_total), at_least(polyp_total + background_total)
    recall = tp / (tp[0] or np.nan)
    precision = np.where(predicted > 0, tp / np.maximum(predicted, 1), 1.0)
    steps = recall - np.append(recall[1:], 0)
    return {
        "threshold": np.arange(LEVELS) / 255,
        "precision": precision,
        "recall": recall,
        "average_precision": float((precision * steps).sum()),
    }
