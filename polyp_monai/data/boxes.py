"""Polyps as boxes: those of a set of frames, in memory. `coco` and `yolo` read and write their files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError

BEYOND = 0.02  # of a frame's side: so far detectors draw over its edge


class Box(NamedTuple):
    """One box: label (number of the class), x0, y0, x1, y1 in pixels, x1 and y1 the first beyond. `score` is NaN of a
    true one; `outline` (n, 2) x, y in pixels, and `area` in pixels, where they are known."""

    label: int
    corners: tuple[float, float, float, float]
    score: float = math.nan
    outline: np.ndarray | None = None
    area: float | None = None


@dataclass(frozen=True)
class BoxedFrame:
    """One frame. `name`: its file, with what is needed of its path; `size`: width, height, None where nobody says: its
    boxes are then shares of them."""

    name: str
    size: tuple[int, int] | None
    boxes: Sequence[Box]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners (n, 4), labels (n,) and scores (n,)."""
        corners = np.array([box.corners for box in self.boxes], dtype=float).reshape(-1, 4)
        labels = np.array([box.label for box in self.boxes], dtype=int)
        return corners, labels, np.array([box.score for box in self.boxes], dtype=float)

    def sized(self, size: tuple[int, int] | None) -> BoxedFrame:
        """In pixels of a frame of this size, if nobody said it before. What was a whole number of pixels when it was
        written as a share is one again."""
        if self.size is not None or size is None:
            return self
        corners = np.round(self.arrays[0] * np.tile(size, 2), 6).tolist()
        boxes = [box._replace(corners=tuple(row)) for box, row in zip(self.boxes, corners, strict=True)]
        return replace(self, size=size, boxes=boxes)


@dataclass(frozen=True)
class BoxSet:
    """The boxes of a file or folder.

    frames: by `key`. listed: whether frames without a box stand there too, as those of a data set do; a model's list of
    boxes may leave them out. silent: of how many frames here it says nothing. image_ids, label_of: what the numbers of
    a COCO file mean.
    """

    source: str
    classes: tuple[str, ...]
    frames: Mapping[str, BoxedFrame]
    listed: bool = True
    silent: int = 0
    image_ids: Mapping[Any, str] = field(default_factory=dict)
    label_of: Mapping[Any, int] = field(default_factory=dict)

    @property
    def has_scores(self) -> bool:
        return not any(math.isnan(box.score) for frame in self.frames.values() for box in frame.boxes)


def key(name: str) -> str:
    """What frames are matched by: the path without suffix."""
    path = Path(name.replace("\\", "/"))
    return (path.parent / files.stem_of(path)).as_posix()


def keyed(frames: Iterable[BoxedFrame], source: str) -> dict[str, BoxedFrame]:
    """The frames by `key`. Raises PolypError when two have one."""
    found: dict[str, BoxedFrame] = {}
    for frame in frames:
        if (name := key(frame.name)) in found:
            raise PolypError(f"{source}: {frame.name} and {found[name].name}: two frames of one name")
        found[name] = frame
    return found


def check_box(corners: Sequence[float], size: tuple[float, float], where: str, hint: str = "") -> None:
    """Raises PolypError for a box without an area, or one that leaves the frame; `hint`: what may be the reason."""
    x0, y0, x1, y1 = corners
    if not (x1 > x0 and y1 > y0):
        raise PolypError(f"{where}: a box without an area, {x1 - x0:g} x {y1 - y0:g}")
    (width, height), slack = size, BEYOND
    if x0 < -slack * width or y0 < -slack * height or x1 > (1 + slack) * width or y1 > (1 + slack) * height:
        raise PolypError(f"{where}: the box leaves its frame of {width:g} x {height:g}{hint}")


def is_boxes(path: Path) -> bool:
    """Whether a path is one of boxes: a .json file (COCO), or a folder of .txt files without a picture (YOLO)."""
    if path.suffix.lower() == ".json":
        return True
    if not path.is_dir():
        return False
    suffixes = {files.suffix_of(entry) for entry in path.rglob("*") if entry.is_file()}
    return ".txt" in suffixes and not suffixes & set(files.SUFFIXES)


def read(path: Path, truth: BoxSet | None = None) -> BoxSet:
    """Read a COCO file or a YOLO folder, which `is_boxes`; `truth`: the set that a bare list of COCO results is about.

    Raises:
        PolypError: damaged: what, and where.
    """
    from polyp_monai.data import coco, yolo

    return yolo.read(path) if path.is_dir() else coco.read(path, truth)
