"""The truth of a video, frame by frame: a table of boxes, or a folder of masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyp_monai.data import files, search
from polyp_monai.errors import PolypError, counted, shortened
from polyp_monai.metrics.lesions import components
from polyp_monai.metrics.video import common_areas
from polyp_monai.video.tables import CORNERS, Box, PredictedVideo, box, frame_number, rows

SPECK = 1e-4  # share of a mask below which a component is a slip of the pen: 11 pixels of a frame of 384 x 288


class TrueFrame(NamedTuple):
    """The polyps of a frame, their boxes (n, 4) and, if the truth is masks, int (H, W) with i + 1 where polyp i is."""

    number: int
    polyps: list[str]
    boxes: np.ndarray
    labels: np.ndarray | None = None


def boxes(path: Path, prediction: PredictedVideo) -> Iterator[TrueFrame]:
    """Every predicted frame and every frame that the truth's table lists, in order."""
    table: dict[int, list[tuple[str, Box]]] = {}
    for line, row in rows(path, ("frame", *CORNERS)):
        entries = table.setdefault(frame_number(path, line, row), [])
        if (found := box(path, line, row)) is not None:
            if (entry := (row.get("polyp") or "", found)) in entries:
                raise PolypError(f"{path}: line {line}: the frame {row['frame']} has this box twice")
            entries.append(entry)
    named = {bool(name) for entries in table.values() for name, _ in entries}
    if len(named) > 1:
        raise PolypError(f"{path}: some boxes name their polyp and some do not; name all or none")
    if table:
        _check_common(prediction, table.keys(), path)
    return _named_boxes(table, sorted(prediction.times.keys() | table.keys()), named == {False})


def _check_common(prediction: PredictedVideo, numbers: Iterable[int], truth: Path) -> None:
    if prediction.times.keys().isdisjoint(numbers):
        raise PolypError(
            f"{prediction.path} and {truth}: no frame in common; the prediction has {min(prediction.times)} to "
            f"{max(prediction.times)}, the truth {min(numbers)} to {max(numbers)}; number both alike"
        )


def _named_boxes(table: Mapping[int, list[tuple[str, Box]]], numbers: list[int], nameless: bool) -> Iterator[TrueFrame]:
    fresh, earlier = map(str, count(1)), np.zeros((0, 4))
    before: list[str] = []
    for number in numbers:
        entries = table.get(number, [])
        corners = np.array([corners for _, corners in entries], float).reshape(-1, 4)
        names = [name for name, _ in entries]
        if nameless:
            names = _follow(common_areas(earlier, corners), before, fresh)
        yield TrueFrame(number, names, corners)
        before, earlier = names, corners


def masks(folder: Path, prediction: PredictedVideo, notes: list[str], keep_inverted: bool) -> Iterator[TrueFrame]:
    """Every mask of the folder, in order. Raises PolypError for one that seems inverted, unless `keep_inverted`."""
    paths = _numbered(folder)
    shift = _shift(list(paths), list(prediction.times))
    if shift:
        notes.append(f"masks from {min(paths)} on are paired in order with frames from {min(prediction.times)} on")
    paths = {number + shift: path for number, path in paths.items()}
    _check_common(prediction, paths.keys(), folder)
    if lacking := [str(number) for number in prediction.times if number not in paths]:
        notes.append(f"{counted(len(lacking), 'predicted frame')} without a mask, not scored: {shortened(lacking)}")
    return _named_masks(paths, notes, keep_inverted)


def _named_masks(paths: Mapping[int, Path], notes: list[str], keep_inverted: bool) -> Iterator[TrueFrame]:
    fresh, specks = map(str, count(1)), 0
    before: list[str] = []
    earlier: np.ndarray | None = None
    first = next(iter(paths.values()))
    for number, path in paths.items():
        mask = files.read_mask(path)
        if not keep_inverted:
            files.check_not_inverted(mask, path)
        if earlier is not None and mask.shape != earlier.shape:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (mask.shape, earlier.shape)]
            raise PolypError(f"{path}: is {sizes[0]}, but {first} is {sizes[1]}; the masks of a video have one size")
        labels, corners, left_out = _without_specks(mask)
        specks += left_out
        polyps = len(corners)
        shared = np.zeros((len(before), polyps), int)
        if earlier is not None and shared.size:
            pairs = np.bincount((earlier * (polyps + 1) + labels).ravel(), minlength=(len(before) + 1) * (polyps + 1))
            shared = pairs.reshape(len(before) + 1, polyps + 1)[1:, 1:]
        names = _follow(shared, before, fresh)
        yield TrueFrame(number, names, corners, labels)
        before, earlier = names, labels
    if specks:
        notes.append(f"no polyp, because below {SPECK:.2%} of the frame: {counted(specks, 'speck')} of the masks")


def _without_specks(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels (H, W) of the components of a mask, 0 is background; their boxes (n, 4); and how many were too small."""
    found = components(mask)
    kept = found.areas >= SPECK * mask.size
    renumber = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
    return renumber[found.labels], found.boxes[kept].astype(float), int((~kept).sum())


def _follow(shared: np.ndarray, before: list[str], fresh: Iterator[str]) -> list[str]:
    """Names of a frame's polyps: of the polyp of the frame before that each shares most with, else a fresh one.

    shared: area (n before, m now). Two parts of one polyp have one name.
    """
    if not len(before):
        return [next(fresh) for _ in range(shared.shape[1])]
    return [before[int(column.argmax())] if column.any() else next(fresh) for column in shared.T]


def _numbered(folder: Path) -> dict[int, Path]:
    """Number of the frame -> mask, in order."""
    found: dict[int, Path] = {}
    for path in search.find_images(folder, recursive=False):
        digits = re.findall(r"\d+", files.stem_of(path))
        if not digits:
            raise PolypError(f"{path}: no number in its name; a mask is named by the number of its frame")
        if (number := int(digits[-1])) in found:
            raise PolypError(f"{path} and {found[number]}: both of frame {number}; the last number in a name counts")
        found[number] = path
    if not found:
        raise PolypError(f"{folder}: holds no mask ({', '.join(files.SUFFIXES)})")
    return dict(sorted(found.items()))


def _shift(masks: list[int], frames: list[int]) -> int:
    """What to add to the masks' numbers: 0, unless as many masks and frames, both without a gap, begin elsewhere."""
    gapless = all(numbers[-1] - numbers[0] == len(numbers) - 1 for numbers in (masks, frames))
    return frames[0] - masks[0] if gapless and len(masks) == len(frames) else 0
