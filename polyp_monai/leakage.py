"""How much of a test part the training part gives away: look-alike frames, shared sequences, and a probe that learns
nothing and copies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from data_prep import duplicates
from polyp_monai import io
from polyp_monai.metrics.pixel import pixel_scores

LIMIT = 0.05  # share of test frames with a neighbour in training above which a result is called leaked


class _View(NamedTuple):
    thumbnail: np.ndarray
    hash: np.ndarray


def audit(test: Sequence[dict], training: Sequence[dict], limit: float = LIMIT) -> dict[str, Any]:
    """Compare the frames of a test part with those of training.

    A frame has a neighbour when a frame of its group is in training, or one that looks like it (`data_prep.duplicates`:
    correlation of thumbnails and distance of hashes). The probe gives each test frame the mask of the training frame
    whose thumbnail correlates best: what it scores, memory alone can score.

    Args:
        test, training: samples with `image` and `label` (paths) and `group`.
        limit: share above which the part counts as leaked.

    Returns:
        test, near_in_training, by_group, by_look (frames), share, limit, leaked, probe_dice, probe_iou (means over the
        frames with a polyp).
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen, known = (list(pool.map(_view, part)) for part in (test, training))
    vectors, references = (duplicates.unit_vectors(np.stack([v.thumbnail for v in views])) for views in (seen, known))
    correlation = vectors @ references.T
    nearest = correlation.argmax(axis=1)
    by_look = np.zeros(len(test), bool)
    for one, other in np.argwhere(correlation >= duplicates.CORRELATION):
        by_look[one] |= np.count_nonzero(seen[one].hash != known[other].hash) <= duplicates.DISTANCE
    groups = {sample["group"] for sample in training} - {""}
    by_group = np.array([sample["group"] in groups for sample in test])
    near = by_look | by_group
    copied = [_copied(sample, training[index]) for sample, index in zip(test, nearest, strict=True)]
    return {
        "test": len(test),
        "near_in_training": int(near.sum()),
        "by_group": int(by_group.sum()),
        "by_look": int(by_look.sum()),
        "share": float(near.mean()),
        "limit": limit,
        "leaked": bool(near.mean() > limit),
        "probe_dice": float(np.nanmean([scores["dice"] for scores in copied])),
        "probe_iou": float(np.nanmean([scores["iou"] for scores in copied])),
    }


def _view(sample: dict) -> _View:
    import cv2

    return _View(*duplicates.views(cv2.cvtColor(io.read_rgb(sample["image"]), cv2.COLOR_RGB2GRAY)))


def _copied(sample: dict, source: dict) -> dict[str, float]:
    """Scores of the mask of `source`, stretched to the size of the frame."""
    import cv2

    truth = io.read_mask(sample["label"])
    mask = cv2.resize(io.read_mask(source["label"]), truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return pixel_scores(mask, truth)
