"""--KEY VALUE and --set KEY=VALUE for a bundle's config: strict, where MONAI takes anything.

MONAI accepts a misspelt key without a word, and trains with the default. Here a key is an option of the config or it is
refused with the nearest one, a value has the type of the default and lies in its range, and code has no place in it.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyp_monai import runtime
from polyp_monai.bundle import locate, values
from polyp_monai.bundle.options import at, check_files, is_expression, options, paths, put, read_settings, resolved
from polyp_monai.data import remote, texts
from polyp_monai.errors import CombinedError, PolypError

logger = logging.getLogger(__name__)

FOLDERS = ("ckpt_dir", "output_dir", "cache_dir")
PATHS = (*FOLDERS, "weights", "boxes")  # looked up from where the user is
ARGUMENTS = {"dataset_dir": "--data", "split": "--split", "inputs": "INPUT", "bundle_root": "BUNDLE"}
RANGES = {  # lowest and highest sensible value
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "image_size": (32, 8192),
    "cut": (32, 8192),
    "threshold": (0, 1),
    "presence": (0, 20),
    "class_certainty": (0, 1),
    "learning_rate": (1e-9, 100),
    "weight_decay": (0, 100),
    "warmup": (0, 1),
    "min_lr_ratio": (0, 1),
    "negatives": (0, 0.99),
    "far": (0, 1),
    "overlays": (0, 1),
    "fields": (0, 1),
    "negative_crops": (0, 1),
    "encoder_lr_scale": (0, 1),
    "grad_clip_norm": (1e-9, math.inf),
    "ema_horizon": (1e-6, 1),
    "val_interval": (1, math.inf),
    "patience": (1, math.inf),
    "num_workers": (0, 1024),
    "cache_rate": (0, 1),
    "seed": (0, values.LARGEST_SEED),
    "lr_batch_size": (1, math.inf),
}
KINDS: dict[str, Callable[[str], Any]] = {  # of keys whose default is an expression, or does not tell what they take
    "device": values.device,
    "part": values.or_null(values.part),
    "runtime": values.one_of(*runtime.RUNTIMES, runtime.AUTO),
    "tta": values.one_of("none", "flip"),
    "amp": values.one_of("auto", "off", "bf16", "fp16"),
    "fit": values.one_of("stretch", "area", "windows"),
    "dicom_out": values.one_of("png", "seg", "sr"),
    "cut": values.whole(*RANGES["cut"]),
    "batch_size": values.whole(*RANGES["batch_size"]),
    "lr_batch_size": values.or_null(values.whole(*RANGES["lr_batch_size"])),
    "fold": values.or_null(values.fold),
    "num_workers": values.whole(*RANGES["num_workers"]),
}
ESCAPE = "--set KEY=VALUE takes those"


def check(root: Path, config: str, given: Mapping[str, str], extra: Sequence[str] = ()) -> dict[str, Any]:
    """The user's pairs as values of the types that the config holds; logs each change.

    Args:
        root: folder of the bundle.
        config: "train", "evaluate" or "inference".
        given: key -> text: options of the config, or parts of one ("network_def::body::channels").
        extra: "KEY=VALUE" of --set: any key of the config, and expressions of MONAI too.

    Raises:
        CombinedError: all that is wrong: a key that is no option, with the nearest that is; a value of another type or
            out of range; CUDA where there is none.
    """
    check_files(root, config)
    return _Check(root, config).run(given, extra)


def words(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Python values as the texts that `check` takes: None is "null", True "true", lists and dictionaries as written."""
    return {key: "null" if value is None else str(value) for key, value in arguments.items()}


def check_values(given: Mapping[str, Any]) -> None:
    """The same for values alone, of `RANGES` and `KINDS`, where there is no config. Raises CombinedError."""
    mistakes = []
    for key, value in given.items():
        try:
            if key in KINDS:
                KINDS[key](str(value))
            elif key in RANGES:
                values.number(*RANGES[key])(str(value))
        except ValueError as error:
            mistakes.append(f"--{key} {value}: {error}")
    if mistakes:
        raise CombinedError(mistakes)


class _Check:
    """One check; `mistakes` grows."""

    def __init__(self, root: Path, config: str) -> None:
        self.root, self.config, self.file = root, config, f"configs/{config}.yaml"
        self.options = {k: o for k, o in options(root, config).items() if own(k, config)}
        self.written = read_settings(root / self.file)
        self.resolved = resolved(root, config)
        self.before = resolved(root, config)
        self.checked: dict[str, Any] = {}
        self.mistakes: list[str] = []

    def run(self, given: Mapping[str, str], extra: Sequence[str]) -> dict[str, Any]:
        for key, text in given.items():
            self._take(f"--{key}", f"--{key} {_short(text)}", key, lambda k=key, t=text: self._option(k, t))
        for pair in extra:
            key, _, text = pair.partition("=")
            self._take(f"--set {key}", f"--set {_short(pair)}", key, lambda k=key, t=text: self._any_key(k, t))
        if "pretrained" in self.checked:  # the bundle's digest is of the bundle's weights
            self.checked.setdefault("pretrained_sha256", None)
        self._together()
        if self.mistakes:
            raise CombinedError(self.mistakes)
        for key in (*given, *(pair.partition("=")[0] for pair in extra)):
            was, new = (at(content, key) for content in (self.before, self.resolved))
            if was != new:
                logger.info(f"{key}: {_short(was)} -> {_short(new)}")
        return self.checked

    def _take(self, word: str, words: str, key: str, value_of) -> None:
        """`word`: the option, `words`: with its value."""
        try:
            self._set(key, value_of())
        except ValueError as error:
            self.mistakes.append(f"{words}: {error}")
        except PolypError as error:
            self.mistakes.append(f"{word}: {error}")

    def _set(self, key: str, value: Any) -> None:
        pieces = key.split("::")
        for stem in ("::".join(pieces[:n]) for n in range(1, len(pieces))):
            if isinstance(_at_or_none(self.written, stem), str):
                # a macro stands there: give MONAI what it stands for
                self.checked.setdefault(stem, at(self.before, stem))
                break
        put(self.resolved, key, value)
        self.checked[key] = value

    def _option(self, key: str, text: str) -> Any:
        self._check_known(key)
        if key == "weights" and text in locate.shipped():
            return str(locate.shipped()[text] / "models/model.pt")
        if key == "loss":
            return self._loss(text)
        if key == "pretrained":
            return _pretrained(text)
        if key == "pretrained_sha256":
            return values.or_null(values.sha256)(text)
        if key in PATHS:
            return _folder(text) if key in FOLDERS else _file(text)
        if key in KINDS:
            return KINDS[key](text)
        return _in_range(key, _as_type_of(at(self.resolved, key), text))

    def _check_known(self, key: str) -> None:
        head, _, below = key.partition("::")
        if head in self.options and not below:
            return
        if head not in self.options:
            near = values.did_you_mean(key, self.options, "--")
            reason = explain(self.root, self.config, key)
            raise PolypError(
                reason or f"no such option in {self.file}{near or '; known are ' + ', '.join(self.options)}"
            )
        if any(piece.startswith("_") for piece in key.split("::")):
            raise PolypError(f"says what code is run; {ESCAPE}")
        if _at_or_none(self.resolved, key) is None:
            near = values.did_you_mean(key, paths({head: at(self.resolved, head)}), "--")
            raise PolypError(f"no such key in {self.file}{near}")

    def _any_key(self, key: str, text: str) -> Any:
        if not key or not text:
            raise ValueError("expected KEY=VALUE")
        if word := _argument(key, self.config, self.resolved):
            raise PolypError(f"is set by {word}")
        try:
            current = at(self.resolved, key)
        except KeyError:
            near = values.did_you_mean(key, paths(self.resolved))
            raise PolypError(f"no such key in {self.file}{near}") from None
        if is_expression(text) or is_expression(current) or current is None:
            return _in_range(key, values.literal(text))
        return _in_range(key, _as_type_of(current, text, code=True))

    def _loss(self, text: str) -> Any:
        losses = read_settings(self.root / "configs/losses.yaml")
        if text not in losses:
            near = values.did_you_mean(text, losses) or f"; known are {', '.join(losses)}"
            raise ValueError(f"no such loss{near}")
        return losses[text]

    def _together(self) -> None:
        """What single values do not tell."""
        try:
            runtime.check(self.checked)
        except PolypError as error:
            self.mistakes.append(str(error))
        if self.checked.get("skip_existing") and self.checked.get("overwrite"):
            self.mistakes.append("--skip_existing and --overwrite: one keeps what is done, one replaces it; give one")
        if self.checked.get("pretrained_sha256") and self.resolved.get("pretrained") is None:
            self.mistakes.append("--pretrained_sha256: there are no pretrained weights; name them with --pretrained")
        epochs, interval = self.resolved.get("epochs"), self.resolved.get("val_interval")
        if isinstance(epochs, int) and isinstance(interval, int) and interval > epochs:
            self.mistakes.append(
                f"--val_interval {interval}: is more than the {epochs} epochs, so no weights would be kept"
            )


def own(key: str, config: str) -> bool:
    """Whether the user sets this option by its name; an argument of the command sets the others."""
    return key not in ARGUMENTS and not (key == "output_dir" and config != "train")


def explain(root: Path, config: str, key: str) -> str:
    """Why a word that looks like a key is no option; "" when nothing is known of it."""
    content = resolved(root, config)
    if word := _argument(key, config, content):
        return f"is set by {word}"
    if key == "output_dir":
        return "is set by --out"
    if _at_or_none(content, key.split("::")[0]) is None:
        return ""
    return f"is no option: configs/{config}.yaml makes it out of the options; {ESCAPE}"


def _argument(key: str, config: str, content: Mapping[str, Any]) -> str:
    """What sets a key that the config holds, in place of --KEY; "" of any other."""
    if key == "dataset_dir" and config == "inference":
        return ARGUMENTS["inputs"]
    return ARGUMENTS.get(key, "") if key in content else ""


def tracking(text: str) -> str:
    """mlflow, or a file with MONAI's settings for tracking."""
    if text == "mlflow":
        if importlib.util.find_spec("mlflow") is None:
            raise ValueError("MLflow is not installed; pip install 'polyp_monai[mlflow]'")
        return text
    if not os.path.isfile(text):
        raise ValueError("expected mlflow, or a file with MONAI's settings for tracking")
    content = read_settings(Path(text))
    if not all(isinstance(content.get(key), dict) for key in ("handlers_id", "configs")):
        raise ValueError("no settings of MONAI for tracking; they have the keys handlers_id and configs")
    return os.path.abspath(text)


def _file(text: str) -> str:
    if text[:1] in ("$", "@", "%"):
        raise ValueError(f"is no path: $, @ and % begin MONAI's expressions; {ESCAPE}, ./{text} is a file")
    return os.path.abspath(remote.local(text))


def _folder(text: str) -> str:
    path = _file(text)
    texts.check_folder(path)
    return path


def _pretrained(text: str) -> str | None:
    """Where pretrained weights come from."""
    if text.lower() in ("null", "none"):
        return None
    return text if text.startswith(("pip:", "http://", "https://")) else _file(text)


def _as_type_of(current: Any, text: str, code: bool = False) -> Any:
    """`text` as a value of the type of `current`; an expression and null take any plain value."""
    value = values.literal(text)
    if not code and is_code(value):
        raise ValueError(f"holds an expression of MONAI ($, @, %, _target_); {ESCAPE}")
    if isinstance(current, bool):
        return values.boolean(text)
    if isinstance(current, int):
        return _like(current, values.whole(), text)
    if isinstance(current, float):
        return _like(current, values.number(), text)
    if isinstance(current, (list, dict)):
        if not isinstance(value, type(current)):
            raise ValueError(f"expected a {type(current).__name__}, such as {_short(current)}")
        return value
    return text if isinstance(current, str) and not is_expression(current) else value


def _in_range(key: str, value: Any) -> Any:
    return values.within(value, *RANGES[key]) if key in RANGES and isinstance(value, (int, float)) else value


def _like(current: Any, kind, text: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{error}, such as {current}") from None


def is_code(value: Any) -> bool:
    """Whether a value of the command line holds what MONAI would run."""
    if isinstance(value, dict):
        return any(str(key).startswith("_") or is_code(item) for key, item in value.items())
    return any(map(is_code, value)) if isinstance(value, (list, tuple, set)) else is_expression(value)


def _at_or_none(content: Any, key: str) -> Any:
    try:
        return at(content, key)
    except KeyError:
        return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
