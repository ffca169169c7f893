"""What earlier predictions left in a folder: their tables, and which frames are done.

A run over all frames writes predictions.csv. Parts of a job, which share the folder, write a table each; the next run
without a part joins them.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyp_monai.data import files, lock
from polyp_monai.data.listing import DiskSet
from polyp_monai.data.outputs import Ledger
from polyp_monai.errors import PolypError

NAME = "predictions.csv"
COLUMNS = ("image", "mask", "width", "height", "polyps", "polyp_share", "confidence", "boxes")
CLASS_COLUMNS = ("classes", "class_probabilities")  # where a bundle tells several apart; of each polyp, as its box
AS_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # any name of a file
MOST_PARTS = 100_000


def part_of(text: str) -> tuple[int, int]:
    """(3, 8) of "3/8", the third of eight parts. Raises ValueError."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_PARTS):
        raise ValueError("expected K/N, the K-th of N parts, such as 3/8")
    return int(number), int(of)


def tag(part: str | None) -> str:
    """What the files of a part are named by: "3-of-8"; "" without a part."""
    return "-of-".join(map(str, part_of(part))) if part else ""


def table(folder: str | Path, part: str | None = None) -> Path:
    """The table of a run, or of one part."""
    return Path(folder) / (f"predictions-{tag(part)}.csv" if part else NAME)


def tables(folder: str | Path) -> list[Path]:
    """Those that are there: predictions.csv, then those of parts, which are newer than it, the latest last."""
    parts = sorted(Path(folder).glob("predictions-*-of-*.csv"), key=lambda path: path.stat().st_mtime_ns)
    return [path for path in (table(folder), *parts) if path.exists()]


def columns(classes: bool) -> tuple[str, ...]:
    """Of a table that tells classes apart, or not."""
    return COLUMNS + CLASS_COLUMNS * classes


def columns_of(path: Path) -> tuple[str, ...] | None:
    """Those of the table that is there; None without one."""
    if not path.exists():
        return None
    with open(path, **AS_TEXT) as file:
        return tuple(next(csv.reader(file), COLUMNS))


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a table, but for one that a killed run left torn.

    Raises:
        PolypError: a file of that name that polyp did not write.
    """
    with open(path, **AS_TEXT) as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or COLUMNS) not in (COLUMNS, COLUMNS + CLASS_COLUMNS):
            raise PolypError(f"{path}: is there already, and polyp did not write it; give another output folder")
        yield from (row for row in reader if None not in row.values() and None not in row)


def check(folder: str | Path) -> None:
    """Raises PolypError when a table in the folder is none of polyp's."""
    for path in tables(folder):
        next(rows(path), None)


def tidy(folder: str | Path, part: str | None = None, classes: bool = False) -> None:
    """Write a table again with one row a mask, the latest; without a `part` those of all parts go into it.

    It gets the columns of classes when one of them has them, or for `classes`.
    """
    found = [table(folder, part)] if part else tables(folder)
    if not any(path.exists() for path in found):
        return
    names = columns(classes or any(columns_of(path) == columns(True) for path in found))
    base = sqlite3.connect("")  # a temporary file: a table may be larger than memory
    base.execute("CREATE TABLE latest(mask BLOB PRIMARY KEY, place INTEGER, row BLOB)")
    for number, row in enumerate(row for path in found for row in rows(path)):
        cells = ["\0".join(row.get(name, "") for name in names), row["mask"]]
        line, mask = (cell.encode("utf-8", "surrogateescape") for cell in cells)
        base.execute(
            "INSERT INTO latest VALUES (?, ?, ?) ON CONFLICT(mask) DO UPDATE SET row = excluded.row",
            [mask, number, line],
        )
    with files.atomic(table(folder, part)) as partial, open(partial, "w", **AS_TEXT) as file:
        file.write(files.csv_text([names]))
        for (line,) in base.execute("SELECT row FROM latest ORDER BY place"):
            file.write(files.csv_text([line.decode("utf-8", "surrogateescape").split("\0")]))
    base.close()
    for path in found:
        if path != table(folder, part):
            path.unlink()


def check_settings(folder: str | Path, made_with: dict[str, Any]) -> None:
    """Raises PolypError when the masks in the folder were made with other settings, as far as its ledger knows."""
    before = (Ledger(folder, "predict", joined=True).identity or {}).get("made_with", {})
    for key, value in made_with.items():
        if before.get(key, value) != value:
            raise PolypError(
                f"{folder}: holds masks of {key} {before[key]}, not {value}; give another --out, or --overwrite in the "
                "place of --skip-existing"
            )


def note_settings(folder: str | Path, part: str | None, made_with: dict[str, Any]) -> None:
    """Note in the ledger of a run, if it came to one, what its masks were made with."""
    ledger = Ledger(folder, "predict", tag(part))
    if ledger.path.exists():
        with lock.held_part(folder, tag(part)) if part else lock.held(folder):
            ledger.claim((), {"made_with": made_with})


class Done:
    """The frames of a folder that need not be done again.

    A mask must be whole. One that `polyp predict` wrote has its row too: it is written last, so that nothing of the
    frame is lacking.

    Args:
        ledger: of the folder, with those of all parts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._in_table = DiskSet()
        for path in tables(ledger.folder):
            for row in rows(path):
                self._in_table.add(row["mask"])

    def holds(self, mask: str, *others: str) -> bool:
        """`others`: files, written as a whole or not at all, that the frame needs besides."""
        if mask in self.ledger.files and mask not in self._in_table:
            return False
        return all((self.ledger.folder / name).exists() for name in others) and is_whole(self.ledger.folder / mask)


def is_whole(path: Path) -> bool:
    """Whether a mask is there to its last byte, by the sums of check that its format holds."""
    try:
        if files.suffix_of(path) in files.NIFTI_SUFFIXES:
            files.read_picture(path)
            return True
        from PIL import Image

        with Image.open(path) as image:
            image.verify()
        return True
    except Exception:  # a damaged file makes decoders raise anything
        return False
