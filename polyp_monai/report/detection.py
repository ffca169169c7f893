"""Polyps as boxes: scores with intervals, average precision by IoU, and FROC as a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.metrics import registry
from polyp_monai.metrics.detection import HITS
from polyp_monai.report.charts import Axis, Chart, line, round_ticks
from polyp_monai.report.parts import Card, Part, Table, Tile, show
from polyp_monai.report.summary import label

Detection = Mapping[str, Any]


def detection(summary: Mapping[str, Any]) -> list[Part]:
    """All parts of the section."""
    found = summary.get("detection")
    if not found or not found["polyps"]:
        return []
    return [_scores(found), *_classes(found), _by_iou(found), _rates(found), _curve(found)]


def tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """What a run of boxes alone says first."""
    found = summary.get("detection")
    if not found or "frames_with_polyp" in summary:
        return []
    return [Tile(registry.get(name).label, show(value), _interval(found, name)) for name, value in found["value"].items()]


def _interval(found: Detection, name: str) -> str:
    return _between(found["interval"][name])


def _between(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    return f"{low:.3f} to {high:.3f}" if low is not None and high is not None else "no interval"


def _scores(found: Detection) -> Card:
    lead = (
        f"{found['boxes']} boxes in {found['frames']} frames, those without a polyp too, against {found['polyps']} "
        "polyps. COCO AP is the mean over IoU .50:.05:.95. FROC is the mean sensitivity at 1/8, 1/4 ... 8 false "
        "positives a frame."
    )
    rows = [(registry.get(name).label, value, _interval(found, name)) for name, value in found["value"].items()]
    return Card("Boxes", lead, table=Table(("metric", "value", "interval"), rows))


def _classes(found: Detection) -> list[Card]:
    if not (classes := found.get("classes")):
        return []
    names = list(next(iter(classes.values())))
    rows = [(name, *(values[key] for key in names)) for name, values in classes.items()]
    return [Card("Boxes by class", table=Table(("class", *map(label, names)), rows))]


def _by_iou(found: Detection) -> Card:
    rows = [(f"≥\u00a0{iou}", value) for iou, value in found["average_precision"].items()]
    return Card("Average precision of boxes", table=Table(("IoU", "average precision"), rows))


def _rates(found: Detection) -> Card:
    froc = found["froc"]
    rows = []
    for i, rate in enumerate(froc["rates"]):
        row: list[Any] = [f"{rate:g}"]
        for hit in HITS:
            row += [froc[hit]["sensitivity"][i], _between(froc[hit]["interval"][i])]
        rows.append(row)
    rows.append(["all boxes", *(cell for hit in HITS for cell in (froc[hit]["recall"], ""))])
    heads = ["false positives / frame", *(head for hit in HITS for head in (label(hit), "interval"))]
    return Card("Sensitivity", _ends(found) + " From there on it stays what it is.", table=Table(heads, rows))


def _ends(found: Detection) -> str:
    ends = [f"{found['froc'][hit]['false_positives']:.3g} by {label(hit)}" for hit in HITS]
    return f"All boxes together raise so many false positives a frame: {' and '.join(ends)}."


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
