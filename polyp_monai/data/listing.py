"""Long lists of frames on disk instead of in memory: a list that costs a disk its bytes, however many frames it names.

SQLite keeps them in a temporary file of its own, which goes with the process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

PAGE = 1000  # rows in memory at a time


class Listed(NamedTuple):
    """A frame of a listing. `output`: its name below the output folder, without suffix; `problem`: why it has no mask,
    or ""."""

    position: int
    path: str
    output: str
    problem: str


class DiskSet:
    """A set of texts. Any file name is a text, those that are no UTF-8 too."""

    def __init__(self) -> None:
        self._base = _base()
        self._base.execute("CREATE TABLE member(name BLOB PRIMARY KEY) WITHOUT ROWID")

    def __contains__(self, name: str) -> bool:
        return self._base.execute("SELECT 1 FROM member WHERE name = ?", [os.fsencode(name)]).fetchone() is not None

    def add(self, name: str) -> bool:
        """Returns whether it is new."""
        done = self._base.execute("INSERT OR IGNORE INTO member VALUES (?)", [os.fsencode(name)])
        return done.rowcount == 1


class Listing:
    """Frames in the order in which they were added, each path once."""

    def __init__(self) -> None:
        self._base = _base()
        self._base.execute(
            "CREATE TABLE frame(position INTEGER PRIMARY KEY, path BLOB UNIQUE, output BLOB, problem BLOB)"
        )

    def add(self, path: str, output: str, problem: str = "") -> None:
        """Add a frame; one that is there already stays as it is."""
        self._base.execute(
            "INSERT OR IGNORE INTO frame(path, output, problem) VALUES (?, ?, ?)",
            [os.fsencode(text) for text in (path, output, problem)],
        )

    def __len__(self) -> int:
        return self._base.execute("SELECT count(*) FROM frame").fetchone()[0]

    def __iter__(self) -> Iterator[Listed]:
        """The frames, a page at a time: they may be changed or dropped meanwhile."""
        last = 0
        while rows := self._base.execute(
            "SELECT position, path, output, problem FROM frame WHERE position > ? ORDER BY position LIMIT ?",
            [last, PAGE],
        ).fetchall():
            for position, *texts in rows:
                yield Listed(position, *map(os.fsdecode, texts))
            last = rows[-1][0]

    def keep(self, wanted: Callable[[Listed], bool]) -> None:
        """Drop the frames that are not wanted."""
        for frame in self:
            if not wanted(frame):
                self._base.execute("DELETE FROM frame WHERE position = ?", [frame.position])

    def mark(self, frame: Listed, problem: str) -> None:
        """Say why a frame will have no mask."""
        self._base.execute("UPDATE frame SET problem = ? WHERE position = ?", [os.fsencode(problem), frame.position])

    def rename(self, name: Callable[[Listed], str], among_equals: bool = False) -> None:
        """Give the frames without a problem other outputs; with `among_equals` only those whose outputs meet."""
        meets = f" AND output IN ({_MEETING})" if among_equals else ""
        self._base.execute("CREATE INDEX IF NOT EXISTS by_output ON frame(output)")
        self._base.execute("CREATE TEMP TABLE renamed(position INTEGER PRIMARY KEY, output BLOB)")
        positions = f"SELECT position, path, output, problem FROM frame WHERE problem = x''{meets}"
        for position, *texts in self._base.execute(positions):
            output = name(Listed(position, *map(os.fsdecode, texts)))
            self._base.execute("INSERT INTO renamed VALUES (?, ?)", [position, os.fsencode(output)])
        self._base.execute(
            "UPDATE frame SET output = renamed.output FROM renamed WHERE renamed.position = frame.position"
        )
        self._base.execute("DROP TABLE renamed")

    def meet(self) -> bool:
        """Whether two frames without a problem have one output."""
        return self._base.execute(f"{_MEETING} LIMIT 1").fetchone() is not None


_MEETING = "SELECT output FROM frame WHERE problem = x'' GROUP BY output HAVING count(*) > 1"


def _base() -> sqlite3.Connection:
    """A data base in a temporary file. Several threads use it, one at a time."""
    base = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = OFF")
    base.execute("PRAGMA temp_store = FILE")
    base.execute("PRAGMA cache_size = -16000")  # KiB
    base.execute("BEGIN")  # never ended: nothing of it is to outlive the process
    return base
