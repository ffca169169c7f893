"""What a video's shown polyps come to: a row for each, frame by frame, and a list of events at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polyp_monai.metrics.video import is_short
from polyp_monai.video.tracking import TrackedPolyp

COLUMNS = ("frame", "time", "polyp", "confidence", "x0", "y0", "x1", "y1", "area")
CLASS_COLUMNS = ("class", "class_probability")  # of several classes
POINTS = 200  # at most, of an event's area over time


@dataclass
class _Event:
    """One polyp from its first frame to its last."""

    polyp: int
    first_frame: int
    first_time: float
    last_frame: int = 0
    last_time: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    max_confidence: float = 0.0
    max_area: float = 0.0
    areas: list[list[float]] = field(default_factory=list)
    every: int = 1  # frames between two points of `areas`
    told: dict[str, Any] = field(default_factory=dict)  # of several classes, what its frames say by now

    def add(self, frame: int, time: float, polyp: TrackedPolyp) -> None:
        if self.frames % self.every == 0:
            self.areas.append([round(time, 4), round(polyp.area)])
        if len(self.areas) > POINTS:
            self.areas, self.every = self.areas[::2], self.every * 2
        self.frames, self.last_frame, self.last_time = self.frames + 1, frame, time
        self.max_confidence = max(self.max_confidence, polyp.confidence)
        self.max_area = max(self.max_area, polyp.area)
        self.told = class_of(polyp)


class Events:
    """Collects the events of one video; an hour of it takes no more memory than its events do."""

    def __init__(self) -> None:
        self._events: dict[int, _Event] = {}
        self._shown: list[int] = []
        self._time = 0.0

    @staticmethod
    def rows(frame_index: int, time: float, polyps: Sequence[TrackedPolyp]) -> list[dict[str, Any]]:
        """The rows of one frame, with `COLUMNS` as keys: one a polyp; without a polyp one with only frame and time."""
        place = {"frame": frame_index, "time": round(time, 4)}
        rows = []
        for polyp in polyps:
            corners = zip(("x0", "y0", "x1", "y1"), (round(v, 1) for v in polyp.box), strict=True)
            about = {"polyp": polyp.number, "confidence": round(polyp.confidence, 4)}
            rows.append(place | about | dict(corners) | {"area": round(polyp.area)} | class_of(polyp))
        return rows or [place | dict.fromkeys(COLUMNS[2:], "")]

    def update(self, frame_index: int, time: float, polyps: Sequence[TrackedPolyp]) -> None:
        """Take in a frame, also one without a polyp: it ends what the frame before showed. Frames come in order."""
        self._show_until(time)
        for polyp in polyps:
            event = self._events.setdefault(polyp.number, _Event(polyp.number, frame_index, time))
            event.add(frame_index, time, polyp)
        self._shown, self._time = [polyp.number for polyp in polyps], time

    def summary(self, frames: int, seconds: float) -> dict[str, Any]:
        """The events, and how often an alarm was raised; every polyp that is shown is one alarm.

        Args:
            frames: how many there were.
            seconds: length of the video.

        Returns:
            frames, seconds; events: by number, each with polyp, first and last frame and time, seconds (that it was
            shown: each frame is until the next), frames, max_confidence, max_area (pixels), of several classes class
            and class_probability (by the mean over its frames), area_over_time (pairs of
            time and area, at most `POINTS`); alarms and alarms_per_minute; alarms_shorter_than_0.5_s and
            longer_alarms_per_minute, without these. Per minute is None for a video of no length.
        """
        last = seconds / frames if frames else 0.0  # the frame after which none came
        events = [self._row(event, last) for event in self._events.values()]
        short = sum(is_short(event["seconds"]) for event in events)
        return {
            "frames": frames,
            "seconds": round(seconds, 4),
            "alarms": len(events),
            "alarms_per_minute": _per_minute(len(events), seconds),
            "alarms_shorter_than_0.5_s": short,
            "longer_alarms_per_minute": _per_minute(len(events) - short, seconds),
            "events": events,
        }

    def _show_until(self, time: float) -> None:
        for number in self._shown:
            self._events[number].seconds += max(0.0, time - self._time)

    def _row(self, event: _Event, last: float) -> dict[str, Any]:
        return {
            "polyp": event.polyp,
            "first_frame": event.first_frame,
            "last_frame": event.last_frame,
            "first_time": round(event.first_time, 4),
            "last_time": round(event.last_time, 4),
            "seconds": round(event.seconds + last * (event.polyp in self._shown), 4),
            "frames": event.frames,
            "max_confidence": round(event.max_confidence, 4),
            "max_area": round(event.max_area),
            **event.told,
            "area_over_time": [list(point) for point in event.areas],
        }


def class_of(polyp: TrackedPolyp) -> dict[str, Any]:
    """`CLASS_COLUMNS` of a polyp; nothing where the bundle tells no classes apart."""
    if not polyp.means:
        return {}
    return {"class": polyp.class_name, "class_probability": round(polyp.class_probability, 4)}


def _per_minute(count: int, seconds: float) -> float | None:
    return round(count / seconds * 60, 4) if seconds > 0 else None
