"""Tables of boxes, checked row by row: the frames.csv of a prediction, and what its truth is read with."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polyp_monai.errors import PolypError

CORNERS = ("x0", "y0", "x1", "y1")

Box = tuple[float, float, float, float]


class PredictedVideo(NamedTuple):
    """What frames.csv says.

    times: number of each frame, in order -> seconds; alarms: number -> polyp and box of each; last: seconds that the
    last frame is shown, for which the table has no end.
    """

    path: Path
    times: dict[int, float]
    alarms: dict[int, list[tuple[str, Box]]]
    last: float


def read_prediction(path: Path, rate: float | None) -> PredictedVideo:
    """Raises PolypError: not such a table, a row that makes no sense, times that go back, or no frame."""
    times: dict[int, float] = {}
    seen: set[tuple[int, str]] = set()
    alarms: dict[int, list[tuple[str, Box]]] = defaultdict(list)
    for line, row in rows(path, ("frame", "polyp", *CORNERS, *(() if rate else ("time",)))):
        number = frame_number(path, line, row)
        time = number / rate if rate else _number(path, line, row, "time")
        if time < 0:
            raise PolypError(f"{path}: line {line}: time is {time:g}; expected seconds from 0, or give --fps")
        if row.get("confidence") and not 0 <= _number(path, line, row, "confidence") <= 1:
            raise PolypError(f"{path}: line {line}: confidence is {row['confidence']}; expected 0 to 1")
        if times.setdefault(number, time) != time:
            raise PolypError(f"{path}: line {line}: frame {number} has two times, {times[number]:g} and {time:g}")
        if (number, row["polyp"]) in seen:
            what = f"the polyp {row['polyp']}" if row["polyp"] else "a row without a polyp"
            raise PolypError(f"{path}: line {line}: frame {number} has {what} twice")
        seen.add((number, row["polyp"]))
        if (found := box(path, line, row)) is not None:
            if not row["polyp"]:
                raise PolypError(f"{path}: line {line}: a box without the number of its polyp")
            alarms[number].append((row["polyp"], found))
    if not times:
        raise PolypError(f"{path}: holds no frame; frames without a polyp have a row too")
    times = dict(sorted(times.items()))
    steps = np.diff(list(times.values()))
    if (steps < 0).any():
        back = list(times)[int((steps < 0).argmax()) + 1]
        raise PolypError(f"{path}: the time of frame {back} is before that of the frame before; mend it or give --fps")
    last = float(np.median(steps)) if len(steps) else 1 / rate if rate else 0.0
    return PredictedVideo(path, times, alarms, last)


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row of a CSV, cells stripped. Raises PolypError: no CSV with these columns."""
    if not path.is_file():
        raise PolypError(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            if twice := next((name for name in header if name and header.count(name) > 1), None):
                raise PolypError(f"{path}: has the column {twice} twice")
            if lacking := [name for name in columns if name not in header]:
                raise PolypError(f"{path}: lacks the column {', '.join(lacking)}; it has {', '.join(header) or 'none'}")
            reader.fieldnames = header
            for row in reader:
                if None in row or None in row.values():
                    raise PolypError(f"{path}: line {reader.line_num}: not the {len(header)} cells of the header")
                yield reader.line_num, {name: cell.strip() for name, cell in row.items()}
        except (UnicodeDecodeError, csv.Error) as error:
            raise PolypError(f"{path}: no CSV in UTF-8 ({error})") from error


def frame_number(path: Path, line: int, row: Mapping[str, str]) -> int:
    number = _number(path, line, row, "frame")
    if number < 0 or number != int(number):
        raise PolypError(f"{path}: line {line}: frame is {row['frame']}; expected a whole number from 0")
    return int(number)


def _number(path: Path, line: int, row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = ", or give --fps" if name == "time" else ""
        raise PolypError(f"{path}: line {line}: {name} is {row[name]!r}; expected a number{hint}")
    return value


def box(path: Path, line: int, row: Mapping[str, str]) -> Box | None:
    """None for a row without one."""
    if not any(row[name] for name in CORNERS):
        return None
    x0, y0, x1, y1 = (_number(path, line, row, name) for name in CORNERS)
    if x1 <= x0 or y1 <= y0:
        raise PolypError(f"{path}: line {line}: box {x0:g}, {y0:g}, {x1:g}, {y1:g} is empty; x0 < x1 and y0 < y1")
    if x1 <= 1 and y1 <= 1:
        where = "is in shares of the frame" if min(x0, y0) >= 0 else "lies outside of the frame"
        raise PolypError(f"{path}: line {line}: box {x0:g}, {y0:g}, {x1:g}, {y1:g} {where}; expected pixels")
    return x0, y0, x1, y1
