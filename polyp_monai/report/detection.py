"""Polyps as boxes: scores with intervals, average precision by IoU, and FROC as a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.metrics import registry
from polyp_monai.metrics.detection import HITS
from polyp_monai.report.charts import Axis, Chart, dots, line, round_ticks
from polyp_monai.report.parts import Card, Part, Table, Tile, percent, show
from polyp_monai.report.summary import label

Detection = Mapping[str, Any]


def detection(summary: Mapping[str, Any]) -> list[Part]:
    """All parts of the section."""
    found = summary.get("detection")
    if not found or not found["polyps"]:
        return []
    return [_scores(found), *_classes(found), _rates(found), _by_iou(found), _curve(found)]


def tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """What a run of boxes alone says first."""
    found = summary.get("detection")
    if not found or "frames_with_polyp" in summary:
        return []
    values = found["value"].items()
    return [Tile(registry.get(name).label, show(value), _interval(found, name)) for name, value in values]


def _interval(found: Detection, name: str) -> str:
    low, high = found["interval"][name]
    return f"{low:.3f} to {high:.3f}" if low is not None and high is not None else "no interval"


def _scores(found: Detection) -> Card:
    lead = (
        f"{found['boxes']} boxes in {found['frames']} frames, those without a polyp too, against {found['polyps']} "
        "polyps. COCO AP is the mean over IoU .50:.05:.95. FROC is the mean sensitivity at 1/8, 1/4 ... 8 false "
        f"positives a frame. Intervals of {percent(found['level'])} over {found['groups']} groups."
    )
    rows = [(registry.get(name).label, value, *found["interval"][name]) for name, value in found["value"].items()]
    return Card("Boxes", lead, table=Table(("metric", "value", "from", "to"), rows))


def _classes(found: Detection) -> list[Card]:
    if not (classes := found.get("classes")):
        return []
    names = list(next(iter(classes.values())))
    rows = [(name, *(values[key] for key in names)) for name, values in classes.items()]
    return [Card("Boxes by class", table=Table(("class", *map(label, names)), rows))]


def _by_iou(found: Detection) -> Chart:
    x, y = Axis("IoU that a box must reach", (0.25, 0.5, 0.75, 1)), Axis("average precision")
    ious, values = [float(iou) for iou in found["average_precision"]], list(found["average_precision"].values())
    marks = [*line(x, y, ious, values), dots(x, y, ious, values, "knots")]
    note = f"From {show(values[0])} at {ious[0]:g} to {show(values[-1])} at {ious[-1]:g}."
    return Chart("Average precision of boxes", note, x, y, marks)


def _rates(found: Detection) -> Card:
    froc = found["froc"]
    rows = [(f"{rate:g}", *(froc[hit]["sensitivity"][i] for hit in HITS)) for i, rate in enumerate(froc["rates"])]
    ends = " and ".join(f"{froc[hit]['false_positives']:.3g} by {label(hit)}" for hit in HITS)
    lead = f"All boxes together raise so many false positives a frame: {ends}. Beyond, sensitivity stays what it is."
    return Card("Sensitivity", lead, table=Table(("false positives a frame", *map(label, HITS)), rows))


def _curve(found: Detection) -> Chart:
    curves = [found["froc"][hit]["curve"] for hit in HITS]
    most = max(curve["false_positives"][-1] for curve in curves)
    x, y = Axis("false positives a frame", round_ticks(0, most or 1)), Axis("sensitivity")
    marks = [
        mark
        for number, curve in enumerate(curves)
        for mark in line(x, y, curve["false_positives"], curve["sensitivity"], number)
    ]
    reached = " and ".join(f"{show(found['froc'][hit]['recall'])} by {label(hit)}" for hit in HITS)
    return Chart("FROC", f"All boxes find {reached}.", x, y, marks, [label(hit) for hit in HITS])
