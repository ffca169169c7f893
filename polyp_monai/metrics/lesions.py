"""Polyps found and false alarms: connected components of the prediction matched with those of the truth.

Every 8-connected component counts, down to one pixel: whoever wants specks away takes them out of the mask.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics.arrays import box_of, by_rows
from polyp_monai.metrics.pixel import Counts, scores

RULES = ("iou_50", "iou_30", "centre")
IOU_THRESHOLDS = tuple(round(0.25 + 0.05 * i, 2) for i in range(11))
SIZE_CLASSES = ("small", "medium", "large")
SHARE_CLASSES = ("< 2.5 %", "2.5-5 %", "5-15 %", "15-30 %", "> 30 %")


class Components(NamedTuple):
    """labels: int (H, W), 0 is background and i + 1 component i; areas: (n,) pixels; centres: (n, 2) row, column;
    boxes: (n, 4) x0, y0, x1, y1 in pixels, x1 and y1 the first beyond."""

    labels: np.ndarray
    areas: np.ndarray
    centres: np.ndarray
    boxes: np.ndarray


class TruePolyp(NamedTuple):
    """One component of the truth: area in pixels, share of the image 0..1, and whether it was found, per rule."""

    area: int
    share: float
    iou_50: bool
    iou_30: bool
    centre: bool


class PredictedPolyp(NamedTuple):
    """One component of the prediction: mean probability, IoU with each polyp of the image, the polyp at its centre."""

    confidence: float
    area: int
    ious: tuple[float, ...]
    centre_in: int | None

    @property
    def best_iou(self) -> float:
        return max(self.ious, default=0.0)

    @property
    def polyp(self) -> int | None:
        """The polyp with `best_iou`; None when it touches none."""
        return self.ious.index(self.best_iou) if self.best_iou else None


class LesionMatch(NamedTuple):
    """One image."""

    polyps: list[TruePolyp]
    findings: list[PredictedPolyp]


def size_class(area: float) -> str:
    """Class of PolypGen for an area in pixels: small up to 100 x 100, medium up to 200 x 200, else large."""
    return SIZE_CLASSES[bisect_left((100**2, 200**2), area)]


def share_class(share: float) -> str:
    """Class of a polyp's share of the image, 0..1; a share on an edge belongs to the class above."""
    return SHARE_CLASSES[bisect_right((0.025, 0.05, 0.15, 0.30), share)]


def components(mask: np.ndarray) -> Components:
    """The 8-connected components of a mask (H, W), {0, 1} or bool."""
    import cv2

    _, labels, stats, centroids = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    corners, sizes = stats[1:, :2], stats[1:, 2:4]
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    return Components(labels, stats[1:, cv2.CC_STAT_AREA], centroids[1:, ::-1], boxes)


def match(probability: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> LesionMatch:
    """Match the components of a predicted mask with the polyps of its truth.

    By IoU (>= 0.5, >= 0.3): one to one, see `assign`. By centre, the rule of MICCAI 2015 and GIANA: a polyp is found
    when the centre of mass of a component falls into it; further hits on it are neither found polyps nor false alarms.

    probability: (H, W) in 0..1, for the confidence alone; prediction, truth: bool (H, W).
    """
    at = _even_box(prediction, truth)
    if at is None:
        return LesionMatch([], [])
    probability, predicted, true = probability[at], components(prediction[at]), components(truth[at])
    rows, columns = len(predicted.areas) + 1, len(true.areas) + 1
    pairs = np.bincount((predicted.labels * columns + true.labels).ravel(), minlength=rows * columns)
    overlap = pairs.reshape(rows, columns)[1:, 1:]
    ious = overlap / (predicted.areas[:, None] + true.areas - overlap)
    sums = np.bincount(predicted.labels.ravel(), weights=probability.ravel(), minlength=rows)[1:]
    at_centre = true.labels[tuple(np.rint(predicted.centres).astype(int).T)]
    findings = [
        PredictedPolyp(float(total / area), int(area), tuple(row.tolist()), int(label) - 1 if label else None)
        for total, area, row, label in zip(sums, predicted.areas, ious, at_centre, strict=True)
    ]
    by_50, by_30, hit = assign(findings, 0.5), assign(findings, 0.3), [f.centre_in for f in findings]
    polyps = [
        TruePolyp(int(area), float(area / truth.size), i in by_50, i in by_30, i in hit)
        for i, area in enumerate(true.areas)
    ]
    return LesionMatch(polyps, findings)


def _even_box(*masks: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns around all pixels of the masks, from even places; None without any.

    OpenCV numbers components by blocks of 2 x 2: so they are numbered as in the whole image, and a centre between two
    pixels is rounded as there.
    """
    boxes = [box for mask in masks if (box := box_of(by_rows(mask))) is not None]
    if not boxes:
        return None
    pairs = zip(*boxes, strict=True)
    rows, columns = (slice(min(s.start for s in sides) & ~1, max(s.stop for s in sides)) for sides in pairs)
    return rows, columns


def assign(findings: Sequence[PredictedPolyp], iou: float) -> list[int | None]:
    """The polyp each finding is matched with; None for a false alarm.

    Greedy and one to one, as COCO does it: in order of confidence each takes the free polyp that it overlaps best, if
    their IoU is at least `iou`.
    """
    result: list[int | None] = [None] * len(findings)
    for i in sorted(range(len(findings)), key=lambda i: -findings[i].confidence):
        ious = findings[i].ious
        free = [p for p, value in enumerate(ious) if value >= iou and p not in result]
        result[i] = max(free, key=lambda p: ious[p], default=None)
    return result


def lesion_summary(matches: Sequence[LesionMatch]) -> dict[str, Any]:
    """Figures of a set of images, frames without a polyp included.

    Returns:
        images; for each of RULES: polyps, found, recall, precision, f1, false_positives, false_positives_per_image;
        average_precision: by IoU threshold ("0.25" ...) and their mean; by_size, by_share: for each class polyps and
        the recall by each rule. Without polyps the ratios are NaN.
    """
    polyps = [polyp for m in matches for polyp in m.polyps]
    precisions = {f"{iou:.2f}": average_precision(matches, iou) for iou in IOU_THRESHOLDS}
    return {
        "images": len(matches),
        **{rule: _by_rule(matches, rule) for rule in RULES},
        "average_precision": {"mean": float(np.mean(list(precisions.values()))), **precisions},
        "by_size": _recalls(polyps, SIZE_CLASSES, lambda polyp: size_class(polyp.area)),
        "by_share": _recalls(polyps, SHARE_CLASSES, lambda polyp: share_class(polyp.share)),
    }


def average_precision(matches: Sequence[LesionMatch], iou: float) -> float:
    """Average precision at one IoU threshold, the findings of all images ranked by confidence.

    COCO's: the highest precision at a recall or beyond it, mean over the recalls 0, 0.01 ... 1. Findings of equal
    confidence count together (all are of 1 in a binary mask), so that the images' order is nothing. NaN without polyps.
    """
    polyps = sum(len(m.polyps) for m in matches)
    if not polyps:
        return float("nan")
    confidence = np.array([finding.confidence for m in matches for finding in m.findings])
    right = np.array([polyp is not None for m in matches for polyp in assign(m.findings, iou)], dtype=bool)
    order = np.argsort(-confidence)
    ends = np.flatnonzero(np.diff(confidence[order], append=-1))  # the last of each confidence
    found = np.cumsum(right[order])[ends]
    precision = found / (ends + 1)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / polyps, np.linspace(0, 1, 101))
    return float(np.append(best_beyond, 0)[reached].mean())


def _by_rule(matches: Sequence[LesionMatch], rule: str) -> dict[str, float]:
    polyps = sum(len(m.polyps) for m in matches)
    found = sum(getattr(polyp, rule) for m in matches for polyp in m.polyps)
    if rule == "centre":
        alarms = sum(finding.centre_in is None for m in matches for finding in m.findings)
    else:
        alarms = sum(len(m.findings) for m in matches) - found
    ratios = scores(Counts(tp=found, fp=alarms, fn=polyps - found, tn=1))
    return {
        "polyps": polyps,
        "found": found,
        "recall": float(ratios["sensitivity"]),
        "precision": float(ratios["precision"]),
        "f1": float(ratios["dice"]),
        "false_positives": alarms,
        "false_positives_per_image": alarms / len(matches) if matches else float("nan"),
    }


def _recalls(polyps: list[TruePolyp], classes: Sequence[str], class_of: Callable[[TruePolyp], str]) -> dict[str, Any]:
    table = {}
    for name in classes:
        members = [polyp for polyp in polyps if class_of(polyp) == name]
        recall = {r: sum(getattr(p, r) for p in members) / len(members) if members else float("nan") for r in RULES}
        table[name] = {"polyps": len(members), **recall}
    return table
