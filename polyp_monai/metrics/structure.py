"""Figures of the PraNet protocol (D.-P. Fan et al., MICCAI 2020), computed by the package pysodmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyp_monai.metrics.curves import histograms, threshold_curves


def structure_scores(probability: np.ndarray, truth: np.ndarray, normalize: bool = False) -> dict[str, np.ndarray]:
    """Figures of one image that need no threshold, or all 256: numbers, and curves (256,) over the levels of `curves`.

    Args:
        probability: float (H, W) in 0..1; an 8-bit map divided by 255 gives what pysodmetrics reads in that map.
        truth: bool (H, W). Without a polyp, Dice, IoU and weighted F are 0, as in the published toolboxes.
        normalize: stretch the map to 0..1 first, as published figures do. A map then holds a polyp always, so that
            frames without one are never right.

    Returns:
        weighted_f (R. Margolin et al., CVPR 2014), s_measure (Fan et al., ICCV 2017), e_measure at the adaptive
        threshold of twice the mean (Fan et al., IJCAI 2018), mae; e_curve, dice_curve, iou_curve.
    """
    from py_sod_metrics import MAE, Emeasure, Smeasure, WeightedFmeasure

    if normalize:
        probability = stretch(probability)
    curves = threshold_curves(*histograms(probability, truth))

    def measured(metric: Any) -> dict[str, Any]:
        metric.step(probability, truth, normalize=False)
        return metric.get_results()

    alignment = measured(Emeasure())["em"]
    return {
        "weighted_f": float(measured(WeightedFmeasure())["wfm"]),
        "s_measure": float(measured(Smeasure())["sm"]),
        "e_measure": float(alignment["adp"]),
        "mae": float(measured(MAE())["mae"]),
        "e_curve": alignment["curve"][::-1],  # theirs starts with the highest threshold
        "dice_curve": np.nan_to_num(curves["dice"]),
        "iou_curve": np.nan_to_num(curves["iou"]),
    }


def pranet_summary(images: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
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
