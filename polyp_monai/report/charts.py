"""Charts as inline SVG: axes, and marks between them. Colors and dashes are classes of page.html."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean, median, quantiles

from polyp_monai.metrics.lesions import SHARE_CLASSES, share_class
from polyp_monai.report.tables import label

WIDTH, HEIGHT = 380, 250  # of the picture; the plot leaves room for ticks and labels
LEFT, RIGHT, TOP, BOTTOM = 52, 368, 18, 206
QUARTERS = (0, 0.25, 0.5, 0.75, 1)


@dataclass(frozen=True)
class Axis:
    """What is measured, from the first tick to the last."""

    label: str
    ticks: Sequence[float] = QUARTERS

    def place(self, value: float) -> float:
        """0 at the first tick, 1 at the last; ticks are evenly spaced, whatever their values."""
        i = min(max(bisect_right(self.ticks, value) - 1, 0), len(self.ticks) - 2)
        low, high = self.ticks[i], self.ticks[i + 1]
        return min(max((i + (value - low) / (high - low)) / (len(self.ticks) - 1), 0), 1)

    def x(self, value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * self.place(value), 1)

    def y(self, value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * self.place(value), 1)


def chart(title: str, note: str, x: Axis, y: Axis, marks: Iterable[str], keys: Sequence[str] = ()) -> str:
    """A figure: `marks` (SVG) between two axes, below them `keys` (the lines' names) and `note`, the gist."""
    grid = "".join(f'<path class="grid" d="M{LEFT} {y.y(t)}H{RIGHT}"/>' for t in y.ticks)
    grid += f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>'
    texts: list[tuple[float, float, str, str]] = [(x.x(t), BOTTOM + 15, "middle", f"{t:g}") for t in x.ticks]
    texts += [(LEFT - 5, y.y(t) + 4, "end", f"{t:g}") for t in y.ticks]
    texts += [((LEFT + RIGHT) / 2, HEIGHT - 8, "middle", x.label)]
    ticks = "".join(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{escape(t)}</text>' for a, b, anchor, t in texts)
    turned = f'<text transform="translate(11 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{y.label}</text>'
    legend = "".join(
        f'<span><svg class="key" viewBox="0 0 28 6" aria-hidden="true"><path class="line s{i}" d="M0 3H28"/></svg>'
        f"{escape(key)}</span>"
        for i, key in enumerate(keys)
    )
    return (
        f'<figure class="card"><h3>{escape(title)}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{grid}{''.join(marks)}{ticks}{turned}</svg>"
        f'<figcaption><div class="keys">{legend}</div>{escape(note)}</figcaption></figure>'
    )


def line(x: Axis, y: Axis, xs: Sequence[float | None], ys: Sequence[float | None], number: int = 0) -> str:
    """A line in style `number`; points that were not measured are passed over."""
    points = [(a, b) for a, b in zip(xs, ys, strict=True) if a is not None and b is not None]
    return f'<path class="line s{number}" d="M{"L".join(f"{x.x(a)} {y.y(b)}" for a, b in points)}"/>' if points else ""


def dots(x: Axis, y: Axis, xs: Iterable[float], ys: Iterable[float], kind: str = "dots") -> str:
    """Points; one path however many they are, so that a page of thousands opens at once."""
    return f'<path class="{kind}" d="{"".join(f"M{x.x(a)} {y.y(b)}h0" for a, b in zip(xs, ys, strict=True))}"/>'


def upright(x: Axis, value: float, text: str) -> str:
    """A dashed vertical at `value`, labelled at its top."""
    anchor, side = ("end", -4) if x.place(value) > 0.5 else ("start", 4)
    return (
        f'<path class="mark" d="M{x.x(value)} {TOP}V{BOTTOM}"/>'
        f'<text x="{x.x(value) + side}" y="{TOP - 5}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def dice_histogram(dice: Sequence[float], bins: int = 20) -> str:
    """How many frames have which Dice."""
    counts = [0] * bins
    for value in dice:
        counts[min(int(value * bins), bins - 1)] += 1
    x, y = Axis("Dice"), Axis("frames", _round_ticks(max(counts)))
    bars = [
        f'<rect x="{x.x(i / bins) + 0.7:.1f}" y="{y.y(n)}" width="{x.x(1 / bins) - LEFT - 1.4:.1f}" '
        f'height="{BOTTOM - y.y(n):.1f}"><title>{i / bins:g} to {(i + 1) / bins:g}: {n} frames</title></rect>'
        for i, n in enumerate(counts)
        if n
    ]
    low = sum(value < 0.5 for value in dice)
    note = f"{len(dice)} frames with a polyp: mean {mean(dice):.3f}, median {median(dice):.3f}, {low} below 0.5."
    return chart("Distribution of Dice", note, x, y, [*bars, upright(x, median(dice), "median")])


def dice_by_share(shares: Sequence[float], dice: Sequence[float]) -> str:
    """Dice of each frame against its polyp's share of the image, with a box (quartiles, median) for each class."""
    x, y = Axis("polyp's share of the image, %", (0, 2.5, 5, 15, 30, 100)), Axis("Dice")
    marks, medians = [dots(x, y, (100 * share for share in shares), dice)], []
    for name, low, high in zip(SHARE_CLASSES, x.ticks[:-1], x.ticks[1:], strict=True):
        members = [d for share, d in zip(shares, dice, strict=True) if share_class(share) == name]
        left, right = x.x(low) + 8, x.x(high) - 8
        marks.append(f'<text x="{(left + right) / 2}" y="{TOP - 5}" text-anchor="middle">{len(members)}</text>')
        if not members:
            continue
        first, middle, third = quantiles(members, n=4, method="inclusive") if len(members) > 1 else members * 3
        marks.append(f'<path class="box" d="M{left} {y.y(third)}H{right}V{y.y(first)}H{left}z"/>')
        marks.append(f'<path class="median" d="M{left} {y.y(middle)}H{right}"/>')
        medians.append(f"{label(name)}: {middle:.3f}")
    note = "Box: middle half of a size class, thick line: its median; on top the number of frames. Median Dice at "
    return chart("Dice by polyp size", note + ", ".join(medians) + ".", x, y, marks)


def _round_ticks(highest: int) -> list[int]:
    """0, a round step, ... up to at least `highest`, in about four steps."""
    power = 10 ** max(0, math.floor(math.log10(max(highest, 1) / 4)))
    step = next(m * power for m in (1, 2, 5, 10) if 5 * m * power >= highest)
    return list(range(0, step * max(1, math.ceil(highest / step)) + 1, step))
