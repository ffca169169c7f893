"""Several runs of one recipe: folds of a cross-validation, or seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.metrics import registry
from polyp_monai.report import charts
from polyp_monai.report.parts import Card, Page, Part, Section, Table, Tile
from polyp_monai.report.render import render


def write_members(folder: str | Path) -> Path:
    """Write `folder`/report.html out of the `summary.json` of runs without folds; return its path."""
    folder = Path(folder)
    content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    about = content["run"]
    tiles = [Tile(_label(name), _mean(found), "mean ± sd over runs") for name, found in content["spread"].items()]
    page = Page(
        title="Several runs",
        heading=f"{len(content['members'])} runs of one recipe on {Path(about['dataset']).name}",
        lead=f"{about['split']}, {about['created']}, polyp {__version__}",
        sections=[Section("Runs", members(content))],
        tiles=tiles,
    )
    files.write_text(folder / "report.html", render(page))
    return folder / "report.html"


def members(content: Mapping[str, Any]) -> list[Part]:
    """A table with a row a run and their spread, and a chart; nothing where the summary is of one run."""
    rows, spread = content.get("members"), content.get("spread")
    if not rows or not spread:
        return []
    names = list(spread)
    cells: list[Sequence[Any]] = [
        (Path(row["run"]).name, row["fold"] or "-", row["frames"], *(row[name] for name in names)) for row in rows
    ]
    cells.append(("mean ± sd", "", "", *(_mean(spread[name]) for name in names)))
    heads = ("run", "fold", "frames", *map(_label, names))
    lead = "A row a run; below, mean and standard deviation over the runs, each of which counts the same."
    parts: list[Part] = [Card(lead=lead, table=Table(heads, cells))]
    if registry.MAIN in spread:
        scores = [row[registry.MAIN] for row in rows]
        x, y = charts.Axis("run", list(range(1, len(rows) + 1))), charts.Axis.over(_label(registry.MAIN), scores)
        marks: list[charts.Mark] = [charts.dots(x, y, range(1, len(rows) + 1), scores, "knots")]
        middle = spread[registry.MAIN]["mean"]
        marks += charts.line(x, y, (1, len(rows)), (middle, middle), charts.IDEAL)
        parts.append(charts.Chart("Runs apart", f"Mean {middle:.3f}; each point is a run.", x, y, marks))
    return parts


def _mean(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:.3f}" + ("" if found["sd"] is None else f" ± {found['sd']:.3f}")


def _label(name: str) -> str:
    return "specificity" if name == "specificity" else registry.get(name).label
