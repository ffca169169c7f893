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
from polyp_monai.metrics.lesions import components

NAME = "predictions.csv"
COLUMNS = ("image", "mask", "width", "height", "polyps", "polyp_share", "confidence")
MIN_AREA_SHARE = 0.0005  # of the frame: a smaller region is in the mask, and counts as no polyp; as in a video
_AS_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # any name of a file


class DescribePolypsd:
    """Adds `polyps` to a sample: how many there are, their share of the frame 0..1, and the highest confidence.

    A polyp is an 8-connected region where the probability reaches `threshold`; its confidence is the mean probability
    within.

    Args:
        key: of the probability (1, W, H) at native size.
        threshold: from which a pixel counts as polyp, 0..1.
    """

    def __init__(self, key: str, threshold: float) -> None:
        self.key, self.threshold = key, threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, "polyps": describe(np.asarray(data[self.key][0].cpu()), self.threshold)}


def describe(probability: np.ndarray, threshold: float) -> dict[str, Any]:
    """`polyps`, `polyp_share` and `confidence` (None without a polyp) of a map (H, W) or (W, H) of 0..1."""
    found = components(probability >= threshold)
    count = len(found.areas)
    sums = np.bincount(found.labels.ravel(), probability.ravel(), count + 1)[1:] if count else np.zeros(0)
    large = found.areas >= MIN_AREA_SHARE * probability.size
    share = float(found.areas[large].sum() / probability.size)
    confidence = float((sums[large] / found.areas[large]).max()) if large.any() else None
    return {"polyps": int(large.sum()), "polyp_share": share, "confidence": confidence}


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
        rows = []
        for sample, output in zip(engine.state.batch, engine.state.output, strict=True):
            image = str(sample["image"].meta["filename_or_obj"])
            width, height = output["pred"].shape[1:]
            found = output["polyps"]
            confidence = "" if found["confidence"] is None else f"{found['confidence']:.4f}"
            measured = (width, height, found["polyps"], f"{found['polyp_share']:.6f}", confidence)
            rows.append((image, f"{sample['output']}{files.mask_suffix(image)}", *measured))
        path = self.folder / NAME
        fresh = not path.exists()
        with open(path, "a", **_AS_TEXT) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS] * fresh + rows)

    def _tidy(self) -> None:
        """One row a mask, the latest, and none that a killed run left torn."""
        rows = read(self.folder)
        if not rows:
            return
        with files.atomic(self.folder / NAME) as partial, open(partial, "w", **_AS_TEXT) as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.values())


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
    """A row with numbers for numbers."""
    numbers = {key: int(row[key]) for key in ("width", "height", "polyps")}
    confidence = float(row["confidence"]) if row["confidence"] else None
    return {**row, **numbers, "polyp_share": float(row["polyp_share"]), "confidence": confidence}


def line(row: Mapping[str, Any]) -> str:
    """ "IMG_3.jpg: 1 polyp, 4 % of the frame, confidence 91 %"."""
    name = os.path.basename(row["image"])
    if not row["polyps"]:
        return f"{name}: no polyp"
    share = row["polyp_share"] * 100
    shown = f"{share:.0f}" if share >= 1 else f"{share:.1g}"
    confidence = round(100 * row["confidence"])
    return f"{name}: {counted(row['polyps'], 'polyp')}, {shown} % of the frame, confidence {confidence} %"
