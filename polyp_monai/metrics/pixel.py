"""Overlap of predicted masks with their truth, from counts of pixels; and the families of means that papers mix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Count: TypeAlias = Any  # int, or an array of them


class Counts(NamedTuple):
    """Pixels of one mask, of a set (counts add up), or of many at once (arrays of one shape)."""

    tp: Count
    fp: Count
    fn: Count
    tn: Count

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]  # a tuple's + appends
        return Counts(*(one + another for one, another in zip(self, other, strict=True)))


def confusion(prediction: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts of two masks of one shape, {0, 1} or bool. ValueError when their shapes differ."""
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction is {prediction.shape} but truth is {truth.shape}")
    prediction, truth = prediction.astype(bool, copy=False), truth.astype(bool, copy=False)
    tp = np.count_nonzero(prediction & truth)
    fp, fn = np.count_nonzero(prediction) - tp, np.count_nonzero(truth) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def scores(counts: Counts) -> dict[str, np.ndarray]:
    """Dice, IoU, sensitivity, precision, specificity, F2 and accuracy, each 0..1, of one shape with the counts.

    A polyp that is missed wholly scores 0 in the overlap, precision included. Where the truth holds no polyp, overlap
    is not defined: it is NaN, and the frame belongs into `frames.negative_summary`, not into a mean Dice. Specificity
    is NaN where the truth is polyp all over.
    """
    tp, fp, fn, tn = (np.asarray(n, dtype=float) for n in counts)
    hits, quiet = np.where(tp + fn > 0, tp, np.nan), np.where(fp + tn > 0, tn, np.nan)
    return {
        "dice": 2 * hits / (2 * tp + fp + fn),
        "iou": hits / (tp + fp + fn),
        "sensitivity": hits / (tp + fn),
        "precision": hits / np.maximum(tp + fp, 1),
        "specificity": quiet / (fp + tn),
        "f2": 5 * hits / (5 * tp + 4 * fn + fp),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }


def pixel_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`scores` of one pair of masks."""
    return {name: float(value) for name, value in scores(confusion(prediction, truth)).items()}


def families(counts: Sequence[Counts]) -> dict[str, dict[str, float]]:
    """The means that papers all call "mean Dice" or "mIoU", of one set of images (one `Counts` each), side by side.

    - mean_over_images: over the images with a polyp (PraNet, Polyp-PVT, MONAI).
    - pooled_over_pixels: counts of all images added first, so that large polyps rule (DUCK-Net). IoU = D / (2 - D).
    - macro_with_background: pooled; mean of the background's and the polyp's score (mmsegmentation). `*_both_channels`
      adds hits and unions of both classes before dividing (segmentation_models.pytorch on one-hot masks): the family of
      the published "98.2 % mIoU".

    Beside each score stand `*_all_background` and `*_all_foreground`: what a mask of one value scores on the same set.
    """
    each = Counts(*np.array(counts).reshape(-1, 4).T)
    none = np.zeros_like(each.tp)
    predictions = {
        "": each,
        "_all_background": Counts(none, none, each.tp + each.fn, each.fp + each.tn),
        "_all_foreground": Counts(each.tp + each.fn, each.fp + each.tn, none, none),
    }
    result: dict[str, dict[str, float]] = {}
    for suffix, predicted in predictions.items():
        for family, scores in _families(predicted).items():
            named = {name + suffix: float(value) for name, value in scores.items()}
            result[family] = result.get(family, {}) | named
    return result


def _families(each: Counts) -> dict[str, dict[str, Any]]:
    total = Counts(*(n.sum() for n in each))
    image, pooled = scores(each), scores(total)
    background = scores(Counts(tp=total.tn, fp=total.fn, fn=total.fp, tn=total.tp))
    with_polyp, right, wrong = each.tp + each.fn > 0, total.tp + total.tn, total.fp + total.fn
    return {
        "mean_over_images": {
            name: image[name][with_polyp].mean() if with_polyp.any() else np.nan for name in ("dice", "iou")
        },
        "pooled_over_pixels": {name: pooled[name] for name in ("dice", "iou", "precision", "sensitivity")},
        "macro_with_background": {
            "dice": (background["dice"] + pooled["dice"]) / 2,
            "iou": (background["iou"] + pooled["iou"]) / 2,
            "dice_both_channels": right / (right + wrong),
            "iou_both_channels": right / (right + 2 * wrong),
        },
    }
