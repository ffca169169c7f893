"""What was run: enough to know a result again, and to tell two apart."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

TRAINED_ON = "trained_on.json"  # beside the weights
PACKAGES = ("polyp_monai", "monai", "torch", "pytorch-ignite", "numpy", "scipy", "opencv-python-headless")


@dataclass(frozen=True)
class Weights:
    """Which weights were taken.

    Attributes:
        path: their file, absolute: a state dict, or an exported file.
        sha256: digest of the state dict, hex; an exported file says from which it was made.
        trained_on: data sets, a phrase each; empty where nobody wrote it down.
        created: when they were trained, as was written down beside them or in the export; "" where nobody did.
        modified: when the file was written here, in UTC.
    """

    path: Path
    sha256: str
    trained_on: tuple[str, ...]
    modified: datetime
    created: str = ""

    def __str__(self) -> str:
        data = ", ".join(self.trained_on) or "unknown data"
        when = f"of {self.created[:10]}" if self.created else f"in a file of {self.modified:%Y-%m-%d}"
        return f"{self.path}, trained on {data}, {when}, sha256 {self.sha256[:12]}"


def of_weights(path: str | Path) -> Weights:
    """What is known of the weights in the file `path`, from it and from the `trained_on.json` beside it."""
    path = Path(path).resolve()
    sets, created = _noted(path)
    return Weights(path, digest(path), sets, modified(path), created)


def _noted(weights: Path) -> tuple[tuple[str, ...], str]:
    """The data sets that the weights in the file `weights` have seen, a phrase each, and when, as kept beside them."""
    try:
        content = json.loads((weights.parent / TRAINED_ON).read_text(encoding="utf-8"))
        sets = [f"{entry['name'] or 'a set without a name'} ({entry['frames']} frames)" for entry in content["sets"]]
        return tuple(sets), str(content.get("created") or "")
    except (OSError, ValueError, KeyError, TypeError):  # only a note; the leakage audit complains of a damaged file
        return (), ""


def modified(path: Path) -> datetime:
    """When a file was written, in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)


def of_run() -> dict[str, Any]:
    """Command, time and versions of the packages."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "packages": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
    }


def of_bundle(root: str | Path, weights: str | Path, dataset_dir: str | Path) -> dict[str, Any]:
    """Name and version of the bundle in the folder `root`, and the digests of its weights and of the data list."""
    about = json.loads((Path(root) / "configs/metadata.json").read_text(encoding="utf-8"))
    weights, data = Path(weights).resolve(), Path(dataset_dir).resolve()
    return {
        "bundle": Path(root).resolve().name,
        "bundle_version": about.get("version"),
        "weights": str(weights),
        "weights_sha256": digest(weights),
        "dataset": str(data),
        "datalist_sha256": digest(data / "datalist.json"),
    }


def digest(path: Path) -> str:
    """sha256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
