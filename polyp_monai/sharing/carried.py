"""The part of polyp_monai that a packed bundle carries in scripts/lib, so that it runs where polyp_monai is not."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

import polyp_monai
from polyp_monai.sharing import code, names

PACKAGE = Path(polyp_monai.__file__).resolve().parent
LIBRARY = "scripts/lib/polyp_monai/"
MODULE = "scripts/carried.py"
CODE = '''"""Lets Python find the part of polyp_monai in scripts/lib. The configs import this first."""

import sys
from pathlib import Path

if "polyp_monai" not in sys.modules:  # the polyp command has its own
    sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))
'''
INIT = "scripts/__init__.py"
HANDLING = ("tempfile", "shutil", "importlib", "sys")


def verified_files(root: Path, files: Iterable[str]) -> set[str]:
    """Those Python files of the bundle that are byte for byte what this installation of polyp_monai would carry."""
    return {name for name in files if _expected(name) == (root / name).read_bytes()}


def _expected(name: str) -> bytes | None:
    if name in (MODULE, INIT):
        return CODE.encode() if name == MODULE else b""
    source = installed(name)
    return source.read_bytes() if source else None


def installed(name: str) -> Path | None:
    """The file of this installation that a bundle's file of that name is a copy of, of this version or another."""
    source = PACKAGE / name.removeprefix(LIBRARY)
    known = name.startswith(LIBRARY) and source.resolve().is_relative_to(PACKAGE) and source.is_file()
    return source if known else None


def usual(name: str) -> set[str]:
    """What may stand out in a bundle's file of that name, of another version: what does in the file installed here,
    and of what handles files and modules, and starts nothing, what does in any file that bundles carry."""
    source = installed(name)
    own = {finding.what for finding in code.examine(source, name)} if source else set()
    return own | {what for what in _stands_out() if what.partition(".")[0] in HANDLING}


@cache
def _stands_out() -> frozenset[str]:
    files = filter(None, map(installed, library(names.own_names())))
    return frozenset(finding.what for file in files for finding in code.examine(file, file.name))


def modules_of(files: Collection[str]) -> set[str]:
    """Dotted names of these files."""
    return {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}


def library(roots: Collection[str]) -> dict[str, bytes]:
    """Path below a bundle's folder -> content, of all that these modules or names of polyp_monai need to run.

    Found by following imports, those inside functions too. Only those in a module's `__getattr__` are left out: they
    are what a package offers to others.
    """
    pending, found = [*roots], {}
    while pending:
        source = _source(pending.pop())
        if source is None or source in found:
            continue
        found[source] = source.read_bytes()
        inner = source.relative_to(PACKAGE.parent).with_suffix("").parts
        pending += [".".join(inner[:n]) for n in range(1, len(inner))]
        pending += _imports(found[source])
    files = {LIBRARY + source.relative_to(PACKAGE).as_posix(): content for source, content in found.items()}
    return {INIT: b"", MODULE: CODE.encode(), **dict(sorted(files.items()))}


def packages(library: dict[str, bytes]) -> set[str]:
    """Top-level modules, of others, that these files import."""
    return {name.partition(".")[0] for content in library.values() for name in _imports(content, own=False)}


def _source(name: str) -> Path | None:
    """The file of the module that a dotted name is or lies in; None when it is none of polyp_monai's."""
    pieces = name.split(".")
    while pieces and pieces[0] == PACKAGE.name:
        path = PACKAGE.parent.joinpath(*pieces)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
        pieces.pop()
    return None


def _imports(content: bytes, own: bool = True) -> list[str]:
    """Dotted names that a file imports, of polyp_monai or of all others."""
    pending: list[ast.AST] = [ast.parse(content)]
    found: list[str] = []
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
        elif not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__"):
            pending += ast.iter_child_nodes(node)
    return [name for name in found if (name.partition(".")[0] == PACKAGE.name) == own]
