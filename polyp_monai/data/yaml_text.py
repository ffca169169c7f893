"""YAML, of which a key that stands twice is a mistake: PyYAML takes the last one without a word."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError

MERGE = "tag:yaml.org,2002:merge"  # <<, whose keys the mapping's own replace


class Once:
    """Of a loader: what it does where a key stands twice."""

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


def load(text: str) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, of a key that stands twice too."""
    return yaml.load(text, _Loader)
