"""The part of polyp_monai that a packed bundle carries in scripts/lib, so that it runs where polyp_monai is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import polyp_monai

PACKAGE = Path(polyp_monai.__file__).resolve().parent
LIBRARY = "scripts/lib/polyp_monai/"
MODULE = "scripts/carried.py"
CODE = '''"""Lets Python find the part of polyp_monai in scripts/lib. The configs import this first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
'''
INIT = "scripts/__init__.py"


def verified_files(root: Path, names: Iterable[str]) -> set[str]:
    """Those Python files of the bundle that are byte for byte what this installation of polyp_monai would carry."""
    return {name for name in names if _expected(name) == (root / name).read_bytes()}


def _expected(name: str) -> bytes | None:
    if name in (MODULE, INIT):
        return CODE.encode() if name == MODULE else b""
    if not name.startswith(LIBRARY):
        return None
    source = PACKAGE / name.removeprefix(LIBRARY)
    inside = source.resolve().is_relative_to(PACKAGE)
    return source.read_bytes() if inside and source.is_file() else None


def modules_of(files: Collection[str]) -> set[str]:
    """Dotted names of these files."""
    return {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
