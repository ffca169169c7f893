"""A page of runs held against each other: means, differences with their intervals, and the frames that differ most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.errors import counted
from polyp_monai.metrics import registry
from polyp_monai.report import charts, gallery, pictures
from polyp_monai.report.folder import FrameRow, read
from polyp_monai.report.parts import Card, Gallery, Page, Part, Section, Sheet, Shot, Table
from polyp_monai.report.render import render
from polyp_monai.report.run import drawer

FRAMES = 12  # that differ most

Frames = Mapping[str, FrameRow]  # of one run, by name


def write(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write what `comparison.compare` found as one HTML file; return its path.

    Pictures and scores of the frames are read from the runs' folders, which the result names.

    Raises:
        PolypError: one of them is no run any more, or broken.
    """
    path = Path(path)
    content = {run: read(Path(run)) for run in result["means"]}
    frames = {run: {frame.name: frame for frame in members} for run, (_, members) in content.items()}
    summaries = {run: summary for run, (summary, _) in content.items()}
    page = Page(
        title="Comparison of runs",
        heading=f"Comparison of {len(frames)} runs",
        lead=f"{counted(result['frames'], 'frame')} in common, polyp {__version__}",
        sections=[
            Section("Means", [_means(result)]),
            *(_pair(result, i, j, frames) for i, j in combinations(range(len(frames)), 2)),
            Section("Gallery", _gallery(frames, summaries), "The frames on which the runs differ most."),
        ],
    )
    files.write_text(path, render(page))
    return path


def _means(result: Mapping[str, Any]) -> Card:
    """A row a run; the number stands for the run in all that follows."""
    metrics = [registry.get(name) for name in next(iter(result["means"].values()))]
    rows = []
    for number, (run, means) in enumerate(result["means"].items(), 1):
        cells = []
        for metric in metrics:
            low, high = (metric.text(value) for value in result["intervals"][run][metric.name])
            cells.append(f"{metric.text(means[metric.name])} ({low} to {high})")
        rows.append((f"{number}: {run}", *cells, result["left_out"][run]))
    heads = ("run", *(f"{metric.label}\u00a0{metric.arrow}" for metric in metrics), "frames left out")
    lead = "Means over the frames in common that have a polyp, with 95\u00a0% intervals; ↑ higher is better, ↓ lower."
    return Card(lead=lead, table=Table(heads, rows))


def _pair(result: Mapping[str, Any], first: int, second: int, frames: Mapping[str, Frames]) -> Section:
    """Two runs, by their places: differences as a chart and as a table, and the frames."""
    runs = list(frames)
    pairs = [p for p in result["pairs"] if (p["first"], p["second"]) == (runs[first], runs[second])]
    parts: list[Part] = [_table(pairs)]
    drawn = [p for p in pairs if not registry.get(p["metric"]).unit and not math.isnan(p["difference"])]
    if drawn:
        parts.insert(0, _intervals(drawn, first + 1, second + 1))
    parts += _cloud(frames[runs[first]], frames[runs[second]], first + 1, second + 1)
    return Section(f"Run {first + 1} against run {second + 1}", parts)


def _intervals(pairs: Sequence[Mapping[str, Any]], first: int, second: int) -> charts.Chart:
    note = "Point: mean difference over the frames; line: its 95\u00a0% interval; dashed: no difference."
    rows = [(registry.get(p["metric"]).label, p["difference"], p["low"], p["high"]) for p in pairs]
    return charts.differences("Differences", note, f"run {first} minus run {second}", rows)


def _table(pairs: Sequence[Mapping[str, Any]]) -> Card:
    rows, beyond = [], []
    for pair in pairs:
        difference, low, high = (_signed(pair[key]) for key in ("difference", "low", "high"))
        label = registry.get(pair["metric"]).label
        rows.append((label, f"{difference} ({low} to {high})", _p(pair["corrected_p"])))
        if pair["verdict"].startswith(("higher", "lower")):
            beyond.append(label)
    lead = f"More than noise: {', '.join(beyond) or 'nothing'}."
    text = "p: Wilcoxon's signed rank test, corrected by Holm over all pairs of runs."
    return Card("How sure", lead, text, Table(("metric", "difference (95\u00a0% interval)", "p"), rows))


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cloud(first: Frames, second: Frames, i: int, j: int) -> list[Part]:
    """The main score of every frame, one run against the other."""
    main = registry.get(registry.MAIN)
    common = [name for name in first if name in second and _scored(first[name], second[name])]
    if not common:
        return []
    xs, ys = ([run[name].scores[main.name] for name in common] for run in (first, second))
    x, y = charts.Axis(f"{main.label}, run {i}"), charts.Axis(f"{main.label}, run {j}")
    marks = [*charts.line(x, y, (0, 1), (0, 1), charts.IDEAL), charts.dots(x, y, xs, ys)]
    better = [sum(a > b for a, b in pairs) for pairs in (zip(xs, ys, strict=True), zip(ys, xs, strict=True))]
    note = f"{counted(len(common), 'frame')}: run {i} is better on {better[0]}, run {j} on {better[1]}."
    return [charts.Chart("Frame by frame", note, x, y, marks)]


def _scored(*frames: FrameRow) -> bool:
    return all(registry.MAIN in frame.scores for frame in frames)


def _gallery(frames: Mapping[str, Frames], summaries: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """A sheet a frame, a picture a run."""
    main = registry.get(registry.MAIN)
    common = set.intersection(*(set(run) for run in frames.values()))
    spread = {}
    for name in common:
        same = [run[name] for run in frames.values()]
        if _scored(*same):
            scores = [frame.scores[main.name] for frame in same]
            spread[name] = max(scores) - min(scores)
    chosen = [name for name in sorted(spread, key=lambda name: (-spread[name], name)) if spread[name]][:FRAMES]
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter's lock
        sheets = list(pool.map(lambda name: _sheet(name, spread[name], frames, summaries), chosen))
    return [Gallery(sheets, score=main.label)] if sheets else []


def _sheet(name: str, spread: float, frames: Mapping[str, Frames], summaries: Mapping[str, Mapping[str, Any]]) -> Sheet:
    shots: Sequence[Shot] = [
        Shot(
            drawer(summaries[run])(members[name], pictures.LARGE),
            name,
            verdict=f"run {number}: {gallery.verdict(members[name])}",
            about="",
            more=gallery.more(members[name]),
            score=members[name].scores[registry.MAIN],
        )
        for number, (run, members) in enumerate(frames.items(), 1)
    ]
    return Sheet(f"{name}, apart by {spread:.3f}", shots, large=True)
