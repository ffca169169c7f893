"""Writing frames with their times as an H.264 video that browsers play."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.video.container import import_av

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".mov", ".mkv")
TICKS = 90_000  # of the time base, a second: every usual rate is whole in it
PRESET = "ultrafast"  # the others take twice the time and more
CRF = 23  # constant quality: lower is better and larger
# what ultrafast leaves out although it costs a tenth of its time, for three quarters of the size and fewer blocks
TOOLS = "cabac=1:8x8dct=1:no-deblock=0"


class _DiscardedError(Exception):
    """Thrown into `files.atomic` to make it drop its temporary file."""


class VideoSink:
    """A video at `path`, which appears there when the sink is closed, playable, with every frame written so far.

    Until then it grows under a temporary name beside `path`. Leaving the `with` block closes it, through an error or
    an interrupt too. With no frame written, or when writing failed, nothing appears and what was at `path` stays.
    `write` and `close` may be called from different threads.

    An odd width or height grows by one pixel that repeats the edge: the colors are stored at half size. They are
    stored by BT.601 in limited range, as their tags say. Times are kept to 1/90000 s, in .mkv to 1 ms.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        rate: float,
        overwrite: bool = False,
        crf: int = CRF,
        preset: str = PRESET,
    ) -> None:
        """Checks everything that can be checked before the first frame.

        Args:
            path: .mp4, .mov or .mkv; missing folders are made.
            size: (W, H) of the frames.
            rate: mean frames a second; the last frame lasts 1 / rate.
            overwrite: whether a file at `path` may be replaced.
            crf: quality, 0 (lossless) to 51.
            preset: effort of x264, "ultrafast" to "placebo".

        Raises:
            PolypError: another suffix, a file is there already, or PyAV is not installed.
            OSError: the folder cannot be made or written to.
        """
        self.path, self.size, self.rate = Path(path), size, rate
        self._options = {"preset": preset, "crf": str(crf), "x264-params": TOOLS}
        self._check(overwrite)
        self._av = import_av()
        self._lock = threading.RLock()  # to close an encoder while it encodes would crash
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._last = (float("-inf"), -1)  # time and ticks of the last frame
        self._muxed = 0
        self._whole, self._failed, self._closed = True, False, False
        self._file: AbstractContextManager[Path] | None = files.atomic(self.path)
        try:
            self._partial = self._file.__enter__()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path.parent)) from error

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, image: np.ndarray, time: float) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 RGB of the sink's size.
            time: when it is shown, in seconds; 0 or later, and later than the frame before.

        Raises:
            ValueError: another size, a time that does not rise, or the sink is closed.
            OSError: it cannot be written, e.g. because the disk is full; nothing will appear at `path`.
        """
        if image.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"frame of shape {image.shape}, expected {(self.size[1], self.size[0], 3)}")
        with self._lock:
            if self._closed or self._failed:
                raise ValueError(f"{self.path}: is closed")
            frame = self._av.VideoFrame.from_ndarray(_to_yuv(image), format="yuv420p")
            frame.pts, frame.time_base = self._ticks(time), Fraction(1, TICKS)
            frame.duration = round(TICKS / self.rate)
            self._whole = False  # an interrupt in here may lose a packet that later ones build on
            try:
                if self._container is None:
                    self._open()
                self._mux(frame)
            except self._av.FFmpegError as error:
                self._failed = True
                raise self._os_error(error) from error
            self._whole = True

    def close(self) -> None:
        """Finish the file and put it at `path`; a second call does nothing.

        Raises:
            OSError: as `write`.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self._container is not None and not self._failed:
                    self._finish()
            except self._av.FFmpegError as error:
                self._failed = True
                raise self._os_error(error) from error
            finally:
                self._discard()  # unless it has been published

    def _check(self, overwrite: bool) -> None:
        if files.suffix_of(self.path) not in SUFFIXES:
            raise PolypError(f"{self.path}: unknown kind of video; written are {', '.join(SUFFIXES)}")
        if self.path.is_dir():
            raise PolypError(f"{self.path}: is a folder; give the name of a file")
        if self.path.exists() and not overwrite:
            raise PolypError(f"{self.path}: exists already; give another name, or add --overwrite")

    def _open(self) -> None:
        # at the front of the file, its table of frames lets a browser start before all is loaded
        flags = {} if files.suffix_of(self.path) == ".mkv" else {"movflags": "faststart"}
        container = self._container = self._av.open(f"file:{self._partial.absolute()}", "w", options=flags)
        stream = container.add_stream("libx264", rate=Fraction(self.rate).limit_denominator(1001))
        stream.width, stream.height = (side + side % 2 for side in self.size)
        stream.pix_fmt, stream.options = "yuv420p", self._options
        stream.time_base = Fraction(1, TICKS)
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.gop_size = max(1, round(2 * self.rate))  # a player can jump to every second second
        context.thread_count = min(4, os.cpu_count() or 1)  # every thread holds a frame back
        context.colorspace, context.color_range = 6, 1  # SMPTE 170M (BT.601), limited, as OpenCV converts
        context.color_primaries, context.color_trc = 1, 1  # BT.709, of what cameras and screens have
        self._stream = stream

    def _ticks(self, time: float) -> int:
        """Time stamp of the next frame; checks that time rises, and keeps frames of one tick apart."""
        before, ticks = self._last
        if not time > before:  # of NaN too
            raise ValueError(f"time {time} does not come after {before}")
        self._last = (time, max(round(time * TICKS), ticks + 1))
        return self._last[1]

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, or with None what the encoder still holds, into the file."""
        assert self._container is not None  # `_open` comes first
        assert self._stream is not None
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
            self._muxed += 1

    def _finish(self) -> None:
        assert self._container is not None  # neither closed nor discarded yet
        assert self._file is not None
        if self._whole:
            self._mux(None)
        self._container.close()
        if self._muxed:
            file, self._file = self._file, None
            file.__exit__(None, None, None)

    def _discard(self) -> None:
        if self._file is None:
            return
        if self._container is not None:
            with suppress(self._av.FFmpegError):  # the first error is the one to tell
                self._container.close()
        with suppress(_DiscardedError):
            self._file.__exit__(_DiscardedError, _DiscardedError(), None)
        self._file = None

    def _os_error(self, error: Exception) -> OSError:
        """FFmpeg's error as one about `path`, with its errno where it has one."""
        number = error.errno if isinstance(error, OSError) else 0
        return OSError(number, getattr(error, "strerror", None) or str(error), str(self.path))


def _to_yuv(image: np.ndarray) -> np.ndarray:
    """(3/2 H, W) I420 of (H, W, 3), sides made even. OpenCV takes a fifth of the time of FFmpeg's conversion."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
