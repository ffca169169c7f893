"""What lies in a folder: the pictures, and by name all that is passed over. Nothing is passed over in silence."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from polyp_monai.data import dicom, files
from polyp_monai.errors import PolypError, shortened

logger = logging.getLogger(__name__)


@dataclass
class Found:
    """All that was there but hidden files.

    `images`: files of a format that is read, sorted; of a DICOM file each frame. `others`: the other files.
    `unreadable`: path -> reason, of links that lead nowhere and folders that cannot be listed. `burned_in`: DICOM files
    that say that text is burned into their pixels.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    burned_in: list[Path] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Sort a file, or a link, into where it belongs."""
        suffix = files.suffix_of(path)
        if (suffix in dicom.SUFFIXES or suffix not in files.SUFFIXES) and dicom.holds(path):
            self._add_dicom(path)
        elif suffix not in files.SUFFIXES:
            self.others.append(path)
        elif path.is_file():
            self.images.append(path)
        else:
            self.unreadable[path] = files.why_absent(path)

    def _add_dicom(self, path: Path) -> None:
        try:
            about = dicom.header(path)
        except dicom.OtherClassError:
            self.others.append(path)
        except PolypError:
            self.images.append(path)  # whoever reads it says why not
        else:
            if about.video:
                self.others.append(path)
                return
            self.images += dicom.frames_of(path)
            self.burned_in += [path] * about.burned_in


def search(folder: str | Path, recursive: bool = True) -> Found:
    """Every file below `folder`, sorted by path; hidden files and folders do not count. Links to folders are followed.

    Raises:
        PolypError: `folder` itself is none, or cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PolypError(f"{folder}: no such folder")
    found = Found()
    for path in _walk(folder, recursive, found, above=()):
        found.add(path)
    if folder in found.unreadable:
        raise PolypError(f"{folder}: {found.unreadable[folder]}")
    found.images.sort()
    found.others.sort()
    return found


def _walk(folder: Path, recursive: bool, found: Found, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
        here = os.stat(folder)
    except OSError as error:
        found.unreadable[folder] = f"the folder cannot be read ({(error.strerror or str(error)).lower()})"
        return
    if (here.st_dev, here.st_ino) in above:
        found.unreadable[folder] = "a link to a folder that it lies in"
        return
    for name in entries:
        path = folder / name
        if not path.is_dir():
            yield path
        elif recursive:
            yield from _walk(path, recursive, found, (*above, (here.st_dev, here.st_ino)))


def find_images(folder: str | Path, recursive: bool = True) -> list[Path]:
    """The pictures of `search`; what else is there is named in a line.

    Raises:
        PolypError: as `search`; or a link leads nowhere, or a folder cannot be listed.
    """
    found = search(folder, recursive)
    if found.unreadable:
        raise PolypError(unreadable_line(found.unreadable))
    if found.others:
        logger.warning(passed_over_line(found.others, Path(folder)))
    return found.images


def unreadable_line(reasons: dict[Path, str]) -> str:
    """One line on what cannot be read: the first and its reason, and how many more."""
    first, *rest = reasons
    more = f"; and {len(rest)} more" if rest else ""
    return f"{first}: {reasons[first]}{more}"


def passed_over_line(paths: Iterable[Path], folder: Path | None = None) -> str:
    """One line on files of another format: how many, and the first few names."""
    names = [p.relative_to(folder).as_posix() if folder and p.is_relative_to(folder) else str(p) for p in paths]
    where = f"{folder}: " if folder else ""
    plural = "file is" if len(names) == 1 else "files are"
    return f"{where}{len(names)} {plural} passed over, no picture of a known format: {shortened(names)}"
