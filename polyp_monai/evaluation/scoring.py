"""All scores of one frame, and of a set of frames: what `polyp evaluate` and `polyp score` both write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics import (
    boundary,
    calibration,
    classes,
    curves,
    detection,
    frames,
    lesions,
    pixel,
    regions,
    registry,
    statistics,
    structure,
)
from polyp_monai.metrics.arrays import by_rows

LEVEL = 0.95  # of the intervals


class Scored(NamedTuple):
    """One frame in a few kilobytes: `row` of scalars for a table, and what the scores of a set are made of."""

    row: dict[str, Any]
    counts: pixel.Counts
    histograms: tuple[np.ndarray, np.ndarray]  # int32 (256,) inside and outside the polyp
    structure: structure.Structure
    lesions: lesions.LesionMatch
    detections: detection.Detections
    classes: classes.ClassMatch | None = None  # of several


def score(
    about: dict[str, Any],
    probability: np.ndarray,
    truth: np.ndarray,
    threshold: float = 0.5,
    normalize: bool = False,
    outlines: bool = True,
    of_classes: tuple[classes.Classes, np.ndarray, np.ndarray] | None = None,
) -> Scored:
    """Score one frame at its native size.

    Args:
        about: what the row says first: name, group, tags and paths.
        probability: float (H, W) in 0..1.
        truth: bool (H, W).
        threshold: probability from which a pixel counts as polyp.
        normalize: stretch the map to 0..1 first, as PraNet's protocol does; a flat map stays.
        outlines: also measure HD95 and surface Dice, which take longer than all the rest.
        of_classes: of several classes what they are called, and probability and truth of each, (C, H, W).

    Raises:
        ValueError: two shapes, NaN, or values outside 0..1.
    """
    if normalize:
        probability = structure.stretch(probability)
    inside, outside = curves.histograms(probability, truth)
    prediction = probability >= threshold
    counts = pixel.confusion(prediction, truth)
    measured = structure.measure(probability, truth)
    far: dict[str, float] = {}
    if outlines:
        found = boundary.distances(prediction, truth)
        near = boundary.surface_dice_of(found, boundary.tolerance(truth.shape)) if truth.any() else math.nan
        far = {"hd95": boundary.hd95_of(found), "surface_dice": near}
    size = {"width": truth.shape[1], "height": truth.shape[0]}
    areas = {"polyp_pixels": counts.tp + counts.fn, "predicted_pixels": counts.tp + counts.fp}
    values = pixel.scores(counts) | measured._asdict() | far
    metrics = {metric.name: float(values[metric.name]) for metric in registry.of_frames() if metric.name in values}
    row = about | size | areas | metrics
    histograms = inside.astype(np.int32), outside.astype(np.int32)
    told = None
    if of_classes is not None:
        told = classes.match(of_classes[1], threshold, of_classes[2])
        row |= {f"dice_{name}": classes.dice(own) for name, own in zip(of_classes[0].names, told.counts, strict=True)}
        row["polyps_told"] = "; ".join(of_classes[0].told(polyp) for polyp in told.polyps)
    matched = lesions.match(probability, prediction, truth)
    boxes = detections(probability, truth[None], threshold)
    if of_classes is not None:
        boxes = detections(probability, of_classes[2], threshold, of_classes[1])
    return Scored(row, counts, histograms, measured, matched, boxes, told)


def detections(
    probability: np.ndarray, truth: np.ndarray, threshold: float, by_class: np.ndarray | None = None
) -> detection.Detections:
    """Boxes of the polyps as `polyp predict` finds them, and of all components of the truth (C, H, W).

    by_class: of several classes the probability of each, (C, H, W): a polyp is labelled with its likeliest.
    """
    view = 0, 0, *truth.shape[:0:-1]
    by_class = None if by_class is None else np.stack([by_rows(own) for own in by_class])
    polyps = regions.find_polyps(by_rows(probability), threshold, view, by_class=by_class)
    true = [lesions.components(by_rows(own)).boxes.astype(float) for own in truth]
    return detection.Detections(
        np.concatenate(true),
        np.repeat(np.arange(len(true)), [len(boxes) for boxes in true]),
        np.array([polyp.box for polyp in polyps], dtype=float).reshape(-1, 4),
        np.array([np.argmax(polyp.means) if polyp.means else 0 for polyp in polyps], dtype=int),
        np.array([polyp.confidence for polyp in polyps], dtype=float),
    )


def summarize(scored: Sequence[Scored], of_classes: classes.Classes | None = None) -> dict[str, Any]:
    """The scores of a set; frames without a polyp stand apart. What cannot be measured is None.

    Means and their 95 % intervals (bootstrap over groups) are over frames with a polyp, where a missed polyp has Dice 0
    and no HD95. The keys are explained in docs/evaluation.md.
    """
    polyps = [s for s in scored if s.row["polyp_pixels"]]
    negatives = [s for s in scored if not s.row["polyp_pixels"]]
    summary: dict[str, Any] = {
        "frames": len(scored),
        "frames_with_polyp": _means(polyps),
        "frames_without_polyp": frames.negative_summary(
            [s.row["predicted_pixels"] / (s.row["width"] * s.row["height"]) for s in negatives]
        ),
        "families": pixel.families([s.counts for s in scored]),
        "lesions": lesions.lesion_summary([s.lesions for s in scored]),
        "detection": _boxes(scored, of_classes),
        **_curves(scored, polyps),
    }
    if polyps:
        summary["pranet"] = structure.pranet_summary(
            [s.structure._asdict() | structure.curves(*s.histograms) for s in polyps]
        )
    tags = sorted({tag for s in polyps for tag in str(s.row.get("tags", "")).split()})
    summary["subsets"] = {tag: _subset([s for s in polyps if tag in str(s.row["tags"]).split()]) for tag in tags}
    if of_classes and of_classes.several:
        groups = [s.row.get("group") or s.row["name"] for s in scored]
        summary["classes"] = classes.summary([s.classes for s in scored if s.classes], groups, of_classes, LEVEL)
    return plain(summary)


def _means(polyps: Sequence[Scored]) -> dict[str, Any]:
    rows = [s.row for s in polyps]
    groups = [row.get("group") or row["name"] for row in rows]
    names = [metric.name for metric in registry.of_frames() if rows and metric.name in rows[0]]
    found = {name: statistics.bootstrap_interval([row[name] for row in rows], groups, LEVEL) for name in names}
    return {
        "count": len(rows),
        "missed": sum(not row["dice"] for row in rows),
        "without_hd95": sum(math.isnan(row["hd95"]) for row in rows if "hd95" in row),
        "groups": len(set(groups)),
        "level": LEVEL,
        "mean": {name: interval["value"] for name, interval in found.items()},
        "interval": {name: [interval["low"], interval["high"]] for name, interval in found.items()},
    }


def _boxes(scored: Sequence[Scored], of_classes: classes.Classes | None) -> dict[str, Any]:
    """By name, since COCO counts boxes of one score in the order of their frames."""
    ordered = sorted(scored, key=lambda s: str(s.row["name"]))
    groups = [s.row.get("group") or s.row["name"] for s in ordered]
    names = of_classes.names if of_classes else detection.POLYP
    return detection.detection_summary([s.detections for s in ordered], groups, names, LEVEL)


def _subset(polyps: Sequence[Scored]) -> dict[str, float]:
    names = [metric.name for metric in registry.shown("subset") if metric.name in polyps[0].row]
    means = {name: float(np.mean([s.row[name] for s in polyps])) for name in names}
    return {"count": len(polyps), **means}


def _curves(scored: Sequence[Scored], polyps: Sequence[Scored]) -> dict[str, Any]:
    inside, outside = (np.sum([s.histograms[side] for s in scored], axis=0) for side in (0, 1))
    pooled = curves.precision_recall(inside, outside)
    found: dict[str, Any] = {
        "pr_precision": pooled["precision"],
        "pr_recall": pooled["recall"],
        "average_precision": pooled["average_precision"],
        "threshold": pooled["threshold"],
    }
    if polyps:
        swept = curves.threshold_curves(*(np.stack([s.histograms[side] for s in polyps]) for side in (0, 1)))
        names = [metric.name for metric in registry.shown("curve") if metric.name in swept]
        found |= {name: swept[name].mean(axis=0) for name in names}
        found["best"] = curves.best_threshold(swept)
    return {"curves": found, "calibration": calibration.reliability(inside, outside)}


def plain(value: Any) -> Any:
    """`value` as JSON has it: arrays as lists, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
