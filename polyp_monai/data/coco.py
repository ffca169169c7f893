"""Boxes as COCO has them: one JSON file of images, categories and annotations, or a bare list of results.

https://cocodataset.org/#format-data; a bbox is x, y, width, height in pixels, from the upper left corner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyp_monai.data import files, texts
from polyp_monai.data.boxes import Box, BoxedFrame, BoxSet, check_box, key, keyed
from polyp_monai.errors import PolypError, summary


def content(frames: Iterable[BoxedFrame], classes: Sequence[str]) -> dict[str, Any]:
    """A COCO file: `segmentation` is the outline as a polygon, or else the box; `score` stands where there is one."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, start=1):
        assert frame.size is not None  # nothing is written without its frames
        width, height = frame.size
        images.append({"id": number, "file_name": frame.name, "width": width, "height": height})
        annotations += [{"id": 0, "image_id": number, **_annotation(box)} for box in frame.boxes]
    for number, annotation in enumerate(annotations, start=1):  # from 1: pycocotools takes a match with 0 for none
        annotation["id"] = number
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _annotation(box: Box) -> dict[str, Any]:
    x0, y0, x1, y1 = (_whole(value) for value in box.corners)
    polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
    if box.outline is not None and len(box.outline) > 2:
        polygon = box.outline.ravel().tolist()
    entry = {
        "category_id": box.label + 1,
        "bbox": [x0, y0, _whole(x1 - x0), _whole(y1 - y0)],
        "area": _whole((x1 - x0) * (y1 - y0) if box.area is None else box.area),
        "segmentation": [polygon],
        "iscrowd": 0,
    }
    return entry if math.isnan(box.score) else entry | {"score": box.score}


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def write(path: Path, frames: Iterable[BoxedFrame], classes: Sequence[str]) -> None:
    """Write the file atomically."""
    files.write_text(path, json.dumps(content(frames, classes), ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path, truth: BoxSet | None = None) -> BoxSet:
    """Read a file of boxes.

    Args:
        path: of images, categories and annotations; or a list of results, which names its images by the numbers that
            they have in `truth`.
        truth: a set that was read from a COCO file.

    Raises:
        PolypError: no JSON; a part, key or image that is missing; a box that is none; a crowd.
    """
    if not path.is_file():
        raise PolypError(f"{path}: no such file")
    try:
        found = texts.parse_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PolypError(f"{path}: not readable as JSON ({summary(error)}); is it damaged or cut short?") from error
    if isinstance(found, list):
        return _results(path, found, truth)
    if not isinstance(found, dict):
        raise PolypError(f"{path}: expected COCO's object of images, categories and annotations, or a list of results")
    for part in ("images", "categories", "annotations"):
        if not isinstance(found.get(part), list):
            raise PolypError(f"{path}: has no list {part!r}, as a COCO file has")
    images, sizes = _images(path, found["images"])
    names, labels = _categories(path, found["categories"])
    frames = _frames(path, "annotation", found["annotations"], images, sizes, labels)
    return BoxSet(str(path), names, frames, image_ids=images, label_of=labels)


def _results(path: Path, found: list[Any], truth: BoxSet | None) -> BoxSet:
    if truth is None or not truth.image_ids:
        raise PolypError(
            f"{path}: is a list of results without images; its numbers say something beside a COCO file as truth only"
        )
    sizes = {number: truth.frames[key(name)].size for number, name in truth.image_ids.items()}
    frames = _frames(path, "result", found, truth.image_ids, sizes, truth.label_of)
    silent = sum(not frame.boxes for frame in frames.values())
    return BoxSet(str(path), truth.classes, frames, listed=False, silent=silent)


def _images(path: Path, entries: list[Any]) -> tuple[dict[Any, str], dict[Any, Any]]:
    """File name and size, by number."""
    names: dict[Any, str] = {}
    sizes = {}
    for place, entry in enumerate(entries):
        where = f"{path}: image {place}"
        number = _number(entry, "id", where)
        if number in names:
            raise PolypError(f"{where}: has the id {number}, as another image")
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise PolypError(f"{where}: has no file_name")
        sides = entry.get("width"), entry.get("height")
        if not all(type(side) is int and side > 0 for side in sides):
            raise PolypError(f"{where}, {name}: width and height are {sides[0]!r} and {sides[1]!r}; expected pixels")
        names[number], sizes[number] = name, sides
    if not names:
        raise PolypError(f"{path}: names no image")
    return names, sizes


def _categories(path: Path, entries: list[Any]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names, and the place of each number among them."""
    names: list[str] = []
    labels: dict[Any, int] = {}
    for place, entry in enumerate(entries):
        where = f"{path}: category {place}"
        number, name = _number(entry, "id", where), entry.get("name")
        if not isinstance(name, str) or not name:
            raise PolypError(f"{where}: has no name")
        if number in labels or name in names:
            raise PolypError(f"{where}: has the id or the name of another, {number} {name!r}")
        labels[number] = len(names)
        names.append(name)
    if not names:
        raise PolypError(f"{path}: names no category")
    return tuple(names), labels


def _frames(
    path: Path,
    kind: str,
    entries: list[Any],
    images: Mapping[Any, str],
    sizes: Mapping[Any, Any],
    labels: Mapping[Any, int],
) -> dict[str, BoxedFrame]:
    boxes: dict[Any, list[Box]] = {number: [] for number in images}
    for place, entry in enumerate(entries):
        where = f"{path}: {kind} {place}"
        image, category = (_number(entry, name, where) for name in ("image_id", "category_id"))
        if image not in images:
            raise PolypError(f"{where}: no image has the id {image!r}")
        if category not in labels:
            raise PolypError(f"{where}: no category has the id {category!r}")
        if entry.get("iscrowd"):
            raise PolypError(f"{where}: is a crowd (iscrowd), which polyps are not; give each a box of its own")
        corners = _corners(entry.get("bbox"), f"{where}, of {images[image]}", sizes[image])
        boxes[image].append(Box(labels[category], corners, _score(entry, where, needed=kind == "result")))
    return keyed((BoxedFrame(name, sizes[number], boxes[number]) for number, name in images.items()), str(path))


def _corners(box: Any, where: str, size: tuple[int, int]) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise PolypError(f"{where}: bbox is {str(box)[:60]}; expected four numbers x, y, width, height")
    x, y, width, height = map(float, box)
    if 0 < width <= 1 and 0 < height <= 1 and 0 <= x <= 1 and 0 <= y <= 1 and min(size) > 1:
        raise PolypError(f"{where}: bbox is {box}, less than a pixel; are these shares of the frame?")
    corners = x, y, x + width, y + height
    check_box(corners, size, where, "; bbox is x, y, width, height, not the corners")
    return corners


def _score(entry: Mapping[str, Any], where: str, needed: bool) -> float:
    if "score" not in entry and not needed:
        return math.nan
    score: Any = entry.get("score")
    if not _is_number(score):
        raise PolypError(f"{where}: score is {score!r}; expected a number")
    return float(score)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not, too


def _number(entry: Any, name: str, where: str) -> Any:
    """An id, which may be text."""
    if not isinstance(entry, dict):
        raise PolypError(f"{where}: expected an object, not {str(entry)[:60]}")
    if not isinstance(value := entry.get(name), (int, str)) or isinstance(value, bool):
        raise PolypError(f"{where}: {name} is {value!r}; expected a number")
    return value
