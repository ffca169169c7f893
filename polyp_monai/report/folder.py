"""A run folder as the report reads it: summary.json and frames.csv, checked."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from polyp_monai.errors import PolypError, counted, summary
from polyp_monai.metrics import registry

ROUNDING = 0.05  # by which a score may leave 0..1: the E-measure divides by one pixel less than there are
PICTURES = ("image", "truth", "prediction")


@dataclass(frozen=True, eq=False)  # two frames are never the same one, whatever their names
class FrameRow:
    """One row of frames.csv. `scores`: the metrics that are defined; `paths`: what of `PICTURES` is known."""

    name: str
    group: str
    tags: str
    size: tuple[int, int]  # width, height
    polyp_pixels: int
    predicted_pixels: int
    scores: dict[str, float]
    paths: dict[str, Path]
    polyps_told: str = ""  # of several classes: each polyp, and what it was called

    @property
    def share(self) -> float:
        """The polyp's share of the image, 0..1."""
        return self.polyp_pixels / (self.size[0] * self.size[1])


def read(run: Path) -> tuple[dict[str, Any], list[FrameRow]]:
    """The summary and the frames. Raises PolypError when the folder is no run or a file of it is broken."""
    for name in ("summary.json", "frames.csv"):
        if not (run / name).is_file():
            raise PolypError(
                f"{run}: no run to report on, {name} is missing; `polyp evaluate` or `polyp score` makes one"
            )
    path = run / "summary.json"
    try:
        summarized = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summarized, dict):
            raise ValueError("no JSON object")
        if not isinstance(summarized.get("frames"), int):
            raise ValueError("it does not say how many frames there are")
        path = run / "frames.csv"
        frames = [_frame(row, line) for line, row in enumerate(rows(path), 2)]
    except (ValueError, TypeError, KeyError) as error:
        raise PolypError(f"{path}: cannot be read ({summary(error)}); is it damaged or cut short?") from error
    if len(frames) != summarized["frames"]:
        of = f"{counted(len(frames), 'row')} of the {counted(summarized['frames'], 'frame')}"
        raise PolypError(f"{path}: holds {of} that summary.json tells of; it is damaged, make the run again")
    return summarized, frames


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a frames.csv, every one whole. Raises PolypError: no CSV in UTF-8, or one that is cut short."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        found = list(csv.DictReader(StringIO(text, newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise PolypError(f"{path}: not a CSV file in UTF-8 ({error}); is it damaged?") from error
    if not text.endswith("\n") or any(None in row or None in row.values() for row in found):
        raise PolypError(f"{path}: a line of it ends too early; it is damaged or cut short, make the run again")
    return found


def score(text: str, metric: registry.Metric, line: int) -> float | None:
    """A cell of a metric; None of an empty one. Raises ValueError for what the metric cannot be."""
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    highest = math.inf if metric.unit else 1 + ROUNDING
    if value is not None and not (-ROUNDING <= value <= highest and math.isfinite(value)):
        raise ValueError(f"line {line}: {metric.name} is {text!r}; expected 0 {'or more' if metric.unit else 'to 1'}")
    return value


def _frame(row: dict[str, str], line: int) -> FrameRow:
    values = {metric: score(row[metric.name], metric, line) for metric in registry.of_frames() if row.get(metric.name)}
    boxed = "boxes" in row  # without masks; YOLO's files do not know the size either
    size = (1, 1) if boxed else (int(row["width"]), int(row["height"]))
    if min(size) < 1:
        raise ValueError(f"{row['name']} is {size[0]} x {size[1]} pixels")
    return FrameRow(
        name=row["name"],
        group=row.get("group") or "",
        tags=row.get("tags") or "",
        size=size,
        polyp_pixels=0 if boxed else int(row["polyp_pixels"]),
        predicted_pixels=0 if boxed else int(row["predicted_pixels"]),
        scores={metric.name: value for metric, value in values.items() if value is not None},
        paths={name: Path(row[name]) for name in PICTURES if row.get(name)},
        polyps_told=row.get("polyps_told") or "",
    )
