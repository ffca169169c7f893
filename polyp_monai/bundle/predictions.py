"""What a prediction found: predictions.csv beside the masks, a row a frame."""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError, counted
from polyp_monai.metrics.regions import find_polyps

NAME = "predictions.csv"
COLUMNS = ("image", "mask", "width", "height", "polyps", "polyp_share", "confidence", "boxes")
_AS_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # any name of a file


class FindPolypsd:
    """Adds `polyps` to a sample: the regions of its probability map, largest first.

    Args:
        key: of the probability (1, W, H) at native size.
        threshold: from which a pixel counts as polyp, 0..1.
    """

    def __init__(self, key: str, threshold: float) -> None:
        self.key, self.threshold = key, threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        probability = np.ascontiguousarray(np.asarray(data[self.key][0].cpu()).T)  # (H, W)
        view = (0, 0, *probability.shape[::-1])
        return {**data, "polyps": find_polyps(probability, self.threshold, view)}


class PredictionTable:
    """Ignite handler that writes the rows while frames are predicted, so that an interrupted run keeps its own.

    Rows of earlier runs into the folder stay, but for those of masks that are written again.
    """

    def __init__(self, output_dir: str) -> None:
        self.folder = Path(output_dir).resolve()

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._tidy)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._append)
        engine.add_event_handler(Events.COMPLETED, self._tidy)

    def _append(self, engine: Any) -> None:
        pairs = zip(engine.state.batch, engine.state.output, strict=True)
        rows = [self._row(sample, output) for sample, output in pairs]
        path = self.folder / NAME
        fresh = not path.exists()
        with open(path, "a", **_AS_TEXT) as file:
            file.write(files.csv_text([COLUMNS] * fresh + rows))

    @staticmethod
    def _row(sample: Mapping[str, Any], output: Mapping[str, Any]) -> tuple:
        image, polyps = str(sample["image"].meta["filename_or_obj"]), output["polyps"]
        width, height = output["pred"].shape[1:]
        share = sum(polyp.area for polyp in polyps) / (width * height)
        confidence = f"{max(polyp.confidence for polyp in polyps):.4f}" if polyps else ""
        boxes = "; ".join(" ".join(f"{corner:.0f}" for corner in polyp.box) for polyp in polyps)
        mask = f"{sample['output']}{files.mask_suffix(image)}"
        return image, mask, width, height, len(polyps), f"{share:.6f}", confidence, boxes

    def _tidy(self) -> None:
        """One row a mask, the latest, and none that a killed run left torn."""
        rows = read(self.folder)
        if not rows:
            return
        with files.atomic(self.folder / NAME) as partial, open(partial, "w", **_AS_TEXT) as file:
            file.write(files.csv_text([COLUMNS, *([row[name] for name in COLUMNS] for row in rows.values())]))


def read(folder: str | Path) -> dict[str, dict[str, str]]:
    """Mask, relative to `folder` -> row of its predictions.csv; empty where there is none.

    Raises:
        PolypError: a file of that name that polyp did not write.
    """
    path = Path(folder) / NAME
    if not path.exists():
        return {}
    with open(path, **_AS_TEXT) as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or COLUMNS) != COLUMNS:
            raise PolypError(f"{path}: is there already, and polyp did not write it; give another output folder")
        return {row["mask"]: row for row in rows if None not in row.values() and None not in row}


def typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row with numbers for numbers, and a list [x0, y0, x1, y1] for each box."""
    numbers = {key: int(row[key]) for key in ("width", "height", "polyps")}
    confidence = float(row["confidence"]) if row["confidence"] else None
    boxes = [[int(corner) for corner in box.split()] for box in row["boxes"].split(";") if box]
    return {**row, **numbers, "polyp_share": float(row["polyp_share"]), "confidence": confidence, "boxes": boxes}


def line(row: Mapping[str, Any]) -> str:
    """ "IMG_3.jpg: 1 polyp, 4 % of the frame, confidence 91 %"."""
    name = os.path.basename(row["image"])
    if name.isdecimal():  # a frame of a DICOM file
        name = f"{os.path.basename(os.path.dirname(row['image']))}/{name}"
    if not row["polyps"]:
        return f"{name}: no polyp"
    share = row["polyp_share"] * 100
    shown = f"{share:.0f}" if share >= 1 else f"{share:.1g}"
    confidence = round(100 * row["confidence"])
    return f"{name}: {counted(row['polyps'], 'polyp')}, {shown} % of the frame, confidence {confidence} %"
