"""Reading what a client sends, in memory alone and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from polyp_monai.serve.limits import Limits, Room

T = TypeVar("T")
GONE = HTTPException(499, "the client has gone")


class Upload(NamedTuple):
    """`name` is the client's, and nothing but a label."""

    name: str
    content: bytes


class _InMemory(MultiPartParser):
    spool_max_size = 0  # never a file on disk; the body's bound is this one's too


class Held:
    """Bytes of the bodies that are held at a time, all requests together."""

    def __init__(self, most: int) -> None:
        self._room = Room(most, "many large requests are under way")

    @contextmanager
    def reader(self, request: Request, most: int) -> Iterator[Reader]:
        """Counts what is read until the block ends."""
        reader = Reader(request, most, self._room)
        try:
            yield reader
        finally:
            self._room.taken -= reader.size


class Reader:
    """The body of one request; `size` bytes of it have come."""

    def __init__(self, request: Request, most: int, room: Room) -> None:
        self.request, self.size = request, 0
        self._most, self._room = most, room

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Raises HTTPException 413 or 429 as soon as it is too much."""
        announced = self.request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._most:
            raise self._too_large()
        try:
            async for chunk in self.request.stream():
                if self.size + len(chunk) > self._most:
                    raise self._too_large()
                self._room.take(len(chunk))
                self.size += len(chunk)
                yield chunk
        except ClientDisconnect:
            raise GONE from None

    async def raw(self) -> bytes:
        content = bytearray()
        async for chunk in self.chunks():
            content += chunk
        return bytes(content)

    async def uploads(self, limits: Limits) -> list[Upload]:
        """The parts `files` of a multipart body, in memory. Raises HTTPException 400 when it is none."""
        most = {"max_files": limits.parts, "max_fields": limits.parts, "max_part_size": 2**16}
        parser = _InMemory(self.request.headers, self.chunks(), **most)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, f"the multipart body cannot be read: {error.message}") from error
        if other := sorted({name for name, _ in form.multi_items()} - {"files"}):
            raise HTTPException(422, f"part {other[0]}: pictures are parts `files`; parameters stand in the address")
        found = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        if not found:
            raise HTTPException(422, "a multipart body needs one or more parts `files`, each with a filename")
        uploads = [Upload(_label(part.filename), await part.read()) for part in found]
        await form.close()
        return uploads

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is larger than {self._most / 2**20:g} MiB")


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes. Its body must have been read.

    Raises:
        HTTPException: 499, which nobody reads.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GONE
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _label(name: str | None) -> str:
    """What a client calls its file, without a folder; only ever sent back to it."""
    return (name or "frame").replace("\\", "/").rpartition("/")[2][:255] or "frame"
