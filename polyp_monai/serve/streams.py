"""The routes of moving pictures: a clip, a browser's own camera, and the source that the service follows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from anyio import CancelScope, to_thread
from fastapi import APIRouter, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from polyp_monai.api import TrackedFrame
from polyp_monai.bundle.predictor import Predictor
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.serve import answers, schemas
from polyp_monai.serve.frames import BundleName
from polyp_monai.serve.limits import Limits, within
from polyp_monai.serve.service import Service, service_of
from polyp_monai.serve.source import Follower
from polyp_monai.video.container import open_clip
from polyp_monai.video.finder import Finder
from polyp_monai.video.latency import Latency
from polyp_monai.video.pipeline import Item
from polyp_monai.video.source import Frame, Source

router = APIRouter()
EVENTS, BOUNDARY = "text/event-stream", "frame"
UPLOAD = 10  # times the limit of seconds, for a clip to come
CLIP = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {EVENTS: {}}}}
CONFIRM, SMOOTH, HALF_LIFE = (3, 5), "exponential", 0.1  # as `polyp video`


class Streamed(StreamingResponse):
    """An answer without a known end; what it holds is given back when it ends, however it does.

    Raises TimeoutError when the client takes nothing for `seconds`.
    """

    def __init__(self, content: AsyncIterator[bytes], kind: str, holds: ExitStack, seconds: float) -> None:
        super().__init__(content, media_type=kind)
        self._holds, self._seconds = holds, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            await asyncio.wait_for(send(message), self._seconds)

        with self._holds, suppress(asyncio.TimeoutError):
            await super().__call__(scope, receive, sending)


@router.post(
    "/v1/video",
    response_class=StreamingResponse,
    responses={**schemas.ERRORS, **STREAM},
    openapi_extra=CLIP,
)
async def clip(request: Request, bundle: BundleName = None) -> Streamed:
    """Follow the polyps of a clip (the body): server-sent events `frame`, `alarm` for each new polyp, `done`."""
    service = service_of(request)
    limits = service.limits
    with ExitStack() as stack:
        stack.enter_context(service.streams.place())
        reader = stack.enter_context(service.held.reader(request, limits.clip))
        served = service.bundle(bundle)
        seconds = UPLOAD * limits.seconds
        content = await within(seconds, reader.raw(), 408, f"the clip did not come within {seconds:g} s")
        try:
            source = await to_thread.run_sync(open_clip, content, "clip", limits.pixels)
        except files.TooLargeError as error:
            raise HTTPException(413, str(error)) from error
        except PolypError as error:
            raise HTTPException(400, str(error)) from error
        stack.callback(source.close)
        events = _clip_events(served.bundle.track(source), source, service)
        return Streamed(events, EVENTS, stack.pop_all(), limits.seconds)


@router.get("/v1/source.mjpeg", response_class=StreamingResponse, responses=schemas.ERRORS)
async def pictures(request: Request) -> Streamed:
    """The followed source with its polyps outlined, as MJPEG, which `<img>` shows."""
    service = service_of(request)
    follower = _followed(service)
    with ExitStack() as stack:
        stack.enter_context(service.viewers.place())
        stack.callback(_looks_away, follower)
        follower.watchers += 1
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return Streamed(_pictures(follower), kind, stack.pop_all(), service.limits.seconds)


@router.get("/v1/source/events", response_class=StreamingResponse, responses={**schemas.ERRORS, **STREAM})
async def events(request: Request) -> Streamed:
    """The polyps of the followed source: server-sent events `frame`, `alarm`, and `broken` while it cannot be read."""
    service = service_of(request)
    follower = _followed(service)
    with ExitStack() as stack:
        stack.enter_context(service.viewers.place())
        return Streamed(_source_events(follower), EVENTS, stack.pop_all(), service.limits.seconds)


@router.websocket("/v1/live")
async def live(socket: WebSocket, bundle: str | None = None) -> None:
    """Pictures (binary) in, their polyps out; of pictures that come too fast the newest is taken.

    Where a token is needed the first message is the token, as text.
    """
    service: Service = socket.app.state.service
    await socket.accept()
    try:
        if not await _let_in(socket, service.limits):
            return await socket.close(1008, "a token is needed")
        with service.streams.place():
            await _live(socket, service.bundle(bundle).predictor, service)
    except HTTPException as error:
        await socket.close(1013 if error.status_code == 429 else 1008, str(error.detail))
    except WebSocketDisconnect:
        pass


def _event(kind: str, about: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(about)}\n\n".encode()


class _Alarms:
    """The events of a frame: itself, and an alarm for each polyp that was not there before."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def __call__(self, about: dict[str, Any]) -> bytes:
        new = [polyp for polyp in about["polyps"] if polyp["id"] not in self._known]
        self._known.update(polyp["id"] for polyp in new)
        place = {key: about[key] for key in ("frame", "seconds")}
        return _event("frame", about) + b"".join(_event("alarm", {**place, **polyp}) for polyp in new)


async def _clip_events(frames: Iterator[TrackedFrame], source: Source, service: Service) -> AsyncIterator[bytes]:
    count, events = 0, _Alarms()

    def done() -> bytes:
        return _event("done", {"frames": count, "damaged": len(source.damaged)})

    try:
        while not service.stopping.is_set():
            frame = await to_thread.run_sync(next, frames, None)
            if frame is None:
                yield done()
                return
            count += 1
            height, width = frame.image.shape[:2]
            about = {"frame": frame.index, "seconds": round(frame.time, 4), "width": width, "height": height}
            yield events({**about, "polyps": answers.tracked(frame.polyps)})
        yield _event("broken", {"error": "the service is stopping"})
    except PolypError as error:  # what came before is right
        yield _event("broken", {"error": str(error)}) + done()
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(frames.close)  # type: ignore[attr-defined]  # a generator


def _followed(service: Service) -> Follower:
    if service.follower is None:
        raise HTTPException(404, "no source is followed; `polyp serve --source` names one")
    return service.follower


def _looks_away(follower: Follower) -> None:
    follower.watchers -= 1


async def _pictures(follower: Follower) -> AsyncIterator[bytes]:
    number = 0
    while shown := await follower.after(number):
        number = shown.number
        if shown.picture:
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shown.picture)}\r\n\r\n"
            yield head.encode() + shown.picture + b"\r\n"


async def _source_events(follower: Follower) -> AsyncIterator[bytes]:
    number, events = 0, _Alarms()
    while shown := await follower.after(number):
        number = shown.number
        yield _event("broken", shown.about) if "error" in shown.about else events(shown.about)
    yield _event("done", {})


async def _let_in(socket: WebSocket, limits: Limits) -> bool:
    guard = socket.scope["guard"]
    kind, _, token = socket.headers.get("authorization", "").partition(" ")
    if guard.accepts(token.strip() if kind.lower() == "bearer" else ""):
        return True
    first = await within(limits.seconds, socket.receive(), 408, "no token came")
    if first["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(first.get("code", 1000))
    return guard.accepts((first.get("text") or "").strip())


async def _live(socket: WebSocket, predictor: Predictor, service: Service) -> None:
    """Answer until the client goes, or says nothing for too long."""
    newest: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(1)

    async def listen() -> None:
        number = 0
        while not service.stopping.is_set():
            try:
                message = await asyncio.wait_for(socket.receive(), service.limits.seconds)
            except asyncio.TimeoutError:
                break
            if message["type"] == "websocket.disconnect":
                break
            if content := message.get("bytes"):
                if newest.full():
                    newest.get_nowait()
                newest.put_nowait((number, content))
                number += 1
        if newest.full():
            newest.get_nowait()
        newest.put_nowait(None)

    listener = asyncio.create_task(listen())
    stopping = asyncio.create_task(service.stopping.wait())
    watch = _Watch(predictor, service.limits.pixels)
    try:
        while not service.stopping.is_set():
            coming = asyncio.create_task(newest.get())
            await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() or (taken := coming.result()) is None:
                coming.cancel()
                break
            number, content = taken
            about = await to_thread.run_sync(watch, content)
            await asyncio.wait_for(socket.send_text(json.dumps({"frame": number, **about})), service.limits.seconds)
    finally:
        listener.cancel()
        stopping.cancel()
    with suppress(RuntimeError):  # it has gone
        await socket.close(1001)


class _Watch:
    """The polyps of pictures as they come, with their numbers; a picture of another size begins anew."""

    def __init__(self, predictor: Predictor, most_pixels: int) -> None:
        self._predictor, self._most = predictor, most_pixels
        self._size, self._index = (0, 0), 0
        self._began = time.perf_counter()

    def __call__(self, content: bytes) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            image = files.to_rgb(files.decode_picture(content, "frame", most_pixels=self._most), "frame")
        except PolypError as error:
            return {"error": str(error)}
        if (size := image.shape[1::-1]) != self._size:
            self._size, self._latency = size, Latency()
            self._finder = Finder.of(self._predictor, SMOOTH, HALF_LIFE, CONFIRM, True, self._latency)
        item = Item(Frame(self._index, began - self._began, image), began)
        self._index += 1
        self._finder(item)
        took = round(1e3 * (time.perf_counter() - began), 1)
        return {"width": size[0], "height": size[1], "polyps": answers.tracked(item.polyps), "milliseconds": took}
