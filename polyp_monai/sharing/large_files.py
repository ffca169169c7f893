"""Judges a large_files list: what MONAI would fetch into the bundle after it was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from polyp_monai.sharing.configs import OUTSIDE
from polyp_monai.sharing.findings import BundleFinding, Level

NAMES = ("large_files.yml", "large_files.yaml", "large_files.json")
KEYS = {"path", "url", "hash_val", "hash_type"}


def examine(content: Any, name: str) -> Iterator[BundleFinding]:
    """One finding for each file that would be fetched."""
    entries = content.get("large_files") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        yield BundleFinding(Level.UNKNOWN, "file", name, "", "no list of large files")
        return
    for entry in entries:
        url, path = str(entry.get("url", "")), str(entry.get("path", ""))
        level, why = Level.UNKNOWN, "fetched after this inspection; inspect again then"
        if not url.startswith("https://"):
            level, why = Level.DANGEROUS, "fetched from no https address"
        elif OUTSIDE.search(path):
            level, why = Level.DANGEROUS, f"written outside the bundle, to {path}"
        elif not entry.get("hash_val"):
            level, why = Level.DANGEROUS, "fetched without a digest: anything can come"
        elif str(entry.get("hash_type", "sha256")) not in ("sha256", "sha512"):
            why = "fetched after this inspection, with a weak digest"
        elif entry.keys() - KEYS:
            why = f"with the unknown option {sorted(map(str, entry.keys() - KEYS))[0]}"
        yield BundleFinding(level, "file", name, url, why)
