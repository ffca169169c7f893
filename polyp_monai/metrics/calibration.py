"""Whether probabilities mean what they say, and a threshold with a promise; from the histograms of `curves`."""

from __future__ import annotations

import numpy as np

from polyp_monai.metrics.curves import LEVELS, at_least


def reliability(polyp_total: np.ndarray, background_total: np.ndarray, bins: int = 15) -> dict[str, np.ndarray | float]:
    """Reliability curve of the polyp probability over all pixels of a set, from the sums of its histograms.

    C. Guo et al., ICML 2017, equations 2 and 3 with the binary reading: in each of `bins` equal bins (low, high] the
    mean probability (`confidence`) against the share of pixels that are polyp (`accuracy`); NaN in empty bins.
    `expected_calibration_error` is the mean of their distance, weighted by `count`. Most pixels are certain background:
    the error of a set is small in any case, and only compares methods on one set. A pixel counts with its level / 255,
    exact for 8-bit maps and at most 1 / 255 too low for others.
    """
    level = np.arange(LEVELS)
    index = np.maximum(level * bins - 1, 0) // 255  # whole numbers: 255 / 15 puts levels on the bins' edges
    total = polyp_total + background_total
    count = np.bincount(index, total)
    filled = np.where(count > 0, count, np.nan)
    confidence = np.bincount(index, total * level / 255) / filled
    accuracy = np.bincount(index, polyp_total) / filled
    return {
        "expected_calibration_error": float(np.nansum(count * np.abs(confidence - accuracy)) / count.sum()),
        "confidence": confidence,
        "accuracy": accuracy,
        "count": count.astype(int),
    }


def conformal_threshold(polyp_histograms: np.ndarray, alpha: float) -> dict[str, float]:
    """The highest threshold that keeps the expected share of missed polyp pixels of a new image at or below `alpha`.

    Conformal risk control (A. Angelopoulos et al., arXiv 2208.02814, equation 4): with the mean loss R(t) of the n
    calibration images at threshold t and losses of at most B = 1, the highest t with n / (n + 1) R(t) + B / (n + 1) <=
    alpha. It holds in the mean over images exchangeable with these: frames of other patients, devices or clinics
    may not be.

    Args:
        polyp_histograms: (N, 256), one row an image; images without a polyp are left out.
        alpha: share in 0..1, both excluded.

    Returns:
        level, threshold (level / 255, to be compared with >=), missed (R at that level), bound (the left side above),
        images (n), alpha. Level 0, everything is polyp, is a possible answer.

    ValueError when n is below 1 / alpha - 1: no threshold can promise that.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a share above 0 and below 1, not {alpha}")
    kept = at_least(np.asarray(polyp_histograms).reshape(-1, LEVELS))
    kept = kept[kept[:, 0] > 0]
    n = len(kept)
    missed = (1 - kept / kept[:, :1]).sum(0)
    bound = (missed + 1) / (n + 1)
    possible = np.flatnonzero(bound <= alpha)
    if not len(possible):
        raise ValueError(
            f"{n} images with a polyp are too few to keep the missed share at {alpha}: "
            f"it takes at least {int(np.ceil(1 / alpha - 1))}"
        )
    level = int(possible[-1])
    reached = {"missed": float(missed[level] / n), "bound": float(bound[level])}
    return {"level": level, "threshold": level / 255, **reached, "images": n, "alpha": alpha}


def conformal_presence(highest: np.ndarray, alpha: float) -> dict[str, float]:
    """The probability that a frame must reach somewhere, so that a negative one reaches it with a chance of `alpha`.

    The split conformal quantile (V. Vovk et al., Algorithmic Learning in a Random World, 2005): of n negatives, the
    level just above the ceil((n + 1) (1 - alpha))-th lowest of their highest levels. It holds in the mean over
    negatives exchangeable with these: frames of one video are alike, those of other clinics may not be.

    Args:
        highest: (n,) the highest level, 0..255, of each frame without a polyp.
        alpha: share in 0..1, both excluded.

    Returns:
        level, highest (level / 255, to be compared with >=), left_empty (share of these frames below it), negatives
        (n), alpha.

    ValueError when n is below 1 / alpha - 1, or more frames than that are sure of a polyp: nothing can promise that.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a share above 0 and below 1, not {alpha}")
    n = len(highest)
    rank = int(np.ceil((n + 1) * (1 - alpha) - 1e-9))
    if rank > n:
        raise ValueError(
            f"{n} frames without a polyp are too few to keep false alarms at {alpha}: "
            f"it takes at least {int(np.ceil(1 / alpha - 1 - 1e-9))}"
        )
    level = int(np.sort(highest)[rank - 1]) + 1
    if level >= LEVELS:
        raise ValueError(
            f"on more than {alpha:.1%} of {n} frames without a polyp the network is sure that there is one"
        )
    empty = float(np.mean(np.asarray(highest) < level))
    return {"level": level, "highest": level / 255, "left_empty": empty, "negatives": n, "alpha": alpha}
