"""The video that the service itself follows: a camera, a stream or a file; the latest frame is for all who watch."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, NamedTuple

from polyp_monai.api import Bundle, TrackedFrame
from polyp_monai.errors import PolypError
from polyp_monai.serve import answers
from polyp_monai.video.address import open_source
from polyp_monai.video.pipeline import STUCK

logger = logging.getLogger(__name__)
PAUSE = 3.0  # seconds before a source that broke is opened again


class Shown(NamedTuple):
    """What watchers get: `number` rises; `picture` is a JPEG with the outlines, b"" while nobody looks."""

    number: int
    about: dict[str, Any]
    picture: bytes


class Follower:
    """Follows a source in a thread, in real time: a file again and again, a camera or stream until it is stopped.

    Args:
        bundle: finds the polyps.
        address: of `video.address.open_source`.

    Raises:
        PolypError: it cannot be opened.
    """

    def __init__(self, bundle: Bundle, address: str) -> None:
        self._bundle, self._address = bundle, address
        self._source = open_source(address)
        self.name, self.watchers = self._source.name, 0  # those who see pictures
        self._shown = Shown(0, {}, b"")
        self._stopped, self._news = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._follow, name="polyp-source", daemon=True)

    def start(self) -> None:
        """Begin; called by the event loop's thread, whose coroutines watch."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; whoever watches is told."""
        self._stopped.set()
        self._tell()

    def close(self) -> None:
        self.stop()
        if self._thread.is_alive():
            self._thread.join(2 * STUCK)  # of a codec that is left inside a process that ends, it crashes
        self._source.close()

    async def after(self, number: int) -> Shown | None:
        """The latest frame as soon as it has another number; None at the end."""
        while self._shown.number <= number and not self._stopped.is_set():
            await self._news.wait()
        return None if self._stopped.is_set() else self._shown

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                for frame in self._bundle.track(self._source, realtime=True):
                    self._show(frame)
                    if self._stopped.is_set():
                        return
            except PolypError as error:
                logger.warning(f"{error}; opened again in {PAUSE:g} s")
                self._publish({"error": str(error)}, b"")
                self._stopped.wait(PAUSE)
            except Exception:
                logger.exception("the source is followed no longer")
                self._publish({"error": "the source is followed no longer; the log of the service says why"}, b"")
                return
            self._open()

    def _open(self) -> None:
        while not self._stopped.is_set():
            try:
                self._source = open_source(self._address)
                return
            except PolypError as error:
                self._publish({"error": str(error)}, b"")
                self._stopped.wait(PAUSE)

    def _show(self, frame: TrackedFrame) -> None:
        height, width = frame.image.shape[:2]
        about = {"frame": frame.index, "seconds": round(frame.time, 3), "width": width, "height": height}
        picture = answers.jpeg(frame.plot()) if self.watchers else b""
        self._publish({**about, "polyps": answers.tracked(frame.polyps)}, picture)

    def _publish(self, about: dict[str, Any], picture: bytes) -> None:
        self._shown = Shown(self._shown.number + 1, about, picture)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()
