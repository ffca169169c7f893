"""The folder that `polyp prepare` writes: who owns what in it, and in which order it is written.

A ledger, .polyp-prepare.json, names the data set and every file written for it; it is written before the first of them.
So a run that was killed can be repeated, files of a former run vanish when the new list lacks them, and nothing that
someone else put there is ever removed or overwritten. The data list comes last: where there is one, it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyp_monai.data import files
from polyp_monai.errors import PolypError, shortened

LIST = "datalist.json"
LEDGER = ".polyp-prepare.json"
SCRAP = (".partial-", ".polyp-")  # beginnings of names that a killed run may leave


class OutputFolder:
    """DIR of one run. `identity` says which data set it is for, e.g. {"name": "kvasir-seg"}."""

    def __init__(self, path: Path, identity: dict[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.identity = identity
        self.owned = self._check(overwrite)
        self._work: Path | None = None

    def _check(self, overwrite: bool) -> set[str]:
        """Files that a former run wrote here.

        Raises:
            PolypError: not writable, or it holds another data set or files of somebody else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise PolypError(f"{self.path}: is a file; name a folder with --out")
        nearest = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise PolypError(f"{self.path}: cannot be written (no permission in {nearest}); give another --out")
        if not self.path.is_dir():
            return set()
        ledger = self.path / LEDGER
        if not ledger.is_file():
            strangers = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith(SCRAP))
            if strangers:
                names = shortened(strangers, 3)
                raise PolypError(f"{self.path}: already holds files polyp did not write ({names}); give another --out")
            return set()
        try:
            former = json.loads(ledger.read_text(encoding="utf-8"))
            identity, paths = former["identity"], set(former["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise PolypError(f"{ledger}: damaged ({error}); give another --out") from error
        if identity != self.identity and not overwrite:
            what = identity["name"] + " of another source" * (identity["name"] == self.identity["name"])
            raise PolypError(f"{self.path}: already holds {what}; give another --out or --overwrite")
        return paths

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder on the same disk for what is unpacked or generated; it is removed with all it holds."""
        fresh = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._work = Path(tempfile.mkdtemp(prefix=".polyp-work-", dir=self.path))
        try:
            yield self._work
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
            if fresh and not any(self.path.iterdir()):
                self.path.rmdir()

    def _sweep(self) -> None:
        """Remove what a killed run left."""
        for place in (self.path, self.path / "images", self.path / "masks"):
            for scrap in place.glob(".partial-*"):
                scrap.unlink(missing_ok=True)
        for scrap in set(self.path.glob(".polyp-work-*")) - {self._work}:
            shutil.rmtree(scrap, ignore_errors=True)

    @contextmanager
    def writing(self, paths: set[str], data_list: dict[str, Any]) -> Iterator[None]:
        """The block writes `files` (relative paths); when it ends well, the data list is written and the rest removed.

        A former data list stays during the block only if it is the same.
        """
        for file in sorted(paths - self.owned):
            if (self.path / file).exists():
                raise PolypError(f"{self.path / file}: is there already and polyp did not write it; give another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._keep_ledger(self.owned | paths)
        target = self.path / LIST
        if target.is_file() and not _holds(target, data_list):
            target.unlink()
        yield
        for file in sorted(self.owned - paths):
            (self.path / file).unlink(missing_ok=True)
        self._keep_ledger(paths)
        files.write_json(target, data_list)

    def _keep_ledger(self, paths: set[str]) -> None:
        files.write_json(self.path / LEDGER, {"identity": self.identity, "files": sorted(paths)})


def _holds(file: Path, content: dict[str, Any]) -> bool:
    try:
        return json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    except ValueError:
        return False


def place(source: Path, target: Path) -> None:
    """Put the file `source`, untouched, at `target` atomically: a hard link where the disk allows it, or a copy."""
    source = source.resolve()
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".partial-{target.name}")
    try:
        partial.unlink(missing_ok=True)
        os.link(source, partial)  # not files.atomic: it sets the mode of its file, which here would be the source's
        os.replace(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        with files.atomic(target) as copy:
            shutil.copyfile(source, copy)
