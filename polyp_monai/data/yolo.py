"""Boxes as YOLO has them: a .txt file a frame, in it a line a box: class, center x and y, width, height, and of a
prediction the score, as shares of the frame; `classes.txt` names the classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyp_monai.data import files, search
from polyp_monai.data.boxes import Box, BoxedFrame, BoxSet, check_box, key, keyed
from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import POLYP

NAMES = "classes.txt"  # a name a line, the first is class 0
SUFFIX = ".txt"


def text(frame: BoxedFrame) -> str:
    """The file of a frame; with so many digits that its pixels can be told again."""
    assert frame.size is not None  # nothing is written without its frames
    size, lines = np.array(frame.size), []
    for box in frame.boxes:
        low, high = np.array(box.corners[:2]) / size, np.array(box.corners[2:]) / size
        shares = [*(low + high) / 2, *(high - low)]
        score = "" if math.isnan(box.score) else f" {box.score!r}"
        lines.append(f"{box.label} {' '.join(f'{share:.12g}' for share in shares)}{score}\n")
    return "".join(lines)


def names_text(classes: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in classes)


def file_of(name: str) -> str:
    """The file of a frame, relative to the folder. Raises PolypError when it is that of the classes."""
    if (file := key(name) + SUFFIX) == NAMES:
        raise PolypError(f"{name}: its boxes would be written to {NAMES}, which names the classes; rename it")
    return file


def read(folder: Path) -> BoxSet:
    """Read the files of a folder, and of those below it.

    Args:
        folder: without `classes.txt` every box must be of class 0, a polyp.

    Raises:
        PolypError: no file there; a line that is no box, or of a class without a name.
    """
    paths = [path for path in search.search(folder).others if path.suffix.lower() == SUFFIX and path != folder / NAMES]
    if not paths:
        raise PolypError(f"{folder}: holds no .txt file with boxes")
    known = (folder / NAMES).is_file()
    names = _names(folder / NAMES) if known else POLYP
    frames = []
    for path in paths:
        files.check_name(path)
        frames.append(BoxedFrame(path.relative_to(folder).as_posix(), None, _boxes(path, names, known)))
    return BoxSet(str(folder), names, keyed(frames, str(folder)), listed=False)


def _names(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in _lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names) or len(set(names)) < len(names):
        raise PolypError(f"{path}: expected a name a line, each once")
    return tuple(names)


def _boxes(path: Path, names: Sequence[str], known: bool) -> list[Box]:
    boxes = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where, cells = f"{path}, line {number}", line.split()
        if len(cells) not in (5, 6):
            raise PolypError(f"{where}: {len(cells)} numbers; expected class, center x and y, width, height [score]")
        try:
            x, y, width, height, *score = map(float, cells[1:])
        except ValueError:
            raise PolypError(f"{where}: {line.strip()[:60]!r} is not made of numbers") from None
        if not all(map(math.isfinite, (x, y, width, height, *score))):
            raise PolypError(f"{where}: holds NaN or infinite values")
        if not cells[0].isdecimal() or int(cells[0]) >= len(names):
            told = f"{NAMES} names {len(names)}" if known else f"without a {NAMES} every box is of class 0"
            raise PolypError(f"{where}: there is no class {cells[0]}; {told}")
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        check_box(corners, (1, 1), where, "; the numbers are shares of it, not pixels")
        boxes.append(Box(int(cells[0]), corners, score[0] if score else math.nan))
    return boxes


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PolypError(f"{path}: is no text in UTF-8; is it damaged?") from error
