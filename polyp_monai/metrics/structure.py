"""Figures of the PraNet protocol (D.-P. Fan et al., MICCAI 2020), equal to the last digit to the package pysodmetrics.

The same arithmetic in a fifth of the time: curves come from histograms, and distances are taken where they count. Sums
of float32 depend on the order of their terms, so they run in the order in which the map lies in memory, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics.arrays import box_of, by_rows
from polyp_monai.metrics.curves import at_least, histograms, threshold_curves

EPS = np.spacing(1)
FAR = 265  # pixels from a polyp beyond which 2 - exp(ln(1/2) / 5 * distance) is 2 in float64
WIDE = 2048  # pixels of a side from which OpenCV's distances, worked out in float32, may be inexact
KERNEL = 7  # side of the weighted F's Gaussian


class Structure(NamedTuple):
    """Figures of one image that are not in its histograms."""

    weighted_f: float
    s_measure: float
    e_measure: float
    mae: float


def structure_scores(probability: np.ndarray, truth: np.ndarray, normalize: bool = False) -> dict[str, Any]:
    """Figures of one image that need no threshold, or all 256: numbers, and curves (256,) over the levels of `curves`.

    Args:
        probability: float (H, W) in 0..1; an 8-bit map divided by 255 gives what pysodmetrics reads in that map.
        truth: bool (H, W). Without a polyp, Dice, IoU and weighted F are 0, as in the published toolboxes.
        normalize: stretch the map to 0..1 first, as published scores do. A map then holds a polyp always, so that
            frames without one are never right.

    Returns:
        weighted_f (R. Margolin et al., CVPR 2014), s_measure (Fan et al., ICCV 2017), e_measure at the adaptive
        threshold of twice the mean (Fan et al., IJCAI 2018), mae; e_curve, dice_curve, iou_curve.
    """
    if normalize:
        probability = stretch(probability)
    return measure(probability, truth)._asdict() | curves(*histograms(probability, truth))


def measure(probability: np.ndarray, truth: np.ndarray) -> Structure:
    """What of `structure_scores` the histograms do not say; probability float (H, W) in 0..1, truth bool (H, W)."""
    rows, truth_rows = by_rows(probability), by_rows(truth)
    return Structure(
        weighted_f=float(_weighted_f(rows, truth_rows)),
        s_measure=float(_s_measure(probability, truth, rows, truth_rows)),
        e_measure=float(_adaptive_e(probability, rows, truth_rows)),
        mae=float(np.mean(np.abs(probability - truth))),
    )


def curves(polyp: np.ndarray, background: np.ndarray) -> dict[str, np.ndarray]:
    """e_curve, dice_curve and iou_curve (256,) from the histograms of one image, see `curves.histograms`."""
    swept = threshold_curves(polyp, background)
    tp, fp = at_least(polyp), at_least(background)
    return {
        "e_curve": _alignment(tp, fp, int(tp[0]), int(tp[0] + fp[0])),
        "dice_curve": np.nan_to_num(swept["dice"]),
        "iou_curve": np.nan_to_num(swept["iou"]),
    }


def pranet_summary(images: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Figures of a set as PraNet's tables print them, from the `structure_scores` of its images.

    mean_*: mean over images and over all 256 thresholds, so that mean_dice is not the Dice at one threshold;
    max_*: the highest value of the curve averaged over images.
    """
    summary: dict[str, float] = {}
    for name in ("dice", "iou", "e"):
        curve = np.mean([image[f"{name}_curve"] for image in images], axis=0)
        summary |= {f"mean_{name}": float(curve.mean()), f"max_{name}": float(curve.max())}
    for name in ("weighted_f", "s_measure", "mae"):
        summary[name] = float(np.mean([image[name] for image in images]))
    return summary


def stretch(probability: np.ndarray) -> np.ndarray:
    """Minimum to 0, maximum to 1, in float64; a map of one value stays (MATLAB's mapminmax in PraNet's toolbox)."""
    probability = probability.astype(np.float64)
    low, high = probability.min(), probability.max()
    return (probability - low) / (high - low) if high > low else probability


def _alignment(tp: Any, fp: Any, polyp: int | np.signedinteger, size: int) -> Any:
    """E-measure of masks with `tp` and `fp` pixels (numbers, or arrays of one shape) in an image of `size` pixels."""
    predicted = tp + fp
    if polyp in (0, size):
        agreeing = predicted if polyp else size - predicted
        return agreeing / (max(size - 1, 1) + EPS)
    fn, mean, true_mean = polyp - tp, predicted / size, polyp / size
    parts = (
        (tp, 1 - mean, 1 - true_mean),
        (fp, 1 - mean, 0 - true_mean),
        (fn, 0 - mean, 1 - true_mean),
        (size - predicted - fn, 0 - mean, 0 - true_mean),
    )
    total = sum((2 * (one * other) / (one**2 + other**2 + EPS) + 1) ** 2 / 4 * count for count, one, other in parts)
    return total / (size - 1 + EPS)


def _adaptive_e(probability: np.ndarray, rows: np.ndarray, truth: np.ndarray) -> float:
    prediction = rows >= min(2 * probability.mean(), 1)
    tp = np.count_nonzero(prediction & truth)
    return _alignment(tp, np.count_nonzero(prediction) - tp, np.count_nonzero(truth), truth.size)


def _s_measure(probability: np.ndarray, truth: np.ndarray, rows: np.ndarray, truth_rows: np.ndarray) -> float:
    share = np.mean(truth)
    if share in (0, 1):
        return np.mean(probability) if share else 1 - np.mean(probability)
    inside, outside = _likeness(rows[truth_rows]) * share, _likeness(1 - rows[~truth_rows]) * (1 - share)
    return np.maximum(0, (inside + outside) * 0.5 + _quadrants(probability, truth, truth_rows) * 0.5)


def _likeness(values: np.ndarray) -> float:
    """How alike and how high the values of a region are: the object-aware part of the S-measure."""
    mean = np.mean(values)
    deviation = np.std(values, ddof=1) if values.size > 1 else 0
    return 2 * mean / (np.power(mean, 2) + 1 + deviation + EPS)


def _quadrants(probability: np.ndarray, truth: np.ndarray, truth_rows: np.ndarray) -> float:
    """SSIM of the four parts around the polyps' centre, weighted by area: the region-aware part of the S-measure."""
    height, width = truth.shape
    by_row, by_column = (np.count_nonzero(truth_rows, axis=axis) for axis in (1, 0))
    y, x = (int(np.round((n * np.arange(n.size)).sum() / n.sum())) + 1 for n in (by_row, by_column))
    area = height * width
    weights = [x * y / area, y * (width - x) / area, (height - y) * x / area]
    places = [np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]]
    weights.append(1 - weights[0] - weights[1] - weights[2])
    return sum(_ssim(probability[at], truth[at]) * weight for at, weight in zip(places, weights, strict=True))


def _ssim(probability: np.ndarray, truth: np.ndarray) -> float:
    n, x, y = truth.size, np.mean(probability), np.mean(truth)
    from_x, from_y = probability - x, truth - y
    sigma_xy = np.sum(from_x * from_y) / (n - 1 + EPS)
    sigma_x, sigma_y = (np.sum(np.square(d, out=d)) / (n - 1 + EPS) for d in (from_x, from_y))
    alpha, beta = 4 * x * y * sigma_xy, (x**2 + y**2) * (sigma_x + sigma_y)
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1 if beta == 0 else 0


def _weighted_f(probability: np.ndarray, truth: np.ndarray) -> float:
    """Both C-contiguous. Errors inside a polyp are smoothed, those outside count up to twice with their distance."""
    within = box_of(truth)
    if within is None:
        return 0.0
    inside = _smoothed_errors(probability, truth, within)
    outside = (probability * _weights(probability, truth, within))[~truth]
    tp, fp = np.count_nonzero(truth) - np.sum(inside), np.sum(outside)
    recall, precision = 1 - np.mean(inside), tp / (tp + fp + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def _smoothed_errors(probability: np.ndarray, truth: np.ndarray, within: tuple[slice, slice]) -> np.ndarray:
    """Errors of the polyps' pixels, (n,) float64: the smaller of each error and the Gaussian mean around it, in which
    a pixel outside counts with the error of the polyp's pixel that is nearest to it."""
    from scipy.ndimage import convolve, distance_transform_edt

    near = _grown(within, KERNEL // 2, truth.shape)
    truth = truth[near]
    error = np.abs(probability[near] - truth)
    rows, columns = distance_transform_edt(~truth, return_distances=False, return_indices=True)
    mean = convolve(error[rows, columns], _gaussian(), mode="constant", cval=0)[truth]
    return np.minimum(mean, error[truth]).astype(np.float64)


def _weights(probability: np.ndarray, truth: np.ndarray, within: tuple[slice, slice]) -> np.ndarray:
    """(H, W) float64: what the error of a pixel outside the polyps counts, 1 beside a polyp to 2 far from it.

    Where the map is 0 there is no error, and any weight does.
    """
    import cv2

    weights = np.full(truth.shape, 2.0)
    predicted = box_of(probability > 0)
    if predicted is None:
        return weights
    reach = _grown(within, FAR + 1, truth.shape)
    # the part within reach in which there are errors, and the polyps to measure from
    at = tuple(
        slice(min(max(r.start, p.start), w.start), max(min(r.stop, p.stop), w.stop))
        for r, p, w in zip(reach, predicted, within, strict=True)
    )
    outside = (~truth[at]).view(np.uint8)
    if max(outside.shape) < WIDE:
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        squared = np.rint(np.minimum(np.square(distance, out=distance), FAR**2 + 1, out=distance), out=distance)
        weights[at] = np.take(_weight_of(), squared.astype(np.int32))
    else:
        from scipy.ndimage import distance_transform_edt

        weights[at] = 2 - np.exp(np.log(0.5) / 5 * distance_transform_edt(outside))
    return weights


@cache
def _weight_of() -> np.ndarray:
    """Weight by squared distance in pixels, up to where it is 2."""
    return 2 - np.exp(np.log(0.5) / 5 * np.sqrt(np.arange(FAR**2 + 2, dtype=np.float64)))


@cache
def _gaussian() -> np.ndarray:
    """MATLAB's fspecial('gaussian', 7, 5)."""
    offset = np.arange(KERNEL) - KERNEL // 2
    kernel = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * 5**2))
    return kernel / kernel.sum()


def _grown(box: tuple[slice, slice], by: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = (slice(max(s.start - by, 0), min(s.stop + by, n)) for s, n in zip(box, shape, strict=True))
    return rows, columns
