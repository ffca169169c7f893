"""Charts as data: axes, and marks between them, in units of the picture; `chart.html` draws them as SVG."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median, quantiles
from typing import ClassVar

from polyp_monai.metrics.lesions import SHARE_CLASSES, share_class
from polyp_monai.report.parts import plural

WIDTH, HEIGHT = 380, 250  # of the picture; the plot leaves room for ticks and labels
LEFT, RIGHT, TOP, BOTTOM = 52, 364, 18, 206
QUARTERS = (0, 0.25, 0.5, 0.75, 1)
STYLES, IDEAL = 6, 6  # lines that can be distinguished (0 to 5 of style.css), and that of a perfect result


@dataclass(frozen=True)
class Axis:
    """What is measured, from the first tick to the last."""

    label: str
    ticks: Sequence[float] = QUARTERS

    @classmethod
    def over(cls, label: str, values: Iterable[float]) -> Axis:
        """An axis with round ticks that holds all values, of which there is at least one."""
        values = list(values)
        return cls(label, round_ticks(min(values), max(values)))

    def place(self, value: float) -> float:
        """0 at the first tick, 1 at the last; ticks are evenly spaced, whatever their values."""
        i = min(max(bisect_right(self.ticks, value) - 1, 0), len(self.ticks) - 2)
        low, high = self.ticks[i], self.ticks[i + 1]
        return min(max((i + (value - low) / (high - low)) / (len(self.ticks) - 1), 0), 1)

    def at(self, place: float) -> float:
        """The value at a place of 0..1: the inverse of `place`."""
        i = min(int(place * (len(self.ticks) - 1)), len(self.ticks) - 2)
        return self.ticks[i] + (self.ticks[i + 1] - self.ticks[i]) * (place * (len(self.ticks) - 1) - i)

    def x(self, value: float) -> float:
        """Where a value lies from left to right."""
        return round(LEFT + (RIGHT - LEFT) * self.place(value), 1)

    def y(self, value: float) -> float:
        """Where a value lies from bottom to top."""
        return round(BOTTOM - (BOTTOM - TOP) * self.place(value), 1)


@dataclass(frozen=True)
class Stroke:
    """SVG path data in a style of style.css."""

    d: str
    style: str

    shape: ClassVar[str] = "stroke"


@dataclass(frozen=True)
class Bar:
    """A filled rectangle, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    title: str

    shape: ClassVar[str] = "bar"


@dataclass(frozen=True)
class Text:
    """Words at a point; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"

    shape: ClassVar[str] = "text"


Mark = Stroke | Bar | Text


@dataclass(frozen=True)
class Chart:
    """Marks between two axes, below them `keys` (the lines' names) and `note`, the gist in words.

    Without `y` there is nothing to read off from bottom to top.
    """

    title: str
    note: str
    x: Axis
    y: Axis | None
    marks: Sequence[Mark]
    keys: Sequence[str] = ()

    template: ClassVar[str] = "chart.html"
    width, height, left, right, top, bottom, styles = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, STYLES


def line(x: Axis, y: Axis, xs: Sequence[float | None], ys: Sequence[float | None], number: int = 0) -> list[Mark]:
    """A line in style `number`; points that were not measured are passed over."""
    points = [f"{x.x(a)} {y.y(b)}" for a, b in zip(xs, ys, strict=True) if a is not None and b is not None]
    return [Stroke("M" + "L".join(points), f"line s{number}")] if points else []


def dots(x: Axis, y: Axis, xs: Iterable[float], ys: Iterable[float], style: str = "dots") -> Stroke:
    """Points; one path however many they are, so that a page of thousands opens at once."""
    return Stroke("".join(f"M{x.x(a)} {y.y(b)}h0" for a, b in zip(xs, ys, strict=True)), style)


def upright(x: Axis, value: float, text: str) -> list[Mark]:
    """A dashed vertical at `value`, labelled at its top."""
    anchor, side = ("end", -4) if x.place(value) > 0.5 else ("start", 4)
    mark = Stroke(f"M{x.x(value)} {TOP}V{BOTTOM}", "mark")
    return [mark, Text(x.x(value) + side, TOP - 5, text, anchor)]


def histogram(
    title: str, values: Sequence[float], x: Axis, note: str = "", noun: str = "frame", steps: int = 5
) -> Chart:
    """How many of the values lie where; `steps` bars between two ticks, a value on an edge belongs to the bar above.

    The note ends with range and median, so that the chart can be read without the picture.
    """
    bins = steps * (len(x.ticks) - 1)
    counts = [0] * bins
    for value in values:
        counts[min(int(x.place(value) * bins + 1e-9), bins - 1)] += 1
    y = Axis(f"{noun}s", round_ticks(0, max(counts), whole=True))
    wide = (RIGHT - LEFT) / bins
    bars = [
        Bar(
            round(LEFT + i * wide + 0.7, 1),
            y.y(count),
            round(wide - 1.4, 1),
            round(BOTTOM - y.y(count), 1),
            f"{x.at(i / bins):.4g} to {x.at((i + 1) / bins):.4g}: {plural(count, noun)}",
        )
        for i, count in enumerate(counts)
        if count
    ]
    middle = median(values)
    note = note or f"{min(values):.4g} to {max(values):.4g}, median {middle:.4g}."
    return Chart(title, note, x, y, [*bars, *upright(x, middle, "median")])


def score_histogram(name: str, scores: Sequence[float]) -> Chart:
    """How a score of 0..1 is spread over the frames."""
    low = sum(value < 0.5 for value in scores)
    frames = plural(len(scores), "frame")
    note = f"{frames} with a polyp: mean {mean(scores):.3f}, median {median(scores):.3f}, {low} below 0.5."
    return histogram(f"Distribution of {name}", scores, Axis(name), note)


def score_by_share(name: str, shares: Sequence[float], scores: Sequence[float]) -> Chart:
    """The score of each frame against its polyp's share of the image, with a box (quartiles, median) a size class."""
    x, y = Axis("polyp's share of the image, %", (0, 2.5, 5, 15, 30, 100)), Axis(name)
    marks: list[Mark] = [dots(x, y, (100 * share for share in shares), scores)]
    medians = []
    for size, low, high in zip(SHARE_CLASSES, x.ticks[:-1], x.ticks[1:], strict=True):
        members = [score for share, score in zip(shares, scores, strict=True) if share_class(share) == size]
        left, right = x.x(low) + 8, x.x(high) - 8
        marks.append(Text((left + right) / 2, TOP - 5, str(len(members)), "middle"))
        if not members:
            continue
        first, middle, third = quantiles(members, n=4, method="inclusive") if len(members) > 1 else members * 3
        marks.append(Stroke(f"M{left} {y.y(third)}H{right}V{y.y(first)}H{left}z", "box"))
        marks.append(Stroke(f"M{left} {y.y(middle)}H{right}", "median"))
        medians.append(f"{size}: {middle:.3f}".replace(" %", "\u00a0%"))
    note = f"Box: middle half of a size class, thick line: its median; on top the number of frames. Median {name} at "
    return Chart(f"{name} by polyp size", note + ", ".join(medians) + ".", x, y, marks)


def differences(title: str, note: str, label: str, rows: Sequence[tuple[str, float, float, float]]) -> Chart:
    """Differences with their intervals, one below the other: name, difference, low, high (NaN: no interval)."""
    numbers = [value for _, *values in rows for value in values if not math.isnan(value)]
    x = Axis.over(label, [*numbers, 0.0])
    marks: list[Mark] = [Stroke(f"M{x.x(0)} {TOP}V{BOTTOM}", "mark")]
    for i, (name, difference, low, high) in enumerate(rows):
        y = round(TOP + (BOTTOM - TOP) * (i + 0.65) / len(rows), 1)
        if not math.isnan(low):
            marks.append(Stroke(f"M{x.x(low)} {y}H{x.x(high)}", "line s0"))
        if not math.isnan(difference):
            marks.append(Stroke(f"M{x.x(difference)} {y}h0", "knots"))
        marks.append(Text(LEFT, y - 7, name))
    return Chart(title, note, x, None, marks)


def round_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round steps from at most `low` to at least `high`, in about four; `whole`: whole numbers."""
    span = high - low or abs(high) or 1
    power = 10.0 ** math.floor(math.log10(span / 4))
    if whole:
        power = max(power, 1)
    step = next(m * power for m in (1, 2, 5, 10) if 5 * m * power >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]
