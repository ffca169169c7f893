"""The gate before a bundle that came from elsewhere: it is looked at first, and used only if clean or trusted.

What the user said yes to is remembered by its content, in the user's own folder, so that a change asks again.
"""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from polyp_monai.data import files, texts
from polyp_monai.errors import PolypError, say
from polyp_monai.sharing import signature
from polyp_monai.sharing.findings import Level
from polyp_monai.sharing.inspection import Inspection, inspect

FOLDER = "POLYP_CONFIG_HOME"
MODES = ("ask", "signed")
_given: set[str] = set()  # digests that this process was told to trust


def config_folder() -> Path:
    """The user's folder for settings of polyp_monai, where the platform keeps such; or what POLYP_CONFIG_HOME says."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or home / "AppData/Roaming")
    elif sys.platform == "darwin":
        base = home / "Library/Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "polyp_monai"


def accept(digest: str | None) -> None:
    """Trust what has this digest, in this process. Raises PolypError when it is no sha256."""
    if digest is None:
        return
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise PolypError(f"trust {digest}: expected the 64 digits that `polyp inspect` prints as the digest")
    _given.add(digest.lower())


def require_trust(root: Path, digest: str | None = None, ask: bool = True, source: Path | None = None) -> None:
    """Let the bundle in the folder `root` pass, or raise.

    It passes when it was made here (`polyp new`, `polyp train`), holds nothing but known names, or was trusted before.
    With `trust: signed` in the user's config.yaml a bundle that was not made here passes only with a signature of an
    allowed signer.

    Args:
        root: folder of the bundle.
        digest: of a bundle that passes whatever it holds.
        ask: whether a user at a terminal is asked about what is unknown.
        source: the zip that it was unpacked from.

    Raises:
        PolypError: it does not; says what was found, and how to look at it.
    """
    accept(digest)
    root = Path(root).resolve()
    if _is_own(root):
        return
    settings = _settings()
    if settings["trust"] == "signed":
        signature.verify(root, Path(settings["allowed_signers"]))
        return
    found = inspect(root)
    found.path = source or root
    if found.level == Level.KNOWN:
        return
    sys.dont_write_bytecode = True  # compiled code beside its source would be unknown at the next look
    if found.digest in _given:
        remember(found)
    elif found.digest not in _remembered()["digests"]:
        _refuse_unless_wanted(found, ask)


def _refuse_unless_wanted(found: Inspection, ask: bool) -> None:
    worst = found.of(found.level)
    more = f" and {len(worst) - 1} more" if len(worst) > 1 else ""
    word = f"--trust {found.digest}" if ask else f'trust="{found.digest}"'
    look = f"look at it with `polyp inspect {found.path}`; {word} uses it all the same"
    if found.level == Level.DANGEROUS:
        raise PolypError(f"{found.path}: dangerous, so not used: {worst[0]}{more}; {look}")
    if broken := next((finding for finding in found.findings if finding.damaged), None):
        raise PolypError(f"{found.path}: is damaged: {broken}; get it again from where it came")
    line = f"{found.path}: can run code that is not known: {worst[0]}{more}"
    if not (ask and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise PolypError(f"{line}; {look}")
    say(line)
    print("Use it, now and while it stays the same? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise PolypError(f"{found.path}: not used; {look}")
    remember(found)


def remember(found: Inspection) -> None:
    """Trust this content from now on."""
    content = _remembered()
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content["digests"][found.digest] = {"name": found.path.name, "level": str(found.level), "since": when}
    _write(content)


def made_here(root: Path) -> None:
    """Note that the user made the bundle in the folder `root` on this machine; it then passes whatever its content."""
    content = _remembered()
    root = Path(root).resolve()
    folders = {path: inode for path, inode in content["folders"].items() if Path(path).is_dir()}
    content["folders"] = {**folders, str(root): root.stat().st_ino}
    _write(content)


def _is_own(root: Path) -> bool:
    """Whether this very folder was made here; another one at its path has another inode."""
    return _remembered()["folders"].get(str(root)) == root.stat().st_ino


def _remembered() -> dict[str, Any]:
    try:
        content = json.loads((config_folder() / "trusted.json").read_text(encoding="utf-8"))
        return {"digests": dict(content["digests"]), "folders": dict(content["folders"])}
    except FileNotFoundError:
        return {"digests": {}, "folders": {}}
    except (ValueError, KeyError, TypeError) as error:
        raise PolypError(f"{config_folder() / 'trusted.json'}: cannot be read; delete it to be asked again") from error


def _write(content: dict[str, Any]) -> None:
    path = config_folder() / "trusted.json"
    try:
        files.write_json(path, content)
    except OSError as error:
        say(f"polyp: not remembered: {path}: {error.strerror}")


def _settings() -> dict[str, str]:
    """`trust` and `allowed_signers` of the user's config.yaml."""
    path = config_folder() / "config.yaml"
    content: Any = {}
    if path.is_file():
        try:
            content = texts.load_yaml(texts.read_text(path)) or {}
        except yaml.YAMLError as error:
            raise PolypError(f"{path}: is not YAML ({getattr(error, 'problem', None) or error})") from error
    mode = content.get("trust", "ask") if isinstance(content, dict) else None
    if mode not in MODES:
        raise PolypError(f"{path}: trust: {mode}: expected {' or '.join(MODES)}")
    return {"trust": mode, "allowed_signers": str(content.get("allowed_signers", config_folder() / "allowed_signers"))}
