"""Words of the command line as values: each kind is a function of a text, whose ValueError says what it expects."""

from __future__ import annotations

import ast
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")
LARGEST_SEED = 2**32 - 1


def whole(low: float = -math.inf, high: float = math.inf) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def kind(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", text.strip()):
            raise ValueError(f"expected a whole number{_range(low, high)}")
        return within(int(text), low, high)

    return kind


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """A finite number from `low` to `high`."""

    def kind(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"expected a number{_range(low, high)}")
        return within(value, low, high)

    return kind


def share(text: str) -> float:
    """A number between 0 and 1, which are none."""
    value = number(0, 1)(text)
    if value in (0, 1):
        raise ValueError("expected a number above 0 and below 1")
    return value


def within(value: Any, low: float, high: float) -> Any:
    """`value` itself. Raises ValueError outside of low..high."""
    if not low <= value <= high:
        raise ValueError(f"expected{_range(low, high)}")
    return value


def _range(low: float, high: float) -> str:
    if high < math.inf:
        return f" {low:.10g} to {high:.10g}"
    return f" {low:.10g} or more" if low > -math.inf else ""


@dataclass(frozen=True)
class _OneOf:
    """One of `names`, which help and completion show."""

    names: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if text not in self.names:
            expected = f"{', '.join(self.names[:-1])} or {self.names[-1]}"
            raise ValueError(f"expected {expected}{did_you_mean(text, self.names)}")
        return text


def one_of(*names: str) -> _OneOf:
    """One of the names."""
    return _OneOf(names)


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return text.lower() == "true"


def sha256(text: str) -> str:
    """The 64 digits of a digest, in small letters."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("expected the 64 digits of a sha256")
    return text.lower()


def share_of_frames(text: str) -> tuple[int, int]:
    """K/N, K of the last N frames."""
    split, _, total = text.partition("/")
    if not (split.isdecimal() and total.isdecimal() and 1 <= int(split) <= int(total) <= 1000):
        raise ValueError("expected K/N, K of the last N frames, such as 3/5")
    return int(split), int(total)


def fold(text: str) -> str:
    """K/N, the Kth of N folds, as text."""
    place, _, total = text.partition("/")
    if not (place.isdecimal() and total.isdecimal() and 1 <= int(place) <= int(total) and 2 <= int(total) <= 1000):
        raise ValueError("expected K/N, the Kth of N folds, such as 1/5")
    return text


def part(text: str) -> str:
    """K/N, the K-th of N parts, as text."""
    from polyp_monai.data.predicted import part_of

    part_of(text)
    return text


def or_null(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Also null."""
    return lambda text: None if text.lower() in ("null", "none") else kind(text)


def ratios(text: str) -> tuple[float, float, float]:
    """T,V,S: shares of training, validation and test."""
    try:
        training, validation, test = (float(share) for share in text.split(","))
    except ValueError:
        raise ValueError("need three numbers, e.g. 0.8,0.1,0.1") from None
    return training, validation, test


def device(text: str) -> str:
    """cpu, cuda, cuda:N or mps, if it is here. PyTorch, which takes seconds to import, is asked for cuda alone."""
    if not DEVICE.fullmatch(text):
        raise ValueError("no such device; give cpu, cuda or cuda:0")
    if text == "mps":
        if sys.platform != "darwin":
            raise ValueError("only Apple's machines have it; give cpu")
        import torch

        if not torch.backends.mps.is_available():
            raise ValueError("no MPS device is available here; give cpu")
    if text.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ValueError("no CUDA device is available here; give cpu")
        if int(text.partition(":")[2] or 0) >= torch.cuda.device_count():
            raise ValueError(f"there are {torch.cuda.device_count()} CUDA devices here")
    return text


def literal(text: str) -> Any:
    """true, false, null, numbers, lists and dictionaries as what they are; anything else as text."""
    if text.lower() in ("null", "none"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def did_you_mean(word: str, names: Iterable[str], dashes: str = "") -> str:
    """ "; did you mean X?" for the nearest of the names, or nothing."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.55)
    return f"; did you mean {dashes}{close[0]}?" if close else ""
