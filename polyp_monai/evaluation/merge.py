"""Several trainings as one result: the folds of a cross-validation, or one recipe with several seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polyp_monai import provenance
from polyp_monai.bundle import run
from polyp_monai.bundle.read import BundleConfig, classes_of
from polyp_monai.data import datalist, files, outputs
from polyp_monai.errors import PolypError, shortened
from polyp_monai.evaluation import POLYPS, RUN_FILES
from polyp_monai.evaluation.handler import EvaluationTable
from polyp_monai.evaluation.run_folder import write_run
from polyp_monai.evaluation.scoring import Scored, plain
from polyp_monai.metrics import registry
from polyp_monai.training import checkpoints

WEIGHTS = "models/model.pt"


class Member(NamedTuple):
    """A trained bundle. `fold`: K/N of its training; None of one that was trained on the whole training split."""

    root: Path
    fold: str | None


def members(roots: Sequence[Path], data: Path) -> list[Member]:
    """The runs with their folds.

    Raises:
        PolypError: some have a fold and others none; a fold is missing or there twice; two have the same weights; or
            a run was trained on another data list.
    """
    if len(roots) < 2:
        raise PolypError("there is nothing to merge: name two runs or more")
    found = [_member(root, data) for root in roots]
    have = [member.fold for member in found]
    if set(have) == {None}:
        _check_different(found)
        return found
    if lacking := [member.root for member in found if member.fold is None]:
        raise PolypError(f"{lacking[0]}: was trained without --fold, {found[0].root} with; merge runs of one kind")
    totals = {str(fold).split("/")[1] for fold in have}
    wanted = {f"{place}/{total}" for total in totals for place in range(1, int(total) + 1)}
    if len(totals) > 1 or wanted != set(have) or len(have) != len(wanted):
        missing = sorted(wanted - set(map(str, have)))
        raise PolypError(
            f"the runs have the folds {', '.join(map(str, have))}; to merge them, each of N folds is needed once"
            + (f", and {shortened(missing)} is missing" if missing else "")
        )
    return sorted(found, key=lambda member: int(str(member.fold).split("/")[0]))


def _check_different(found: Sequence[Member]) -> None:
    """Raises PolypError where two runs have the same weights, which do not scatter."""
    seen: dict[str, Path] = {}
    for member in found:
        digest = provenance.digest(member.root / WEIGHTS)
        if other := seen.get(digest):
            raise PolypError(f"{other} and {member.root}: have the same weights; merge different runs")
        seen[digest] = member.root


def _member(root: Path, data: Path) -> Member:
    if not (root / WEIGHTS).is_file():
        raise PolypError(f"{root}: comes without weights; train it first")
    last = root / "models/last.pt"
    if not last.is_file():
        raise PolypError(f"{last}: is missing, so it cannot be known on which frames {root.name} was trained")
    recipe = checkpoints.read(last)["progress"]["recipe"]
    fold = recipe.get("fold")
    splits = [datalist.labelled_frames(data, split, fold=fold) for split in ("training", "validation")]
    if recipe.get("data") not in (None, datalist.digest(*splits)):
        raise PolypError(f"{root}: was trained on another data list than {data / 'datalist.json'}")
    return Member(root, fold)


def merge(
    found: Sequence[Member], data: Path, split: str, out: Path, given: Mapping[str, Any], overwrite: bool = False
) -> dict[str, Any]:
    """Evaluate every run and write what they reach together into the folder `out`; returns its summary.

    Folds: every frame of training and validation is scored once, by the run that did not see it, and `out` is a run's
    folder like any other. Without folds: every run is scored on `split`, and the summary holds how they scatter. Both
    hold `members`, a row a run, and `spread`, mean and standard deviation over the runs.

    Args:
        found: as `members` gives them.
        data: prepared set.
        split: for runs without a fold.
        given: overrides of configs/evaluate.yaml.
        overwrite: whether an earlier result in `out`, and the runs' own evaluations, may be replaced.

    Raises:
        PolypError: a file is in the way.
    """
    from polyp_monai import report

    classes = classes_of(BundleConfig(found[0].root, "evaluate"))
    names = [*RUN_FILES, *[POLYPS] * classes.several]
    ledger = outputs.Ledger(out, "merge")
    ledger.check(names, overwrite)
    for member in found:  # of each its own evaluation, where --out does not reach
        place, _ = _evaluated(member, split)
        outputs.Ledger(place, "evaluate").check(names, overwrite, "move it away")
    scored: list[Scored] = []
    rows: list[dict[str, Any]] = []
    for member in found:
        scored += _evaluate(member, data, split, given, overwrite, rows)
    about = {"bundle": " + ".join(m.root.name for m in found), "runs": [str(m.root) for m in found]}
    about |= {"dataset": str(data), "datalist_sha256": provenance.digest(data / "datalist.json")}
    about |= {"split": "out of fold" if found[0].fold else split, "threshold": rows[0]["threshold"]}
    extra = {"members": rows, "spread": _spread(rows)}
    ledger.claim(names)
    if found[0].fold:
        return write_run(out, scored, about, extra, classes)
    summary = plain({"run": about | provenance.of_run()} | extra)
    files.write_json(out / "summary.json", summary)
    report.write_members(out)
    return summary


def _evaluate(
    member: Member, data: Path, split: str, given: Mapping[str, Any], overwrite: bool, rows: list[dict[str, Any]]
) -> list[Scored]:
    """Scores of a run's frames; adds its row to `rows`."""
    place, about = _evaluated(member, split)
    settings = {"dataset_dir": str(data), "output_dir": str(place), "overwrite": overwrite, **given, **about}
    workflow = run.run(member.root, "evaluate", settings)
    handlers = workflow.parser.get_parsed_content("validate::handlers")
    table = next(handler for handler in handlers if isinstance(handler, EvaluationTable))
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    means, negatives = summary["frames_with_polyp"]["mean"], summary["frames_without_polyp"]
    shown = {metric.name: means.get(metric.name) for metric in registry.shown("headline")}
    row = {"run": str(member.root), "fold": member.fold, "threshold": summary["run"]["threshold"]}
    rows.append(row | {"frames": summary["frames"], **shown, "specificity": negatives["specificity"]})
    return [future.result() for future in table.scored]


def _evaluated(member: Member, split: str) -> tuple[Path, dict[str, str]]:
    """Where a run's evaluation goes, and of what it is."""
    if member.fold is None:
        return member.root / "eval" / split, {"split": split}
    place = f"fold-{member.fold.replace('/', '-of-')}"
    return member.root / "eval" / place, {"split": "validation", "fold": member.fold}


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Metric -> mean and standard deviation (of a sample) over the runs that measured it."""
    found = {}
    for name in [*(metric.name for metric in registry.shown("headline")), "specificity"]:
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else None
            found[name] = {"mean": statistics.mean(values), "sd": deviation}
    return found


def table(summary: Mapping[str, Any]) -> str:
    """A line a run, and mean ± standard deviation."""
    names = list(summary["spread"])
    lines = [["run", "fold", "frames", *(_label(name) for name in names)]]
    for row in summary["members"]:
        values = ["-" if row[name] is None else f"{row[name]:.4f}" for name in names]
        lines.append([Path(row["run"]).name, row["fold"] or "-", str(row["frames"]), *values])
    both = [(found["mean"], found["sd"]) for found in summary["spread"].values()]
    lines.append(["mean ± sd", "", "", *(f"{mean:.4f} ± {'-' if sd is None else f'{sd:.4f}'}" for mean, sd in both)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _label(name: str) -> str:
    return "specificity" if name == "specificity" else registry.get(name).label
