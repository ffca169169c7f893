"""The endoscope's picture inside a frame: where it is, between black borders, text and a second picture."""

from __future__ import annotations

from collections import deque
from dataclasses import astuple, dataclass

import cv2
import numpy as np

SHORT_SIDE = 144  # of the subsampled frame in which the picture is sought
DARK = 48  # a border is darker than this in every channel, 0..255
ABOVE_BORDER = 10  # grey levels by which the picture is brighter than the border; its shadows are only little brighter
SMALLEST = 0.15  # share of the frame that a picture fills at least
OPENING = 7  # subsampled pixels: bars, letters and lines thinner than this are no picture


@dataclass(frozen=True)
class View:
    """Box of the picture in pixels, half-open: image[y0:y1, x0:x1]."""

    x0: int
    y0: int
    x1: int
    y1: int


def find_view(image: np.ndarray) -> View:
    """The box around the endoscope's picture in one frame; the whole frame where nothing is clear.

    The picture is the largest connected region brighter than the border. A picture of another device beside it, text,
    and a green or blue panel are left out; a panel in a cut corner lies inside the box.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    return _find(image) or whole(image)


class SteadyView:
    """`find_view` over time: the view stays until another one holds.

    It grows when two looks in a row, or nearly so, find more, and shrinks only when `hold` looks found less: to see a
    bit of border costs little, to cut a polyp off much. A dark or black scene moves nothing.

    Args:
        every: frames from look to look; the others cost nothing.
        hold: looks, so that a view shrinks after about `every` * `hold` frames (10 s of 30 frames a second).
    """

    def __init__(self, every: int = 10, hold: int = 30) -> None:
        self.every = every
        self._looks: deque[View] = deque(maxlen=hold)
        self._frames = 0
        self._view: View | None = None

    def update(self, image: np.ndarray) -> View:
        """The view of the next frame, (H, W, 3) uint8 RGB; all frames have one size."""
        look = self._frames % self.every == 0
        self._frames += 1
        if look and (found := _find(image)):
            self._looks.append(found)
            wanted = _outermost_but_one(self._looks)
            if self._view is None or _apart(self._view, wanted) > 2 * _step(image):
                self._view = wanted
        return self._view or whole(image)


def whole(image: np.ndarray) -> View:
    """The box around all of an (H, W, ...) picture."""
    return View(0, 0, image.shape[1], image.shape[0])


def _outermost_but_one(views: deque[View]) -> View:
    """The box that holds all but the one that reaches farthest, side by side; a single odd look moves nothing."""
    sides = np.sort(np.array([astuple(view) for view in views]), axis=0)
    second = min(1, len(sides) - 1)
    return View(*(int(side) for side in (*sides[second, :2], *sides[-1 - second, 2:])))


def _apart(one: View, other: View) -> int:
    """Pixels between the sides that are farthest apart."""
    return max(abs(a - b) for a, b in zip(astuple(one), astuple(other), strict=True))


def _step(image: np.ndarray) -> int:
    """Pixels from sample to sample."""
    return max(1, min(image.shape[:2]) // SHORT_SIDE)


def _find(image: np.ndarray) -> View | None:
    """As `find_view`; None when nothing in the frame can be the picture."""
    if min(image.shape[:2]) < OPENING:
        return whole(image)
    step = _step(image)
    # contiguous planes: what follows is many times as fast on them
    red, green, blue = (np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step, i]) for i in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    border = _border_level(brightest)
    if border is None:
        return whole(image)
    bright = cv2.compare(brightest, border + ABOVE_BORDER, cv2.CMP_GT)
    region = _largest_region(_without_panels(red, brightest, bright))
    if region is None:
        return None
    x0, y0, x1, y1 = region
    height, width = image.shape[:2]  # the true edge lies up to one step beyond the outermost sample
    return View(
        max(0, (x0 - 1) * step), max(0, (y0 - 1) * step), min(width, (x1 + 1) * step), min(height, (y1 + 1) * step)
    )


def _border_level(brightest: np.ndarray) -> float | None:
    """Brightness of the border, 0..DARK, by the darkest corner; None when no corner is dark."""
    k = max(2, min(brightest.shape) // 20)
    corners = (brightest[:k, :k], brightest[:k, -k:], brightest[-k:, :k], brightest[-k:, -k:])
    darkest = min(float(np.median(corner)) for corner in corners)  # the median: text may stand there
    return darkest if darkest < DARK else None


def _without_panels(red: np.ndarray, brightest: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """`bright` less what is green or blue, as the displays of a processor are; all of it where that is most of it."""
    reddish = cv2.bitwise_and(bright, cv2.compare(red, cv2.convertScaleAbs(brightest, alpha=0.6), cv2.CMP_GE))
    return reddish if cv2.countNonZero(reddish) > 0.7 * cv2.countNonZero(bright) else bright


def _largest_region(bright: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1), half-open, of the largest connected region of (h, w) uint8; None when it is too small."""
    kernel = np.ones((OPENING, OPENING), np.uint8)
    # what goes on to the frame's edge goes on behind it
    padded = cv2.copyMakeBorder(bright, OPENING, OPENING, OPENING, OPENING, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[OPENING:-OPENING, OPENING:-OPENING]
    # holes count as filled: a dark lumen is part of the picture
    outlines, _ = cv2.findContours(np.ascontiguousarray(opened), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    outline = max(outlines, key=cv2.contourArea)
    x, y, w, h = cv2.boundingRect(outline)
    return (x, y, x + w, y + h) if cv2.contourArea(outline) >= SMALLEST * bright.size else None
