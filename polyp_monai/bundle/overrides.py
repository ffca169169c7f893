"""--KEY VALUE on the command line: strict, where MONAI takes anything.

MONAI accepts a misspelt key without a word, and trains with the default. Here an unknown key is refused with the
nearest known one, and so is a value of another type or out of range.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from polyp_monai import runtime
from polyp_monai.bundle import locate
from polyp_monai.bundle.run import clear_errors, inside
from polyp_monai.data import files
from polyp_monai.errors import PolypError

RUN_OPTIONS = ("tracking", "init_id", "run_id", "final_id")
PATHS = ("ckpt_dir", "output_dir", "weights", "logging_file", "meta_file")  # looked up from where the user is
ARGUMENTS = {"dataset_dir": "--data", "split": "--split", "inputs": "INPUT", "bundle_root": "BUNDLE"}
MODEL_KEYS = (
    "network_def",
    "loss",
    "pretrained",
    "pretrained_sha256",
    "encoder_lr_scale",
    "image_size",
    "keep_aspect",
    "epochs",
    "batch_size",
    "learning_rate",
)
RANGES = {  # lowest and highest sensible value
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "image_size": (32, 8192),
    "threshold": (0, 1),
    "learning_rate": (0, 100),
    "weight_decay": (0, 100),
    "warmup": (0, 1),
    "min_lr_ratio": (0, 1),
    "negative_crops": (0, 1),
    "encoder_lr_scale": (0, 1),
    "grad_clip_norm": (1e-9, math.inf),
    "ema_horizon": (1e-6, 1),
    "val_interval": (1, math.inf),
    "patience": (1, math.inf),
    "num_workers": (0, 1024),
    "cache_rate": (0, 1),
}


def parse(words: list[str]) -> dict[str, str]:
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


def check(root: Path, config: str, given: dict[str, str]) -> dict[str, Any]:
    """The user's pairs as values of the types that the config holds; prints each change.

    Args:
        root: folder of the bundle.
        config: "train", "evaluate" or "inference".
        given: key -> text, as from `parse`.

    Raises:
        PolypError: a key that the config does not hold, with the nearest that it does; a value of another type or out
            of range; CUDA where there is none.
    """
    here = Path.cwd()
    with inside(root), clear_errors():
        return _check(f"configs/{config}.yaml", given, here)


def _check(config_file: str, given: dict[str, str], here: Path) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    _check_files(config_file)
    parser = ConfigParser()
    parser.read_config(config_file)
    written = {path: parser[path] for path in _paths(parser.config)}
    parser.resolve_macro_and_relative_ids()
    checked: dict[str, Any] = {}
    for key, text in given.items():
        if key in ARGUMENTS:
            raise PolypError(f"--{key}: is set by {ARGUMENTS[key]}")
        if key == "output_dir" and config_file != "configs/train.yaml":
            raise PolypError("--output_dir: is set by --out")
        if key == "weights" and text in locate.shipped() and not (here / text).exists():
            text = str(locate.shipped()[text] / "models/model.pt")
        if key in PATHS and text[:1] not in ("$", "@", "%"):
            checked[key] = os.path.abspath(here / text)
            continue
        if key in RUN_OPTIONS:
            checked[key] = _tracking(text, here) if key == "tracking" else text
            continue
        if key not in parser or key.startswith("_"):
            raise PolypError(f"--{key}: no such key in {config_file}{_nearest(key, parser.config)}")
        value = _value(parser[key], text, key, here)
        _check_value(key, value)
        if value != parser[key]:
            print(f"{key}: {_short(parser[key])} -> {_short(value)}")
        pieces = key.split("::")
        stems = ("::".join(pieces[:n]) for n in range(1, len(pieces)))
        if stem := next((s for s in stems if isinstance(written.get(s), str)), None):
            checked.setdefault(stem, parser[stem])  # a macro stands there: give MONAI what it stands for
        parser[key] = value
        checked[key] = value
    if "pretrained" in checked:  # the bundle's digest is of the bundle's weights
        checked.setdefault("pretrained_sha256", None)
    runtime.check(checked)
    epochs, interval = parser.get("epochs"), parser.get("val_interval")
    if isinstance(epochs, int) and isinstance(interval, int) and interval > epochs:
        raise PolypError(f"--val_interval {interval}: is more than the {epochs} epochs, so no weights would be kept")
    return checked


def _check_files(config_file: str) -> None:
    """Raises PolypError where the user's own edit of the bundle left no settings, or a wrong one."""
    for name in (config_file, "configs/data.yaml", "configs/model.yaml"):
        path = Path(name).resolve()
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise PolypError(f"{path}: holds no settings; copy it from a shipped bundle")
    for key in MODEL_KEYS:
        if key not in content:
            raise PolypError(f"{path}: the key {key!r} is missing")
        numeric = key in RANGES and not str(content[key]).startswith(("$", "@", "%"))
        if numeric and (isinstance(content[key], bool) or not isinstance(content[key], (int, float))):
            raise PolypError(f"{path}: {key} is {content[key]!r}, expected a number")


def _value(current: Any, text: str, key: str, here: Path) -> Any:
    if key == "loss":
        return _loss(text)
    if key == "pretrained":
        return _weights(text, here)
    if key == "pretrained_sha256":
        return None if text.lower() in ("null", "none") else text
    return _as_type_of(current, text, key)


def _tracking(text: str, here: Path) -> str:
    """MONAI's own settings for MLflow, or a file of settings."""
    if text == "mlflow":
        if importlib.util.find_spec("mlflow") is None:
            raise PolypError("--tracking mlflow: MLflow is not installed; pip install 'polyp_monai[mlflow]'")
        return text
    if not (here / text).is_file():
        raise PolypError(f"--tracking {text}: expected mlflow, or a file with MONAI's settings for tracking")
    return os.path.abspath(here / text)


def _weights(text: str, here: Path) -> str | None:
    """Where pretrained weights come from: a path is looked up from where the user is."""
    if text.lower() in ("null", "none"):
        return None
    return text if text.startswith(("pip:", "http://", "https://", "$", "@", "%")) else os.path.abspath(here / text)


def _loss(text: str) -> Any:
    """The definition of a loss that `configs/losses.yaml` names, or that a macro stands for; definitions pass."""
    from monai.bundle import ConfigParser

    value = literal(text)
    if isinstance(value, dict) or text[:1] in ("$", "@"):
        return value
    if text[:1] == "%":
        parser = ConfigParser({"loss": text})
        parser.resolve_macro_and_relative_ids()
        return parser["loss"]
    losses = yaml.safe_load(Path("configs/losses.yaml").read_text(encoding="utf-8"))
    if text not in losses:
        raise PolypError(f"--loss {text}: no such loss{_nearest(text, losses, '')}")
    return losses[text]


def _nearest(key: str, config: dict, dashes: str = "--") -> str:
    names = list(_paths(config)) if dashes else list(config)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return (
        f"; did you mean {dashes}{close[0]}?"
        if close
        else f"; known are {', '.join(k for k in config if k != '_meta_')}"
    )


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
    value = literal(text)
    if isinstance(current, str):
        return value if current[:1] in ("$", "@", "%") else text
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


def literal(text: str) -> Any:
    """true, false, null, numbers, lists and dictionaries as what they are; anything else as text."""
    if text.lower() in ("null", "none"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _check_value(key: str, value: Any) -> None:
    low, high = RANGES.get(key, (-math.inf, math.inf))
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise PolypError(f"--{key} {value}: expected {low} {'or more' if high == math.inf else f'to {high}'}")
    if key == "device" and str(value)[:1] not in ("$", "@", "%"):
        _check_device(value)


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


@contextmanager
def kept(root: Path, values: dict[str, Any]) -> Iterator[None]:
    """Write those of the changed keys that `configs/model.yaml` holds into it, for the training in the block.

    Weights belong to a network and an image size: evaluation and inference read both from there, so a bundle trained with
    another image size must say so. A training that ends before its first epoch leaves the file as it was.
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


def changed(text: str, values: dict[str, Any], name: str) -> str:
    """The YAML `text` with the blocks of the changed keys replaced; the rest, comments too, stays."""
    from monai.bundle import ConfigParser

    content = yaml.safe_load(text)
    text = text if text.endswith("\n") else text + "\n"
    parser = ConfigParser(content)
    own = {key: value for key, value in values.items() if key.split("::")[0] in content}
    for key, value in own.items():
        parser[key] = value
    for key in dict.fromkeys(k.split("::")[0] for k in own):
        flow = None if isinstance(parser[key], (dict, list)) else False
        block = yaml.safe_dump({key: parser[key]}, sort_keys=False, default_flow_style=flow, width=120)
        pattern = re.compile(rf"^{key}:.*\n(?:\n*[ -].*\n)*", re.MULTILINE)
        text = block.join(pattern.split(text))
    intended = {key: parser[key] for key in content}
    if yaml.safe_load(text) != intended:
        raise PolypError(f"{name}: cannot be changed line by line; set the keys in it by hand")
    return text
