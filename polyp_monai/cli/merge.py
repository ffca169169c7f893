"""`polyp merge` and `ensemble`: several trainings as one result, or as one bundle."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.data import ALL, SPLITS
from polyp_monai.errors import counted

MERGE = """Score several trainings of one recipe together.

Runs of `polyp train --fold K/N`, all N of them: every frame of training and validation is scored by the run that did
not see it, in one report. Runs without a fold, of several seeds: every run is scored on --split, with mean and standard
deviation over the runs. Any option of configs/evaluate.yaml (below) can follow as --KEY VALUE.
"""

MERGE_EXAMPLES = """examples:
  polyp merge runs/fold1 runs/fold2 runs/fold3 --data data/kvasir --out results/folds
  polyp merge runs/seed0 runs/seed1 --data data/kvasir --split test --out results/seeds
"""

ENSEMBLE = """Write a bundle that predicts the mean of the probabilities of several trained bundles.

It is a bundle like any other: for `polyp predict`, `evaluate`, `video`, `pack`, and `export`, which makes one file of
it. It takes as long as its members together.
"""

ENSEMBLE_EXAMPLES = """example:
  polyp ensemble runs/fold1 runs/fold2 runs/fold3 --out runs/ensemble
"""


def declare_merge(parser: Parser) -> None:
    parser.description, parser.epilog = MERGE, MERGE_EXAMPLES
    parser.usage = "polyp merge RUN RUN [RUN ...] --data DIR --out DIR [options]"
    parser.set_defaults(run=merge)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a trained bundle")
    common.data(parser, required=True)
    parser.option("split", "", "of runs without a fold (validation)", values.one_of(*SPLITS, ALL), default="validation")
    parser.option("out", "DIR", "where the result goes", required=True)
    common.setting(parser)


def merge(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate, overrides
    from polyp_monai.data import lock
    from polyp_monai.evaluation import merge as merging
    from polyp_monai.evaluation import run_folder

    with mistakes.collecting():
        (data,) = common.prepared([args.data])
    with mistakes.collecting():
        roots = [locate.find(run) for run in args.runs]
        given = overrides.check(roots[0], "evaluate", args.given, args.settings)
        overwrite = bool(given.pop("overwrite", False))
    mistakes.check()
    out = Path(args.out).resolve()
    with lock.held(out):
        found = merging.members(roots, Path(data))
        summary = merging.merge(found, Path(data), args.split, out, given, overwrite)
    lines = run_folder.headline(summary) if "frames_with_polyp" in summary else []
    lines += [*merging.table(summary).splitlines(), f"look at {os.path.relpath(out / 'report.html')}"]
    return Outcome(lines, {"out": str(out), "summary": summary})


def declare_ensemble(parser: Parser) -> None:
    parser.description, parser.epilog = ENSEMBLE, ENSEMBLE_EXAMPLES
    parser.usage = "polyp ensemble RUN RUN [RUN ...] --out DIR"
    parser.set_defaults(run=ensemble)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="name or folder of a trained bundle")
    parser.option("out", "DIR", "the new bundle's folder", required=True)


def ensemble(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.bundle import ensemble as ensembles

    root = ensembles.write(args.runs, args.out)
    place = os.path.relpath(root)
    line = f"{place} predicts the mean of {counted(len(args.runs), 'run')}; polyp predict {place} FRAMES"
    return Outcome([line], {"bundle": str(root), "runs": args.runs})
