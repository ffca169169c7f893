"""One bundle on several data sets, as one table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from polyp_monai.data import datalist
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import domain_shift
from polyp_monai.metrics import registry


def folders(out: Path, sets: list[str]) -> list[Path]:
    """Where each set's run goes: below `out`, by the name of its folder. Raises PolypError when two names are one."""
    names = [Path(folder).name for folder in sets]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise PolypError(f"--data: two of the folders are called {twice[0]}; their results would meet")
    return [out / name for name in names]


def table(sets: list[str], runs: list[Path], split: str) -> list[str]:
    """Metrics of each set, a line a set, and in what the others differ from the first.

    `empty` is the share of the frames without a polyp that stay empty.
    """
    rows, looks = [_header()], []
    for folder, run in zip(sets, runs, strict=True):
        rows.append(_row(run.name, json.loads((run / "summary.json").read_text(encoding="utf-8"))))
        looks.append(domain_shift.describe(datalist.labelled_frames(folder, split)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)) for row in rows]
    for run, look in zip(runs[1:], looks[1:], strict=True):
        lines.append(f"{run.name} against {runs[0].name}: {domain_shift.note(looks[0], look)}")
    return lines


def _header() -> list[str]:
    """The interval is that of the metric before it."""
    metrics = [[metric.label] + ["95 % interval"] * (metric.name == registry.MAIN) for metric in registry.shown("sets")]
    return ["set", "frames", *(title for titles in metrics for title in titles), "missed", "empty", "leaked"]


def _row(name: str, summary: dict[str, Any]) -> list[str]:
    polyps, leaks = summary["frames_with_polyp"], summary.get("leakage")
    cells = []
    for metric in registry.shown("sets"):
        cells.append(metric.text(polyps["mean"].get(metric.name), 4))
        if metric.name == registry.MAIN:
            low, high = polyps["interval"].get(metric.name) or (None, None)
            cells.append(f"{metric.text(low, 4)} {metric.text(high, 4)}")
    specificity = summary["frames_without_polyp"]["specificity"]
    empty = "-" if specificity is None else f"{specificity:.0%}"
    leaked = "-" if leaks is None else f"{leaks['share']:.0%}"
    return [name, str(summary["frames"]), *cells, str(polyps["missed"]), empty, leaked]


def _aligned(row: list[str], widths: list[int]) -> list[str]:
    """The first column to the left, the others to the right."""
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
