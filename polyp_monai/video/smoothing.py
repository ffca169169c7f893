"""Probability maps held against those of the moments before: less flicker, for a little delay.

A map counts half as much after each `half_life`, whatever the frame rate, so that dropped frames change nothing.
"""

from __future__ import annotations

import math
from typing import Protocol

import cv2
import numpy as np

from polyp_monai.errors import PolypError

NAMES = ("none", "exponential", "flow")
# Mean difference of two tiny grey frames, of 255, from which they are no longer one scene. In CVC-ClinicDB 96 % of the
# pairs from two sequences differ by more; frames that follow each other in a video differ by a few.
CUT = 18.0
_TINY = (16, 16)
_SIDE = 176  # of the grey frame that flow is computed on; DIS takes 0.2 ms there, Farneback's method 4.8, both as exact


class Smoother(Protocol):
    """What `smoother` gives: call it once a frame, in order."""

    def __call__(self, probability: np.ndarray, image: np.ndarray, seconds: float) -> np.ndarray:
        """The smoothed map, (h, w) float32 0..1, which the caller must not write into.

        Args:
            probability: (h, w) float32 0..1; or (h, w, C), a map a class.
            image: (h, w, 3) uint8, the frame that it belongs to.
            seconds: since the frame before; below 0 everything starts again.
        """
        ...

    def reset(self) -> None:
        """Forget the frames before."""
        ...


def smoother(name: str, half_life: float) -> Smoother:
    """A new smoother.

    Args:
        name: one of `NAMES`; "exponential" stays in place, "flow" moves along with the picture.
        half_life: seconds after which a map counts half; 0 smooths nothing.

    Raises:
        PolypError: an unknown name, or a half-life that is negative or not finite.
    """
    if name not in NAMES:
        raise PolypError(f"smoothing {name!r}: unknown; known are {', '.join(NAMES)}")
    if not (math.isfinite(half_life) and half_life >= 0):
        raise PolypError(f"half-life {half_life} s: expected 0 or more seconds")
    if name == "none" or not half_life:
        return Unsmoothed()
    return Exponential(half_life) if name == "exponential" else Flow(half_life)


class Unsmoothed:
    """Every map as it is."""

    def __call__(self, probability: np.ndarray, image: np.ndarray, seconds: float) -> np.ndarray:
        return probability

    def reset(self) -> None:
        pass


class Exponential:
    """Each pixel's mean over time, with weights that fall by half in `half_life` seconds. A cut starts again."""

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self.reset()

    def reset(self) -> None:
        self._earlier: tuple[np.ndarray, np.ndarray] | None = None  # map and small grey frame

    def __call__(self, probability: np.ndarray, image: np.ndarray, seconds: float) -> np.ndarray:
        if not math.isfinite(float(probability.sum())):  # NaN would stay for ever
            self.reset()
            return probability
        grey = _small_grey(image)
        if seconds >= 0 and self._earlier and _goes_on(*self._earlier, probability, grey):
            earlier = self._carried(*self._earlier, grey)
            new = 1 - 0.5 ** (seconds / self.half_life)
            smoothed = cv2.scaleAdd(probability - earlier, new, earlier)
        else:
            smoothed = probability.copy()  # the caller may use its memory again
        self._earlier = smoothed, grey
        return smoothed

    def _carried(self, earlier: np.ndarray, before: np.ndarray, grey: np.ndarray) -> np.ndarray:
        """The `earlier` map, of the frame `before`, where its pixels are in the frame `grey`."""
        return earlier


class Flow(Exponential):
    """As `Exponential`, but the earlier map first moves along with the picture.

    Dense inverse search (doi 10.1007/978-3-319-46493-0_29) says where each pixel was.
    """

    def reset(self) -> None:
        super().reset()
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._places = np.zeros((0, 0, 2), np.float32)

    def _carried(self, earlier: np.ndarray, before: np.ndarray, grey: np.ndarray) -> np.ndarray:
        height, width = earlier.shape[:2]
        way = cv2.resize(self._search.calc(grey, before, None), (width, height), interpolation=cv2.INTER_LINEAR)
        way *= np.array((width / grey.shape[1], height / grey.shape[0]), np.float32)
        if self._places.shape != way.shape:
            self._places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        return cv2.remap(earlier, self._places + way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _goes_on(earlier: np.ndarray, before: np.ndarray, probability: np.ndarray, grey: np.ndarray) -> bool:
    same_sizes = earlier.shape == probability.shape and before.shape == grey.shape
    return same_sizes and difference(before, grey) < CUT


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference, 0..255, of two grey frames (h, w) uint8 seen from afar."""
    pair = (cv2.resize(grey, _TINY, interpolation=cv2.INTER_AREA) for grey in (one, other))
    return float(cv2.absdiff(*pair).mean())


def _small_grey(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _SIDE / min(grey.shape)
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
