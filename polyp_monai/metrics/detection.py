"""Polyps as boxes: average precision as COCO has it, and sensitivity against false positives a frame (FROC).

COCO's average precision equals pycocotools to the last digits. MONAI's `COCOMetric` and `box_iou` do not: they count in
32-bit floats, in which an IoU of .7 is below the threshold .7 and a recall of 29 of 100 below .29.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics import statistics
from polyp_monai.metrics.classes import POLYP

COCO_IOUS = np.linspace(0.5, 0.95, 10)
IOUS = np.concatenate([np.linspace(0.25, 0.45, 5), COCO_IOUS])  # the thresholds of all that is averaged here
AVERAGED = {  # name -> which of IOUS
    "ap_25_75": slice(0, 11),
    "ap_50_95": slice(5, 15),
    "ap_50": slice(5, 6),
    "ap_75": slice(10, 11),
}
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # boxes of a frame and class that count for average precision, the surest
RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # false positives a frame, of LUNA16
HITS = ("iou_50", "centre")
POINTS = 200  # of a curve, at most
AT_ONCE = 30_000  # numbers of an array of draws


class Detections(NamedTuple):
    """One frame. Boxes are (n, 4) float64 x0, y0, x1, y1, x1 and y1 the first beyond; labels are (n,) int, the number
    of the class; scores (n,), the higher the surer.

    The unit is a pixel, or any other: a box's IoU does not change when a frame is stretched.
    """

    truth: np.ndarray
    truth_labels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes, each of an area above 0."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others))
    return shared / (areas[:, None] + other_areas - shared)


def matched(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which boxes find a true one, bool (thresholds, n).

    COCO's rule: in order of confidence each takes the free true box that it overlaps best, the last of equals, if their
    IoU reaches the threshold.

    overlap: (n, m), the surest box first.
    """
    found = np.zeros((len(thresholds), len(overlap)), dtype=bool)
    if not overlap.size:
        return found
    free = np.ones((len(thresholds), overlap.shape[1]), dtype=bool)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    for i, row in enumerate(overlap):
        open_to = np.where(free & (row >= least), row, -1)[:, ::-1]
        best = overlap.shape[1] - 1 - open_to.argmax(axis=1)
        found[:, i] = open_to.max(axis=1) >= 0
        free[found[:, i], best[found[:, i]]] = False
    return found


class Ranking(NamedTuple):
    """All boxes of a set, the surest first; of equals in the order of the frames.

    right, wrong: int (rows, n) of 0 and 1, found polyps and false positives, a row a rule; a second hit can be neither.
    frame: (n,) the number of each one's frame. ends: the last box of each score. polyps: (frames,).
    """

    right: np.ndarray
    wrong: np.ndarray
    frame: np.ndarray
    ends: np.ndarray
    polyps: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], polyps: Sequence[int]) -> Ranking:
        """Of each frame right, wrong and scores."""
        right, wrong = (np.concatenate([row[side] for row in rows], axis=1).astype(int) for side in (0, 1))
        scores = np.concatenate([row[2] for row in rows])
        frame = np.repeat(np.arange(len(rows)), [len(row[2]) for row in rows])
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
        return cls(right[:, order], wrong[:, order], frame[order], ends, np.asarray(polyps))

    def sums(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right and wrong ones up to each box, (draws, rows, n), and polyps (draws,).

        times: (draws, frames), how often each frame counts.
        """
        each = times[:, None, self.frame]
        return (self.right * each).cumsum(axis=2), (self.wrong * each).cumsum(axis=2), times @ self.polyps

    @property
    def once(self) -> np.ndarray:
        """Every frame counts once: (1, frames)."""
        return np.ones((1, len(self.polyps)), dtype=int)


def average_precisions(ranking: Ranking, times: np.ndarray) -> np.ndarray:
    """COCO's average precision, (draws, rows); NaN without polyps.

    The highest precision at a recall or beyond it, mean over the recalls 0, 0.01 ... 1.
    """
    right, wrong, polyps = ranking.sums(times)
    precision = right / np.maximum(right + wrong, 1)
    beyond = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    some = np.where(polyps > 0, polyps, np.nan)
    # recalls that so many polyps reach, by draw
    table = np.searchsorted(RECALLS, np.arange(polyps.max() + 1) / some[:, None], side="right")
    reached = table[np.arange(len(table))[:, None, None], right]
    found = (beyond * np.diff(reached, axis=2, prepend=0)).sum(axis=2) / len(RECALLS)
    return np.where(polyps[:, None] > 0, found, np.nan)


def froc(ranking: Ranking, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curves: false positives a frame, and sensitivity, both rising from 0 as less sure boxes count.

    Both are (draws, rows, points); boxes of one score count together. As `monai.metrics.compute_froc_curve_data`, which
    leaves out the least sure boxes where every polyp is found. NaN without polyps.
    """
    right, wrong, polyps = ranking.sums(times)
    first = np.zeros((*right.shape[:2], 1))
    false, found = (np.concatenate([first, side[..., ranking.ends]], axis=2) for side in (wrong, right))
    some = np.where(polyps > 0, polyps, np.nan)
    return false / times.sum(axis=1)[:, None, None], found / some[:, None, None]


def sensitivities(false: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Sensitivity at each of `RATES`, (draws, rows, rates): on a line between the points of a curve, and beyond its end
    that of all boxes."""
    curves = zip(false.reshape(-1, false.shape[-1]), found.reshape(-1, found.shape[-1]), strict=True)
    return np.array([np.interp(RATES, *curve) for curve in curves]).reshape(*false.shape[:2], len(RATES))


def detection_summary(
    frames: Sequence[Detections],
    groups: Sequence[str],
    classes: Sequence[str] = POLYP,
    level: float = 0.95,
) -> dict[str, Any]:
    """Scores of the boxes of a set, frames without a polyp included.

    Average precision is the mean over the classes that the truth has. FROC asks whether a polyp is found, whatever its
    class: by IoU of .5, one to one, so that a second box on a polyp is a false positive; or by the box's centre within
    the true box, where further hits are nothing.

    Args:
        frames: what is there and what was found.
        groups: the group of each frame; whole groups are drawn for the intervals.
        classes: their names.
        level: of the intervals.

    Returns:
        frames, groups, level, polyps, boxes; value and interval of `AVERAGED` and of the mean sensitivity at `RATES`
        ("froc_iou_50", "froc_centre"); average_precision by IoU threshold; froc: rates, and for each of `HITS`
        sensitivity with its interval at each rate, false_positives and recall of all boxes, and the curve; with several
        classes also `classes`, average precisions of each. NaN where nothing can be measured.
    """
    per_class = [_by_class(frames, number) for number in range(len(classes))]
    hits = _hits(frames)

    def measure(times: np.ndarray) -> np.ndarray:
        """A row a draw: means, average precisions by IoU, sensitivities by rate."""
        by_iou = _mean_of_known([average_precisions(ranking, times) for ranking in per_class])
        curves = sensitivities(*froc(hits, times))
        means = [by_iou[:, which].mean(axis=1, keepdims=True) for which in AVERAGED.values()]
        return np.concatenate([*means, curves.mean(axis=2), by_iou, curves.reshape(len(times), -1)], axis=1)

    names = [*AVERAGED, *(f"froc_{hit}" for hit in HITS)]
    values = measure(hits.once)[0]
    draws = max(1, AT_ONCE // (len(IOUS) * max(len(hits.frame), len(frames))))
    measured = (measure(times) for times in statistics.batches(statistics.samples(groups), draws))
    low, high = statistics.bootstrap_bounds(measured, len(values), level)
    bounds = np.stack([low, high], axis=1)
    summary: dict[str, Any] = {
        "frames": len(frames),
        "groups": len(set(groups)),
        "level": level,
        "polyps": int(hits.polyps.sum()),
        "boxes": len(hits.frame),
        "value": dict(zip(names, values, strict=False)),
        "interval": dict(zip(names, bounds, strict=False)),
        "average_precision": {
            f"{iou:.2f}": ap for iou, ap in zip(IOUS, values[len(names) : len(names) + len(IOUS)], strict=True)
        },
        "froc": {"rates": list(RATES)},
    }
    curves = froc(hits, hits.once)
    for row, hit in enumerate(HITS):
        place = slice(len(names) + len(IOUS) + row * len(RATES), None)
        false, found = (side[0, row] for side in curves)
        at = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
        summary["froc"][hit] = {
            "sensitivity": values[place][: len(RATES)],
            "interval": bounds[place][: len(RATES)],
            "false_positives": false[-1],
            "recall": found[-1],
            "curve": {"false_positives": false[at], "sensitivity": found[at]},
        }
    if len(classes) > 1:
        summary["classes"] = {
            name: {"polyps": int(ranking.polyps.sum())}
            | {key: average_precisions(ranking, ranking.once)[0, which].mean() for key, which in AVERAGED.items()}
            for name, ranking in zip(classes, per_class, strict=True)
        }
    return summary


def _mean_of_known(found: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over the classes, where they are not NaN."""
    table = np.stack(found)
    known = ~np.isnan(table)
    return np.where(known, table, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)


def _by_class(frames: Iterable[Detections], number: int) -> Ranking:
    """Boxes of one class against the true ones of that class, a row a threshold of `IOUS`."""
    rows, polyps = [], []
    for frame in frames:
        mine, true = frame.labels == number, frame.truth[frame.truth_labels == number]
        order = np.argsort(-frame.scores[mine], kind="stable")[:MOST]
        right = matched(ious(frame.boxes[mine][order], true), IOUS)
        rows.append((right, ~right, frame.scores[mine][order]))
        polyps.append(len(true))
    return Ranking.of(rows, polyps)


def _hits(frames: Iterable[Detections]) -> Ranking:
    """All boxes against all true ones, a row for each of `HITS`."""
    frames = list(frames)
    return Ranking.of([hits(frame) for frame in frames], [len(frame.truth) for frame in frames])


def hits(frame: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the boxes of a frame, the surest first: which find a polyp and which are false positives, bool (2, n), a row
    for each of `HITS`, and their scores."""
    order = np.argsort(-frame.scores, kind="stable")
    boxes, true = frame.boxes[order], frame.truth
    overlap = ious(boxes, true)
    by_iou = matched(overlap, np.array([0.5]))[0]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    within = ((centres[:, None] >= true[:, :2]) & (centres[:, None] < true[:, 2:])).all(axis=2)
    by_centre = np.zeros(len(boxes), dtype=bool)
    if within.any():
        hit = np.where(within, overlap, -1).argmax(axis=1)  # of nested polyps that which the box fits best
        at = np.flatnonzero(within.any(axis=1))
        by_centre[at[np.unique(hit[at], return_index=True)[1]]] = True  # the surest on each
    return np.stack([by_iou, by_centre]), np.stack([~by_iou, ~within.any(axis=1)]), frame.scores[order]
