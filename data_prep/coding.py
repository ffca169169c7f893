"""How masks of several classes say which: by color or by number; read once into numbers from 1, and 0 beside them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.data import classes, files
from polyp_monai.errors import PolypError, shortened

Color = tuple[int, int, int]

STRANGE = 140  # distance of RGB to every known color that no mixture of one with black has (127)
STRANGE_SHARE = 0.005  # of the mask's pixels; where two classes meet, a few pixels are mixed of both
BOTH = 0.05  # share of a connected region that a second class must have to be meant; noise of JPEG has less
NAMED = {"background", "none"}  # rows of a table that give the background


@dataclass(frozen=True)
class Coding:
    """`names` of the classes in the order of their numbers; `codes`: RGB of each, or the index that masks hold.

    `background`: the other colors, or indices, that are no polyp; black and 0 always are.
    """

    names: tuple[str, ...]
    codes: tuple[Any, ...]
    background: tuple[Any, ...] = ()

    @property
    def by_color(self) -> bool:
        return isinstance(self.codes[0], tuple)

    def read(self, path: Path) -> tuple[np.ndarray, int]:
        """(H, W) uint8 of 0 to the number of classes; and the count of pixels of no color of the list.

        Raises:
            MaskError: a color or an index that is in no list ("unknown-class").
            PolypError: unreadable.
        """
        if not self.by_color:
            return self._of_indices(files.read_indices(path), path), 0
        return self._of_colors(files.to_rgb(files.read_picture(path), path), path)

    def _of_indices(self, indices: np.ndarray, path: Path) -> np.ndarray:
        table = np.full(256, 255, np.uint8)
        table[[0, *self.background]] = 0
        table[list(self.codes)] = np.arange(1, len(self.codes) + 1)
        found = table[indices]
        if strange := np.unique(indices[found == 255]).tolist():
            raise files.MaskError("unknown-class", path, f"index {shortened(list(map(str, strange)), 5)}: of no class")
        return found

    def _of_colors(self, pixels: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
        """Each pixel is of the color that is nearest to its own; then noise is cleared from each region."""
        known = np.array([(0, 0, 0), *self.background, *self.codes], np.int32)
        number = np.array([0] * (1 + len(self.background)) + list(range(1, len(self.codes) + 1)), np.uint8)
        red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
        packed = red << 16 | green << 8 | blue
        drawn = packed > 0  # most of a mask is black
        colors, where, count = np.unique(packed[drawn], return_inverse=True, return_counts=True)
        seen = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1)
        distance = ((seen[:, None] - known) ** 2).sum(2)
        off = distance.min(1)
        strange = np.where(off > STRANGE**2, count, 0)
        if (share := strange.sum() / packed.size) > STRANGE_SHARE:
            text = f"{share:.1%} of the mask has colors like {seen[strange.argmax()].tolist()}, of no class"
            raise files.MaskError("unknown-class", path, text)
        found = np.zeros(packed.shape, np.uint8)
        found[drawn] = number[distance.argmin(1)][where.ravel()]
        return one_class_a_region(found), int(count[off > 0].sum())


def one_class_a_region(indices: np.ndarray) -> np.ndarray:
    """(H, W) numbers of classes, where the noise between colors is gone: a connected region has the class of most of
    its pixels.

    A region really holds several, polyps that touch, where connected parts of other classes have a share of `BOTH` or
    more of it; these keep their class, and what is smaller takes that of the nearest of them.
    """
    import cv2

    count, regions = cv2.connectedComponents((indices > 0).astype(np.uint8), connectivity=8)
    held = np.zeros((count, int(indices.max(initial=0)) + 1), np.int64)
    np.add.at(held, (regions.ravel(), indices.ravel()), 1)
    held[0] = 0
    most, area = held.argmax(1).astype(np.uint8), held.sum(1)
    cleared = np.where(indices > 0, most[regions], 0).astype(np.uint8)
    for region in np.flatnonzero((held >= BOTH * np.maximum(area, 1)[:, None]).sum(1) > 1):
        inside = regions == region
        cleared[inside] = _nearest_part(np.where(inside, indices, 0), BOTH * area[region])[inside]
    return cleared


def _nearest_part(numbers: np.ndarray, least: float) -> np.ndarray:
    """(H, W): of each pixel the number of the nearest connected part of one number that has `least` pixels or more."""
    import cv2
    from scipy.ndimage import distance_transform_edt

    kept = np.zeros(numbers.shape, bool)
    for number in np.unique(numbers[numbers > 0]):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((numbers == number).astype(np.uint8), connectivity=8)
        large = stats[:, cv2.CC_STAT_AREA] >= least
        large[0] = False
        kept |= large[parts]
    rows, columns = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return numbers[rows, columns]


def of_table(table: Path) -> Coding:
    """The classes that a table lists: columns `name` and `color` (#ff0000, or 255 0 0), or `name` and `index`.

    Rows of the name background may list what else is none.

    Raises:
        PolypError: no such table, in one line what is wrong with it.
    """
    if not table.is_file():
        raise PolypError(f"{table}: no such file (--classes)")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns, rows = [name or "" for name in reader.fieldnames or []], list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise PolypError(f"{table}: not a CSV file in UTF-8 ({error})") from error
    kinds = {"color", "index"} & set(columns)
    if "name" not in columns or len(kinds) != 1:
        raise PolypError(
            f"{table}: needs columns name and color, or name and index; has {', '.join(columns) or 'none'}"
        )
    kind = kinds.pop()
    read = _color if kind == "color" else _index
    names, codes, background = [], [], []
    for number, row in enumerate(rows, 2):
        name, text = (row.get("name") or "").strip(), (row.get(kind) or "").strip()
        if (code := read(text)) is None:
            expected = "#rrggbb, or three numbers of 0 to 255" if kind == "color" else "a whole number of 0 to 254"
            raise PolypError(f"{table}: line {number}: {kind} {text!r}: expected {expected}")
        if name.lower() in NAMED:
            background.append(code)
            continue
        if code in (0, (0, 0, 0)) or code in codes or code in background:
            taken = "is the background's" if code in (0, (0, 0, 0)) or code in background else "is there twice"
            raise PolypError(f"{table}: line {number}: {kind} {text} {taken}")
        names.append(name)
        codes.append(code)
    return Coding(classes.check(names, str(table)), tuple(codes), tuple(background))


def _color(text: str) -> Color | None:
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        digits = text.removeprefix("#")
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    numbers = re.findall(r"\d+", text)
    if len(numbers) != 3 or not re.fullmatch(r"[\d\s,;()]+", text) or any(int(n) > 255 for n in numbers):
        return None
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


def _index(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,3}", text) and int(text) < 255 else None
