"""Frames without a polyp: they have no Dice, and stand apart from the frames that have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def negative_summary(predicted_shares: Sequence[float]) -> dict[str, float]:
    """How a set of frames without a polyp was treated; NaN where there is nothing to average.

    predicted_shares: the share of pixels (0..1) that was predicted as polyp, one a frame.

    Returns: frames, left_empty, specificity (share of frames left empty) and false_positive_area (mean predicted share
    of the others).
    """
    shares = np.asarray(predicted_shares, dtype=float)
    alarms = shares[shares > 0]
    empty = len(shares) - len(alarms)
    return {
        "frames": len(shares),
        "left_empty": empty,
        "specificity": empty / len(shares) if len(shares) else float("nan"),
        "false_positive_area": float(alarms.mean()) if len(alarms) else float("nan"),
    }
