"""The strict front door to `monai.bundle run`.

MONAI accepts a misspelt key without a word, and trains with the default. Here an unknown key is refused with the
nearest known one, and a value of another type too; the rest is the stock run, in the bundle's folder.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyp_monai import io
from polyp_monai.errors import PolypError, root_cause

RUN_OPTIONS = ("tracking", "meta_file", "logging_file", "init_id", "run_id", "final_id")


def parse_overrides(words: list[str]) -> dict[str, str]:
    """["--key", "value", "--other=value"] -> {key: value}. Raises PolypError for a word out of place."""
    overrides: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or len(word) == 2:
            raise PolypError(f"{word!r}: expected --KEY VALUE")
        key, equals, value = word[2:].partition("=")
        if not equals:
            try:
                value = next(rest)
            except StopIteration:
                raise PolypError(f"--{key}: a value is missing") from None
        overrides[key.replace("#", "::")] = value
    return overrides


def run(root: Path, config: str, overrides: dict[str, Any]) -> None:
    """`python -m monai.bundle run --config_file configs/<config>.yaml` with `overrides`, in the bundle's folder `root`.

    Raises:
        PolypError: what a user's mistake raised inside the run, without MONAI's wrapping.
    """
    with inside(root), clear_errors():
        from monai.bundle import run as monai_run

        monai_run(config_file=f"configs/{config}.yaml", **overrides)


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Work in the folder `root`: the configs' macros and relative paths are looked up from there."""
    if not (root / "configs").is_dir():
        raise PolypError(f"{root}: is no bundle (it has no folder configs/)")
    before = Path.cwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def clear_errors() -> Iterator[None]:
    """What a user can mend comes out as one PolypError, from below MONAI's layers of wrapping; the rest as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns at every run that a config can run code; the README says it once
        try:
            yield
        except Exception as error:
            reason = root_cause(error)
            if isinstance(reason, PolypError):
                raise PolypError(str(reason)) from None
            if isinstance(reason, OSError):
                raise reason from None
            raise


def check(root: Path, config: str, given: dict[str, str]) -> dict[str, Any]:
    """The user's pairs as values of the types that the config holds; prints each change.

    Args:
        root: folder of the bundle.
        config: "train", "evaluate" or "inference".
        given: key -> text, as from `parse_overrides`.

    Raises:
        PolypError: a key that the config does not hold, with the nearest that it does; a value of another type; CUDA
            where there is none.
    """
    with inside(root):
        return _check(f"configs/{config}.yaml", given)


def _check(config_file: str, given: dict[str, str]) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(config_file)
    written = {key: parser[key] for key in parser.config}
    parser.resolve_macro_and_relative_ids()
    checked: dict[str, Any] = {}
    for key, text in given.items():
        if key in RUN_OPTIONS:
            checked[key] = text
            continue
        if key not in parser or key.startswith("_"):
            raise PolypError(f"--{key}: no such key in {config_file}{_nearest(key, parser.config)}")
        value = _as_type_of(parser[key], text, key)
        if key == "device":
            _check_device(value)
        print(f"{key}: {_short(parser[key])} -> {_short(value)}")
        top = key.split("::")[0]
        if top != key and isinstance(written.get(top), str):  # a macro stands there: give MONAI what it stands for
            checked.setdefault(top, parser[top])
        parser[key] = value
        checked[key] = value
    return checked


def _nearest(key: str, config: dict) -> str:
    known = list(_paths(config))
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean --{close[0]}?" if close else f"; known are {', '.join(k for k in config if k != '_meta_')}"


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        path = f"{prefix}::{key}" if prefix else str(key)
        yield path
        yield from _paths(value, path)


def _as_type_of(current: Any, text: str, key: str) -> Any:
    """`text` as a value of the type of `current`; references and expressions pass, and so does any type for them."""
    if text[:1] in ("$", "@", "%"):
        return text
    value = _literal(text)
    if isinstance(current, str):
        if current[:1] in ("$", "@", "%"):
            return value
        return text
    if isinstance(current, bool):
        if not isinstance(value, bool):
            raise PolypError(f"--{key} {text}: expected true or false")
    elif isinstance(current, int):
        if isinstance(value, bool) or not isinstance(value, int):
            raise PolypError(f"--{key} {text}: expected a whole number, such as {current}")
    elif isinstance(current, float):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise PolypError(f"--{key} {text}: expected a number, such as {current}")
        value = float(value)
    elif isinstance(current, (list, dict)) and not isinstance(value, type(current)):
        raise PolypError(f"--{key} {text}: expected a {type(current).__name__}, such as {_short(current)}")
    return value


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def keep(root: Path, values: dict[str, Any]) -> None:
    """Write those of the changed keys that `configs/model.yaml` holds into it.

    Weights belong to a network and a window: evaluation and inference read both from there, so a bundle trained with
    another window must say so. The block of each key is replaced, the rest of the file stays.
    """
    import yaml

    path = root / "configs" / "model.yaml"
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    for key in dict.fromkeys(k.split("::")[0] for k in values):
        if key not in content:
            continue
        content[key] = _merged(content[key], key, values)
        flow = None if isinstance(content[key], (dict, list)) else False
        block = yaml.safe_dump({key: content[key]}, sort_keys=False, default_flow_style=flow, width=120)
        text = re.sub(rf"^{key}:.*\n(?:[ -].*\n)*", lambda _: block, text, flags=re.MULTILINE)  # noqa: B023
    if text != path.read_text(encoding="utf-8"):
        io.write_text(path, text)


def _merged(current: Any, key: str, values: dict[str, Any]) -> Any:
    from monai.bundle import ConfigParser

    parser = ConfigParser({key: current})
    for name, value in values.items():
        if name.split("::")[0] == key:
            parser[name] = value
    return parser[key]


def _check_device(value: Any) -> None:
    import torch

    try:
        device = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise PolypError(f"--device {value}: no such device; give cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PolypError(f"--device {value}: no CUDA device is available here; give --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PolypError(f"--device {value}: there are {torch.cuda.device_count()} CUDA devices here")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
