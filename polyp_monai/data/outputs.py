"""What a command may replace: nothing without `overwrite`, and with it only what the same command wrote there.

A ledger in the folder, .polyp-COMMAND.json, names the files that the command wrote. It is written before the first of
them, so that a run that was killed can be repeated over its own remains.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polyp_monai.data import files, texts
from polyp_monai.errors import PolypError


class Ledger:
    """Files of one command in one folder, by relative path with "/". `identity` is what else it remembers of its run.

    Runs that share a folder, as parts of one job, have a ledger each: that of a part is named by it; `joined` reads
    those of all parts as well.

    Raises:
        PolypError: the ledger is damaged.
    """

    def __init__(self, folder: str | Path, command: str, part: str = "", joined: bool = False) -> None:
        self.folder, self.command = Path(folder), command
        self.path = self.folder / f".polyp-{command}{part and '-'}{part}.json"
        self.parts = sorted(self.folder.glob(f".polyp-{command}-*-of-*.json")) if joined else []
        self.files: set[str] = set()
        self.identity: dict[str, Any] | None = None  # None where the command never wrote
        for path in (self.path, *self.parts):
            self._read(path)

    def _read(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.identity = {**(self.identity or {}), **content["identity"]}
            self.files |= set(content["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise PolypError(f"{path}: damaged ({error}); give another --out") from error

    def check(self, names: Iterable[str], overwrite: bool, otherwise: str = "give another --out") -> None:
        """Raises PolypError, with what to do `otherwise`, when one of the files is there and must not be replaced."""
        for name in names:
            target = self.folder / name
            if not os.path.lexists(target):
                continue
            if name not in self.files:
                what = f"`polyp {self.command}` did not write it"
                raise PolypError(f"{target}: is there already, and {what}; {otherwise}")
            if not overwrite:
                raise PolypError(f"{target}: exists already; {otherwise}, or --overwrite")

    def claim(self, names: Iterable[str], identity: dict[str, Any] | None = None) -> None:
        """Add files, before the first of them is written."""
        self.files |= set(names)
        self.identity = {**(self.identity or {}), **(identity or {})}
        content = json.dumps({"identity": self.identity, "files": sorted(self.files)}, indent=0)
        files.write_text(self.path, content + "\n")  # ASCII: a name that is no UTF-8 comes back as it was
        for path in self.parts:  # theirs are in it now
            path.unlink(missing_ok=True)
        self.parts = []

    def keep(self, names: Iterable[str]) -> None:
        """Remove the files of an earlier run that are not among `names`, and forget them."""
        for name in sorted(self.files - set(names)):
            (self.folder / name).unlink(missing_ok=True)
        self.files &= set(names)
        self.claim(())


def wrote(folder: str | Path, name: str) -> bool:
    """Whether any command says that it wrote the file."""
    ledgers = sorted(Path(folder).glob(".polyp-*.json"))
    return any(name in Ledger(folder, p.name.removeprefix(".polyp-").removesuffix(".json")).files for p in ledgers)


def check_file(path: Path | None, command: str, overwrite: bool) -> None:
    """Raises PolypError when a single file, which the user named, is there and may not be replaced, or cannot be made.

    Who wrote it says the file itself, if it is a picture, or the ledger beside it.
    """
    if path is None:
        return
    texts.check_folder(path.parent)
    if path.is_dir():
        raise PolypError(f"{path}: is a folder; give the name of a file")
    ledger = Ledger(path.parent, command)
    if files.written_by(path) == command:
        ledger.files.add(path.name)
    ledger.check([path.name], overwrite, "give another name")


def claim_file(path: Path, command: str) -> None:
    """Note in the ledger beside a single file that the command is about to write it."""
    Ledger(path.parent, command).claim([path.name])
