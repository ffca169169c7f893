"""The folder of a run, which `polyp evaluate` and `polyp score` write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai import provenance
from polyp_monai.data import files
from polyp_monai.errors import counted
from polyp_monai.evaluation import POLYPS
from polyp_monai.evaluation.scoring import Scored, plain, summarize
from polyp_monai.metrics import registry
from polyp_monai.metrics.classes import Classes

COLUMNS = ("frame", "group", "truth", "class", "class_probability")  # of polyps.csv, and the mean of each class

BOX_FILES = ("frames.csv", "summary.json", "report.html")  # of a run of boxes alone


def write_run(
    output_dir: Path,
    scored: Sequence[Scored],
    about: dict[str, Any],
    extra: dict[str, Any] | None = None,
    classes: Classes | None = None,
) -> dict[str, Any]:
    """Write `frames.csv` (a row a frame), `summary.json` (all metrics of the set), `histograms.npz` (of which every
    curve is made: levels of the probability inside and outside the polyp, a row a frame) and `report.html`. Of several
    `classes`, `polyps.csv` too: a row a polyp, true or predicted.

    Returns the summary.
    """
    from polyp_monai import report

    summary = plain({"run": about | provenance.of_run()} | summarize(scored, classes) | (extra or {}))
    files.write_csv(output_dir / "frames.csv", [s.row for s in scored])
    with files.atomic(output_dir / "histograms.npz") as partial:
        polyp, background = (np.stack([s.histograms[side] for s in scored]).astype(np.int32) for side in (0, 1))
        names = np.array([s.row["name"] for s in scored])
        np.savez_compressed(partial, name=names, polyp=polyp, background=background)
    files.write_json(output_dir / "summary.json", summary)
    if classes and classes.several:
        files.write_csv(output_dir / POLYPS, _polyps(scored, classes) or [dict.fromkeys(COLUMNS, "")])
    report.write(output_dir)
    return summary


def write_boxes(output_dir: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Write `BOX_FILES`: the same of boxes alone, of which there are no histograms."""
    from polyp_monai import report

    files.write_csv(output_dir / "frames.csv", rows)
    files.write_json(output_dir / "summary.json", summary)
    report.write(output_dir)


def boxes_line(summary: dict[str, Any]) -> str:
    """The scores of the boxes, in a line."""
    found = summary["detection"]
    values = "  ".join(f"{registry.get(name).label} {registry.get(name).text(v)}" for name, v in found["value"].items())
    return f"boxes: {values}"


def _polyps(scored: Sequence[Scored], classes: Classes) -> list[dict[str, Any]]:
    rows = []
    for one in scored:
        for polyp in one.classes.polyps if one.classes else ():
            name, probability = classes.of(polyp.means) if polyp.means else ("", math.nan)
            truth = "" if polyp.truth is None else classes.names[polyp.truth]
            cells = one.row["name"], one.row.get("group", ""), truth, name, probability
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
            means = polyp.means or [math.nan] * len(classes.names)
            rows[-1] |= {f"mean_{name}": mean for name, mean in zip(classes.names, means, strict=True)}
    return rows


def headline(summary: dict[str, Any]) -> list[str]:
    """The scores to see first, a line each."""
    polyps, negatives = (summary[key] for key in ("frames_with_polyp", "frames_without_polyp"))
    lines = ["no frame here has a polyp, so there is no Dice"]
    if polyps["count"]:
        means = "  ".join(
            f"{metric.label} {metric.text(polyps['mean'][metric.name], 4)}"
            for metric in registry.shown("headline")
            if polyps["mean"].get(metric.name) is not None
        )
        lines = [f"{counted(polyps['count'], 'frame')} with a polyp: {means}; {polyps['missed']} missed wholly"]
        low, high = polyps["interval"]["dice"]
        if low is not None:
            lines.append(
                f"95 % interval of the mean Dice, over {counted(polyps['groups'], 'group')}: {low:.4f} to {high:.4f}"
            )
    if told := summary.get("classes"):
        dices = "  ".join(f"{name} {_text(told['dice'][name]['mean']['value'])}" for name in told["names"])
        line = f"Dice a class: {dices}"
        if "accuracy" in told["polyps"]:
            line += f"; of {counted(told['polyps']['found'], 'polyp')} found, "
            line += f"{told['polyps']['accuracy']['value']:.1%} are of the class that is likeliest"
        lines.append(line)
    if negatives["frames"]:
        lines.append(f"{counted(negatives['frames'], 'frame')} without a polyp: {negatives['left_empty']} left empty")
    lines.append(boxes_line(summary))
    promises = summary.get("promises") or {}
    if promise := promises.get("missed"):
        lines.append(
            f"at the calibrated threshold {promise['threshold']:.3f}: {promise['here']:.1%} of a polyp's pixels "
            f"are missed; promised was at most {promise['alpha']:.1%}"
        )
    if promise := promises.get("false_alarms"):
        lines.append(
            f"where a frame has to reach {promise['highest']:.3f}: {promise['here']:.1%} of frames without a polyp "
            f"raise a false alarm; promised was at most {promise['alpha']:.1%}"
        )
    if promise := promises.get("wrong_class"):
        lines.append(
            f"where a class has to reach {promise['certainty']:.3f}: {promise['here']:.1%} of polyps get a wrong class;"
            f" promised was at most {promise['alpha']:.1%}"
        )
    if (leaks := summary.get("leakage")) and leaks["similar_in_training"]:
        word = "LEAKED: " if leaks["leaked"] else ""
        near = f"{leaks['similar_in_training']} of {leaks['test']}"
        line = f"{word}{near} frames: a look-alike or their sequence is in training"
        if leaks["copy_mask_dice"] is not None:
            line += f"; copying the mask of the most similar training frame scores Dice {leaks['copy_mask_dice']:.3f}"
        lines.append(line)
    return lines


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
