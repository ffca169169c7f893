"""A page of a sweep: what was tried, what it reached, and which options mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.report import charts
from polyp_monai.report.parts import Card, Fact, Page, Part, Section, Table, Tile, plural
from polyp_monai.report.render import render


def write_sweep(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write what `sweep.study.results` found as one HTML file; return its path."""
    trials, best = content["trials"], content["best"]
    complete = [trial for trial in trials if trial["score"] is not None]
    tiles = [Tile("trials", str(len(trials)), ", ".join(_states(trials)))]
    if best:
        tiles.insert(0, Tile("best score", f"{best['score']:.4f}", f"trial {best['trial']}"))
    page = Page(
        title=f"Sweep: {content['study']}",
        heading=f"Sweep {content['study']}",
        lead=f"{plural(len(trials), 'trial')}, polyp {__version__}",
        sections=[
            Section("Best", [_best(best)] if best else []),
            Section("Curves", _curves(complete, content["importances"])),
            Section("Trials", [_table(trials)]),
        ],
        tiles=tiles,
    )
    files.write_text(Path(path), render(page))
    return Path(path)


def _states(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [trial["state"] for trial in trials]
    return [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]


def _best(best: Mapping[str, Any]) -> Card:
    facts = [Fact(key, str(value), code=True) for key, value in best["options"].items()]
    return Card(f"Trial {best['trial']}", f"In the folder {best['folder']}.", facts=facts)


def _curves(complete: Sequence[Mapping[str, Any]], importances: Mapping[str, float]) -> list[Part]:
    if not complete:
        return []
    numbers, scores = [t["trial"] for t in complete], [t["score"] for t in complete]
    highest = [max(scores[: i + 1]) for i in range(len(scores))]
    x, y = charts.Axis("trial", charts.round_ticks(0, max(numbers), whole=True)), charts.Axis.over("score", scores)
    note = f"Points: finished trials; line: the best so far, {highest[-1]:.4f} at last."
    marks = [*charts.line(x, y, numbers, highest), charts.dots(x, y, numbers, scores, "knots")]
    parts: list[Part] = [charts.Chart("Score by trial", note, x, y, marks)]
    keys = sorted(complete[0]["options"], key=lambda key: -importances.get(key, 0))
    return [*parts, *(_option(key, complete, importances.get(key)) for key in keys)]


def _option(key: str, complete: Sequence[Mapping[str, Any]], importance: float | None) -> charts.Chart:
    """Score against an option; words stand side by side."""
    values, scores = [t["options"].get(key) for t in complete], [t["score"] for t in complete]
    names = sorted({str(value) for value in values})
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    y = charts.Axis.over("score", scores)
    note = f"Its share of what made the difference: {importance:.0%}." if importance is not None else ""
    if numeric:
        x, places = charts.Axis.over(key, values), values
    else:
        places = [names.index(str(value)) for value in values]
        x = charts.Axis(key, list(range(max(2, len(names)))))
        note = f"{', '.join(f'{i}: {name}' for i, name in enumerate(names))}. {note}".strip()
    return charts.Chart(key, note, x, y, [charts.dots(x, y, places, scores, "knots")])


def _table(trials: Sequence[Mapping[str, Any]]) -> Card:
    keys = list(dict.fromkeys(key for trial in trials for key in trial["options"]))
    rows = []
    for t in sorted(trials, key=lambda t: (t["score"] is None, -(t["score"] or 0), t["trial"])):
        seconds = None if t["seconds"] is None else round(t["seconds"])
        options = (_short(t["options"].get(key)) for key in keys)
        rows.append((f"{t['trial']}", t["state"], t["score"], t["steps"], seconds, *options))
    lead = "Best first. Steps are epochs, or folds of a cross-validation; a pruned trial was stopped before its end."
    return Card(lead=lead, table=Table(("trial", "state", "score", "steps", "seconds", *keys), rows))


def _short(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value
