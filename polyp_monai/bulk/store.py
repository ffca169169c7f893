"""The folder of a job, on this machine or at an address, by fsspec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyp_monai.data import files, remote
from polyp_monai.errors import PolypError

NEEDED = "needs Ray and PyArrow: pip install 'polyp_monai[scale]'"


class Store:
    """Where files lie.

    Attributes:
        place: absolute path or address, as a user knows it.
        local: whether it is a folder that this machine sees.
    """

    def __init__(self, place: str) -> None:
        self.place, self.local = place, not remote.is_address(place)
        if self.local:
            try:
                import fsspec
            except ImportError as error:
                raise PolypError(f"--engine ray {NEEDED}") from error
            self.system, self.root = fsspec.filesystem("file"), place
        else:
            self.system, self.root = remote.filesystem(place)

    def path(self, name: str) -> str:
        """Of a file of the store, as its file system knows it."""
        return f"{self.root}/{name}"

    @property
    def arrow(self) -> Any:
        """The file system as PyArrow's."""
        from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

        return LocalFileSystem() if self.local else PyFileSystem(FSSpecHandler(self.system))

    def exists(self, name: str = "") -> bool:
        with remote.clear(self.place):
            return self.system.exists(self.path(name).rstrip("/"))

    def names(self, folder: str, suffix: str) -> list[str]:
        """Paths of the files of a kind in a folder of the store, sorted."""
        with remote.clear(self.place):
            if not self.system.exists(self.path(folder)):
                return []
            return sorted(name for name in self.system.find(self.path(folder)) if name.endswith(suffix))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """None where there is none. Raises PolypError when it is no JSON."""
        if not self.exists(name):
            return None
        try:
            with remote.clear(self.place):
                return dict(json.loads(self.system.cat_file(self.path(name))))
        except ValueError as error:
            raise PolypError(f"{self.place}/{name}: damaged ({error}); give another --out") from error

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        if self.local:
            files.write_json(Path(self.path(name)), content)
            return
        with remote.clear(self.place):  # a store takes an object as a whole or not at all
            self.system.pipe_file(self.path(name), (json.dumps(content, indent=1) + "\n").encode())

    def remove(self, *names: str) -> None:
        """Files and folders, where they are."""
        with remote.clear(self.place):
            for name in names:
                if self.system.exists(self.path(name)):
                    self.system.rm(self.path(name), recursive=True)
