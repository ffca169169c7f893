"""What a run says of the classes of polyps, as cards and a chart. Of a bundle with one class there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyp_monai.report.charts import IDEAL, Axis, Chart, dots, line
from polyp_monai.report.parts import Card, Part, Table, percent, show

Told = Mapping[str, Any]


def classes(summary: Mapping[str, Any]) -> list[Part]:
    """Dice a class, confusion of polyps, how well classes are told apart, and whether their probabilities mean it."""
    told = summary.get("classes")
    if not told:
        return []
    parts: list[Part] = [_dice(told), _confusion(told)]
    if told["polyps"].get("found"):
        parts += [_told_apart(told), *_calibration(told)]
    return parts


def _dice(told: Told) -> Card:
    rows = [
        (name, of["frames"], _measured(of["mean"]), _measured(of["challenge"]), of["pooled"])
        for name, of in ((name, told["dice"][name]) for name in told["names"])
    ]
    overall = told["dice"]["all"]
    rows.append(("all", "", overall["mean"], _measured(overall["challenge"]), ""))
    lead = (
        "Mean: over the frames where the class is, or was found; 0 where it is not there. Challenge: over all frames, "
        "1 where it is neither (as BKAI-IGH NeoPolyp is scored). Pooled: all pixels as one picture."
    )
    heads = ("class", "frames", "Dice, mean", "Dice, challenge", "Dice, pooled")
    return Card("Dice a class", lead, table=Table(heads, rows))


def _confusion(told: Told) -> Card:
    table = told["confusion"]
    columns = list(next(iter(table.values())))
    rows = [(row, *(cells.get(column, "") for column in columns)) for row, cells in table.items()]
    lead = (
        f"A row a true class, a column what it was called. A polyp is matched by IoU ≥ {told['iou']:g}, whatever its "
        f"class; it is uncertain where its class has a probability below {told['certainty']:.3g}."
    )
    return Card("Polyps by class", lead, table=Table(("true", *columns), rows))


def _told_apart(told: Told) -> Card:
    polyps = told["polyps"]
    rows = [
        (
            name,
            of["polyps"],
            _measured(of["auc"]),
            _measured(of["sensitivity"]),
            _measured(of["expected_calibration_error"]),
        )
        for name, of in ((name, polyps[name]) for name in told["names"])
    ]
    at = percent(polyps["specificity"])
    lead = f"Of the {polyps['found']} polyps that were found, each class against the others."
    named = (
        f"; of the {polyps['named']} that got a class {_measured(polyps['accuracy_of_named'])}"
        if polyps["named"]
        else ""
    )
    text = f"Right is the likeliest class of {_measured(polyps['accuracy'])} of them{named}."
    heads = ("class", "polyps", "AUC", f"sensitivity at a specificity of {at}", "calibration error")
    return Card("Told apart", lead, text, Table(heads, rows))


def _calibration(told: Told) -> list[Chart]:
    x, y = Axis("probability of the class, mean of the polyps in a bin"), Axis("share that is of the class")
    marks, keys = line(x, y, (0, 1), (0, 1), IDEAL), []
    for number, name in enumerate(told["names"]):
        found = told["polyps"][name]["calibration"]
        filled = [pair for pair in zip(found["confidence"], found["accuracy"], strict=True) if pair[0] is not None]
        if filled:
            confidence, accuracy = zip(*filled, strict=True)
            marks += [*line(x, y, confidence, accuracy, number), dots(x, y, confidence, accuracy, "knots")]
            keys.append(name)
    note = "On the diagonal, the probability of a class means what it says. Few polyps a bin: it jumps."
    return [Chart("Reliability of the class", note, x, y, marks, keys)] if keys else []


def _measured(found: Mapping[str, Any]) -> str:
    """A value with its interval."""
    low, high = found["interval"]
    return show(found["value"]) + (f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else "")
