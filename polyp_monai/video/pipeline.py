"""Decode, infer, draw and encode, each in a thread of its own, with bounded queues between them.

Memory stays flat over hours, and the slowest stage sets the pace. An interrupt only stops the reading: the frames that
are under way are finished, so that files are closed as if the video had ended there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from polyp_monai.video.latency import Latency
from polyp_monai.video.source import Frame, Source
from polyp_monai.video.tracking import TrackedPolyp

WAITING = 3  # frames between two stages
STUCK = 10.0  # seconds that an interrupted source may take for its next frame
_END = None


@dataclass
class Item:
    """A frame under way, and what the stages found out about it."""

    frame: Frame
    began: float  # when its decoding began, in seconds of time.perf_counter
    polyps: list[TrackedPolyp] = field(default_factory=list)
    probability: np.ndarray | None = None  # (h, w) float32 0..1, over `view`
    view: tuple[int, int, int, int] = (0, 0, 0, 0)  # x0, y0, x1, y1 in pixels of the frame


class Pipeline:
    """The frames of a source, worked on by stages that overlap in time.

    Args:
        source: an open source.
        stages: what each thread does with an item, in place, in this order.
        latency: takes the time of "decode" and "end to end"; the stages add their own.
        realtime: frames of a file come when they are due, and a frame for which the stages are not ready is dropped
            instead of waited for. A live source should always be run so.
    """

    def __init__(
        self, source: Source, stages: list[Callable[[Item], Any]], latency: Latency, realtime: bool = False
    ) -> None:
        self.source, self.latency, self.realtime = source, latency, realtime
        self.dropped = 0
        self.interrupted = False
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._queues: list[Queue] = [Queue(1 if realtime else WAITING)] + [Queue(WAITING) for _ in stages]
        works = [self._decode] + [self._stage(i, work) for i, work in enumerate(stages)]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __iter__(self) -> Iterator[Item]:
        """The finished items, in order. What a stage raised is raised here, after the items before it."""
        for thread in self._threads:
            thread.start()
        try:
            while (item := self._next()) is not _END:
                yield item
                self.latency.add("end to end", time.perf_counter() - item.began)
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Read no further frame; those under way still come. May be called from a signal handler."""
        self.interrupted = True
        self._stopping.set()

    def _end(self) -> None:
        """Let the threads come to their end, also when their items are not wanted any more: a process that ends while
        one of them is inside a codec or a network is aborted."""
        self._stopping.set()
        deadline = time.monotonic() + STUCK
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            with suppress(Empty):
                self._queues[-1].get(timeout=0.02)

    def _next(self) -> Item | None:
        waited = 0.0
        while True:
            try:
                return self._queues[-1].get(timeout=0.5)
            except Empty:
                # a camera or stream that hangs cannot be known to end
                waited = waited + 0.5 if self._stopping.is_set() else 0.0
                if waited >= STUCK:
                    return _END

    def _decode(self) -> None:
        outbox, start = self._queues[0], time.perf_counter()
        frames = iter(self.source)
        try:
            while not self._stopping.is_set():
                began = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    break
                self.latency.add("decode", time.perf_counter() - began)
                if self.realtime and not self.source.live:
                    self._stopping.wait(max(0.0, start + frame.time - time.perf_counter()))
                    began = time.perf_counter()
                self._hand_on(outbox, Item(frame, began))
        except BaseException as error:
            self._failure = self._failure or error
        outbox.put(_END)

    def _hand_on(self, outbox: Queue, item: Item) -> None:
        """Without waiting when `realtime`: the frame that still lies there is older, and gives way."""
        if self.realtime:
            with suppress(Full):
                return outbox.put_nowait(item)
            with suppress(Empty):
                outbox.get_nowait()
                self.dropped += 1
        outbox.put(item)

    def _stage(self, index: int, work: Callable[[Item], Any]) -> Callable[[], None]:
        inbox, outbox = self._queues[index], self._queues[index + 1]

        def run() -> None:
            failed = False
            while (item := inbox.get()) is not _END:
                if failed:  # the stages before must not wait for room
                    continue
                try:
                    work(item)
                    outbox.put(item)
                except BaseException as error:
                    self._failure, failed = self._failure or error, True
                    self._stopping.set()
            outbox.put(_END)

        return run
