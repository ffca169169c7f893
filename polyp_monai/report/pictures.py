"""A frame as a page shows it: a JPEG, and over it the truth, the prediction and where they differ, as outlines.

The browser draws the outlines: they stay sharp when a small picture is enlarged, and can be switched off.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.metrics.structure import stretch
from polyp_monai.report.parts import FramePicture, Layer

GRID = 480  # units of the longer side, for outlines
OUTLINES = 60  # a layer at most, the largest; more are specks of noise
TOLERANCES = (0.5, 1, 2, 4, 8, 16, 32)  # units that a simplified outline may stray
SIDES = (60, 960)  # pixels of a JPEG's longer side, at least and at most; never more than the image has
QUALITY = 70
LARGE, SMALL = 60_000, 30_000  # characters at most of a large picture, and of a small one
ALL = 12_000_000  # characters that the pictures of a page may take together


def budget(small: int, large: int) -> int:
    """Characters for each small picture of a page that has so many small and large ones."""
    return min(SMALL, (ALL - LARGE * large) // max(1, small))


def draw(
    paths: Mapping[str, str | Path],
    characters: int,
    threshold: float = 0.5,
    normalize: bool = False,
    wanted: Iterable[str] = ("image", "truth", "prediction"),
) -> FramePicture:
    """The picture of the files `wanted` out of `paths`, of at most about so many characters.

    A prediction that is a probability map is cut at `threshold`, stretched to 0..1 before when `normalize`. What
    cannot be read is left out, and the picture's note says so.
    """
    missing, read = [], {}
    for name in wanted:
        try:
            if name == "image":
                read[name] = files.read_rgb(paths[name])
            elif name == "truth":
                read[name] = files.read_mask(paths[name])
            else:
                read[name] = _cut(files.read_map(paths[name], dim=True), threshold, normalize)
        except (PolypError, OSError, KeyError):
            missing.append(name)
    if not read:
        return FramePicture(note="the pictures have gone")
    height, width = next(iter(read.values())).shape[:2]
    grid = (round(GRID * width / max(width, height)), round(GRID * height / max(width, height)))
    layers = _layers(read.get("truth"), read.get("prediction"), characters // 10)
    note = f"without {' and '.join(missing)}, which cannot be read" if missing else ""
    if "image" not in read:
        return FramePicture(grid=grid, layers=layers, note=note)
    source, size = _jpeg(read["image"], characters - sum(map(len, layers.values())))
    return FramePicture(source, size, grid, layers, note)


def _cut(values: np.ndarray, threshold: float, normalize: bool) -> np.ndarray:
    """(H, W) uint8 {0, 1}"""
    return ((stretch(values) if normalize else values) >= threshold).astype(np.uint8)


def _layers(truth: np.ndarray | None, prediction: np.ndarray | None, characters: int) -> dict[Layer, str]:
    masks: dict[Layer, np.ndarray | None] = {"truth": truth, "prediction": prediction}
    if truth is not None and prediction is not None:
        if prediction.shape != truth.shape:
            prediction = cv2.resize(prediction, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
        masks = {"missed": truth & ~prediction & 1, "extra": prediction & ~truth & 1, **masks}
    paths = {kind: _path(mask, characters) for kind, mask in masks.items() if mask is not None}
    return {kind: path for kind, path in paths.items() if path}


def _path(mask: np.ndarray, characters: int) -> str:
    """Outlines and holes of a mask {0, 1} as SVG path data in units of `GRID`: as fine as so many characters allow."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    largest = sorted(outlines, key=cv2.contourArea, reverse=True)[:OUTLINES]
    scaled = [((outline + 0.5) * (GRID / max(mask.shape))).astype(np.float32) for outline in largest]
    for tolerance in TOLERANCES:
        path = "".join(_polygon(cv2.approxPolyDP(outline, tolerance, True)) for outline in scaled)
        if len(path) <= characters:
            break
    return path


def _polygon(outline: np.ndarray) -> str:
    """A closed outline (N, 1, 2) as path data: its first point, then steps, which are short."""
    points = outline.reshape(-1, 2).round().astype(int)
    steps = "l".join(f"{x} {y}" for x, y in np.diff(points, axis=0).tolist())
    return f"M{points[0, 0]} {points[0, 1]}{'l' + steps if steps else ''}z"


def _jpeg(image: np.ndarray, characters: int) -> tuple[str, tuple[int, int]]:
    """A data URI, as large as so many characters and `SIDES` allow, and its size (width, height)."""
    longer = max(image.shape[:2])
    side = min(longer, SIDES[1])
    while True:
        size = (max(1, round(image.shape[1] * side / longer)), max(1, round(image.shape[0] * side / longer)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        length = len(encoded) * 4 / 3
        if length <= characters or side <= SIDES[0]:
            break
        # bytes go with the area, or slower: small pictures hold more detail a pixel
        side = max(SIDES[0], int(side * min(0.9, math.sqrt(max(characters, 0) / length))))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii"), size
