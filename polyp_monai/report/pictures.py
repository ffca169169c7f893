"""A frame as the gallery shows it: a JPEG, and over it the truth, the prediction and where they differ, as SVG.

Outlines are drawn by the browser: they stay sharp when a small picture is enlarged, and can be switched off.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.metrics.structure import stretch
from polyp_monai.report.run import Frame

GRID = 480  # units of the longer side, for outlines
OUTLINES = 60  # a layer at most, the largest; more are specks of noise
TOLERANCES = (0.5, 1, 2, 4, 8, 16, 32)  # units that a simplified outline may stray
SIDES = (60, 960)  # pixels of a JPEG's longer side, at least and at most; never more than the image has
QUALITY = 70


@dataclass(frozen=True)
class Drawer:
    """Draws frames; a prediction that is a probability map is cut at `threshold`, stretched to 0..1 before on wish."""

    threshold: float
    normalize: bool

    def __call__(self, frame: Frame, budget: int) -> str:
        """HTML of at most about `budget` characters; what cannot be read is left out, and said."""
        missing, read = [], {}
        for name, reader in (("image", files.read_rgb), ("truth", files.read_mask), ("prediction", self._prediction)):
            try:
                read[name] = reader(frame.paths[name])
            except (PolypError, OSError, KeyError):
                missing.append(name)
        if not read:
            return '<span class="gone">the pictures have gone</span>'
        height, width = next(iter(read.values())).shape[:2]
        layers = _layers(read.get("truth"), read.get("prediction"), budget // 10)
        units = " ".join(f"{GRID * side / max(width, height):.0f}" for side in (width, height))
        overlay = f'<svg viewBox="0 0 {units}">{layers}</svg>' if layers else ""
        note = f'<span class="gone">without {" and ".join(missing)}, which cannot be read</span>' if missing else ""
        image = _jpeg(read["image"], budget - len(overlay)) if "image" in read else ""
        return f"{image}{overlay}{note}"

    def _prediction(self, path: Path) -> np.ndarray:
        """(H, W) uint8 {0, 1}"""
        values = files.read_map(path)
        if self.normalize:
            values = stretch(values)
        return (values >= self.threshold).astype(np.uint8)


def _layers(truth: np.ndarray | None, prediction: np.ndarray | None, budget: int) -> str:
    masks = {"truth": truth, "prediction": prediction}
    if truth is not None and prediction is not None:
        if prediction.shape != truth.shape:
            prediction = cv2.resize(prediction, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
        masks = {"missed": truth & ~prediction & 1, "extra": prediction & ~truth & 1, **masks}
    paths = {kind: _path(mask, budget) for kind, mask in masks.items() if mask is not None}
    return "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in paths.items() if path)


def _path(mask: np.ndarray, budget: int) -> str:
    """Outlines and holes of a mask {0, 1} as SVG path data in units of `GRID`: as fine as `budget` characters allow."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    largest = sorted(outlines, key=cv2.contourArea, reverse=True)[:OUTLINES]
    scaled = [((outline + 0.5) * (GRID / max(mask.shape))).astype(np.float32) for outline in largest]
    for tolerance in TOLERANCES:
        path = "".join(_polygon(cv2.approxPolyDP(outline, tolerance, True)) for outline in scaled)
        if len(path) <= budget:
            break
    return path


def _polygon(outline: np.ndarray) -> str:
    """A closed outline (N, 1, 2) as path data: its first point, then steps, which are short."""
    points = outline.reshape(-1, 2).round().astype(int)
    steps = "l".join(f"{x} {y}" for x, y in np.diff(points, axis=0).tolist())
    return f"M{points[0, 0]} {points[0, 1]}{'l' + steps if steps else ''}z"


def _jpeg(image: np.ndarray, budget: int) -> str:
    """An <img>, as large as `budget` characters and `SIDES` allow."""
    longer = max(image.shape[:2])
    side = min(longer, SIDES[1])
    while True:
        size = [max(1, round(n * side / longer)) for n in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        length = len(encoded) * 4 / 3
        if length <= budget or side <= SIDES[0]:
            break
        # bytes go with the area, or slower: small pictures hold more detail a pixel
        side = max(SIDES[0], int(side * min(0.9, math.sqrt(max(budget, 0) / length))))
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="" width="{size[0]}" height="{size[1]}" decoding="async">'
