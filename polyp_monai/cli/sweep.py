"""`polyp sweep`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser

SWEEP = """Search for the options that train a bundle best, with Optuna.

--space is a YAML file: a line an option of configs/train.yaml, with a list of values or with low and high (and
log: true, or step). Each trial is a `polyp train` of its own; one that falls behind the others is stopped. The same
command on several machines, with one --storage and one --out that all of them see, works on one study. A command that
was interrupted goes on when it is given again. Options of configs/train.yaml (below) hold for all trials.
"""

EXAMPLES = """examples:
  polyp sweep unet --data data/kvasir --space space.yaml --trials 20 --epochs 30
  polyp sweep unet --data data/kvasir --space space.yaml --trials 20 --folds 3
  polyp sweep unet --data data/kvasir --space space.yaml --trials 200 --storage postgresql://host/sweeps --out /shared/a
"""

FILES = ("report.html", "trials.csv", "summary.json")


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = SWEEP, EXAMPLES
    parser.usage = "polyp sweep BUNDLE --data DIR --space FILE --trials N [options]"
    parser.set_defaults(run=sweep)
    common.bundle(parser)
    common.data(parser, required=True, action="append")
    parser.option("space", "FILE", "which options are tried", Path, required=True)
    parser.option("trials", "N", "how many, over all machines", values.whole(1), required=True)
    parser.option("storage", "URL", "sqlite:///FILE, postgresql://..., or journal:FILE (OUT/study.db)")
    parser.option("study", "NAME", "of the study in the storage (BUNDLE's)")
    parser.option("folds", "K", "cross-validate each trial in K folds (none)", values.whole(2, 100), default=0)
    parser.option("out", "DIR", "where trials and report go (sweeps/STUDY)")
    parser.option("processes", "N", "of each training, as of `polyp train` (1)", values.whole(1, 4096), default=1)
    parser.option("heartbeat", "S", "seconds between a worker's signs of life (60)", values.whole(1), default=60)


def sweep(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai import provenance
    from polyp_monai.bundle import locate, overrides
    from polyp_monai.data import datalist, outputs
    from polyp_monai.sweep import space as spaces
    from polyp_monai.sweep import study as studies

    sets, root, space = [], None, {}
    with mistakes.collecting():
        sets = common.prepared(args.data)
    with mistakes.collecting():
        root = locate.find(args.bundle)
        overrides.check(root, "train", args.given)
        space = spaces.read(args.space, root)
        if both := space.keys() & args.given.keys():
            mistakes.lines.append(f"--{min(both)}: is in {args.space} too; leave it out of one of them")
    name = args.study or (root.name if root else "")
    out = Path(args.out or Path("sweeps") / name).resolve()
    with mistakes.collecting():
        datalist.check_outside(out, sets)
        outputs.Ledger(out, "sweep").check(FILES, overwrite=True)
    mistakes.check()
    fixed = [f"--{key}={text}" for key, text in args.given.items()]
    fixed += [f"--processes={args.processes}"] * (args.processes > 1)
    words = [args.bundle if locate.is_shipped(root) else str(root), *(f"--data={folder}" for folder in sets), *fixed]
    digests = [provenance.digest(Path(folder) / "datalist.json") for folder in sets]
    about = {"bundle": root.name, "data list": digests, "set of options": args.given}
    wanted = studies.Sweep(words, about, space, args.folds, out)
    storage = args.storage or f"sqlite:///{out}/study.db"
    study = studies.open_study(storage, name, wanted, args.heartbeat)
    try:
        studies.work(study, wanted, args.trials)
    finally:
        content = _report(studies.results(study), out)
    return Outcome(_lines(content, out), content)


def _report(content: dict[str, Any], out: Path) -> dict[str, Any]:
    from polyp_monai.data import files, outputs
    from polyp_monai.report.sweep import write_sweep

    outputs.Ledger(out, "sweep").claim(FILES)
    columns = ("trial", "state", "score", "steps", "seconds", "folder", "error")
    rows = [{key: row[key] for key in columns} | row["options"] for row in content["trials"]]
    keys = dict.fromkeys(key for row in rows for key in row)
    if rows:
        files.write_csv(out / "trials.csv", [{key: row.get(key) for key in keys} for row in rows])
    files.write_json(out / "summary.json", content)
    write_sweep(content, out / "report.html")
    return content | {"out": str(out)}


def _lines(content: dict[str, Any], out: Path) -> list[str]:
    best, place = content["best"], os.path.relpath(out)
    if best is None:
        return [f"no trial was finished; look at {place}/report.html"]
    options = " ".join(f"--{key} {value}" for key, value in best["options"].items())
    found = f"best of {len(content['trials'])} trials: {best['score']:.4f} with {options}"
    return [found, f"look at {place}/report.html"]
