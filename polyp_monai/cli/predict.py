"""`polyp predict`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import FramesLeftOutError, counted, say

PREDICT = """Write a mask for each frame: PNG of 0 and 255, or NIfTI with the affine of its NIfTI input.

INPUT is a file, folder, glob or data list; folders keep their tree below --out. DICOM is known by its content; a file
of several frames counts as a folder of them. A first word that names a bundle, by
name or by folder, is the BUNDLE, which else is efficient_unet with the weights that it comes with; --bundle says it
where an input has the name of a bundle. predictions.csv beside the masks holds a row a frame: polyps, their share of
the frame, confidence. A frame that cannot be read is named, the others are predicted, and the exit status is 1. Any
option of configs/inference.yaml (below) can follow as --KEY VALUE.
"""

EXAMPLES = """examples:
  polyp predict photo.jpg
  polyp predict runs/unet 'frames/**/*.png' --out masks --overlay --probability
  polyp predict efficient_unet frames --out masks --runtime auto
  polyp predict frames --skip-existing --json
  polyp predict study --out masks --dicom-out seg
  polyp predict --ensemble runs/fold1 --ensemble runs/fold2 photo.jpg --out both
"""

LISTED = 50  # frames that are printed


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = PREDICT, EXAMPLES
    parser.usage = "polyp predict [BUNDLE] INPUT [INPUT ...] [options]"
    parser.set_defaults(run=predict)
    parser.add_argument("inputs", metavar="[BUNDLE] INPUT", nargs="+", help="file, folder, glob or data list")
    complete(parser.option("bundle", "BUNDLE", "name or folder (efficient_unet)"), common.complete_bundle)
    parser.option("ensemble", "RUN", "instead of BUNDLE, twice or more: the mean of several", action="append")
    parser.option("out", "DIR", "where the masks go (masks)", default="masks")
    common.calibration(parser)
    common.setting(parser)


def predict(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    if not args.ensemble:
        return _predict(args, mistakes)
    from polyp_monai.bundle import ensemble

    with TemporaryDirectory(prefix="polyp_monai-") as folder:
        with mistakes.collecting():
            args.bundle = str(ensemble.write(args.ensemble, Path(folder) / "ensemble"))
        mistakes.check()
        return _predict(args, mistakes)


def _predict(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate, overrides, predictions
    from polyp_monai.data import datalist

    out = Path(os.path.abspath(args.out))
    inputs: list[str] = []
    given: dict[str, Any] = {}
    with mistakes.collecting():
        bundle, inputs = common.bundle_of(args.inputs, args.bundle)
        root = locate.find(bundle)
        given = overrides.check(root, "inference", args.given, args.settings)
        common.weights(root, given)
        given |= common.calibrated(root, args.calibration, given)
    inputs = [os.path.abspath(item) for item in inputs]
    wanted = {key: given.get(key, False) for key in ("overwrite", "probability", "overlay", "skip_existing", "strict")}
    wanted["dicom_out"] = given.get("dicom_out", datalist.PNG)
    with mistakes.collecting():
        predictions.read(out)
    with mistakes.collecting():
        samples = datalist.frames(inputs, out, **wanted)
    mistakes.check()
    if not samples:
        line = f"every frame has its mask in {args.out} already"
        return Outcome([line], {"out": str(out), "frames": [], "left_out": []})
    return _run(root, inputs, out, given, samples)


def _run(root: Path, inputs: list[str], out: Path, given: dict[str, Any], samples: list[dict]) -> Outcome:
    from polyp_monai.bundle import predictions, run
    from polyp_monai.data import files

    status = 0
    try:
        run.run(root, "inference", {"inputs": inputs, "output_dir": str(out), **given})
    except FramesLeftOutError as error:
        say(f"polyp: error: {error}")
        status = 1
    rows, left_out = [], []
    known = predictions.read(out)
    for sample in samples:
        row = known.get(f"{sample['output']}{files.mask_suffix(sample['image'])}")
        if row is not None and row["image"] == sample["image"]:
            rows.append(predictions.typed(row))
        else:
            left_out.append(sample["image"])
    content = {"out": str(out), "frames": rows, "left_out": left_out}
    return Outcome(_lines(rows, out), content, status)


def _lines(rows: list[dict[str, Any]], out: Path) -> list[str]:
    from polyp_monai.bundle import predictions

    lines = [predictions.line(row) for row in rows[:LISTED]]
    if len(rows) > LISTED:
        polyps = sum(row["polyps"] > 0 for row in rows)
        lines.append(f"and {counted(len(rows) - LISTED, 'frame')} more; {polyps} of {len(rows)} show a polyp")
    place = os.path.relpath(out)
    return [*lines, f"masks are in {place}, a row a frame in {place}/{predictions.NAME}"] if rows else lines
