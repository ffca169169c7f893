"""Progress on the terminal, and work on all cores with results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def bar(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a progress bar while stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, unit="image", disable=None, leave=False)


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """[function(item) for item in items] on threads: decoders and encoders release the interpreter lock.

    Few items are under way at a time. The first exception, an interrupt included, leaves the others undone.
    """
    threads = os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    done: list[Result] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in bar(items, what, len(items)):
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * threads:
                    done.append(waiting.popleft().result())
            return done + [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
