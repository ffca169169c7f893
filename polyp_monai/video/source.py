"""Reading frames with their times: from a video file, an image sequence, a camera or a network stream."""

from __future__ import annotations

import glob
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from polyp_monai import io
from polyp_monai.errors import PolypError

if TYPE_CHECKING:
    import av

RATE = 25.0  # frames a second of what tells no rate
PATIENCE = 10.0  # seconds a stream may keep silent
STREAM = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
CAMERA = re.compile(r"camera:(\d+)|/dev/video(\d+)")

Timed = tuple["float | None", np.ndarray]  # time in seconds, from any start, if it is known; picture (H, W, 3)


@dataclass(frozen=True)
class Frame:
    """One frame: `index` from 0, `time` in seconds since the first frame (strictly rising), and the picture.

    `image`: (H, W, 3) uint8 RGB, upright: a rotation that the file tells of is applied.
    """

    index: int
    time: float
    image: np.ndarray


class _BreakError(Exception):
    """The frames end here, although more were promised. Its text is the reason."""


class Source:
    """Iterator of `Frame`, once through; a context manager that closes what it reads.

    One thread at a time may ask for frames; any thread may close.

    Attributes:
        name: the file's name, or the address without a password in it.
        size: (W, H) of every frame.
        rate: mean frames a second.
        count: about how many frames there are; None when that is unknown.
        live: True of a camera or network stream, which has no end and drops what it cannot decode.
        broken: after the iteration, where and why it ended early, in one line; else None.
        rescaled: how many frames had another size than the first, and were fitted into its size, black around.
    """

    def __init__(
        self,
        name: str,
        pictures: Iterator[Timed],
        rate: float = RATE,
        count: int | None = None,
        live: bool = False,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads the first frame, for its size.

        Args:
            name: what messages call it.
            pictures: times and upright pictures in order; see `_Clock` for what becomes of missing times.
            rate, count, live: as the attributes.
            release: called once, on close.

        Raises:
            PolypError: there is no first frame.
        """
        self.name, self.rate, self.count, self.live = name, rate, count, live
        self.broken: str | None = None
        self.rescaled = 0
        self._release, self._lock, self._closed = release, threading.Lock(), False
        try:
            first = next(pictures, None)
        except _BreakError as error:
            release()
            raise PolypError(f"{name}: no frame can be read ({error})") from error
        except BaseException:
            release()
            raise
        if first is None:
            release()
            raise PolypError(f"{name}: holds no frames; was its recording cut off at once?")
        self.size = (first[1].shape[1], first[1].shape[0])
        self._frames = self._walk(chain([first], pictures))

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Frame:
        with self._lock:  # to close a decoder while it decodes would crash
            if self._closed:
                raise StopIteration
            return next(self._frames)

    def close(self) -> None:
        """End the iteration and free the decoder; a second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._frames.close()
                self._release()

    def _walk(self, pictures: Iterator[Timed]) -> Iterator[Frame]:
        clock, index = _Clock(1 / self.rate), -1
        try:
            for index, (seconds, image) in enumerate(pictures):
                if (image.shape[1], image.shape[0]) != self.size:
                    image = _fit(image, self.size)
                    self.rescaled += 1
                yield Frame(index, clock.tick(seconds), image)
        except _BreakError as error:
            self.broken = f"{self.name}: breaks after frame {index} ({clock.last:.2f} s): {error}"


class _Clock:
    """Strictly rising times from 0, out of times that may be missing, repeat or jump back.

    Args:
        step: seconds from frame to frame where nothing is told.
    """

    def __init__(self, step: float) -> None:
        self.step, self.last = step, 0.0
        self._zero: float | None = None
        self._started = False

    def tick(self, seconds: float | None) -> float:
        """The time of the next frame, in seconds."""
        if not self._started:
            self._started, self._zero = True, seconds
            return self.last
        if seconds is None:
            self.last += self.step
        elif self._zero is None or seconds - self._zero < self.last - 1:  # joined recordings start from 0 again
            self.last += self.step
            self._zero = seconds - self.last
        else:  # of two frames with one time, the second goes in the middle before the next
            time = seconds - self._zero
            self.last = time if time > self.last else self.last + self.step / 2
        return self.last


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) of `size` (W, H): the image as large as it goes with its aspect kept, black around."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = (min(size[0], max(1, round(width * scale))), min(size[1], max(1, round(height * scale))))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    flag = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=flag)
    return canvas


def open_source(address: str | Path, rate: float | None = None) -> Source:
    """Open whatever holds frames.

    Args:
        address: a video file; an image, a folder of images or a glob of them (an image sequence, in the order of the
            numbers in their names); "camera:0" or /dev/video0; or the address of a stream (rtsp://, http://, udp://).
        rate: frames a second of an image sequence (25) and of a video that tells no times; what a camera is asked for.

    Raises:
        PolypError: nothing there, no video in it, an unknown codec, no frames, or PyAV is not installed.
    """
    text = str(address)
    if rate is not None and not 0 < rate <= 1000:
        raise PolypError(f"rate {rate:g}: expected frames a second, above 0 and up to 1000")
    if camera := CAMERA.fullmatch(text):
        return _open_camera(text, int(camera[1] or camera[2]), rate)
    if STREAM.match(text):
        options = {"rtsp_transport": "tcp"} if text.lower().startswith("rtsp") else {}
        return _open_video(text, _without_password(text), rate, live=True, options=options)
    path = Path(text.removeprefix("file://"))
    if path.is_dir() or (not path.exists() and glob.has_magic(str(path))):
        return _open_images(path, rate or RATE)
    if not path.exists():
        raise PolypError(f"{path}: no such file; a video, a folder of images, camera:0 or a stream address is expected")
    if io.suffix_of(path) in io.SUFFIXES:
        return _open_images(path, rate or RATE)
    if path.stat().st_size == 0:
        raise PolypError(f"{path}: is empty (0 bytes); copy or record it again")
    return _open_video(f"file:{path.absolute()}", path.name, rate, live=False)  # "file:" because names may hold colons


def import_av() -> ModuleType:
    """PyAV. Raises PolypError when it is not installed."""
    try:
        import av
    except ImportError as error:
        raise PolypError("videos need PyAV; install it with: pip install 'polyp_monai[video]'") from error
    return av


def _without_password(address: str) -> str:
    """The address as messages and reports may show it."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _open_images(path: Path, rate: float) -> Source:
    if path.is_dir():
        found = io.find_images(path, recursive=False)
    elif path.is_file():
        found = [path]
    else:
        names = (Path(name) for name in glob.glob(str(path), recursive=True))
        found = [p for p in names if io.suffix_of(p) in io.SUFFIXES and p.is_file()]
    if not found:
        raise PolypError(f"{path}: no images there; known formats are {', '.join(io.SUFFIXES)}")
    found.sort(key=_natural)
    return Source(path.name or str(path), _read_images(found, rate), rate, len(found))


def _natural(path: Path) -> list[str | int]:
    """Sorting key by which frame2 comes before frame10."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", str(path))]


def _read_images(paths: list[Path], rate: float) -> Iterator[Timed]:
    for index, path in enumerate(paths):
        try:
            image = io.read_rgb(path)
        except PolypError as error:
            raise _BreakError(str(error)) from error
        yield index / rate, image


def _open_camera(name: str, number: int, rate: float | None) -> Source:
    options = {} if rate is None else {"framerate": f"{rate:g}"}
    if sys.platform == "darwin":  # its default of 29.97 is refused by most cameras
        return _open_video(f"{number}:none", name, rate, True, "avfoundation", {"framerate": "30", **options})
    if sys.platform == "win32":
        devices = import_av().device.enumerate_input_devices("dshow")
        cameras = [device.name for device in devices if "video" in device.media_types]
        if number >= len(cameras):
            raise PolypError(f"{name}: no such camera; {len(cameras)} found, counted from camera:0")
        return _open_video(f"video={cameras[number]}", name, rate, True, "dshow", options)
    device = Path(f"/dev/video{number}")
    if not device.exists():
        others = ", ".join(sorted(str(p) for p in device.parent.glob("video*"))) or "none"
        raise PolypError(f"{name}: no such camera; {device} is not there, these are: {others}")
    return _open_video(str(device), name, rate, True, "v4l2", options)


def _open_video(
    url: str,
    name: str,
    rate: float | None,
    live: bool,
    kind: str | None = None,
    options: dict[str, str] | None = None,
) -> Source:
    """Source of what PyAV opens at `url`; `kind` names the input format of a device."""
    av = import_av()
    try:
        container = av.open(url, "r", format=kind, options=options, timeout=PATIENCE if live else None)
    except (av.FFmpegError, ValueError) as error:
        raise PolypError(f"{name}: {_not_opened(_reason(error), live)}") from error
    try:
        stream = _video_stream(container, name)
    except PolypError:
        container.close()
        raise
    # decoding several frames at a time would hold a live picture back
    stream.thread_type = "SLICE" if live else "AUTO"
    told = _told_rate(stream)
    timeless = container.duration is None  # a bare stream of pictures, whose rate is made up
    pace = rate if rate and (timeless or told is None) else told or RATE
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
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The first stream of moving pictures. Raises PolypError when there is none, or none that can be decoded."""
    from av.stream import Disposition

    if container.format.name == "tty":  # FFmpeg takes any text for a film of a terminal
        raise PolypError(f"{name}: is a text file; a video is expected")
    moving = [s for s in container.streams if not s.disposition & Disposition.attached_pic]  # not a song's cover
    streams = [s for s in moving if s.type == "video"]
    if not moving:
        raise PolypError(f"{name}: {_not_opened('no table of its streams', live=False)}")
    if not streams:
        raise PolypError(f"{name}: holds no video, only {' and '.join(sorted({s.type for s in moving}))}")
    if streams[0].codec_context is None:
        raise PolypError(f"{name}: its codec is unknown here; convert it to H.264, e.g. with ffmpeg -i IN OUT.mp4")
    return streams[0]


def _told_rate(stream: av.VideoStream) -> float | None:
    """Mean frames a second, if the container tells one that can be true."""
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate)
    return next((rate for rate in rates if 0 < rate <= 1000), None)


def _length(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Announced seconds of the pictures; None when only the length of all streams together is known."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
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
    """Times and upright pictures; with `strict`, raises _BreakError when they end before the announced length."""
    av = import_av()
    by_dts = container.format.name == "avi"  # it stores no time of display: what stands for it jumps to and fro
    first = last = None
    turn: Callable[[np.ndarray], np.ndarray] | None = None
    for frame in _decoded(av, container, stream, strict):
        stamp = frame.dts if by_dts else frame.pts
        seconds = None if stamp is None else float(stamp * stream.time_base)
        if turn is None:
            turn, first = _turn(frame), seconds
        yield seconds, turn(frame.to_ndarray(format="rgb24"))
        if seconds is not None:
            last = seconds + float((frame.duration or 0) * stream.time_base)
    announced = _length(container, stream)
    if strict and announced and first is not None and last is not None:
        slack = max(0.5, 2 / (_told_rate(stream) or RATE))
        if max(last, last - first) < announced - slack:
            raise _BreakError(f"the file announces {announced:.2f} s; it was cut short or is damaged")


def _decoded(
    av: ModuleType, container: av.container.InputContainer, stream: av.VideoStream, strict: bool
) -> Iterator[av.VideoFrame]:
    """Frames in order of display.

    With `strict`, raises _BreakError after the last good frame before the first damage; without, goes on behind it.
    """
    packets, sent, barren = container.demux(stream), deque(maxlen=128), 0
    joinable = container.format.name == "mpegts"  # where recordings are joined, the last packet passes for corrupt
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            yield from _flushed(av, stream)
            raise _BreakError(_reason(error)) from error
        if packet is None:
            return
        if strict and packet.is_corrupt and not joinable:
            yield from _flushed(av, stream)
            raise _BreakError("the file is cut short or damaged here")
        sent.append(packet.pts)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if strict:
                yield from _before(_flushed(av, stream), sent, stream.codec_context.thread_count)
                raise _BreakError(f"the next frame cannot be decoded ({_reason(error)})") from error
            frames = []
        barren = 0 if frames else barren + 1
        if barren > 1000 and not strict:
            raise _BreakError("nothing of the stream can be decoded any more")
        for frame in frames:
            if strict and frame.is_corrupt:
                raise _BreakError("the next frame is damaged")
            yield frame


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


def _turn(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
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
