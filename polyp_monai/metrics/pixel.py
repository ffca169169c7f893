"""Overlap of one predicted mask with its truth."""

from __future__ import annotations

import math

import numpy as np


def pixel_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Overlap of two masks of one shape, {0, 1} or bool: Dice, IoU, sensitivity and precision, each 0..1.

    A prediction that misses the polyp wholly scores 0 in all. Where the truth holds no polyp the overlap is not
    defined: all are NaN, and the frame belongs into `specificity`, not into a mean Dice.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction is {prediction.shape} but truth is {truth.shape}")
    prediction, truth = prediction.astype(bool), truth.astype(bool)
    positives, predicted = int(truth.sum()), int(prediction.sum())
    if not positives:
        return dict.fromkeys(("dice", "iou", "sensitivity", "precision"), math.nan)
    hits = int((prediction & truth).sum())
    return {
        "dice": 2 * hits / (positives + predicted),
        "iou": hits / (positives + predicted - hits),
        "sensitivity": hits / positives,
        "precision": hits / predicted if predicted else 0.0,
    }
