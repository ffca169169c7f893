"""`polyp evaluate`, `score`, `compare`, `calibrate` and `report`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.data import ALL, SPLITS
from polyp_monai.errors import PolypError, counted, say, shortened

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

SCORE = """Score masks, probability maps or boxes that any tool wrote, against their truth, matched by file name.

Maps are PNG, JPEG, TIFF, BMP or NIfTI, of 8 or 16 bits or floats 0..1, at the size of the truth. Boxes are a COCO file
(.json) or a folder in YOLO's format (a .txt a frame); where one side is boxes, boxes are scored, and those of masks are
taken from their components.
"""

SCORE_EXAMPLES = """examples:
  polyp score --pred maps --truth data/kvasir/masks --out results/theirs
  polyp score --pred PraNet/Kvasir --truth TestDataset/Kvasir/masks --normalize minmax --out results/pranet
  polyp score --pred theirs.json --truth boxes.json --out results/their_boxes
  polyp score --pred runs/detect/labels --truth data/kvasir/masks --data data/kvasir --out results/yolo
"""

COMPARE = """Compare runs on the frames that all of them hold: paired differences with 95 % intervals, Wilcoxon's signed
rank test with Holm's correction, and in words whether a difference is more than noise.

RUN is a folder that `polyp evaluate` or `polyp score` wrote.
"""

COMPARE_EXAMPLES = """example:
  polyp compare runs/unet/eval/test results/efficient_unet/test --out comparison.html
"""

CALIBRATE = """Find a threshold that misses no more than a chosen share of a polyp's pixels, or how sure the network
must be of a frame, so that no more than a chosen share of frames without a polyp get an outline.

RUN is an evaluation of a split that is neither trained nor tested on. What is found is written beside the weights;
`polyp evaluate` then says what it reaches on other splits, and predict, video and evaluate go by it with
--calibration FILE. Both promises hold in the mean over frames like those of RUN (conformal prediction).
"""

CALIBRATE_EXAMPLES = """example:
  polyp evaluate runs/unet --data data/kvasir --split validation
  polyp calibrate runs/unet/eval/validation --max-miss-rate 0.1
  polyp calibrate runs/unet/eval/validation --max-false-alarm-rate 0.05
  polyp calibrate runs/neopolyp/eval/validation --max-wrong-class-rate 0.1
  polyp predict runs/unet frames --calibration runs/unet/models/calibration.json
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
    common.calibration(parser)
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
        given |= common.calibrated(root, args.calibration, given)
    mistakes.check()

    from polyp_monai.data import datalist, outputs
    from polyp_monai.evaluation import RUN_FILES, cross_dataset

    out = Path(args.out or locate.results(root, args.split)).resolve()
    outs = [out] if len(sets) == 1 else cross_dataset.folders(out, sets)
    for place in outs:
        with mistakes.collecting():
            datalist.check_outside(place, sets)
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
    return Outcome(cross_dataset.table(sets, outs, split) if len(sets) > 1 else [], {"runs": runs})


def _summary(folder: Path) -> dict[str, Any]:
    return {"out": str(folder), "summary": json.loads((folder / "summary.json").read_text(encoding="utf-8"))}


def declare_score(parser: Parser) -> None:
    parser.description, parser.epilog = SCORE, SCORE_EXAMPLES
    parser.set_defaults(run=score)
    about = "folder of masks or probability maps, or of a job of `polyp predict --engine ray`; or boxes"
    parser.option("pred", "DIR|FILE", about, common.place, required=True)
    parser.option("truth", "DIR|FILE", "folder of true masks; or boxes", common.place, required=True)
    parser.option("out", "DIR", "where report and tables go", Path, required=True)
    common.overwrite(parser, "the run")
    common.data(parser, "prepared set, or its data list, that knows images, groups and tags", kind=Path)
    parser.option("threshold", "P", "from which a pixel counts as polyp (0.5)", values.number(0, 1), default=0.5)
    parser.option("normalize", "", "minmax as PraNet does (none)", values.one_of("none", "minmax"), default="none")
    parser.flag("resize", "stretch maps to the size of their truth")
    parser.flag("quick", "leave out HD95 and surface Dice, which take longest")
    common.keep_inverted(parser)


def score(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bulk import unpack
    from polyp_monai.data import boxes, lock, outputs
    from polyp_monai.evaluation import RUN_FILES, external

    if boxes.is_boxes(args.pred) or boxes.is_boxes(args.truth):
        return _score_boxes(args, mistakes)
    matched: tuple = ()
    with mistakes.collecting():
        outputs.Ledger(args.out, "score").check(RUN_FILES, args.overwrite)
    with TemporaryDirectory(prefix="polyp-") as folder:
        with mistakes.collecting():
            external.check_place(args.out, args.pred, args.truth)
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
    _say_odd(args, [match.name for match in matches])
    _say_unmatched(without_prediction, without_truth)
    options = external.ScoreOptions(
        args.threshold, args.normalize == "minmax", args.resize, not args.quick, args.keep_inverted
    )
    scored = list(tqdm(external.score_all(matches, options), "score", len(matches), unit="frame", disable=None))
    for doubt in external.doubts(scored, options):
        say(f"polyp: {doubt}")
    if noisy := sum(s.row["truth_of_other_values"] for s in scored):
        say(f"polyp: {counted(noisy, 'true mask')} with values between the two, cut in the middle")
    about: dict[str, Any] = {"predictions": str(args.pred.resolve()), "truth": str(args.truth.resolve())}
    about |= {"threshold": options.threshold, "normalize": options.normalize, "truths_of_other_values": noisy}
    about |= {"truths_without_prediction": len(without_prediction), "predictions_without_truth": len(without_truth)}
    unmatched = {"without_prediction": without_prediction, "without_truth": without_truth}
    ledger.claim(RUN_FILES)
    summary = run_folder.write_run(args.out, scored, about, {"unmatched": unmatched})
    lines = [*run_folder.headline(summary), f"look at {args.out / 'report.html'}"]
    return Outcome(lines, {"runs": [{"out": str(args.out), "summary": summary}]})


def _say_odd(args: argparse.Namespace, names: list[str]) -> None:
    from polyp_monai.evaluation import external

    for line in external.familiar(args.data, names):
        say(f"polyp: {line}")
    if args.pred.resolve() == args.truth.resolve():
        say(f"polyp: --pred and --truth are both {args.pred}: it is scored against itself")


def _say_unmatched(without_prediction: list[str], without_truth: list[str]) -> None:
    for names, kind, partner in (
        (without_prediction, "truth", "prediction"),
        (without_truth, "prediction", "truth"),
    ):
        if names:
            say(f"polyp: {counted(len(names), kind)} without a {partner}, not scored: {shortened(names)}")


def _score_boxes(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai import provenance
    from polyp_monai.data import boxes as boxes_of
    from polyp_monai.data import lock, outputs
    from polyp_monai.evaluation import RUN_FILES, boxes, external, run_folder

    for flag in ("resize", "quick"):
        if getattr(args, flag):
            mistakes.misused(f"--{flag}: has no meaning for boxes")
    if args.normalize != "none":
        mistakes.misused("--normalize: has no meaning for boxes")
    if args.threshold != 0.5 and boxes_of.is_boxes(args.pred):
        mistakes.misused("--threshold: has no meaning for predicted boxes; what stands there counts, by its score")
    if args.keep_inverted and boxes_of.is_boxes(args.truth):
        mistakes.misused("--keep-inverted: has no meaning where the truth is boxes")
    ledger = outputs.Ledger(args.out, "score")
    with mistakes.collecting():
        ledger.check(RUN_FILES, args.overwrite)
    with mistakes.collecting():
        external.check_place(args.out, args.pred, args.truth)
    mistakes.check()
    with lock.held(args.out):
        options = boxes.MaskOptions(args.threshold, args.keep_inverted)
        run = boxes.score(args.pred, args.truth, args.data, options)
        _say_odd(args, [row["name"] for row in run.rows])
        _say_unmatched(run.without_prediction, run.without_truth)
        if run.silent:
            silent = f"does not name {counted(run.silent, 'frame')} of the truth: nothing was found there"
            say(f"polyp: {args.pred} {silent}")
        about: dict[str, Any] = {"predictions": str(args.pred.resolve()), "truth": str(args.truth.resolve())}
        about |= {"threshold": args.threshold, "frames_without_a_word": run.silent} | provenance.of_run()
        about |= {"truths_without_prediction": len(run.without_prediction)}
        about |= {"predictions_without_truth": len(run.without_truth)}
        summary = {"run": about, **run.summary()}
        summary["unmatched"] = {"without_prediction": run.without_prediction, "without_truth": run.without_truth}
        ledger = outputs.Ledger(args.out, "score")
        ledger.check(RUN_FILES, args.overwrite)  # the run that held the folder may have just ended
        ledger.claim(run_folder.BOX_FILES)
        run_folder.write_boxes(args.out, run.rows, summary)
        ledger.keep(run_folder.BOX_FILES)  # not the histograms of an earlier run of masks
    found = summary["detection"]
    line = f"{counted(summary['frames'], 'frame')} with {counted(found['polyps'], 'polyp')}"
    return Outcome(
        [line, run_folder.boxes_line(summary), f"look at {args.out / 'report.html'}"],
        {"runs": [{"out": str(args.out), "summary": summary}]},
    )


def declare_compare(parser: Parser) -> None:
    parser.description, parser.epilog = COMPARE, COMPARE_EXAMPLES
    parser.set_defaults(run=compare)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    parser.option("out", "FILE", "also write everything, as a page (.html) or as JSON (.json)", Path)
    common.overwrite(parser, "the file")


def compare(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.data import files, outputs
    from polyp_monai.evaluation import comparison, scoring
    from polyp_monai.report import comparison as page

    with mistakes.collecting():
        if args.out and args.out.suffix.lower() not in (".html", ".json"):
            raise PolypError(f"--out {args.out}: expected a name that ends in .html or .json")
        outputs.check_file(args.out, "compare", args.overwrite)
    mistakes.check()
    result = comparison.compare(args.runs)
    lines = comparison.table(result)
    if args.out:
        outputs.claim_file(args.out, "compare")
        if args.out.suffix.lower() == ".html":
            page.write(result, args.out)
        else:
            files.write_json(args.out, scoring.plain(result))
        lines.append(f"look at {args.out}")
    return Outcome(lines, scoring.plain(result))


def declare_calibrate(parser: Parser) -> None:
    parser.description, parser.epilog = CALIBRATE, CALIBRATE_EXAMPLES
    parser.set_defaults(run=calibrate)
    parser.add_argument("folder", metavar="RUN", help="folder of a run on a calibration split")
    share = values.share
    parser.option("max-miss-rate", "SHARE", "of a polyp's pixels (0.1, where nothing else is asked for)", share)
    parser.option("max-false-alarm-rate", "SHARE", "of frames without a polyp that get an outline", share)
    parser.option("max-wrong-class-rate", "SHARE", "of polyps that get a wrong class; others are uncertain", share)
    parser.flag("overwrite", "replace another promise of these weights")


def calibrate(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.evaluation import conformal, scoring

    missed, alarms = args.max_miss_rate, args.max_false_alarm_rate
    wrong = args.max_wrong_class_rate
    missed = 0.1 if missed is alarms is wrong is None else missed
    found, path = conformal.calibrate(args.folder, missed, alarms, args.overwrite, wrong)
    lines = []
    if promise := found.get(conformal.MISSED):
        lines.append(
            f"threshold {promise['threshold']:.3f} misses {promise['missed']:.1%} of a polyp's pixels on "
            f"{counted(promise['images'], 'frame')}"
        )
    if promise := found.get(conformal.ALARMS):
        lines.append(
            f"a frame has to reach {promise['highest']:.3f}: {promise['left_empty']:.1%} of "
            f"{counted(promise['negatives'], 'frame')} without a polyp stay empty, and "
            f"{promise['polyp_frames_emptied']} of {promise['polyp_frames']} with one"
        )
    if promise := found.get(conformal.WRONG):
        lines.append(
            f"a class has to reach {promise['certainty']:.3f}: {promise['wrong']:.1%} of "
            f"{counted(promise['polyps'], 'polyp')} get a wrong class, and {promise['uncertain']:.1%} are uncertain"
        )
    return Outcome([*lines, f"written to {path}"], scoring.plain(found) | {"file": str(path)})


def declare_report(parser: Parser) -> None:
    parser.description, parser.epilog = REPORT, REPORT_EXAMPLES
    parser.set_defaults(run=report)
    parser.add_argument("folder", metavar="RUN", help="folder of a run")


def report(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai import report
    from polyp_monai.data import outputs
    from polyp_monai.report import folder

    path = Path(args.folder) / "report.html"
    folder.read(path.parent)  # no list of files in a folder that is no run
    if not outputs.wrote(args.folder, path.name):  # its own report it may renew
        outputs.check_file(path, "report", overwrite=False)
        outputs.claim_file(path, "report")
    report.write(args.folder)
    return Outcome([str(path)], {"report": str(path)})
