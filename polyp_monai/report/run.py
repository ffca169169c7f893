"""A run folder as the report reads it: summary.json and frames.csv, checked."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyp_monai.errors import PolypError, summary

FIGURES = ("dice", "iou", "sensitivity", "precision", "hd95", "surface_dice")
PICTURES = ("image", "truth", "prediction")


@dataclass(frozen=True, eq=False)  # two frames are never the same one, whatever their names
class FrameRow:
    """One row of frames.csv. `figures` holds what of `FIGURES` is defined; `paths` what of `PICTURES` is known."""

    name: str
    group: str
    tags: str
    size: tuple[int, int]  # width, height
    polyp_pixels: int
    predicted_pixels: int
    figures: dict[str, float]
    paths: dict[str, Path]

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
        path = run / "frames.csv"
        with path.open(encoding="utf-8", newline="") as file:
            return summarized, [_frame(row) for row in csv.DictReader(file, strict=True)]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise PolypError(f"{path}: cannot be read ({summary(error)}); is it damaged or cut short?") from error


def _frame(row: dict[str, str]) -> FrameRow:
    values = {name: float(row[name]) for name in FIGURES if row.get(name)}
    size = int(row["width"]), int(row["height"])
    if min(size) < 1:
        raise ValueError(f"{row['name']} is {size[0]} x {size[1]} pixels")
    return FrameRow(
        name=row["name"],
        group=row.get("group") or "",
        tags=row.get("tags") or "",
        size=size,
        polyp_pixels=int(row["polyp_pixels"]),
        predicted_pixels=int(row["predicted_pixels"]),
        figures={name: value for name, value in values.items() if math.isfinite(value)},
        paths={name: Path(row[name]) for name in PICTURES if row.get(name)},
    )
