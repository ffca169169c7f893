"""What was run: enough to know a result again, and to tell two apart."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("polyp_monai", "monai", "torch", "pytorch-ignite", "numpy", "scipy", "opencv-python-headless")


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
