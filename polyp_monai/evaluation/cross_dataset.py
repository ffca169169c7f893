"""One bundle on several data sets, as one table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from polyp_monai.data import datalist
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import domain_shift


def folders(out: Path, sets: list[str]) -> list[Path]:
    """Where each set's run goes: below `out`, by the name of its folder. Raises PolypError when two names are one."""
    names = [Path(folder).name for folder in sets]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise PolypError(f"--data: two of the folders are called {twice[0]}; their results would meet")
    return [out / name for name in names]


def table(sets: list[str], runs: list[Path], split: str) -> str:
    """Figures of each set, a line a set, and in what the others differ from the first.

    `empty` is the share of the frames without a polyp that stay empty.
    """
    wide = max(len(run.name) for run in runs)
    lines = [f"{'set':{wide}}  frames    Dice  95 % interval     IoU  sensitivity  precision  missed  empty  leaked"]
    looks = []
    for folder, run in zip(sets, runs, strict=True):
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        polyps, negatives = summary["frames_with_polyp"], summary["frames_without_polyp"]
        leaks = summary.get("leakage")
        mean, (low, high) = polyps["mean"], polyps["interval"].get("dice") or (None, None)
        empty = "-" if negatives["specificity"] is None else f"{negatives['specificity']:.0%}"
        leaked = "-" if leaks is None else f"{leaks['share']:.0%}"
        cells = [_score(mean.get("dice"), 6), f"{_score(low, 6)} {_score(high, 6)}", _score(mean.get("iou"), 6)]
        cells += [_score(mean.get("sensitivity"), 11), _score(mean.get("precision"), 9)]
        cells += [f"{polyps['missed']:6}", f"{empty:>5}", f"{leaked:>6}"]
        lines.append(f"{run.name:{wide}}  {summary['frames']:6}  {'  '.join(cells)}")
        looks.append(domain_shift.describe(datalist.labelled_frames(folder, split)))
    for run, look in zip(runs[1:], looks[1:], strict=True):
        lines.append(f"{run.name} against {runs[0].name}: {domain_shift.note(looks[0], look)}")
    return "\n".join(lines)


def _score(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.4f}"
