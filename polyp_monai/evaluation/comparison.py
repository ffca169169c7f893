"""Runs on the same frames, held against each other pair by pair."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any

from polyp_monai.errors import PolypError, counted
from polyp_monai.metrics import registry, statistics
from polyp_monai.report import folder


def read_rows(run: str | Path) -> dict[str, dict[str, str]]:
    """Name -> row of RUN/frames.csv. Raises PolypError when it is absent or no table of a run."""
    path = Path(run) / "frames.csv"
    if not path.is_file():
        raise PolypError(f"{path}: no such file; RUN is a folder that `polyp evaluate` or `polyp score` wrote")
    rows = folder.rows(path)
    if not rows or not {"name", registry.MAIN} <= rows[0].keys():
        raise PolypError(f"{path}: no table of a run; it needs the columns name and {registry.MAIN}")
    metrics = [metric for metric in registry.shown("comparison") if metric.name in rows[0]]
    table: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, 2):
        for metric in metrics:
            try:
                folder.score(row[metric.name], metric, line)
            except ValueError as error:
                raise PolypError(f"{path}: {error}") from error
        if not row["name"] or row["name"] in table:
            raise PolypError(f"{path}, line {line}: the frame {row['name']!r} has no name, or one that is there twice")
        table[row["name"]] = row
    if (Path(run) / "summary.json").is_file():
        folder.read(Path(run))  # a run that is damaged elsewhere is no run to compare
    return table


def compare(runs: list[str]) -> dict[str, Any]:
    """Paired differences of every two runs on the frames that all of them hold.

    Compared are the metrics that the registry shows in a comparison and all runs have measured.

    Returns:
        frames (in common), left_out (run -> frames that others lack), means (run -> metric -> mean), intervals (the
        same of [low, high]) and pairs: a list of first, second, metric, difference (first - second), low, high, p,
        corrected_p (Holm, over all pairs of one metric), verdict.

    Raises:
        PolypError: fewer than two runs, one named twice, no frame in common, one with another truth, or a score
            that is no number.
    """
    if len(runs) < 2 or len({Path(run).resolve() for run in runs}) < len(runs):
        raise PolypError("compare: give two or more different runs")
    tables = {run: read_rows(run) for run in runs}
    names = sorted(set.intersection(*(set(table) for table in tables.values())))
    if not names:
        raise PolypError(
            f"{runs[0]} and {runs[1]}: no frame in common; were they run on the same split of the same set?"
        )
    _check_truths(tables, names)
    columns = set.intersection(*(set(table[names[0]]) for table in tables.values()))
    metrics = [metric.name for metric in registry.shown("comparison") if metric.name in columns]
    values = {
        run: {metric: [float(table[name][metric] or math.nan) for name in names] for metric in metrics}
        for run, table in tables.items()
    }
    groups = [tables[runs[0]][name].get("group") or name for name in names]
    means = {
        run: {metric: statistics.bootstrap_interval(column, groups) for metric, column in columns.items()}
        for run, columns in values.items()
    }
    return {
        "frames": len(names),
        "left_out": {run: len(table) - len(names) for run, table in tables.items()},
        "means": {run: {metric: one["value"] for metric, one in found.items()} for run, found in means.items()},
        "intervals": {
            run: {metric: [one["low"], one["high"]] for metric, one in found.items()} for run, found in means.items()
        },
        "pairs": [pair for metric in metrics for pair in _pairs(metric, values, groups)],
    }


def _check_truths(tables: dict[str, dict[str, dict[str, str]]], names: list[str]) -> None:
    """Raises PolypError where the truth of a frame is not of the same size, or polyp, in all runs that say it."""
    first, *others = tables
    for run in others:
        for name in names:
            one, other = (tables[held][name] for held in (first, run))
            for column, what in (("width", "wide"), ("height", "high"), ("polyp_pixels", "pixels of polyp")):
                ours, theirs = one.get(column) or "", other.get(column) or ""
                if ours and theirs and ours != theirs:
                    raise PolypError(
                        f"{first} and {run}: scored against other truths; that of {name} has {ours} {what} in the "
                        f"first and {theirs} in the second. Score both against the same masks"
                    )


def _pairs(metric: str, values: dict[str, dict[str, list[float]]], groups: list[str]) -> list[dict[str, Any]]:
    """Every two runs by one metric."""
    found: list[dict[str, Any]] = [
        {"first": first, "second": second, "metric": metric}
        | statistics.paired(values[first][metric], values[second][metric], groups)
        for first, second in combinations(values, 2)
    ]
    for pair, corrected in zip(found, statistics.holm([pair["p"] for pair in found]), strict=True):
        pair |= {"corrected_p": corrected, "verdict": statistics.verdict(pair, corrected)}
    return found


def table(result: dict[str, Any]) -> list[str]:
    """The result of `compare` for a terminal."""
    wide = max(len(run) for run in result["means"])
    metrics = [metric for metric in registry.shown("comparison") if metric.name in next(iter(result["means"].values()))]
    heads = "  ".join(f"{metric.label:>11}" for metric in metrics)
    lines = [f"{counted(result['frames'], 'frame')} in common", f"{'run':{wide}}  {heads}"]
    for run, means in result["means"].items():
        left = f"  ({counted(result['left_out'][run], 'frame')} left out)" * bool(result["left_out"][run])
        cells = "  ".join(f"{metric.text(means[metric.name], 4):>11}" for metric in metrics)
        lines.append(f"{run:{wide}}  {cells}{left}")
    for pair in result["pairs"]:
        label = registry.get(pair["metric"]).label
        lines.append(f"{label}: {pair['first']} against {pair['second']}: {pair['verdict']}")
    return lines
