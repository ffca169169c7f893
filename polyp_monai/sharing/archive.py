"""The zip of a bundle: unpacks one that somebody sent, all of it or nothing, and writes one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from polyp_monai.errors import PolypError, known_as
from polyp_monai.sharing import sums

MOST_ENTRIES = 5_000
LARGEST = 4_000_000_000  # bytes unpacked
LARGEST_RATIO = 200  # bytes unpacked to bytes in the zip, of one entry; text reaches about 20
SMALL = 1_000_000  # below which the ratio does not matter
WHEN = (1980, 1, 1, 0, 0, 0)
RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10))}


def unpack(path: Path, folder: Path) -> Path:
    """Unpack the zip of a bundle as the new folder `folder`; a single root folder in the zip is left out.

    Returns:
        `folder`.

    Raises:
        PolypError: no zip; the folder exists; an entry that leads out of it, is a link, clashes with another, is
            encrypted, damaged, or unfolds to more than a bundle can need. Nothing is left behind then.
    """
    path, folder = Path(path), Path(folder)
    if folder.exists():
        raise PolypError(f"{folder}: exists already; give another folder")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive, path)
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".partial-{folder.name}-", dir=folder.parent))
            try:
                _extract(archive, entries, partial, path)
                partial.chmod(0o755)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PolypError(f"{path}: cannot be unpacked ({error}); it is damaged, or no zip") from error
    return folder


def packed(path: Path, folder: Path) -> Path:
    """`unpack` what `polyp pack` wrote. Raises PolypError when it is something else, or was changed since, too."""
    root = unpack(path, folder)
    if not (root / "configs/metadata.json").is_file():
        raise PolypError(f"{path}: holds no bundle (no configs/metadata.json); `polyp pack` writes one")
    with known_as(root, path):
        sums.check(root)
    return root


def files_below(root: Path) -> dict[str, Path]:
    """Name below `root` -> file, sorted."""
    found = {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}
    return dict(sorted(found.items()))


def write(files: Mapping[str, Path], path: Path, name: str) -> None:
    """Write files as a zip with the root folder `name`; equal files give equal bytes.

    Nothing is compressed, because compressors differ from machine to machine.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for below, file in sorted(files.items()):
            info = zipfile.ZipInfo(f"{name}/{below}", WHEN)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.create_system = 3
            archive.writestr(info, file.read_bytes())


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[zipfile.ZipInfo, PurePosixPath]:
    """Entry -> path below the folder, of the files in the zip."""

    def refuse(name: str, why: str) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in name)[:80]
        raise PolypError(f"{path}: refused: {shown!r} {why}; ask its sender for a plain zip")

    infos = archive.infolist()
    if len(infos) > MOST_ENTRIES:
        raise PolypError(f"{path}: refused: holds {len(infos)} entries; a bundle has fewer than {MOST_ENTRIES}")
    if sum(info.file_size for info in infos) > LARGEST:
        raise PolypError(f"{path}: refused: unfolds to more than {LARGEST // 10**9} GB")
    taken: dict[str, str] = {}
    files: dict[zipfile.ZipInfo, PurePosixPath] = {}
    for info in infos:
        # `filename` is cut at a null byte and has the system's separators turned; `orig_filename` is what the zip says
        if why := wrong_name(info.orig_filename):
            refuse(info.orig_filename, why)
        if info.flag_bits & 0x1:
            refuse(info.filename, "is encrypted")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            refuse(info.filename, "is a link or a device")
        if info.file_size > SMALL and info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
            refuse(info.filename, f"unfolds to {info.file_size / max(info.compress_size, 1):.0f} times its size")
        below = PurePosixPath(info.filename.rstrip("/"))
        for part in (below, *below.parents):
            key = unicodedata.normalize("NFKC", str(part)).casefold()
            if taken.setdefault(key, str(part)) != str(part):
                refuse(info.filename, f"differs from {taken[key]!r} in the case of letters only")
        if not info.is_dir():
            if below in files.values():
                refuse(info.filename, "is there twice")
            files[info] = below
    folders = {parent for below in files.values() for parent in below.parents}
    if clash := next((below for below in files.values() if below in folders), None):
        refuse(str(clash), "is a file and a folder")
    return _without_root(files)


def wrong_name(name: str) -> str | None:
    """Why an entry of that name is refused; None when it is not."""
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root:
        return "is an absolute path"
    if "\\" in name:
        return "has a backslash in its name"
    pieces = name.rstrip("/").split("/")
    if ".." in pieces:
        return "leads out of its folder"
    if not name.isprintable() or any(c in name for c in ':*?"<>|'):
        return "has a character that file names cannot have everywhere"
    if any(
        not p or p == "." or p != p.strip() or p.endswith(".") or p.split(".")[0].lower() in RESERVED for p in pieces
    ):
        return "has a name that other systems read differently"
    return "has a name that is too long" if len(name) > 240 else None


def _without_root(files: dict[zipfile.ZipInfo, PurePosixPath]) -> dict[zipfile.ZipInfo, PurePosixPath]:
    """Without the one folder that holds everything, where there is one that is no part of a bundle."""
    roots = {below.parts[0] for below in files.values()}
    if len(roots) == 1 and all(len(below.parts) > 1 for below in files.values()) and roots != {"configs"}:
        return {info: PurePosixPath(*below.parts[1:]) for info, below in files.items()}
    return files


def _extract(archive: zipfile.ZipFile, entries: dict[zipfile.ZipInfo, PurePosixPath], folder: Path, path: Path) -> None:
    left = LARGEST
    for info, below in entries.items():
        target = folder / below
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            archive.open(info) as source,
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as out,
        ):
            written = 0
            while part := source.read(1 << 20):  # the size that the directory says can be a lie
                written += len(part)
                if written > info.file_size or written > left:
                    raise PolypError(f"{path}: refused: {info.filename!r} unfolds to more than it says")
                out.write(part)
        left -= written
