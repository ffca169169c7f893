"""From the polyps of single frames to those that are shown, and their numbers over time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import Classes
from polyp_monai.metrics.regions import Polyp, classed, rank
from polyp_monai.metrics.video import box_ious


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackedPolyp(Polyp):
    """A polyp that is shown. `number`: from 1. `seen`: False while its last detection is held."""

    number: int
    seen: bool = True


class Tracker:
    """Gives the polyps of a video numbers, and decides which of them are shown.

    A polyp is shown once k of the last n frames saw it, so that a flicker is not. From then on it has a number. A
    detection is the polyp whose last box it overlaps best, each of one only (assigned for all at once, doi
    10.1002/nav.3800020109; a box carried on at its speed finds fewer again in CVC-ClinicDB than the last box does).
    While a shown polyp is not seen its last detection is held in place for `hold` seconds; then it is not shown, but
    returns at once and under its number when it is seen again within `patience`; after that it is a new one.

    With on = (1, 1) and patience = 0 every detection is shown, and nothing else. Of several classes, that of a polyp is
    told by the mean over the frames that saw it: it settles, where that of single frames flickers.

    Args:
        on: k and n, in frames: a flicker is one of frames, at any rate.
        iou: overlap of boxes, above 0 to 1, from which a detection can be the polyp of the frames before.
        patience: seconds without being seen after which a polyp is given up. A frame that sees it comes in time,
            however long the frame before was shown.
        hold: seconds, at most `patience`.
        classes: of the bundle.

    Raises:
        PolypError: a value outside of these ranges.
    """

    def __init__(
        self,
        on: tuple[int, int] = (3, 5),
        iou: float = 0.2,
        patience: float = 0.5,
        hold: float = 0.2,
        classes: Classes = Classes(),  # noqa: B008  which cannot change
    ) -> None:
        if not 1 <= on[0] <= on[1]:
            raise PolypError(f"on {on[0]} of {on[1]} frames: expected 1 or more, of at least as many")
        if not 0 < iou <= 1:
            raise PolypError(f"iou {iou}: expected above 0, to 1")
        if not (math.isfinite(patience) and patience >= 0 and hold >= 0):
            raise PolypError(f"patience {patience} s, hold {hold} s: expected 0 or more seconds")
        self.on, self.iou, self.patience, self.hold = on, iou, patience, min(hold, patience)
        self.classes, self._numbers = classes, 0
        self.reset()

    def reset(self) -> None:
        """Forget all polyps, as at a new video; numbers go on."""
        self._tracks: list[_Track] = []
        self._time = -math.inf

    def update(self, found: Sequence[Polyp], time: float) -> list[TrackedPolyp]:
        """The polyps to show in a frame, by number.

        Args:
            found: what the frame shows, in any order.
            time: seconds; when it goes back everything starts again.
        """
        if time < self._time:
            self.reset()
        self._time = time
        found = sorted(found, key=rank)
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
        polyps = [
            TrackedPolyp(**vars(t.told(self.classes)), number=t.number, seen=t.seen)
            for t in self._tracks
            if t.number is not None and (t.seen or time - t.time <= self.hold)
        ]
        return sorted(polyps, key=lambda polyp: polyp.number)

    def _match(self, found: list[Polyp]) -> list[int | None]:
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

    def __init__(self, detection: Polyp, time: float, frames: int) -> None:
        self.number: int | None = None
        self._sums, self._frames = np.zeros(len(detection.means)), 0
        self.hits: deque[bool] = deque(maxlen=frames)
        self.add(detection, time)

    @property
    def seen(self) -> bool:
        return self.hits[-1]

    def add(self, detection: Polyp | None, time: float) -> None:
        self.hits.append(detection is not None)
        if detection is not None:
            self.last, self.time = detection, time
            self._sums, self._frames = self._sums + detection.means, self._frames + 1

    def told(self, classes: Classes) -> Polyp:
        """The last detection, with the class that all of them say."""
        return (
            classed(self.last, tuple((self._sums / self._frames).tolist()), classes) if self.last.means else self.last
        )
