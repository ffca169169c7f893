"""What lies in a folder: the pictures, and by name all that is passed over. Nothing is passed over in silence."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from polyp_monai.data import dicom, files, remote
from polyp_monai.errors import PolypError, shortened

logger = logging.getLogger(__name__)

PLAIN = frozenset(files.SUFFIXES) - frozenset(dicom.SUFFIXES)


class Entry(NamedTuple):
    """A file or link below a folder; or a folder that cannot be listed, which counts as a picture that cannot be read.

    `reason`: why a picture cannot be read, else "". `burned_in`: the DICOM file of a frame, if that says that text is
    burned into its pixels.
    """

    path: str
    picture: bool
    reason: str = ""
    burned_in: str = ""


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

    def add(self, entry: Entry) -> None:
        """Sort a file, or a link, into where it belongs."""
        path = Path(entry.path)
        if entry.reason:
            self.unreadable[path] = entry.reason
        else:
            (self.images if entry.picture else self.others).append(path)
        if entry.burned_in and Path(entry.burned_in) not in self.burned_in[-1:]:  # the frames of a file come together
            self.burned_in.append(Path(entry.burned_in))


def entries_of(path: str) -> list[Entry]:
    """What a file, or a link, is; of a DICOM file each frame."""
    suffix = files.suffix_of(path)
    if (suffix in dicom.SUFFIXES or suffix not in files.SUFFIXES) and dicom.holds(path):
        return _entries_of_dicom(path)
    if suffix not in files.SUFFIXES:
        return [Entry(path, False)]
    return [Entry(path, True, "" if os.path.isfile(path) else files.why_absent(Path(path)))]


def _entries_of_dicom(path: str) -> list[Entry]:
    try:
        about = dicom.header(Path(path))
    except dicom.OtherClassError:
        return [Entry(path, False)]
    except PolypError:
        return [Entry(path, True)]  # whoever reads it says why not
    if about.video:
        return [Entry(path, False)]
    burned_in = path if about.burned_in else ""
    return [Entry(str(frame), True, "", burned_in) for frame in dicom.frames_of(Path(path))]


def search(folder: str | Path, recursive: bool = True) -> Found:
    """Every file below `folder`, sorted by path; hidden files and folders do not count. Links to folders are followed.

    Raises:
        PolypError: `folder` itself is none, or cannot be listed.
    """
    found = Found()
    for entry in walk(folder, recursive):
        found.add(entry)
    found.images.sort()
    found.others.sort()
    return found


def walk(folder: str | Path, recursive: bool = True) -> Iterator[Entry]:
    """What `search` finds, while it is found: no more is held than the names in one folder and in those above it.

    Args:
        folder: of this machine, or an address.
        recursive: whether to look into the folders below it, too.

    Raises:
        PolypError: as `search`.
    """
    if remote.is_address(folder):
        return (Entry(path, files.suffix_of(path) in files.SUFFIXES) for path in remote.walk(str(folder)))
    if not os.path.isdir(folder):
        raise PolypError(f"{folder}: no such folder")
    return _walk(os.fspath(folder), recursive, above=())


def _walk(folder: str, recursive: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as listed:
            entries = sorted((e for e in listed if not e.name.startswith(".")), key=lambda e: e.name)
        here = os.stat(folder)
    except OSError as error:
        reason = f"the folder cannot be read ({(error.strerror or str(error)).lower()})"
        if not above:
            raise PolypError(f"{folder}: {reason}") from error
        yield Entry(folder, True, reason)
        return
    if (here.st_dev, here.st_ino) in above:
        yield Entry(folder, True, "a link to a folder that it lies in")
        return
    for entry in entries:
        if not entry.is_dir():
            # the listing tells what is a file; only links are looked after, and what may be DICOM
            plain = entry.is_file(follow_symlinks=False) and files.suffix_of(entry.name) in PLAIN
            yield from [Entry(entry.path, True)] if plain else entries_of(entry.path)
        elif recursive:
            yield from _walk(entry.path, recursive, (*above, (here.st_dev, here.st_ino)))


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


def unreadable_line(reasons: Mapping[Any, str]) -> str:
    """One line on what cannot be read: the first and its reason, and how many more."""
    first, *rest = reasons
    more = f"; and {len(rest)} more" if rest else ""
    return f"{first}: {reasons[first]}{more}"


def passed_over_line(paths: Iterable[str | Path], folder: Path | None = None) -> str:
    """One line on files of another format: how many, and the first few names."""
    below = f"{folder}{os.sep}" if folder else ""
    names = [str(path).removeprefix(below) for path in paths]
    where = f"{folder}: " if folder else ""
    plural = "file is" if len(names) == 1 else "files are"
    return f"{where}{len(names)} {plural} passed over, no picture of a known format: {shortened(names)}"
