"""The options of a bundle's config: the keys that a user may set, each with its default and its comment.

They stand between the lines `# options` and `# end of the options`; what follows them is made of them. The files are
read as plain YAML, so that a mistake is found before MONAI is imported, which takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from polyp_monai.data import texts
from polyp_monai.errors import PolypError

BEGIN, END = "# options", "# end of the options"
MODEL_KEYS = (  # what model.yaml must hold
    "network_def",
    "loss",
    "pretrained",
    "pretrained_sha256",
    "encoder_lr_scale",
    "image_size",
    "fit",
    "crop",
    "epochs",
    "batch_size",
    "learning_rate",
)
NUMBERS = ("encoder_lr_scale", "image_size", "epochs", "batch_size", "learning_rate")  # of these
_COMMENT = re.compile(r"\s#\s+(.*)$")


class Option(NamedTuple):
    """One key. `default` is what it resolves to; an expression of MONAI ("$...") stays the text that it is."""

    name: str
    default: Any
    about: str


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a YAML file of settings.

    Raises:
        PolypError: not UTF-8, not YAML, or no settings in it.
        OSError: not there, or not readable.
    """
    try:
        content = texts.load_yaml(texts.read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        what = "cannot be read" if isinstance(error, yaml.constructor.ConstructorError) else "is not YAML"
        raise PolypError(f"{path}: {what}{line}: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        raise PolypError(f"{path}: holds no settings; copy it from a shipped bundle")
    return content


def check_files(root: Path, config: str) -> None:
    """Raises PolypError where an edit of the bundle `root` left a file that cannot be used."""
    for name in (config, "data"):
        read_settings(root / f"configs/{name}.yaml")
    path = root / "configs/model.yaml"
    content = read_settings(path)
    for key in MODEL_KEYS:
        if key not in content:
            raise PolypError(f"{path}: the key {key!r} is missing")
        number = isinstance(content[key], (int, float)) and not isinstance(content[key], bool)
        if key in NUMBERS and not number and not is_expression(content[key]):
            raise PolypError(f"{path}: {key} is {content[key]!r}, expected a number")
    texts.read_json(root / "configs/metadata.json", "metadata", "copy it from a shipped bundle")


def is_expression(value: Any) -> bool:
    """Whether MONAI computes the value ("$..."), or takes it from elsewhere ("@..." and "%...")."""
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


def options(root: Path, config: str) -> dict[str, Option]:
    """Name -> option, in the order of `root`/configs/`config`.yaml. A file without the two lines has none.

    Macros are looked up, and a key without a comment takes that of the key that its macro names.
    """
    path = root / f"configs/{config}.yaml"
    content, found = read_settings(path), {}
    for name, written, about in _block(path.read_text(encoding="utf-8")):
        if name not in content:
            continue
        if not about and (source := re.search(r'%([^:"]+)::(\w+)"?\s*$', written)) and (root / source[1]).is_file():
            about = _comment_of(root / source[1], source[2])
        found[name] = Option(name, _looked_up(content[name], content, root), about)
    return found


def resolved(root: Path, config: str) -> dict[str, Any]:
    """The whole config with its macros looked up."""
    content = read_settings(root / f"configs/{config}.yaml")
    return _looked_up(content, content, root)


def at(content: Any, key: str) -> Any:
    """The value at "a::b::0". Raises KeyError."""
    for piece in key.split("::"):
        try:
            content = content[int(piece)] if isinstance(content, list) else content[piece]
        except (IndexError, ValueError, TypeError) as error:
            raise KeyError(key) from error
    return content


def put(content: Any, key: str, value: Any) -> None:
    """Set the value at a path that is there. Raises KeyError."""
    stem, _, last = key.rpartition("::")
    place = at(content, stem) if stem else content
    at(place, last)
    place[int(last) if isinstance(place, list) else last] = value


def paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Every path below `node`, as `at` takes it."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        path = f"{prefix}::{key}" if prefix else str(key)
        yield path
        yield from paths(value, path)


def _block(text: str) -> Iterator[tuple[str, str, str]]:
    """(key, value as written, comment) of the lines between the two marks."""
    inside = False
    for line in text.splitlines():
        if line.startswith(END):
            return
        if inside and (key := re.match(r"(\w+):(.*)", line)):
            comment = _COMMENT.search(key[2])
            yield key[1], _COMMENT.sub("", key[2]), comment[1].strip() if comment else ""
        inside = inside or line.startswith(BEGIN)


def _comment_of(path: Path, key: str) -> str:
    line = re.search(rf"^{key}:(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    comment = _COMMENT.search(line[1]) if line else None
    return comment[1].strip() if comment else ""


def _looked_up(value: Any, content: dict[str, Any], root: Path) -> Any:
    """`value` with what its macros name: "%FILE::KEY", below `root`, or "%KEY" in `content` itself."""
    if isinstance(value, dict):
        return {key: _looked_up(item, content, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_looked_up(item, content, root) for item in value]
    if not (isinstance(value, str) and value.startswith("%")):
        return value
    file, _, key = value[1:].partition("::")
    try:
        if not file.endswith((".yaml", ".yml", ".json")):
            return _looked_up(at(content, value[1:]), content, root)
        if not (root / file).is_file():
            return value  # of the recipe, which has no model.yaml
        other = read_settings(root / file)
        return _looked_up(at(other, key), other, root)
    except KeyError:
        raise PolypError(f"{root}: a config names {value!r}, which is not there") from None
