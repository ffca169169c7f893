"""`polyp video` and `polyp score-video`."""

from __future__ import annotations

import argparse
from pathlib import Path

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import PolypError, say

VIDEO = """Follow the polyps of a video: outline, box, number and confidence of each, a table of frames, a list of
events.

INPUT is a video file (DICOM too), a folder or glob of frames, a camera (camera:0) or the address of a stream. A BUNDLE
before it, by name or folder, takes the place of efficient_unet. Without --out, --csv, --events and --sr the overlay is
shown in a window. A polyp is shown once K of N frames saw it, and keeps its number while it is there. Frames that
cannot be read are counted and left out, and the exit status is 1. Ctrl-C ends the video; what was done is complete.
--runtime is auto here. Of a camera, a stream, or with --realtime, the most accurate form of the network that keeps up
is taken: the bundle's own, its int8 export, or that on fewer pixels.
"""

VIDEO_EXAMPLES = """examples:
  polyp video clip.mp4 --out overlay.mp4 --csv frames.csv --events events.json
  polyp video clip.mp4 --out overlay.mp4 --fast --heat
  polyp video runs/mine camera:0
  polyp video endoscopy.dcm --sr report.dcm
"""

SCORE_VIDEO = """Score what `polyp video --csv` wrote against boxes or masks a frame: sensitivity and specificity a
frame, polyps found, false alarms a minute, delay of the first detection.

TRUTH is a table with the columns frame, polyp, x0, y0, x1, y1 (frames that it does not name show no polyp), or a
folder of masks with the frame's number in their names.
"""

SCORE_VIDEO_EXAMPLES = """example:
  polyp score-video --pred frames.csv --truth boxes.csv --out scores.json
"""

KEYS = (
    "weights",
    "image_size",
    "fit",
    "threshold",
    "presence",
    "runtime",
    "device",
)  # of inference.yaml, that fit a video
FASTEST, SLOWEST = 1000.0, 0.01  # frames a second


def declare_video(parser: Parser) -> None:
    parser.description, parser.epilog = VIDEO, VIDEO_EXAMPLES
    parser.set_defaults(run=video)
    parser.usage = "polyp video [BUNDLE] INPUT [options]"
    about = "file, folder or glob of frames, camera:0, address of a stream"
    parser.add_argument("inputs", metavar="[BUNDLE] INPUT", nargs="+", help=about)
    complete(parser.option("bundle", "BUNDLE", "name or folder (efficient_unet)"), common.complete_bundle)
    parser.option("out", "FILE", "overlay to write: mp4, mov or mkv", Path)
    parser.option("csv", "FILE", "table to write: a row a frame and polyp", Path)
    parser.option("events", "FILE", "JSON to write: the events, and the numbers of the run", Path)
    parser.option("sr", "FILE", "DICOM report to write, of a DICOM video: frames and outlines of the polyps", Path)
    common.overwrite(parser, "these files")
    common.calibration(parser)
    parser.flag("realtime", "drop frames instead of lagging behind")
    parser.flag("fast", "int8 on fewer pixels: several times the speed, for a little accuracy")
    parser.flag("heat", "also tint the frame by the probability")
    parser.flag("no-crop", "do not leave out the black border")
    kinds = values.one_of("none", "exponential", "flow")
    parser.option("smooth", "", "probabilities over time (exponential)", kinds, default="exponential")
    parser.option("half-life", "S", "of the smoothing, in seconds (0.1)", values.number(0, 60), default=0.1)
    parser.option(
        "confirm", "K/N", "frames that must see a polyp, of how many (3/5)", values.share_of_frames, default=(3, 5)
    )
    rate = values.number(SLOWEST, FASTEST)
    parser.option("fps", "FPS", "frames a second of a folder of frames (25)", rate)


def video(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate, overrides

    with mistakes.collecting():
        bundle, inputs = common.bundle_of(args.inputs, args.bundle)
        if len(inputs) > 1:
            mistakes.misused(_too_many(inputs))
        root = locate.find(bundle)
        given = {"runtime": "auto"} | overrides.check(root, "inference", args.given)
        common.weights(root, given)
        given |= common.calibrated(root, args.calibration, given)
        if args.calibration:  # which is about these weights, and no faster form of them
            if args.fast:
                raise PolypError("--fast: takes other weights than --calibration is about; leave one of them out")
            given.setdefault("weights", str(root / "models/model.pt"))
        if args.fast:
            from polyp_monai.video import pace

            given = pace.fast(root, given)
    mistakes.check()

    from polyp_monai.video import run

    options = run.Options(
        source=inputs[0],
        out=args.out,
        csv=args.csv,
        json=args.events,
        sr=args.sr,
        overwrite=args.overwrite,
        realtime=args.realtime,
        heat=args.heat,
        crop=args.crop,
        smooth=args.smooth,
        half_life=args.half_life,
        on=args.confirm,
        rate=args.fps,
    )
    result = run.run(root, given, options)
    written = options.files
    lines = [*run.lines(result), *(f"look at {path}" for path in written)]
    lacking = run.mistakes(result)
    for line in lacking:
        say(f"polyp: error: {line}")
    content = result.summary | {"files": [str(path) for path in written]}
    return Outcome(lines, content, 130 if result.interrupted else 1 if lacking else 0)


def _too_many(inputs: list[str]) -> str:
    if inputs[-1].endswith(".json"):
        return f"{inputs[-1]}: --json is a flag; --events FILE writes the events"
    return f"{', '.join(inputs[1:])}: one video at a time"


def declare_score_video(parser: Parser) -> None:
    parser.description, parser.epilog = SCORE_VIDEO, SCORE_VIDEO_EXAMPLES
    parser.set_defaults(run=score_video)
    parser.option("pred", "FILE", "table of `polyp video --csv`", Path, required=True)
    parser.option("truth", "TRUTH", "table of boxes or folder of masks", Path, required=True)
    rate = values.number(SLOWEST, FASTEST)
    parser.option("fps", "FPS", "frames a second, instead of the table's times", rate)
    common.keep_inverted(parser)
    parser.option("out", "FILE", "also write everything as JSON", Path)
    common.overwrite(parser, "the file")


def score_video(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.data import outputs

    with mistakes.collecting():
        outputs.check_file(args.out, "score-video", args.overwrite)
    mistakes.check()
    from polyp_monai.data import files
    from polyp_monai.evaluation import scoring
    from polyp_monai.video import evaluation

    result = evaluation.evaluate(args.pred, args.truth, args.fps, args.keep_inverted)
    if args.out:
        outputs.claim_file(args.out, "score-video")
        files.write_json(args.out, scoring.plain(result))
    return Outcome(evaluation.lines(result), scoring.plain(result))
