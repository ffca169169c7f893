"""A source of frames, whatever holds them: their times rise, and their size is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from polyp_monai.data import files
from polyp_monai.errors import PolypError

RATE = 25.0  # frames a second of what tells no rate

# time in seconds, from any start, if it is known; picture (H, W, 3), or why this frame is lost
Timed = tuple["float | None", "np.ndarray | str"]


@dataclass(frozen=True)
class Frame:
    """One frame: `index` from 0, `time` in seconds since the first frame (strictly rising), and the picture.

    `image`: (H, W, 3) uint8 RGB, upright: a rotation that the file tells of is applied.
    """

    index: int
    time: float
    image: np.ndarray


class BreakError(Exception):
    """The frames end here, although more were promised. Its text is the reason."""


def read_images(paths: Sequence[Path], rate: float) -> Iterator[Timed]:
    """Pictures in files, as an image sequence of `rate` frames a second."""
    for index, path in enumerate(paths):
        try:
            image = files.read_rgb(path, upright=True)
        except PolypError as error:
            yield index / rate, str(error)
            continue
        yield index / rate, image


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
        damaged: index of each frame that could not be decoded and was left out -> why.
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
        self.damaged: dict[int, str] = {}
        self.rescaled = 0
        self._release, self._lock, self._closed = release, threading.Lock(), False
        lost: list[Timed] = []
        try:
            while (first := next(pictures, None)) is not None and isinstance(first[1], str):
                lost.append(first)
        except BreakError as error:
            release()
            raise PolypError(f"{name}: no frame can be read ({error})") from error
        except BaseException:
            release()
            raise
        if first is None:
            release()
            why = (
                f"no frame can be read ({lost[0][1]})"
                if lost
                else "holds no frames; was its recording cut off at once?"
            )
            raise PolypError(f"{name}: {why}")
        height, width = cast(np.ndarray, first[1]).shape[:2]
        self.size = (width, height)
        self._frames = self._walk(chain(lost, [first], pictures))

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

    def _walk(self, pictures: Iterator[Timed]) -> Generator[Frame, None, None]:
        clock, last, lost = _Clock(1 / self.rate), -1, 0
        try:
            for index, (seconds, image) in enumerate(pictures):
                if isinstance(image, str):
                    self.damaged[index] = image
                    lost += 1
                    continue
                for _ in range(lost if seconds is None and last >= 0 else 0):
                    clock.tick(None)
                last, lost = index, 0
                if (image.shape[1], image.shape[0]) != self.size:
                    image = _fit(image, self.size)
                    self.rescaled += 1
                yield Frame(index, clock.tick(seconds), image)
        except BreakError as error:
            self.broken = f"{self.name}: breaks after frame {last} ({clock.last:.2f} s): {error}"


class _Clock:
    """Strictly rising times from 0, out of times that may be missing, repeat or jump back.

    Args:
        step: seconds from frame to frame where nothing is declared.
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
