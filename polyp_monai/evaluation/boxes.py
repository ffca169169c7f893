"""Anybody's boxes against anybody's boxes: COCO files, YOLO folders, or masks, of which the boxes are taken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.data import boxes, files
from polyp_monai.data.boxes import Box, BoxedFrame, BoxSet
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import external
from polyp_monai.evaluation.pool import Pool
from polyp_monai.evaluation.scoring import LEVEL, plain
from polyp_monai.metrics import detection
from polyp_monai.metrics.arrays import by_rows
from polyp_monai.metrics.classes import POLYP
from polyp_monai.metrics.detection import Detections
from polyp_monai.metrics.lesions import components
from polyp_monai.metrics.regions import find_polyps


class MaskOptions(NamedTuple):
    """How masks become boxes. `threshold`: of probability maps; `keep_inverted`: whether a truth may be inverted;
    `of_ones`: whether a map of 0 and 1 alone is a mask."""

    threshold: float = 0.5
    keep_inverted: bool = False
    of_ones: bool = True


class BoxRun(NamedTuple):
    """What was scored. `rows` and `frames` go together; `silent`: of how many the predictions say nothing."""

    rows: list[dict[str, Any]]
    frames: list[Detections]
    classes: tuple[str, ...]
    without_prediction: list[str]
    without_truth: list[str]
    silent: int

    def summary(self) -> dict[str, Any]:
        """As `scoring.summarize`, of boxes alone."""
        groups = [row["group"] or row["name"] for row in self.rows]
        found = detection.detection_summary(self.frames, groups, self.classes, LEVEL)
        return plain({"frames": len(self.rows), "detection": found})


def score(predictions: Path, truths: Path, data: Path | None = None, options: MaskOptions | None = None) -> BoxRun:
    """Match frames by name as `external.match`, and their boxes.

    Of predicted frames that a YOLO folder or a bare list of results does not name nothing was found. Where one side
    knows only one class, classes are not told apart.

    Args:
        predictions, truths: COCO file, YOLO folder, or folder of masks (or probability maps).
        data: a data list, which knows image, group and tags of each name, or its folder.
        options: for masks.

    Raises:
        PolypError: a file that is damaged; no name in common, or none that `data` knows; predictions without
            scores; frames of two sizes; classes of other names.
    """
    true = _read(truths)
    guessed = _read(predictions, true)
    _check_scores(guessed)
    silent = guessed.silent if isinstance(guessed, BoxSet) else 0
    found, known = external.same_names(_named(guessed), _named(true), predictions, truths)
    if isinstance(guessed, BoxSet) and not guessed.listed:
        absent = [name for name in known if name not in found]
        found, silent = found | {name: BoxedFrame(name, None, ()) for name in absent}, silent + len(absent)
    names = sorted(known.keys() & found.keys())
    about = external.knowledge(data, names)
    classes, of_truth, of_found = _classes(true, guessed)
    graded = [path for name in names[:: max(1, len(names) // 20)] if isinstance(path := found[name], Path)]
    options = (options or MaskOptions())._replace(of_ones=not any(map(external.is_graded, graded)))
    rows, frames = [], []
    for name, ours, theirs in _pairs(names, known, found, options):
        frame = _detections(_relabelled(ours, of_truth), _relabelled(theirs, of_found))
        image, group, tags = about(name)
        size = ours.size or theirs.size or ("", "")
        right, wrong, _ = detection.hits(frame)
        row = {"name": name, "group": group, "tags": tags, "image": image, "width": size[0], "height": size[1]}
        row |= {"polyps": len(frame.truth), "boxes": len(frame.boxes)}
        rows.append(row | {"found": int(right[0].sum()), "false_positives": int(wrong[0].sum())})
        frames.append(frame)
    left = sorted(known.keys() - found.keys()), sorted(found.keys() - known.keys())
    return BoxRun(rows, frames, classes, *left, silent)


def _read(path: Path, truth: BoxSet | Mapping[str, Path] | None = None) -> BoxSet | dict[str, Path]:
    """Boxes, or where the masks are."""
    if boxes.is_boxes(path):
        return boxes.read(path, truth if isinstance(truth, BoxSet) else None)
    return external.by_key(path)


def _named(side: BoxSet | dict[str, Path]) -> dict[str, BoxedFrame | Path]:
    return dict(side.frames if isinstance(side, BoxSet) else side)


def _check_scores(guessed: BoxSet | dict[str, Path]) -> None:
    if isinstance(guessed, BoxSet) and not guessed.has_scores:
        raise PolypError(f"{guessed.source}: holds boxes without a score, by which predictions are ranked")


def _classes(
    true: BoxSet | dict[str, Path], guessed: BoxSet | dict[str, Path]
) -> tuple[tuple[str, ...], list[int], list[int]]:
    """The classes, and for each side the new number of each of its own.

    Raises:
        PolypError: several on both sides, and of other names.
    """
    names, others = (side.classes if isinstance(side, BoxSet) else POLYP for side in (true, guessed))
    if len(names) == 1 or len(others) == 1:
        return names if len(names) == 1 else POLYP, [0] * len(names), [0] * len(others)
    if set(others) != set(names):
        raise PolypError(
            f"the truth has the classes {', '.join(names)}, the predictions {', '.join(others)}; they must be the same"
        )
    return names, list(range(len(names))), [names.index(name) for name in others]


def _relabelled(frame: BoxedFrame, numbers: Sequence[int]) -> BoxedFrame:
    return replace(frame, boxes=[box._replace(label=numbers[box.label]) for box in frame.boxes])


def _detections(true: BoxedFrame, guessed: BoxedFrame) -> Detections:
    if true.size and guessed.size and true.size != guessed.size:
        sizes = [f"{size[0]} x {size[1]}" for size in (guessed.size, true.size)]
        raise PolypError(f"{true.name}: its boxes were found in a frame of {sizes[0]}, but it is {sizes[1]}")
    truth, labels, _ = true.sized(guessed.size).arrays
    return Detections(truth, labels, *guessed.sized(true.size).arrays)


def _pairs(
    names: Sequence[str],
    known: Mapping[str, BoxedFrame | Path],
    found: Mapping[str, BoxedFrame | Path],
    options: MaskOptions,
) -> Iterator[tuple[str, BoxedFrame, BoxedFrame]]:
    """Name, true and predicted boxes of each frame; masks are read on all cores."""
    with Pool(len(names)) as pool:
        futures = [
            [pool.submit(boxed, side[name], name, options, side is known) for side in (known, found)] for name in names
        ]
        for name, (true, guessed) in zip(names, futures, strict=True):
            yield name, true.result(), guessed.result()


def boxed(source: BoxedFrame | Path, name: str, options: MaskOptions, true: bool) -> BoxedFrame:
    """The boxes of a frame; of a mask those of its components. Of a truth every one counts, of a prediction those that
    `polyp predict` would tell of, with the mean of the map as score."""
    if isinstance(source, BoxedFrame):
        return source
    if not true:
        values = by_rows(files.read_map(source, options.of_ones))
        size = values.shape[1], values.shape[0]
        found = [
            Box(0, polyp.box, polyp.confidence, polyp.outline, polyp.area)
            for polyp in find_polyps(values, options.threshold, (0, 0, *size))
        ]
        return BoxedFrame(name, size, found)
    mask = files.read_mask(source)
    if not options.keep_inverted:
        files.check_not_inverted(mask, source)
    parts = components(np.ascontiguousarray(mask))
    size = mask.shape[1], mask.shape[0]
    pairs = zip(parts.boxes.astype(float).tolist(), parts.areas.tolist(), strict=True)
    return BoxedFrame(name, size, [Box(0, tuple(corners), math.nan, None, area) for corners, area in pairs])
