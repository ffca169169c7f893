"""What the service takes at most, so that its memory and its answers stay within bounds whoever calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import HTTPException

RETRY = 1  # seconds after which a client that was refused may ask again


@dataclass(frozen=True)
class Limits:
    """Bounds of one service.

    Attributes:
        body: bytes of a request, but for a clip.
        clip: bytes of a clip.
        held: bytes of all bodies that are held at a time.
        pixels: of a picture or a frame of a clip, before it is decoded.
        tensor: pixels of all frames of a tensor for the network.
        parts: files in one multipart body.
        queue: requests that are read, wait or are worked on at a time; beyond it the answer is 429.
        streams: clips and live pictures that are followed at a time.
        viewers: connections that watch the source at a time.
        batch: frames that go through the network together.
        connections: open connections; more are closed at once.
        seconds: for a request, from its first byte to its answer; for a clip, between two of its parts.
    """

    body: int = 32 * 2**20
    clip: int = 256 * 2**20
    held: int = 512 * 2**20
    pixels: int = 25_000_000
    tensor: int = 2_000_000
    parts: int = 64
    queue: int = 64
    streams: int = 4
    viewers: int = 16
    batch: int = 8
    connections: int = 512
    seconds: float = 30.0


def busy(what: str) -> HTTPException:
    """429, with the time after which it is worth another try."""
    return HTTPException(429, f"{what}; try again in {RETRY} s", {"Retry-After": str(RETRY)})


class Room:
    """So many places, and no waiting for one: `with room.place():` takes one, or is refused.

    Used by the event loop's thread alone.
    """

    def __init__(self, places: int, what: str) -> None:
        self.places, self.taken, self._what = places, 0, what

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises HTTPException 429 when all are taken."""
        self.take(1)
        try:
            yield
        finally:
            self.taken -= 1

    def take(self, number: int) -> None:
        """As `place`, for so many, which are to be given back by `taken`."""
        if self.taken + number > self.places:
            raise busy(self._what)
        self.taken += number


async def within(seconds: float, work, status: int, line: str):
    """The result of the awaitable `work`. Raises HTTPException `status` when it takes longer."""
    try:
        return await asyncio.wait_for(work, seconds)
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise HTTPException(status, line) from error
