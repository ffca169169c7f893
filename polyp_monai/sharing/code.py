"""Looks through a Python file that a bundle brings. Code is never called clean: only what stands out is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from polyp_monai.sharing import names
from polyp_monai.sharing.findings import Finding, Level

# what a network or a transform has no need of; names that only read or make folders are left to the reader
HARMFUL_CALLS = frozenset("eval exec compile __import__ breakpoint getattr setattr globals vars input".split())


def examine(path: Path, name: str) -> list[Finding]:
    """One finding for the file, and one for each thing in it that can run, fetch or hide something."""
    whole = Finding(Level.UNKNOWN, "code", name, "", "Python of the bundle's own, which runs when a config names it")
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [Finding(Level.UNKNOWN, "code", name, "", f"cannot be read as Python ({type(error).__name__})")]
    aliases = _aliases(tree)
    found = dict.fromkeys(_names(tree, aliases))
    return [whole, *(Finding(Level.DANGEROUS, "code", name, what, why) for what, why in found)]


def _aliases(tree: ast.AST) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {a.asname or a.name: f"{node.module or ''}.{a.name}" for a in node.names}
    return aliases


def _names(tree: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(dotted name, why) of harmful things that the code names."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                level, why = names.judge_import(module)
                if level == Level.DANGEROUS and module not in ("inspect", "os.path"):
                    yield f"import {module}", why
        path = _dotted(node)
        if path and path[0] in aliases:
            full = ".".join([aliases[path[0]], *path[1:]])
            if full not in ("os", "sys") and names.judge(full)[0] == Level.DANGEROUS:
                yield full, names.judge(full)[1]
        elif path and len(path) > 1 and path[-1].startswith("__") and path[-1] in ("__globals__", "__subclasses__", "__builtins__"):
            yield ".".join(path), "reaches into Python's inner workings"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in HARMFUL_CALLS - {"getattr", "setattr"}:
            yield node.func.id, "runs what a text says"


def _dotted(node: ast.AST) -> list[str] | None:
    pieces: list[str] = []
    while isinstance(node, ast.Attribute):
        pieces.append(node.attr)
        node = node.value
    return [node.id, *reversed(pieces)] if isinstance(node, ast.Name) else None
