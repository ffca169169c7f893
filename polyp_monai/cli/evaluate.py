"""`polyp evaluate`, `score`, `compare`, `calibrate` and `report`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.data import ALL, SPLITS
from polyp_monai.errors import counted, shortened

EVALUATE = """Score a trained bundle at native size: a report, a table with a row a frame, a summary, and masks.

With several --data, one table of all sets and a note on how they differ from the first. Any option of
configs/evaluate.yaml (below) can follow as --KEY VALUE.
"""

EVALUATE_EXAMPLES = """examples:
  polyp evaluate runs/unet --data data/kvasir
  polyp evaluate runs/unet --data data/clinicdb --split all --out results/clinicdb --overlay
  polyp evaluate runs/unet --data data/kvasir --data data/clinicdb
  polyp evaluate efficient_unet --data data/kvasir --runtime auto
"""

SCORE = """Score masks or probability maps that any tool wrote, against their truth, matched by file name.

Maps are PNG, JPEG, TIFF, BMP or NIfTI, of 8 or 16 bits or floats 0..1, at the size of the truth.
"""

SCORE_EXAMPLES = """examples:
  polyp score --pred maps --truth data/kvasir/masks --out results/theirs
  polyp score --pred PraNet/Kvasir --truth TestDataset/Kvasir/masks --normalize minmax --out results/pranet
"""

COMPARE = """Compare runs on the frames that all of them hold: paired differences with 95 % intervals, Wilcoxon's signed
rank test with Holm's correction, and in words whether a difference is more than noise.

RUN is a folder that `polyp evaluate` or `polyp score` wrote.
"""

COMPARE_EXAMPLES = """example:
  polyp compare runs/unet/eval/test results/efficient_unet/test
"""

CALIBRATE = """Find the threshold that keeps the share of missed polyp pixels below a chosen level.

RUN is an evaluation of a split that is neither trained nor tested on. The threshold is written beside the weights, and
`polyp evaluate` then says what it misses on other splits (conformal risk control).
"""

CALIBRATE_EXAMPLES = """example:
  polyp evaluate runs/unet --data data/kvasir --split validation
  polyp calibrate runs/unet/eval/validation --max-miss-rate 0.1
"""

REPORT = "Write RUN/report.html again: one file with scores, curves and pictures that opens without a network."

REPORT_EXAMPLES = """example:
  polyp report runs/unet/eval/test
"""


def declare_evaluate(parser: Parser) -> None:
    from polyp_monai.bundle.overrides import tracking

    parser.description, parser.epilog = EVALUATE, EVALUATE_EXAMPLES
    parser.usage = "polyp evaluate BUNDLE --data DIR [options]"
    parser.set_defaults(run=evaluate)
    common.bundle(parser)
    common.data(parser, required=True, action="append")
    parser.option("split", "", "which part of the set (test)", values.one_of(*SPLITS, ALL), default="test")
    parser.option("out", "DIR", "where tables and masks go (BUNDLE/eval/SPLIT; results/NAME/SPLIT of a shipped bundle)")
    parser.option("tracking", "mlflow|FILE", "log to MLflow, or as a file of MONAI's settings says", tracking)
    common.setting(parser)


def evaluate(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate, overrides

    sets: list[str] = []
    with mistakes.collecting():
        sets = common.prepared(args.data)
    with mistakes.collecting():
        root = locate.find(args.bundle)
        given = overrides.check(root, "evaluate", args.given, args.settings)
        common.weights(root, given)
    mistakes.check()

    from polyp_monai.data import outputs
    from polyp_monai.evaluation import RUN_FILES, cross_dataset

    out = Path(args.out or locate.results(root, args.split)).resolve()
    outs = [out] if len(sets) == 1 else cross_dataset.folders(out, sets)
    for place in outs:
        with mistakes.collecting():
            outputs.Ledger(place, "evaluate").check(RUN_FILES, bool(given.get("overwrite")))
    mistakes.check()
    if args.tracking:
        given["tracking"] = args.tracking
    return _evaluate(root, sets, outs, args.split, given)


def _evaluate(root: Path, sets: list[str], outs: list[Path], split: str, given: dict[str, Any]) -> Outcome:
    from polyp_monai.bundle import run
    from polyp_monai.evaluation import cross_dataset

    for data, place in zip(sets, outs, strict=True):
        run.run(root, "evaluate", {"dataset_dir": data, "split": split, "output_dir": str(place), **given})
    runs = [{"data": data, **_summary(place)} for data, place in zip(sets, outs, strict=True)]
    return Outcome(cross_dataset.table(sets, outs, split) if len(sets) > 1 else "", {"runs": runs})


def _summary(folder: Path) -> dict[str, Any]:
    return {"out": str(folder), "summary": json.loads((folder / "summary.json").read_text(encoding="utf-8"))}


def declare_score(parser: Parser) -> None:
    parser.description, parser.epilog = SCORE, SCORE_EXAMPLES
    parser.set_defaults(run=score)
    about = "folder of masks or probability maps, or of a job of `polyp predict --engine ray`"
    parser.option("pred", "DIR", about, common.place, required=True)
    parser.option("truth", "DIR", "folder of true masks", common.place, required=True)
    parser.option("out", "DIR", "where report and tables go", Path, required=True)
    common.overwrite(parser, "the run")
    common.data(parser, "prepared set, or its data list, that knows images, groups and tags", kind=Path)
    parser.option("threshold", "P", "from which a pixel counts as polyp (0.5)", values.number(0, 1), default=0.5)
    parser.option("normalize", "", "minmax as PraNet does (none)", values.one_of("none", "minmax"), default="none")
    parser.flag("resize", "stretch maps to the size of their truth")
    parser.flag("quick", "leave out HD95 and surface Dice, which take longest")


def score(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bulk import unpack
    from polyp_monai.data import lock, outputs
    from polyp_monai.evaluation import RUN_FILES, external

    matched: tuple = ()
    with mistakes.collecting():
        outputs.Ledger(args.out, "score").check(RUN_FILES, args.overwrite)
    with TemporaryDirectory(prefix="polyp-") as folder:
        with mistakes.collecting():
            masks = args.pred
            if unpack.is_job(masks):
                masks = Path(folder)
                unpack.unpack(args.pred, masks)
            matched = external.match(masks, args.truth, args.data)
        mistakes.check()
        with lock.held(args.out):
            return _score(args, *matched)


def _score(
    args: argparse.Namespace, matches: list[Any], without_prediction: list[str], without_truth: list[str]
) -> Outcome:
    from tqdm import tqdm

    from polyp_monai.data import outputs
    from polyp_monai.evaluation import RUN_FILES, external, run_folder

    ledger = outputs.Ledger(args.out, "score")
    ledger.check(RUN_FILES, args.overwrite)  # the run that held the folder may have just ended
    for names, lacking in (
        (without_prediction, "truths have no prediction"),
        (without_truth, "predictions have no truth"),
    ):
        if names:
            print(f"polyp: {len(names)} {lacking} and are not scored: {shortened(names)}", file=sys.stderr)
    options = external.ScoreOptions(args.threshold, args.normalize == "minmax", args.resize, not args.quick)
    scored = list(tqdm(external.score_all(matches, options), "score", len(matches), unit="frame", disable=None))
    if noisy := sum(s.row["truth_of_other_values"] for s in scored):
        print(f"polyp: {noisy} true masks hold values between their two; cut in the middle", file=sys.stderr)
    about: dict[str, Any] = {"predictions": str(args.pred.resolve()), "truth": str(args.truth.resolve())}
    about |= {"threshold": options.threshold, "normalize": options.normalize, "truths_of_other_values": noisy}
    about |= {"truths_without_prediction": len(without_prediction), "predictions_without_truth": len(without_truth)}
    unmatched = {"without_prediction": without_prediction, "without_truth": without_truth}
    ledger.claim(RUN_FILES)
    summary = run_folder.write_run(args.out, scored, about, {"unmatched": unmatched})
    text = "\n".join([*run_folder.headline(summary), f"look at {args.out / 'report.html'}"])
    return Outcome(text, {"runs": [{"out": str(args.out), "summary": summary}]})


def declare_compare(parser: Parser) -> None:
    parser.description, parser.epilog = COMPARE, COMPARE_EXAMPLES
    parser.set_defaults(run=compare)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    parser.option("out", "FILE", "also write everything as JSON", Path)
    common.overwrite(parser, "the file")


def compare(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.data import files, outputs
    from polyp_monai.evaluation import comparison, scoring

    with mistakes.collecting():
        outputs.check_file(args.out, args.overwrite)
    mistakes.check()
    result = comparison.compare(args.runs)
    if args.out:
        files.write_json(args.out, scoring.plain(result))
    return Outcome(comparison.table(result), scoring.plain(result))


def declare_calibrate(parser: Parser) -> None:
    parser.description, parser.epilog = CALIBRATE, CALIBRATE_EXAMPLES
    parser.set_defaults(run=calibrate)
    parser.add_argument("folder", metavar="RUN", help="folder of a run on a calibration split")
    parser.option(
        "max-miss-rate", "SHARE", "of a polyp's pixels (0.1)", values.number(0, 1), default=0.1, dest="max_miss_rate"
    )
    parser.flag("overwrite", "replace another threshold of these weights")


def calibrate(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.evaluation import conformal, scoring

    found, path = conformal.calibrate(args.folder, args.max_miss_rate, args.overwrite)
    text = (
        f"threshold {found['threshold']:.3f} misses {found['missed']:.1%} of a polyp's pixels on "
        f"{counted(found['images'], 'frame')}; written to {path}"
    )
    return Outcome(text, scoring.plain(found) | {"file": str(path)})


def declare_report(parser: Parser) -> None:
    parser.description, parser.epilog = REPORT, REPORT_EXAMPLES
    parser.set_defaults(run=report)
    parser.add_argument("folder", metavar="RUN", help="folder of a run")


def report(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai import report
    from polyp_monai.data import outputs

    if not outputs.wrote(args.folder, "report.html"):  # its own report it may renew
        outputs.check_file(Path(args.folder) / "report.html", overwrite=False)
        outputs.Ledger(args.folder, "report").claim(["report.html"])
    path = report.write(args.folder)
    return Outcome(str(path), {"report": str(path)})
