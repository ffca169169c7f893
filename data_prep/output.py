"""The folder that `polyp prepare` writes: who owns what in it, and in which order it is written.

What is written goes to a hidden folder beside its place first, and is moved when all of it is there, the data list
last: a run that fails, is interrupted or finds the disk full leaves what was there. The ledger (`data.outputs`) names
the data set and its files: those of a former run vanish when the new list lacks them, and nothing that someone else
put there is ever removed or overwritten.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyp_monai.data import SCRAP, files, outputs, texts
from polyp_monai.errors import PolypError, shortened

LIST = "datalist.json"
WORK = ".polyp-work-"  # beginning of a hidden folder's name
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputFolder:
    """DIR of one run. `identity` says what it is for: name, source and split, e.g. {"name": "kvasir-seg"}."""

    def __init__(self, path: Path, identity: dict[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self.identity = identity
        self.overwrite = overwrite
        self._check_place()
        self.ledger = outputs.Ledger(path, "prepare")
        self._check_owner()
        self._at_work: set[Path] = set()

    def _check_place(self) -> None:
        texts.check_folder(self.path)
        nearest = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PolypError(f"{self.path}: cannot be written (no permission in {nearest}); give another --out")

    def _check_owner(self) -> None:
        """Raises PolypError when the folder holds another data set, or files of somebody else."""
        former = self.ledger.identity
        if former is None:
            strangers = [p.name for p in self.path.glob("*") if not p.name.startswith(SCRAP)]
            if strangers:
                names = shortened(sorted(strangers), 3)
                raise PolypError(f"{self.path}: already holds files polyp did not write ({names}); give another --out")
        elif former != self.identity and not self.overwrite:
            what = former.get("name", "a data set")
            if what == self.identity["name"]:
                same = former.get("source") == self.identity.get("source")
                what += " with another protocol" if same else " of another source"
            raise PolypError(f"{self.path}: already holds {what}; give another --out or --overwrite")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder on the same disk for what is unpacked, generated or not yet in its place; it is removed with all it
        holds.

        Raises:
            OSError: the disk is full; it names DIR.
        """
        fresh = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._sweep()
        work = Path(tempfile.mkdtemp(prefix=WORK, dir=self.path))
        self._at_work.add(work)
        try:
            yield work
        except OSError as error:
            if error.errno in NO_ROOM:  # it names a file that is gone, or that was to be copied
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise
        finally:
            self._at_work.discard(work)
            shutil.rmtree(work, ignore_errors=True)
            if fresh and not any(self.path.iterdir()):
                self.path.rmdir()

    def _sweep(self) -> None:
        """Remove what a killed run left."""
        for place in (self.path, self.path / "images", self.path / "masks"):
            for scrap in place.glob(".partial-*"):
                scrap.unlink(missing_ok=True)
        for scrap in set(self.path.glob(f"{WORK}*")) - self._at_work:
            shutil.rmtree(scrap, ignore_errors=True)

    def holds(self, paths: set[str], data_list: dict[str, Any], whole: Callable[[], bool]) -> bool:
        """Whether exactly this is there already, its files `whole`, which is asked last.

        Raises:
            PolypError: something else is there, which may not be replaced.
        """
        try:
            former = json.loads((self.path / LIST).read_text(encoding="utf-8"))
        except FileNotFoundError:  # nothing, or what a killed run left
            return False
        except ValueError:
            former = None
        same = former == json.loads(json.dumps(data_list)) and all((self.path / file).is_file() for file in paths)
        if not self.overwrite and not (same and whole()):
            raise PolypError(
                f"{self.path}: already holds {self.identity['name']}, and its files have changed since; "
                "give another --out or --overwrite"
            )
        return same and not self.overwrite

    @contextmanager
    def writing(self, paths: set[str], data_list: dict[str, Any]) -> Iterator[Path]:
        """A folder to write the files into; when the block ends well, they take their places, the data list last.

        What a former run wrote and `paths` lacks is removed.
        """
        self.ledger.check(paths - self.ledger.files, overwrite=False)
        with self.workspace() as fresh:
            yield fresh
            files.write_json(fresh / LIST, data_list)
            self.ledger.claim(paths, self.identity)
            (self.path / LIST).unlink(missing_ok=True)  # where there is one, it is complete
            for file in sorted(paths):
                (self.path / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh / file, self.path / file)
            os.replace(fresh / LIST, self.path / LIST)
        self.ledger.keep(paths)


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
