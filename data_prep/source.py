"""The source as a folder: as it is, or unpacked from the publisher's zip."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from polyp_monai.data import dicom, files
from polyp_monai.errors import PolypError


def is_zip(source: Path) -> bool:
    """True for a file that has to be unpacked.

    Raises:
        PolypError: there is nothing at `source`, or a file that is no zip.
    """
    if source.is_dir():
        return False
    if not source.exists():
        raise PolypError(f"{source}: no such folder or zip; download the data set first and name it with --source")
    if not zipfile.is_zipfile(source):
        raise PolypError(f"{source}: neither a folder nor a zip (is the download complete?)")
    return True


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the images of a zip below `folder`; a member that would land elsewhere is refused. Returns `folder`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                name = PurePosixPath(member.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or any(part.endswith(":") for part in name.parts):
                    raise PolypError(f"{archive}: member {member.filename!r} points outside the archive; not unpacked")
                if member.is_dir() or files.suffix_of(name.name) not in files.SUFFIXES:
                    continue
                target = folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as packed_file, target.open("wb") as file:
                    shutil.copyfileobj(packed_file, file)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # RuntimeError: with a password
        raise PolypError(f"{archive}: cannot be unpacked ({error}); download it again") from error
    return folder


def check_not_empty(folder: Path, named: Path) -> None:
    """Refuse a source without a single image; `named` is what the user called it."""
    if not any(files.suffix_of(path) in files.SUFFIXES or dicom.holds(path) for path in folder.rglob("*")):
        raise PolypError(f"{named}: holds no image ({', '.join(files.SUFFIXES)})")
