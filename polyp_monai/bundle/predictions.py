"""What a prediction found: predictions.csv beside the masks, a row a frame."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.data import datalist, files, predicted
from polyp_monai.data.classes import POLYP
from polyp_monai.data.transforms import ClassMapd
from polyp_monai.errors import PolypError, counted
from polyp_monai.metrics.classes import Classes
from polyp_monai.metrics.regions import find_polyps


class FindPolypsd:
    """Adds `polyps` to a sample: the regions of its probability map, largest first; of several classes a map of them,
    as `ClassMapd`.

    Args:
        key: of the probability (C, W, H) at native size.
        threshold: from which a pixel counts as polyp, 0..1.
    """

    def __init__(self, key: str, threshold: float) -> None:
        self.key, self.threshold = key, threshold
        self._class_map = ClassMapd(key, threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        probability = np.ascontiguousarray(np.asarray(data[self.key].cpu()).transpose(0, 2, 1))  # (C, H, W)
        view = (0, 0, *probability.shape[:0:-1])
        return {**self._class_map(data), "polyps": find_polyps(probability, self.threshold, view)}


class PredictionTable:
    """Ignite handler that writes the rows while frames are predicted, so that an interrupted run keeps its own.

    Rows of earlier runs into the folder stay, but for those of masks that are written again.

    Args:
        output_dir: folder of the masks.
        part: "K/N", of a run that does one part of the frames: it has a table of its own.
        classes: of the bundle; of several, the table says each polyp's.
        class_certainty: probability of a class below which it is uncertain.
    """

    def __init__(
        self,
        output_dir: str,
        part: str | None = None,
        classes: Sequence[str] = POLYP,
        class_certainty: float = 0.0,
    ) -> None:
        self.folder, self.part = Path(output_dir).resolve(), part
        self.classes = Classes(tuple(classes), class_certainty)

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._tidy)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._append)
        engine.add_event_handler(Events.COMPLETED, self._tidy)

    def _append(self, engine: Any) -> None:
        pairs = zip(engine.state.batch, engine.state.output, strict=True)
        rows = [self._row(sample, output) for sample, output in pairs]
        path = predicted.table(self.folder, self.part)
        columns = predicted.columns_of(path)
        if fresh := columns is None:
            columns = predicted.columns(self.classes.several)
        with open(path, "a", **predicted.AS_TEXT) as file:
            file.write(files.csv_text([columns] * fresh + [[row.get(c, "") for c in columns] for row in rows]))

    def _row(self, sample: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        image, polyps = str(sample["image"].meta["filename_or_obj"]), output["polyps"]
        width, height = output["pred"].shape[1:]
        share = sum(polyp.area for polyp in polyps) / (width * height)
        confidence = f"{max(polyp.confidence for polyp in polyps):.4f}" if polyps else ""
        boxes = "; ".join(" ".join(f"{corner:.0f}" for corner in polyp.box) for polyp in polyps)
        mask = datalist.mask_name(image, sample["output"])
        cells = image, mask, width, height, len(polyps), f"{share:.6f}", confidence, boxes
        row = dict(zip(predicted.COLUMNS, cells, strict=True))
        if self.classes.several:
            if len(output["pred"]) != len(self.classes.names):
                raise PolypError(
                    f"the network has {len(output['pred'])} channels, and model.yaml names the classes "
                    f"{', '.join(self.classes.names)}"
                )
            told = [self.classes.of(polyp.means) for polyp in polyps]
            row["classes"] = "; ".join(name for name, _ in told)
            row["class_probabilities"] = "; ".join(f"{probability:.4f}" for _, probability in told)
        return row

    def _tidy(self) -> None:
        predicted.tidy(self.folder, self.part, self.classes.several)


def typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row with numbers for numbers, and a list [x0, y0, x1, y1] for each box."""
    numbers = {key: int(row[key]) for key in ("width", "height", "polyps")}
    confidence = float(row["confidence"]) if row["confidence"] else None
    boxes = [[int(corner) for corner in box.split()] for box in row["boxes"].split(";") if box]
    made: dict[str, Any] = {
        **row,
        **numbers,
        "polyp_share": float(row["polyp_share"]),
        "confidence": confidence,
        "boxes": boxes,
    }
    if "classes" in row:
        made["classes"] = [name.strip() for name in row["classes"].split(";") if name]
        made["class_probabilities"] = [float(text) for text in row["class_probabilities"].split(";") if text]
    return made


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
    told = f" ({', '.join(row['classes'])})" if row.get("classes") else ""
    return f"{name}: {counted(row['polyps'], 'polyp')}{told}, {shown} % of the frame, confidence {confidence} %"
