"""SHA256SUMS: a line for each file of a bundle, as `sha256sum --check` reads it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from polyp_monai.errors import PolypError

NAME = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
OUTPUTS = ("eval", "predictions")  # what evaluations and predictions write into a bundle; nothing in it is run
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def digest(path: Path) -> str:
    """sha256 of a file, hex."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def names(root: Path) -> list[str]:
    """Every file that the sums speak of, below `root`, sorted; links count too."""
    found = (p.relative_to(root) for p in root.rglob("*") if p.is_symlink() or not p.is_dir())
    return sorted(p.as_posix() for p in found if p.parts[0] not in OUTPUTS and p.as_posix() not in (NAME, SIGNATURE))


def text(root: Path) -> str:
    """The content of the file for the bundle in `root`."""
    return "".join(f"{digest(root / name)}  {name}\n" for name in names(root))


def read(path: Path) -> dict[str, str]:
    """Name -> digest, of the file. Raises PolypError when it is no list of digests."""
    listed: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.fullmatch(line)
        if not match or match[2] in listed:
            raise PolypError(f"{path}: is no list of digests")
        listed[match[2]] = match[1]
    return listed


def check(root: Path) -> None:
    """Raises PolypError when a file was changed, added or taken away since the sums were written."""
    if not (root / NAME).is_file():
        raise PolypError(f"{root}: has no {NAME}; `polyp pack` writes it")
    listed = read(root / NAME)
    there = names(root)
    if extra := [name for name in there if name not in listed]:
        raise PolypError(f"{root}: {extra[0]} is not in {NAME}: it was added later")
    for name, expected in listed.items():
        if name not in there or (root / name).is_symlink():
            raise PolypError(f"{root}: {name} of {NAME} is not there")
        if digest(root / name) != expected:
            raise PolypError(f"{root}: {name} was changed since {NAME} was written")
