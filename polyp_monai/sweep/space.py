"""space.yaml: which options a sweep tries, checked as `polyp train` checks its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.bundle import overrides
from polyp_monai.bundle.options import read_settings
from polyp_monai.errors import CombinedError, PolypError

if TYPE_CHECKING:
    import optuna

RESERVED = ("ckpt_dir", "output_dir", "resume", "overwrite", "fold")  # the sweep itself sets them


@dataclass(frozen=True)
class Choice:
    """One of some values, as words of the command line."""

    words: tuple[str, ...]

    def draw(self, trial: optuna.Trial, key: str) -> str:
        return trial.suggest_categorical(key, self.words)

    def samples(self) -> tuple[str, ...]:
        return self.words


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`; whole numbers where both are. `log`: drawn evenly in its logarithm."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def draw(self, trial: optuna.Trial, key: str) -> str:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(key, self.low, self.high, step=int(self.step or 1), log=self.log))
        return repr(trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log))

    def samples(self) -> tuple[str, ...]:
        return str(self.low), str(self.high)


Space = Mapping[str, Choice | Range]


def read(path: Path, root: Path) -> dict[str, Choice | Range]:
    """The space in the file `path` for the bundle in the folder `root`.

    Raises:
        CombinedError: all that is wrong in it: a key that is no option, a value that the option does not take, a range
            that is none.
        PolypError: no such file, or no YAML.
    """
    if not path.is_file():
        raise PolypError(f"{path}: no such file; it has a line an option: learning_rate: {{low: 1e-4, high: 1e-2}}")
    found, mistakes = {}, []
    for key, content in read_settings(path).items():
        try:
            found[str(key)] = _parameter(str(key), content)
            _check(root, str(key), found[str(key)])
        except PolypError as error:
            mistakes += [f"{path}: {line}" for line in error.lines]
    if mistakes:
        raise CombinedError(list(dict.fromkeys(mistakes)))
    return found


def _parameter(key: str, content: Any) -> Choice | Range:
    if key in RESERVED:
        raise PolypError(f"{key}: is set by the sweep itself")
    if isinstance(content, list) and content:
        return Choice(tuple(overrides.words({str(i): value for i, value in enumerate(content)}).values()))
    if not isinstance(content, dict) or not {"low", "high"} <= content.keys() <= {"low", "high", "log", "step"}:
        raise PolypError(f"{key}: expected a list of values, or low and high (with log: true, or step)")
    numbers = {name: _number(content.get(name)) for name in ("low", "high", "step")}
    low, high, step, log = numbers["low"], numbers["high"], numbers["step"], content.get("log", False)
    if low is None or high is None or low >= high or ("step" in content and (step is None or step <= 0)):
        raise PolypError(f"{key}: {content}: expected numbers, and low below high")
    if not isinstance(log, bool) or (log and (low <= 0 or step)):
        raise PolypError(f"{key}: {content}: log is true or false, and takes a low above 0 and no step")
    return Range(low, high, log, step)


def _number(value: Any) -> Any:
    """YAML takes 1e-4 for a text."""
    try:
        return value if isinstance(value, int) and not isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _check(root: Path, key: str, parameter: Choice | Range) -> None:
    mistakes: list[str] = []
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # of what each value changes
    try:
        for word in parameter.samples():
            try:
                overrides.check(root, "train", {key: word})
            except PolypError as error:
                mistakes += error.lines
    finally:
        logging.disable(before)
    if mistakes:
        raise CombinedError(mistakes)


def described(space: Space) -> dict[str, Any]:
    """As JSON holds it, to tell one space from another."""
    return {key: [type(parameter).__name__, *map(str, vars(parameter).values())] for key, parameter in space.items()}
