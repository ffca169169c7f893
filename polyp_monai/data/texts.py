"""Text, JSON and YAML of settings, and the folders that are named for them; light, for `--help` reads them too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from polyp_monai.errors import PolypError

MERGE = "tag:yaml.org,2002:merge"  # <<, whose keys the mapping's own replace


class Once:
    """Of a YAML loader: what it does where a key stands twice. PyYAML takes the last one without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[tuple[str, Any]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in keys:
                    self.twice(key)
                keys.add((key.tag, key.value))
        return super().construct_mapping(node, deep)  # type: ignore[misc]  # of the loader it is mixed into

    def twice(self, key: yaml.ScalarNode) -> None:
        raise ConstructorError(None, None, f"the key {key.value!r} stands there twice", key.start_mark)


class _Loader(Once, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the compiled one if there
    pass


def load_yaml(text: str) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, of a key that stands twice too."""
    return yaml.load(text, _Loader)


def read_text(path: str | Path) -> str:
    """Raises PolypError where it is no UTF-8 text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PolypError(f"{path}: is no UTF-8 text; save it as UTF-8") from error


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text. Raises ValueError, of a key that stands twice too, of which Python takes the last."""
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def read_json(path: str | Path, what: str, advice: str) -> dict[str, Any]:
    """The object in a JSON file, which holds `what`. Raises PolypError, with what to do, where there is none."""
    try:
        content = parse_json(read_text(path))
    except ValueError as error:
        raise PolypError(f"{path}: is not JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise PolypError(f"{path}: holds no {what}; {advice}")
    return content


def check_folder(path: str | Path) -> None:
    """Raises PolypError where a file, or a link that leads nowhere, is in the place of a folder or of one above it."""
    for place in (Path(path), *Path(path).parents):
        if os.path.lexists(place) and not place.is_dir():
            what = "is a file" if place.exists() else f"is a link to {os.readlink(place)}, which is not there"
            raise PolypError(f"{place}: {what}; give the name of a folder")
