"""Keeping `configs/model.yaml` true to the weights beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from polyp_monai.bundle.options import put
from polyp_monai.data import files, texts
from polyp_monai.errors import PolypError


@contextmanager
def kept(root: Path, values: Mapping[str, Any]) -> Iterator[None]:
    """Write those of the changed keys that `configs/model.yaml` holds into it, for the training in the block.

    Weights belong to a network and an image size: evaluation and inference read both from there, so a bundle trained
    with another image size must say so. A training that ends before its first epoch leaves the file as it was.
    """
    path, last = root / "configs/model.yaml", root / "models/last.pt"
    before = path.read_text(encoding="utf-8")
    stamp = last.stat().st_mtime_ns if last.exists() else None
    after = changed(before, values, str(path))
    if after != before:
        files.write_text(path, after)
    try:
        yield
    except BaseException:
        if (last.stat().st_mtime_ns if last.exists() else None) == stamp:
            files.write_text(path, before)
        raise


def changed(text: str, values: Mapping[str, Any], name: str) -> str:
    """The YAML `text` with the blocks of the changed keys replaced; the rest, comments too, stays."""
    content = texts.load_yaml(text)
    text = text if text.endswith("\n") else text + "\n"
    own = {key: value for key, value in values.items() if key.split("::")[0] in content}
    for key, value in own.items():
        put(content, key, value)
    for key in dict.fromkeys(k.split("::")[0] for k in own):
        flow = None if isinstance(content[key], (dict, list)) else False
        block = yaml.safe_dump({key: content[key]}, sort_keys=False, default_flow_style=flow, width=120)
        text = _replaced(text, key, block)
    if texts.load_yaml(text) != content:
        raise PolypError(f"{name}: cannot be changed line by line; set the keys in it by hand")
    return text


def _replaced(text: str, key: str, block: str) -> str:
    """The YAML `text` with `block` in place of the block of `key`."""
    return re.sub(rf"^{key}:.*\n(?:\n*[ -].*\n)*", lambda _: block, text, flags=re.MULTILINE)
