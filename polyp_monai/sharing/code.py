"""Looks through a Python file that a bundle brings. Code is never called clean: only what stands out is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from polyp_monai.sharing.findings import BundleFinding, Level

# what networks and transforms have no need of: other programs, the network, text or bytes that become code
MODULES = frozenset(
    """
    subprocess pty socket socketserver ssl http urllib3 requests httpx aiohttp ftplib smtplib telnetlib xmlrpc
    webbrowser builtins runpy code codeop marshal cloudpickle dill antigravity pip ensurepip winreg
    ctypes _ctypes cffi importlib imp zipimport pkgutil multiprocessing asyncio shutil tempfile _posixsubprocess posix
    """.split()  # noqa: SIM905
)
NAMES = frozenset(
    """
    system popen execl execle execlp execv execve execvp execvpe spawnl spawnle spawnlp spawnv spawnve spawnvp fork
    forkpty posix_spawn startfile run_cmd urlopen urlretrieve __globals__ __subclasses__ __builtins__ __loader__
    load_library import_module addaudithook settrace
    """.split()  # noqa: SIM905
)
FULL_NAMES = frozenset(
    ["pickle.load", "pickle.loads", "torch.hub.load", "urllib.request", "sys.modules", "sys.meta_path"]
)
CALLS = frozenset(["eval", "exec", "compile", "__import__", "breakpoint"])


def examine(path: Path, name: str) -> list[BundleFinding]:
    """One finding for the file, and one for each thing in it that can start, fetch or hide something."""
    whole = BundleFinding(
        Level.UNKNOWN, "code", name, "", "Python of the bundle's own, which runs when a config names it"
    )
    try:
        tree = ast.parse(path.read_bytes())
        found = dict.fromkeys(_harmful(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [BundleFinding(Level.UNKNOWN, "code", name, "", f"cannot be read as Python ({type(error).__name__})")]
    why = "starts, fetches or hides something"
    return [whole, *(BundleFinding(Level.DANGEROUS, "code", name, what, why) for what in found)]


def _harmful(tree: ast.AST) -> Iterator[str]:
    """Dotted names in the code that stand out."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                if _stands_out(alias.name):
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                aliases[alias.asname or alias.name] = full = f"{node.module or ''}.{alias.name}"
                if _stands_out(full):
                    yield full
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield node.func.id
        if path := _dotted(node):
            full = ".".join([aliases.get(path[0], path[0]), *path[1:]])
            if len(path) > 1 and _stands_out(full):
                yield full
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            yield f"(...).{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
            yield repr(node.value)  # for getattr


def _stands_out(name: str) -> bool:
    pieces = name.split(".")
    harmful = (
        pieces[0] in MODULES or bool(NAMES & set(pieces)) or bool({"subprocess", "builtins", "socket"} & set(pieces))
    )
    return harmful or any(name == full or name.startswith(f"{full}.") for full in FULL_NAMES)


def _dotted(node: ast.AST) -> list[str] | None:
    pieces: list[str] = []
    while isinstance(node, ast.Attribute):
        pieces.append(node.attr)
        node = node.value
    return [node.id, *reversed(pieces)] if isinstance(node, ast.Name) else None
