"""Progress on the terminal, and work on all cores with results in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def bar(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a progress bar while stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, unit="image", disable=None, leave=False)


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """[function(item) for item in items] on threads: decoders and encoders release the interpreter lock.

    The first exception, an interrupt included, cancels what has not begun.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return list(bar(pool.map(function, items), what, len(items)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
