"""The command `polyp`: arguments and messages, nothing else. Heavy imports happen in the command that needs them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import polyp_monai
from data_prep.findings import shortened
from polyp_monai.cli import prepare as prepare
from polyp_monai.cli import share
from polyp_monai.errors import PolypError, exit_status

EXAMPLES = """examples:
  polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir
  polyp train unet --data data/kvasir --epochs 60
  polyp evaluate unet --data data/kvasir
  polyp predict unet photo.jpg frames/ --out masks --overlay true
  polyp score --pred maps --truth data/kvasir/masks --out results
  polyp compare runs/unet/eval/test runs/efficient_unet/eval/test
  polyp export efficient_unet --format onnx
  polyp video clip.mp4 --out overlay.mp4
  polyp bundles
"""

TRAIN = """Train a bundle on a prepared data set.

BUNDLE by name is copied to runs/NAME (or --out) first, and trained there; by path it is trained where it is.
Any key of configs/train.yaml can follow as --KEY VALUE; an unknown one is refused. --loss takes a name out of
configs/losses.yaml, --pretrained FILE or null takes other weights for the encoder than the bundle's, or none. With
several --data, it trains (and validates) on all of them.

examples:
  polyp train unet --data data/kvasir
  polyp train attention_unet --data data/kvasir --loss dice_focal
  polyp train unet --data data/kvasir --epochs 100 --learning_rate 5e-4 --out runs/long
  polyp train unet --data data/kvasir --data data/clinicdb --out runs/both
  polyp train unet --data data/kvasir --resume true
"""

EVALUATE = """Score a trained bundle at native size: a report, a table with a row a frame, a summary, and masks.

With several --data, one table of all sets and a note on how they differ from the first. Any key of
configs/evaluate.yaml can follow as --KEY VALUE; an unknown one is refused.

examples:
  polyp evaluate unet --data data/kvasir
  polyp evaluate runs/unet --data data/clinicdb --split all --out results/clinicdb --overlay true
  polyp evaluate runs/unet --data data/kvasir --data data/clinicdb
  polyp evaluate efficient_unet --data data/kvasir --runtime auto
"""

SCORE = """Score masks or probability maps that any tool wrote, against their truth, matched by file name.

Maps are PNG, JPEG, TIFF, BMP or NIfTI, of 8 or 16 bits or floats 0..1, at the size of the truth.

examples:
  polyp score --pred maps --truth data/kvasir/masks --out results/theirs
  polyp score --pred PraNet/Kvasir --truth TestDataset/Kvasir/masks --normalize minmax --out results/pranet
"""

COMPARE = """Compare runs on the frames that all of them hold: paired differences with 95 % intervals, Wilcoxon's signed
rank test with Holm's correction, and in words whether a difference is more than noise.

RUN is a folder that `polyp evaluate` or `polyp score` wrote.

example:
  polyp compare runs/unet/eval/test runs/efficient_unet/eval/test
"""

CALIBRATE = """Find the threshold that keeps the share of missed polyp pixels below a chosen level.

RUN is an evaluation of a split that is neither trained nor tested on. The threshold is written beside the weights, and
`polyp evaluate` then says what it misses on other splits (conformal risk control).

example:
  polyp evaluate unet --data data/kvasir --split validation
  polyp calibrate runs/unet/eval/validation --missed 0.1
"""

REPORT = """Write RUN/report.html again: one file with figures, curves and pictures that opens without a network.

example:
  polyp report runs/unet/eval/test
"""

PREDICT = """Write a mask for each frame: PNG of 0 and 255, or NIfTI with the affine of its NIfTI input.

INPUT is a file, folder, glob or data list; folders keep their tree below --out. A frame that cannot be read is named,
the others are predicted, and the exit status is 1. Any key of configs/inference.yaml can follow as --KEY VALUE.

examples:
  polyp predict unet photo.jpg --out masks
  polyp predict runs/unet 'frames/**/*.png' --out masks --overlay true --probability true
  polyp predict efficient_unet frames --out masks --runtime auto
"""

EXPORT = """Write the trained network of a bundle as one file that other runtimes read, and check it at once.

In: (B, 3, H, W) RGB 0..1 of any size from 33 pixels. Out: logits of that size. The file also holds the bundle's name
and version, its image size, threshold and the weights' digest. A file whose probabilities differ from PyTorch's by more
than 1e-4 (fp32), or whose Dice on the validation split of --data is more than .005 lower (the others), is not kept.

examples:
  polyp export efficient_unet --format onnx
  polyp export runs/unet --format openvino --precision bf16 --data data/kvasir --out unet.xml
  polyp export efficient_unet --format onnx --precision int8 --data data/kvasir
  polyp predict efficient_unet frames --out masks --weights efficient_unet.int8.onnx
"""

VIDEO = """Follow the polyps of a video: outline, box, number and confidence of each, a table of frames, a list of
events.

INPUT is a video file, a folder or glob of frames, a camera (camera:0) or the address of a stream. Without --out, --csv
and --json the overlay is shown in a window. A polyp is shown once K of N frames saw it, and keeps its number while it is visible. Ctrl-C ends the video there; what was done is complete. Of configs/inference.yaml, --weights, --image_size,
--keep_aspect, --threshold, --runtime and --device can follow as --KEY VALUE; --runtime is auto here.

examples:
  polyp video clip.mp4 --out overlay.mp4 --csv frames.csv --json events.json
  polyp video clip.mp4 --out overlay.mp4 --weights efficient_unet.int8.onnx --heat
  polyp video camera:0
"""

EVALUATE_VIDEO = """Score what `polyp video --csv` wrote against boxes or masks a frame: sensitivity and specificity a
frame, polyps found, false alarms a minute, delay of the first detection.

TRUTH is a table with the columns frame, polyp, x0, y0, x1, y1 (frames that it does not name show no polyp), or a
folder of masks with the frame's number in their names.

example:
  polyp score-video --pred frames.csv --truth boxes.csv --out scores.json
"""

NEW = """Make a bundle for a network of your own, from the recipe that all bundles share, and check it.

The network takes (B, 3, H, W) and gives logits (B, 1, H, W). It is a class that can be imported (PACKAGE.MODULE.CLASS)
or stands in a file (FILE.py:CLASS), which is then copied into the bundle. Arguments of its constructor follow as
--KEY VALUE.

examples:
  polyp new my_net --network my_net.py:MyNet --width 24
  polyp new segresnet --network monai.networks.nets.SegResNet --divisor 8 \\
      --spatial_dims 2 --in_channels 3 --out_channels 1
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 well, 1 wrong input, 2 wrong usage, 130 interrupted."""
    parser = _parser()
    args, rest = parser.parse_known_args(arguments)
    if rest and not args.overrides:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    return exit_status(lambda: share.trusting(args))


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="polyp", description=polyp_monai.__doc__, epilog=EXAMPLES, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"polyp_monai {polyp_monai.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, about: str, run, description: str | None = None, keys=False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=description, formatter_class=raw, allow_abbrev=False)
        sub.set_defaults(run=run, overrides=keys)
        return sub

    prepare.add_arguments(command("prepare", "check a data set, split it, write its data list", prepare.run))

    train = command("train", "train a bundle", _train, TRAIN, keys=True)
    train.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    train.add_argument("--data", metavar="DIR", required=True, action="append", help="as `polyp prepare` wrote it")
    train.add_argument("--out", metavar="DIR", help="where the trained bundle goes (runs/NAME)")

    evaluate = command("evaluate", "score a trained bundle", _evaluate, EVALUATE, keys=True)
    evaluate.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    evaluate.add_argument("--data", metavar="DIR", required=True, action="append", help="as `polyp prepare` wrote it")
    evaluate.add_argument(
        "--split", default="test", choices=("training", "validation", "test", "all"), help="split (test)"
    )
    evaluate.add_argument(
        "--out",
        metavar="DIR",
        help="where tables and masks go (BUNDLE/eval/SPLIT)",
    )

    score = command("score", "score masks or maps that any tool wrote", _score, SCORE)
    score.add_argument("--pred", metavar="DIR", type=Path, required=True, help="folder of masks or probability maps")
    score.add_argument("--truth", metavar="DIR", type=Path, required=True, help="folder of true masks")
    score.add_argument("--out", metavar="DIR", type=Path, required=True, help="where report and tables go")
    score.add_argument("--data", metavar="FILE", type=Path, help="data list that knows images, groups and tags")
    score.add_argument("--threshold", metavar="P", type=float, default=0.5, help="from which a pixel is polyp (0.5)")
    score.add_argument("--normalize", choices=("none", "minmax"), default="none", help="minmax as PraNet does (none)")
    score.add_argument("--resize", action="store_true", help="stretch maps to the size of their truth")
    score.add_argument("--quick", action="store_true", help="leave out HD95 and surface Dice, which take longest")

    compare = command("compare", "compare runs pair by pair", _compare, COMPARE)
    compare.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run")
    compare.add_argument("--out", metavar="FILE", help="also write everything as JSON")

    calibrate = command("calibrate", "find the threshold that misses no more than a share", _calibrate, CALIBRATE)
    calibrate.add_argument("folder", metavar="RUN", help="folder of a run on a calibration split")
    calibrate.add_argument("--missed", metavar="SHARE", type=float, default=0.1, help="of a polyp's pixels (0.1)")

    report = command("report", "write the report of a run again", _report, REPORT)
    report.add_argument("folder", metavar="RUN", help="folder of a run")

    predict = command("predict", "write masks for frames", _predict, PREDICT, keys=True)
    predict.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    predict.add_argument("inputs", metavar="INPUT", nargs="+", help="file, folder, glob or data list")
    predict.add_argument("--out", metavar="DIR", required=True, help="where the masks go")

    export = command("export", "write a bundle's network for other runtimes", _export, EXPORT)
    export.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    export.add_argument(
        "--format", required=True, choices=("onnx", "openvino", "torch-export", "torchscript", "tensorrt")
    )
    export.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "bf16", "int8"), help="(fp32)")
    export.add_argument("--data", metavar="DIR", help="prepared set, for all but fp32: to calibrate and to check")
    export.add_argument("--weights", metavar="FILE", help="other weights than the bundle's models/model.pt")
    export.add_argument("--out", metavar="FILE", type=Path, help="file to write (here, named like the bundle)")
    export.add_argument("--overwrite", action="store_true", help="replace the file")

    video = command("video", "follow the polyps of a video", _video, VIDEO, keys=True)
    video.add_argument("source", metavar="INPUT", help="file, folder or glob of frames, camera:0, address of a stream")
    video.add_argument("--bundle", metavar="BUNDLE", default="efficient_unet", help="name or folder (efficient_unet)")
    video.add_argument("--out", metavar="FILE", type=Path, help="overlay to write: mp4, mov or mkv")
    video.add_argument("--csv", metavar="FILE", type=Path, help="table to write: a row a frame and polyp")
    video.add_argument("--json", metavar="FILE", type=Path, help="events to write, with the figures of the run")
    video.add_argument("--overwrite", action="store_true", help="replace these files")
    video.add_argument("--realtime", action="store_true", help="drop frames instead of lagging behind")
    video.add_argument("--heat", action="store_true", help="also tint the frame by the probability")
    video.add_argument("--no-crop", dest="crop", action="store_false", help="do not leave out the black border")
    video.add_argument("--smooth", choices=("none", "exponential", "flow"), default="exponential", help="(exponential)")
    video.add_argument("--half-life", metavar="S", type=float, default=0.1, help="of the smoothing, in seconds (0.1)")
    video.add_argument("--on", metavar="K/N", default="3/5", help="frames that must see a polyp, of how many (3/5)")
    video.add_argument("--rate", metavar="FPS", type=float, help="frames a second of a folder of frames (25)")

    scores = command("evaluate-video", "score the polyps of a video", _evaluate_video, EVALUATE_VIDEO)
    scores.add_argument("--pred", metavar="FILE", type=Path, required=True, help="table of `polyp video --csv`")
    scores.add_argument("--truth", metavar="TRUTH", type=Path, required=True, help="table of boxes or folder of masks")
    scores.add_argument("--rate", metavar="FPS", type=float, help="frames a second, instead of the table's times")
    scores.add_argument("--out", metavar="FILE", type=Path, help="also write everything as JSON")

    new = command("new", "make a bundle for your own network", _new, NEW, keys=True)
    new.add_argument("name", metavar="NAME", help="of the bundle: letters, digits and _")
    new.add_argument("--network", metavar="CLASS", required=True, help="PACKAGE.MODULE.CLASS or FILE.py:CLASS")
    new.add_argument("--divisor", metavar="N", type=int, default=32, help="product of the network's strides (32)")
    new.add_argument("--out", metavar="DIR", default=".", help="where the bundle's folder goes (here)")

    command("bundles", "list the shipped bundles and their figures", _bundles)
    share.add(command, commands)
    return parser


def _train(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate, overrides, run
    from polyp_monai.training import checkpoints

    sets = [_data(folder) for folder in args.data]
    given = overrides.check(locate.template(args.bundle, args.out), "train", overrides.parse(args.rest))
    with locate.working_copy(args.bundle, args.out) as root:
        print(f"training in {root}")
        if not given.get("resume") and not given.get("overwrite"):
            checkpoints.check_free(given.get("ckpt_dir", root / "models"))
        with overrides.kept(root, given):
            run.run(root, "train", {"dataset_dir": sets if len(sets) > 1 else sets[0], **given})


def _evaluate(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate, overrides, run
    from polyp_monai.evaluation import cross_dataset

    root, sets = locate.find(args.bundle), [_data(folder) for folder in args.data]
    # a shipped bundle may lie in a read-only installation
    home = locate.RUNS / root.name if root in locate.shipped().values() else root
    out = Path(args.out or home / "eval" / args.split).resolve()
    given = overrides.check(root, "evaluate", overrides.parse(args.rest))
    outs = [out] if len(sets) == 1 else cross_dataset.folders(out, sets)
    for data, place in zip(sets, outs, strict=True):
        run.run(root, "evaluate", {"dataset_dir": data, "split": args.split, "output_dir": str(place), **given})
    if len(sets) > 1:
        print(cross_dataset.table(sets, outs, args.split))


def _score(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from polyp_monai.evaluation import external
    from polyp_monai.evaluation import handler as evaluation

    if not 0 <= args.threshold <= 1:
        raise PolypError(f"--threshold {args.threshold}: expected 0 to 1")
    matches, without_prediction, without_truth = external.match(args.pred, args.truth, args.data)
    for names, lacking in ((without_prediction, "truths have no prediction"), (without_truth, "predictions no truth")):
        if names:
            print(f"polyp: {len(names)} {lacking} and are not scored: {shortened(names)}", file=sys.stderr)
    options = external.Options(args.threshold, args.normalize == "minmax", args.resize, not args.quick)
    bar = tqdm(external.score_all(matches, options), "score", len(matches), unit="frame", disable=None)
    scored = list(bar)
    if noisy := sum(s.row["truth_of_other_values"] for s in scored):
        print(f"polyp: {noisy} true masks hold values between their two; cut in the middle", file=sys.stderr)
    about = {"predictions": str(args.pred.resolve()), "truth": str(args.truth.resolve())}
    about |= {"threshold": options.threshold, "normalize": options.normalize, "truths_of_other_values": noisy}
    about |= {"truths_without_prediction": len(without_prediction), "predictions_without_truth": len(without_truth)}
    unmatched = {"without_prediction": without_prediction, "without_truth": without_truth}
    summary = evaluation.write_run(args.out, scored, about, {"unmatched": unmatched})
    print("\n".join(evaluation.headline(summary)))
    print(f"look at {args.out / 'report.html'}")


def _compare(args: argparse.Namespace) -> None:
    from polyp_monai.data import files
    from polyp_monai.evaluation import comparison, scoring

    result = comparison.compare(args.runs)
    print(comparison.table(result))
    if args.out:
        files.write_json(args.out, scoring.plain(result))


def _calibrate(args: argparse.Namespace) -> None:
    from polyp_monai.evaluation import conformal

    found, path = conformal.calibrate(args.folder, args.missed)
    print(f"threshold {found['threshold']:.3f} misses {found['missed']:.1%} of a polyp's pixels on {found['images']}")
    print(f"frames; written to {path}")


def _report(args: argparse.Namespace) -> None:
    from polyp_monai import report

    print(report.write(args.folder))


def _predict(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate, overrides, run

    root, inputs = locate.find(args.bundle), [os.path.abspath(item) for item in args.inputs]
    given = overrides.check(root, "inference", overrides.parse(args.rest))
    run.run(root, "inference", {"inputs": inputs, "output_dir": os.path.abspath(args.out), **given})
    print(f"masks are in {args.out}")


def _export(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import locate
    from polyp_monai.export import export

    root = locate.find(args.bundle)
    print(export.export(root, args.format, args.precision, args.out, args.data, args.weights, args.overwrite))


def _video(args: argparse.Namespace) -> int:
    from polyp_monai.bundle import locate, overrides
    from polyp_monai.video import run

    root = locate.find(args.bundle)
    given = overrides.parse(args.rest)
    for key in given:
        if key not in run.KEYS:
            raise PolypError(f"--{key}: has no meaning for a video; of the bundle's keys {', '.join(run.KEYS)} have")
    given = {"runtime": "auto"} | overrides.check(root, "inference", given)
    options = run.Options(
        **{
            name: value
            for name, value in vars(args).items()
            if name in run.Options.__dataclass_fields__ and name != "on"
        },
        on=_share(args.on),
    )
    result = run.run(root, given, options)
    print(run.text(result))
    for path in (args.out, args.csv, args.json):
        if path:
            print(f"look at {path}")
    if result.broken:
        raise PolypError(f"{result.broken}; what came before is complete")
    return 130 if result.interrupted else 0


def _share(text: str) -> tuple[int, int]:
    part, _, whole = text.partition("/")
    if not (part.isdigit() and whole.isdigit() and 1 <= int(part) <= int(whole)):
        raise PolypError(f"--on {text}: expected K/N, K of the last N frames, such as 3/5")
    return int(part), int(whole)


def _evaluate_video(args: argparse.Namespace) -> None:
    from polyp_monai.data import files
    from polyp_monai.evaluation import scoring
    from polyp_monai.video import evaluation

    if args.out and args.out.exists():
        raise PolypError(f"{args.out}: is there already; give another name")
    result = evaluation.evaluate(args.pred, args.truth, args.rate)
    print(evaluation.text(result))
    if args.out:
        files.write_json(args.out, scoring.plain(result))


def _new(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import new, overrides

    arguments = {key: overrides.literal(text) for key, text in overrides.parse(args.rest).items()}
    root = new.create(args.name, args.network, arguments, args.divisor, Path(args.out))
    print(f"{root} keeps the network contract; polyp train {os.path.relpath(root)} --data DATA")


def _bundles(args: argparse.Namespace) -> None:
    from polyp_monai.bundle import listing

    print(listing.table())


def _data(folder: str) -> str:
    from polyp_monai.data import datalist

    datalist.read(folder)
    return str(Path(folder).resolve())
