"""From probability maps to the polyps that are shown: regions of a frame, and their numbers over time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from polyp_monai.errors import PolypError
from polyp_monai.metrics.video import box_ious

MIN_AREA_SHARE = 0.0005  # of the view: 62 pixels of a window of 352 x 352, 26 x 26 of a frame of 1280 x 1024


@dataclass(frozen=True, eq=False)
class Detection:
    """One connected region of a frame, in pixels of the source frame.

    box: x0, y0, x1, y1; x1 and y1 are the first beyond. area: in pixels. confidence: mean probability within, 0..1.
    contour: (n, 2) int32 x, y; the outer one, holes are not in it.
    """

    box: tuple[float, float, float, float]
    area: float
    confidence: float
    contour: np.ndarray


@dataclass(frozen=True)
class Polyp:
    """A polyp that is shown. `number`: from 1. `seen`: False while its last detection is held."""

    number: int
    detection: Detection
    seen: bool = True


def detections(
    probability: np.ndarray,
    threshold: float,
    view: tuple[int, int, int, int],
    min_area_share: float = MIN_AREA_SHARE,
) -> list[Detection]:
    """The 8-connected regions where the probability reaches `threshold`, largest first.

    Outlines are drawn on the map enlarged to the size of the source: they run between the map's pixels and have no
    steps. They lie at `threshold` itself, as the masks of `polyp predict` do.

    Args:
        probability: (h, w) 0..1, which covers `view`, stretched.
        view: x0, y0, x1, y1 in pixels of the source frame.
        min_area_share: regions below this share of the view, 0..1, are left out.
    """
    height, width = probability.shape
    scale = np.array([(view[2] - view[0]) / width, (view[3] - view[1]) / height])
    least = min_area_share * probability.size
    inside = (probability >= threshold).view(np.uint8)
    left, top, wide, high = cv2.boundingRect(inside)
    if not wide:
        return []
    # only where there is anything, and the pixel around it: an eighth of the time for a polyp of usual size
    x, y = max(left - 1, 0), max(top - 1, 0)
    part = slice(y, top + high + 1), slice(x, left + wide + 1)
    probability, origin = probability[part], view[:2] + scale * (x, y)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside[part], connectivity=8)
    found = []
    for label, (left, top, wide, high, area) in enumerate(stats[1:].tolist(), start=1):
        if area < least:
            continue
        corners = np.array([[left, top], [left + wide, top + high]])
        own = slice(top, top + high), slice(left, left + wide)
        confidence = float(probability[own][labels[own] == label].mean())
        contour = _contour(probability, threshold, labels, label, corners, scale, origin)
        box = tuple((corners * scale + origin).ravel().tolist())
        found.append(Detection(box, area * float(scale.prod()), confidence, contour))
    return sorted(found, key=_rank)


def _contour(
    probability: np.ndarray,
    threshold: float,
    labels: np.ndarray,
    label: int,
    corners: np.ndarray,
    scale: np.ndarray,
    origin: np.ndarray,
) -> np.ndarray:
    """Outline of one region, (n, 2) int32 x, y of the source frame; its box where nothing is left to outline."""
    (x0, y0), (x1, y1) = np.clip(corners + [[-1], [1]], 0, probability.shape[::-1])  # the edge lies between two pixels
    part, owner = probability[y0:y1, x0:x1], labels[y0:y1, x0:x1]
    others = (owner != label) & (owner != 0)
    if others.any():
        part = np.where(others, np.float32(0), part)
    start, end = np.rint([[x0, y0], [x1, y1]] * scale + origin).astype(int)
    enlarged = cv2.resize(part, np.maximum(end - start, 1).tolist(), interpolation=cv2.INTER_LINEAR)
    inside = (enlarged >= threshold).view(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:  # a speck on a frame that is smaller than the map
        left, top, right, bottom = np.rint(corners * scale + origin).ravel()
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
    return max(contours, key=cv2.contourArea)[:, 0] + np.int32(start)


class Tracker:
    """Gives the polyps of a video numbers, and decides which of them are shown.

    A polyp is shown once k of the last n frames saw it, so that a flicker is not. From then on it has a number. A
    detection is the polyp whose last box it overlaps best, each of one only (assigned for all at once, doi
    10.1002/nav.3800020109; a box carried on at its speed finds fewer again in CVC-ClinicDB than the last box does).
    While a shown polyp is not seen its last detection is held in place for `hold` seconds; then it is not shown, but
    returns at once and under its number when it is seen again within `patience`; after that it is a new one.

    With on = (1, 1) and patience = 0 every detection is shown, and nothing else.

    Args:
        on: k and n, in frames: a flicker is one of frames, at any rate.
        iou: overlap of boxes, above 0 to 1, from which a detection can be the polyp of the frames before.
        patience: seconds without being seen after which a polyp is given up. A frame that sees it comes in time,
            however long the frame before was shown.
        hold: seconds, at most `patience`.

    Raises:
        PolypError: a value outside of these ranges.
    """

    def __init__(
        self, on: tuple[int, int] = (3, 5), iou: float = 0.2, patience: float = 0.5, hold: float = 0.2
    ) -> None:
        if not 1 <= on[0] <= on[1]:
            raise PolypError(f"on {on[0]} of {on[1]} frames: expected 1 or more, of at least as many")
        if not 0 < iou <= 1:
            raise PolypError(f"iou {iou}: expected above 0, to 1")
        if not (math.isfinite(patience) and patience >= 0 and hold >= 0):
            raise PolypError(f"patience {patience} s, hold {hold} s: expected 0 or more seconds")
        self.on, self.iou, self.patience, self.hold = on, iou, patience, min(hold, patience)
        self._numbers = 0
        self.reset()

    def reset(self) -> None:
        """Forget all polyps, as at a new video; numbers go on."""
        self._tracks: list[_Track] = []
        self._time = -math.inf

    def update(self, found: Sequence[Detection], time: float) -> list[Polyp]:
        """The polyps to show in a frame, by number.

        Args:
            found: what the frame shows, in any order.
            time: seconds; when it goes back everything starts again.
        """
        if time < self._time:
            self.reset()
        self._time = time
        found = sorted(found, key=_rank)
        partners = self._match(found)
        for track, partner in zip(self._tracks, partners, strict=True):
            track.add(None if partner is None else found[partner], time)
        new = [detection for i, detection in enumerate(found) if i not in partners]
        self._tracks += [_Track(detection, time, self.on[1]) for detection in new]
        self._tracks = [track for track in self._tracks if self._lives(track, time)]
        for track in self._tracks:
            if track.number is None and sum(track.hits) >= self.on[0]:
                self._numbers += 1
                track.number = self._numbers
        held = (track for track in self._tracks if track.seen or time - track.time <= self.hold)
        shown = (Polyp(t.number, t.last, t.seen) for t in held if t.number is not None)
        return sorted(shown, key=lambda polyp: polyp.number)

    def _match(self, found: list[Detection]) -> list[int | None]:
        """The index of the detection that each track goes on with."""
        if not (self._tracks and found):
            return [None] * len(self._tracks)
        ious = box_ious(np.array([t.last.box for t in self._tracks]), np.array([f.box for f in found]))
        ious[ious < self.iou] = 0
        pairs = dict(zip(*(side.tolist() for side in linear_sum_assignment(ious, maximize=True)), strict=True))
        return [pairs[i] if i in pairs and ious[i, pairs[i]] > 0 else None for i in range(len(self._tracks))]

    def _lives(self, track: _Track, time: float) -> bool:
        if track.number is None:
            return any(track.hits)
        return track.seen or time - track.time <= self.patience


class _Track:
    """What may be a polyp. last: its last detection, at `time`. hits: whether each of the last n frames saw it."""

    def __init__(self, detection: Detection, time: float, frames: int) -> None:
        self.number: int | None = None
        self.hits: deque[bool] = deque(maxlen=frames)
        self.add(detection, time)

    @property
    def seen(self) -> bool:
        return self.hits[-1]

    def add(self, detection: Detection | None, time: float) -> None:
        self.hits.append(detection is not None)
        if detection is not None:
            self.last, self.time = detection, time


def _rank(detection: Detection) -> tuple:
    """Largest first; of equal size by place, so that their order changes no number."""
    return -detection.area, *detection.box
