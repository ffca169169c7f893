"""Micro-batches: what waits for a network goes through it together, without waiting for more to come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple


class Timed(NamedTuple):
    """A result, how long its item waited, and how long its batch took, in seconds."""

    value: Any
    waited: float
    took: float


class _Waiting(NamedTuple):
    kind: Hashable
    item: Any
    future: Future[Timed]
    since: float


class Batches:
    """One thread that takes waiting items in their order, up to `most` of the kind of the first, and runs them.

    An item whose future is cancelled while it waits is dropped. How many wait is for the caller to bound.

    Args:
        run: kind and items to as many results; what it raises goes to all of the batch.
        most: items in a batch.
        seen: told how many items each batch had.
    """

    def __init__(
        self, run: Callable[[Any, Sequence[Any]], Sequence[Any]], most: int, seen: Callable[[int], None]
    ) -> None:
        self._run, self._most, self._seen = run, most, seen
        self._waiting: deque[_Waiting] = deque()
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="polyp-network", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, kind: Hashable, item: Any) -> Future[Timed]:
        """Let `item` wait for its turn; items of one `kind` can share a batch."""
        waiting = _Waiting(kind, item, Future(), time.perf_counter())
        with self._news:
            if self._closed:
                raise RuntimeError("is closed")
            self._waiting.append(waiting)
            self._news.notify()
        waiting.future.add_done_callback(lambda future: self._drop(waiting) if future.cancelled() else None)
        return waiting.future

    def close(self) -> None:
        """Drop what waits, and end the thread after its batch; a process that ends inside a network is aborted."""
        with self._news:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
            self._news.notify()
        for waiting in left:
            waiting.future.cancel()
        self._thread.join()

    def _drop(self, waiting: _Waiting) -> None:
        with self._news:
            self._waiting = deque(other for other in self._waiting if other is not waiting)

    def _work(self) -> None:
        while batch := self._next():
            began = time.perf_counter()
            self._seen(len(batch))
            try:
                values = self._run(batch[0].kind, [waiting.item for waiting in batch])
            except Exception as error:
                for waiting in batch:
                    waiting.future.set_exception(error)
                continue
            took = time.perf_counter() - began
            for waiting, value in zip(batch, values, strict=True):
                waiting.future.set_result(Timed(value, began - waiting.since, took))

    def _next(self) -> list[_Waiting]:
        """The next batch; empty at the end."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return []
                kind = self._waiting[0].kind
                chosen = [waiting for waiting in self._waiting if waiting.kind == kind][: self._most]
                places = {id(waiting) for waiting in chosen}
                self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in places)
            if batch := [waiting for waiting in chosen if waiting.future.set_running_or_notify_cancel()]:
                return batch
