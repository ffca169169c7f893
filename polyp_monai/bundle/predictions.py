"""What a prediction found: predictions.csv beside the masks, a row a frame."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.data import datalist, files, predicted
from polyp_monai.errors import counted
from polyp_monai.metrics.regions import find_polyps


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

    Args:
        output_dir: folder of the masks.
        part: "K/N", of a run that does one part of the frames: it has a table of its own.
    """

    def __init__(self, output_dir: str, part: str | None = None) -> None:
        self.folder, self.part = Path(output_dir).resolve(), part

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._tidy)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._append)
        engine.add_event_handler(Events.COMPLETED, self._tidy)

    def _append(self, engine: Any) -> None:
        pairs = zip(engine.state.batch, engine.state.output, strict=True)
        rows = [self._row(sample, output) for sample, output in pairs]
        path = predicted.table(self.folder, self.part)
        fresh = not path.exists()
        with open(path, "a", **predicted.AS_TEXT) as file:
            file.write(files.csv_text([predicted.COLUMNS] * fresh + rows))

    @staticmethod
    def _row(sample: Mapping[str, Any], output: Mapping[str, Any]) -> tuple:
        image, polyps = str(sample["image"].meta["filename_or_obj"]), output["polyps"]
        width, height = output["pred"].shape[1:]
        share = sum(polyp.area for polyp in polyps) / (width * height)
        confidence = f"{max(polyp.confidence for polyp in polyps):.4f}" if polyps else ""
        boxes = "; ".join(" ".join(f"{corner:.0f}" for corner in polyp.box) for polyp in polyps)
        mask = datalist.mask_name(image, sample["output"])
        return image, mask, width, height, len(polyps), f"{share:.6f}", confidence, boxes

    def _tidy(self) -> None:
        predicted.tidy(self.folder, self.part)


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
