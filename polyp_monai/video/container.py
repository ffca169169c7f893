"""Video files, cameras and network streams, decoded by PyAV to upright pictures with their times."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

import cv2
import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.video.source import RATE, BreakError, Source, Timed

if TYPE_CHECKING:
    import av

PATIENCE = 10.0  # seconds a stream may keep silent
CLIPS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,h264,hevc"  # that refer to nothing outside


def import_av() -> ModuleType:
    """PyAV. Raises PolypError when it is not installed."""
    try:
        import av
    except ImportError as error:
        raise PolypError("videos need PyAV; install it with: pip install 'polyp_monai[video]'") from error
    return av


def without_password(address: str) -> str:
    """The address as messages and reports may show it."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def open_camera(name: str, number: int, rate: float | None) -> Source:
    options = {} if rate is None else {"framerate": f"{rate:g}"}
    if sys.platform == "darwin":  # its default of 29.97 is refused by most cameras
        return open_container(f"{number}:none", name, rate, True, "avfoundation", {"framerate": "30", **options})
    if sys.platform == "win32":
        devices = import_av().device.enumerate_input_devices("dshow")
        cameras = [device.name for device in devices if "video" in device.media_types]
        if number >= len(cameras):
            raise PolypError(f"{name}: no such camera; {len(cameras)} found, counted from camera:0")
        return open_container(f"video={cameras[number]}", name, rate, True, "dshow", options)
    device = Path(f"/dev/video{number}")
    if not device.exists():
        others = ", ".join(sorted(str(p) for p in device.parent.glob("video*"))) or "none"
        raise PolypError(f"{name}: no such camera; {device} is not there, these are: {others}")
    return open_container(str(device), name, rate, True, "v4l2", options)


def open_clip(content: bytes, name: str, most_pixels: int) -> Source:
    """Source of a video in the bytes of its file, whoever sent them: no other file and no address is opened.

    Args:
        content: of the file.
        name: what messages call it.
        most_pixels: of a frame; larger ones are refused before they are decoded.

    Raises:
        PolypError: no video of `CLIPS`, or it is damaged.
    """

    def refuse(url: str, flags: int, options: dict) -> None:
        raise PermissionError("a clip may not name other files")

    options = {"format_whitelist": CLIPS, "protocol_whitelist": "none"}
    return open_container(BytesIO(content), name, None, False, options=options, most_pixels=most_pixels, io_open=refuse)


def open_container(
    url: str | BinaryIO,
    name: str,
    rate: float | None,
    live: bool,
    kind: str | None = None,
    options: dict[str, str] | None = None,
    most_pixels: int | None = None,
    io_open: Callable[..., Any] | None = None,
) -> Source:
    """Source of what PyAV opens at `url`; `kind` names the input format of a device, `io_open` opens what it refers to,
    `options` are the container's."""
    av = import_av()
    patience, bound = PATIENCE if live else None, {} if most_pixels is None else {"max_pixels": str(most_pixels)}
    try:
        container = av.open(
            url, "r", kind, options, stream_options=[bound] if bound else None, timeout=patience, io_open=io_open
        )
    except (av.FFmpegError, ValueError) as error:
        if bound and "stream_options" in str(error):  # of bare MPEG, whose streams are found by decoding them
            raise PolypError(
                f"{name}: is a bare MPEG stream, whose size is unknown before it is decoded; convert it to MP4"
            ) from error
        raise PolypError(f"{name}: {_not_opened(_reason(error), live)}") from error
    try:
        stream = _video_stream(container, name)
        files.check_pixels((stream.codec_context.width, stream.codec_context.height), name, most_pixels)
    except PolypError:
        container.close()
        raise
    stream.codec_context.options = bound
    # decoding several frames at a time would hold a live picture back
    stream.thread_type = "SLICE" if live else "AUTO"
    declared = _declared_rate(stream)
    timeless = container.duration is None  # a bare stream of pictures, whose rate is made up
    pace = rate if rate and (timeless or declared is None) else declared or RATE
    return Source(
        name,
        _pictures(container, stream, strict=not live),
        pace,
        None if live else _count(container, stream, pace),
        live,
        container.close,
    )


def _not_opened(reason: str, live: bool) -> str:
    if live:
        return f"cannot be opened ({reason}); check the address, and whether another program holds it"
    return f"cannot be opened as a video ({reason}); is it one, and is it whole? An mp4 without its end cannot be read"


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may hold a password."""
    if "Immediate exit" in str(error):  # so it ends what was silent for too long
        return f"nothing came for {PATIENCE:.0f} s: its sender has stopped, or the connection is lost"
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The first stream of moving pictures. Raises PolypError when there is none, or none that can be decoded."""
    from av.stream import Disposition

    if container.format.name == "tty":  # FFmpeg takes any text for a film of a terminal
        raise PolypError(f"{name}: is a text file; a video is expected")
    if container.format.name == "mjpeg" and not _begins_as_jpeg(container.name):
        raise PolypError(f"{name}: holds pictures, but is no video (a zip, a tar?); unpack it, and give the folder")
    moving = [s for s in container.streams if not s.disposition & Disposition.attached_pic]  # not a song's cover
    streams = [s for s in moving if s.type == "video"]
    if not moving:
        raise PolypError(f"{name}: {_not_opened('no table of its streams', live=False)}")
    kinds = sorted({s.type for s in moving})
    if kinds == ["data"]:  # of a table that breaks off, the kind of a stream is lost first
        raise PolypError(f"{name}: {_not_opened('its table of streams names no video', live=False)}")
    if not streams:
        raise PolypError(f"{name}: holds no video, only {' and '.join(kinds)}")
    if streams[0].codec_context is None:
        raise PolypError(
            f"{name}: its codec is unknown here; is it whole? Then convert it to H.264, e.g. with ffmpeg -i IN OUT.mp4"
        )
    return cast("av.VideoStream", streams[0])


def _begins_as_jpeg(url: str) -> bool:
    """Whether a file begins with a picture; FFmpeg seeks for pictures in any file. A stream's address is believed."""
    if not url.startswith("file:"):
        return True
    with open(url.removeprefix("file:"), "rb") as file:
        return file.read(2) == b"\xff\xd8"


def _declared_rate(stream: av.VideoStream) -> float | None:
    """Mean frames a second, if the container tells one that can be true."""
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate)
    return next((rate for rate in rates if 0 < rate <= 1000), None)


def _unit(stream: av.VideoStream) -> Fraction:
    """Seconds of a tick of the stream's time stamps."""
    assert stream.time_base is not None  # every container has one for what it holds
    return stream.time_base


def _length(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Announced seconds of the pictures; None when only the length of all streams together is known."""
    if stream.duration:
        return float(stream.duration * _unit(stream))
    if tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):  # of Matroska
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _count(container: av.container.InputContainer, stream: av.VideoStream, rate: float) -> int | None:
    if stream.frames:
        return stream.frames
    seconds = _length(container, stream) or (container.duration or 0) / 1e6
    return round(seconds * rate) or None


def _pictures(container: av.container.InputContainer, stream: av.VideoStream, strict: bool) -> Iterator[Timed]:
    """Times and upright pictures, or why one is lost.

    With `strict`, raises BreakError when they end before the announced length.
    """
    av = import_av()
    by_dts = container.format.name == "avi"  # it stores no time of display: what stands for it jumps to and fro
    first = last = None
    unit = _unit(stream)
    turn: Callable[[np.ndarray], np.ndarray] | None = None
    for frame in _decoded(av, container, stream, strict):
        if frame is None:
            yield None, "cannot be decoded"
            continue
        stamp = frame.dts if by_dts else frame.pts
        seconds = None if stamp is None else float(stamp * unit)
        if turn is None:
            turn, first = upright(frame), seconds
        yield seconds, turn(frame.to_ndarray(format="rgb24"))
        if seconds is not None:
            last = seconds + float((frame.duration or 0) * unit)
    announced = _length(container, stream)
    if strict and announced and first is not None and last is not None:
        slack = max(0.5, 2 / (_declared_rate(stream) or RATE))
        if max(last, last - first) < announced - slack:
            raise BreakError(f"the file announces {announced:.2f} s; it was cut short or is damaged")


def _decoded(
    av: ModuleType, container: av.container.InputContainer, stream: av.VideoStream, strict: bool
) -> Iterator[av.VideoFrame | None]:
    """Frames in order of display.

    With `strict`, None stands for each frame from a damaged one to the next key frame: those between are made of it. It
    raises BreakError after the last good frame when no key frame follows. Without, it goes on behind the damage.
    """
    sent: deque[int | None] = deque(maxlen=128)
    packets, barren = container.demux(stream), 0
    joinable = container.format.name == "mpegts"  # where recordings are joined, the last packet passes for corrupt
    taken = given = 0  # packets and frames
    latest: Any = None  # the frame given last
    damage = ""  # what is waited out until a key frame
    lost: list[None] = []
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            yield from [] if damage else _flushed(av, stream)
            raise BreakError(_reason(error)) from error
        if packet is None:
            if damage:
                raise BreakError(damage)
            return
        taken += packet.size > 0  # the last one is empty, and asks for what the decoder holds
        bad = strict and packet.is_corrupt and not joinable
        if damage:
            if bad or not packet.is_keyframe:
                continue
            stream.codec_context.flush_buffers()
            lost, damage = [None] * max(taken - 1 - given, _missing(stream, latest, packet)), ""
            sent.clear()
        frames: list[Any] = []
        if bad:
            frames, damage = _flushed(av, stream), "the file is cut short or damaged here"
        else:
            sent.append(packet.pts)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if strict:
                    frames = _before(_flushed(av, stream), sent, stream.codec_context.thread_count)
                    damage = f"the next frame cannot be decoded ({_reason(error)})"
        barren = 0 if frames else barren + 1
        if barren > 1000 and not strict:
            raise BreakError("nothing of the stream can be decoded any more")
        for frame in frames:
            if strict and frame.is_corrupt:
                damage = "the next frame is damaged"
                break
            yield from lost
            given += len(lost) + 1
            lost, latest = [], frame
            yield frame


def _missing(stream: av.VideoStream, latest: av.VideoFrame | None, packet: av.Packet) -> int:
    """How many frames there must have been, by their times, between one and a packet, where the container counts none:
    its packets may be lost too."""
    rate = _declared_rate(stream)
    step = stream.time_base
    if stream.frames or rate is None or step is None or latest is None or latest.pts is None or packet.pts is None:
        return 0
    return max(0, round(float((packet.pts - latest.pts) * step) * rate) - 1)


def _flushed(av: ModuleType, stream: av.VideoStream) -> list[av.VideoFrame]:
    """The frames that the decoder still holds."""
    try:
        return [frame for frame in stream.decode(None) if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def _before(frames: list[av.VideoFrame], sent: deque[int | None], threads: int) -> list[av.VideoFrame]:
    """The frames that come before the packet which failed.

    With n threads that is the last but n - 1 of those sent, and what depends on it has passed through already.
    """
    failed = sent[-min(len(sent), max(1, threads))]
    return [frame for frame in frames if failed is not None and frame.pts is not None and frame.pts < failed]


def upright(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
    """The quarter turns and mirrorings that bring the stored picture upright, by the container's display matrix."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return lambda image: image
    # a point (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(float)
    swap = abs(b) > abs(a)
    left, up = (c < 0, b < 0) if swap else (a < 0, d < 0)
    flip = {(True, True): -1, (True, False): 1, (False, True): 0}.get((left, up))

    def turned(image: np.ndarray) -> np.ndarray:
        image = cv2.transpose(image) if swap else image
        return image if flip is None else cv2.flip(image, flip)

    return turned
