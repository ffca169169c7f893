"""A bundle out of a zip, which may come from anybody."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from polyp_monai.errors import PolypError

LARGEST = 4 * 2**30  # bytes of all members, unpacked
MOST = 10_000  # members


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the bundle in the zip `archive` below the empty `folder`; returns the bundle's folder.

    Raises:
        PolypError: no zip, damaged, too large, no bundle in it; or a member that would land elsewhere, is a link, or
            comes twice. Nothing is written outside of `folder`.
    """
    top = folder / archive.stem
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            _check(archive, members)
            for member in members:
                target = top / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, FileExistsError) as error:
        raise PolypError(f"{archive}: cannot be unpacked ({error}); zip or download it again") from error
    roots = [path.parent for path in (*top.glob("configs"), *top.glob("*/configs")) if path.is_dir()]
    if len(roots) != 1:
        raise PolypError(f"{archive}: holds {len(roots) or 'no'} bundles; expected one folder with configs/ in it")
    return roots[0]


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    names = set()
    for member in members:
        name = PurePosixPath(member.filename)
        outside = name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            raise PolypError(f"{archive}: member {member.filename!r} points outside the archive; not unpacked")
        if member.filename.casefold() in names:
            raise PolypError(f"{archive}: member {member.filename!r} comes twice; not unpacked")
        names.add(member.filename.casefold())
    if len(members) > MOST or sum(member.file_size for member in members) > LARGEST:
        raise PolypError(f"{archive}: is larger than a bundle, unpacked; not unpacked")
