"""`polyp predict`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polyp_monai.cli import bulk, common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import FramesLeftOutError, counted, say

PREDICT = """Write a mask for each frame: PNG of 0 and 255, or NIfTI with the affine of its NIfTI input.

INPUT is a file, folder, glob or data list; folders keep their tree below --out. DICOM is known by its content; a file
of several frames counts as a folder of them. A first word that names a bundle, by
name or by folder, is the BUNDLE, which else is efficient_unet with the weights that it comes with; --bundle says it
where an input has the name of a bundle. predictions.csv beside the masks holds a row a frame: polyps, their share of
the frame, confidence. A frame that cannot be read is named, the others are predicted, and the exit status is 1.
--skip-existing goes on where a run was interrupted. Jobs of an array share the frames by --part 1/8 ... 8/8, and a run
without --part, but with --skip-existing, then joins their tables. Any option of configs/inference.yaml (below) can
follow as --KEY VALUE.
"""

EXAMPLES = """examples:
  polyp predict photo.jpg
  polyp predict runs/unet 'frames/**/*.png' --out masks --overlay --probability
  polyp predict efficient_unet frames --out masks --runtime auto
  polyp predict frames --skip-existing --json
  polyp predict frames --boxes boxes.json
  polyp predict frames --boxes labels
  polyp predict study --out masks --dicom-out seg
  polyp predict --ensemble runs/fold1 --ensemble runs/fold2 photo.jpg --out both
  polyp predict frames --out masks --part 3/8 --skip-existing
  polyp predict runs/unet --manifest frames.parquet --out rows --engine ray
"""

LISTED = 50  # frames that are printed


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = PREDICT, EXAMPLES
    parser.usage = "polyp predict [BUNDLE] INPUT [INPUT ...] [options]"
    parser.set_defaults(run=predict)
    about = "file, folder, glob or data list; addresses (s3://) too"
    parser.add_argument("inputs", metavar="[BUNDLE] INPUT", nargs="*", help=about)
    complete(parser.option("bundle", "BUNDLE", "name or folder (efficient_unet)"), common.complete_bundle)
    parser.option("ensemble", "RUN", "instead of BUNDLE, twice or more: the mean of several", action="append")
    parser.option("out", "DIR", "where the masks go (masks)", default="masks", anywhere=True)
    common.calibration(parser)
    common.setting(parser)
    bulk.declare(parser)


def predict(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    if args.engine == "ray" and (args.inputs or args.manifest):
        return bulk.predict(args, mistakes)
    for name in ("manifest", "address", "workers"):
        if getattr(args, name) is not None:
            mistakes.misused(f"--{name}: is for --engine ray")
    if not args.inputs:
        mistakes.misused("missing: [BUNDLE] INPUT (see `polyp predict --help`)")
    if args.ensemble and (args.bundle or (args.inputs and common.is_bundle(args.inputs[0]))):
        mistakes.misused(f"--ensemble: stands in place of the bundle {args.bundle or args.inputs[0]}; give one of them")
    mistakes.check()
    if not args.ensemble:
        return _predict(args, mistakes)
    from polyp_monai.bundle import ensemble

    with TemporaryDirectory(prefix="polyp_monai-") as folder:
        with mistakes.collecting():
            args.bundle = str(ensemble.write(args.ensemble, Path(folder) / "ensemble"))
        mistakes.check()
        return _predict(args, mistakes)


def _predict(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import boxes_out, locate, overrides
    from polyp_monai.data import datalist, predicted, remote

    inputs: list[str] = []
    made_with: dict[str, Any] = {}
    given: dict[str, Any] = {"overwrite": True}  # of wrong options: they are said, not what would be in their way
    out = Path()
    try:
        out = Path(os.path.abspath(remote.local(args.out)))
    except ValueError as error:
        mistakes.lines.append(f"--out {args.out}: {error}")
    with mistakes.collecting():
        bundle, inputs = common.bundle_of(args.inputs, args.bundle)
        root = locate.find(bundle)
        given = overrides.check(root, "inference", args.given, args.settings)
        common.weights(root, given)
        given |= common.calibrated(root, args.calibration, given)
        made_with = _made_with(root, given)
    inputs = [remote.absolute(item) for item in inputs]
    keys = ("overwrite", "probability", "overlay", "skip_existing", "strict")
    wanted = {key: given.get(key, False) for key in keys} | {"part": given.get("part")}
    wanted["dicom_out"] = given.get("dicom_out", datalist.PNG)
    with mistakes.collecting():
        predicted.check(out)
        if wanted["skip_existing"]:
            predicted.check_settings(out, made_with)
    with mistakes.collecting():
        samples = datalist.frames(inputs, out, **wanted)
        boxes_out.check(given.get("boxes"), samples, wanted["overwrite"], wanted["skip_existing"])
    mistakes.check()
    if not samples:
        return _nothing_to_do(args.out, out, given.get("part"))
    try:
        return _run(root, inputs, out, given, samples, args.json)
    finally:
        predicted.note_settings(out, given.get("part"), made_with)


def _made_with(root: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What the masks of a run depend on: the settings, and which weights."""
    from polyp_monai import provenance
    from polyp_monai.bundle import options
    from polyp_monai.evaluation import conformal

    used = options.resolved(root, "inference") | {"weights": str(root / "models/model.pt")} | given
    keys = ("weights", "threshold", "class_certainty", *conformal.SETTINGS)
    found = {key: used[key] for key in keys if key in used and not options.is_expression(used[key])}
    return found | ({"weights": provenance.digest(Path(found["weights"]))[:12]} if "weights" in found else {})


def _nothing_to_do(named: str, out: Path, part: str | None) -> Outcome:
    from polyp_monai.data import datalist, lock

    if not part:
        with lock.held(out):
            datalist.join(out)
    which = f" of part {part}" if part else ""
    line = f"every frame{which} has its mask in {named} already"
    return Outcome([line], {"out": str(out), "frames": [], "left_out": []})


def _run(
    root: Path, inputs: list[str], out: Path, given: dict[str, Any], samples: Iterable[dict], as_json: bool
) -> Outcome:
    from polyp_monai.bundle import predictions, run
    from polyp_monai.data import datalist, predicted
    from polyp_monai.data.listing import DiskSet

    status = 0
    try:
        run.run(root, "inference", {"inputs": inputs, "output_dir": str(out), **given})
    except FramesLeftOutError as error:
        say(f"polyp: error: {error}")
        status = 1
    table, asked = predicted.table(out, given.get("part")), DiskSet()
    for sample in samples:
        if "problem" not in sample:
            asked.add(_key(datalist.mask_name(sample["image"], sample["output"]), sample["image"]))
    rows: list[dict[str, Any]] = []
    count = polyps = 0
    for row in predicted.rows(table) if table.exists() else ():
        if _key(row["mask"], row["image"]) in asked:
            count, polyps = count + 1, polyps + (row["polyps"] != "0")
            if as_json or count <= LISTED:
                rows.append(predictions.typed(row))
    if not as_json:
        return Outcome(_lines(rows, count, polyps, table), None, status)
    there = {row["image"] for row in rows}
    left_out = [sample["image"] for sample in samples if sample["image"] not in there]
    return Outcome([], {"out": str(out), "frames": rows, "left_out": left_out}, status)


def _key(mask: str, image: str) -> str:
    return f"{mask}\0{image}"  # a row of an earlier run may be of another image


def _lines(rows: list[dict[str, Any]], count: int, polyps: int, table: Path) -> list[str]:
    from polyp_monai.bundle import predictions

    lines = [predictions.line(row) for row in rows]
    if count > len(rows):
        lines.append(f"and {counted(count - len(rows), 'frame')} more; {polyps} of {count} show a polyp")
    place = os.path.relpath(table.parent)
    return [*lines, f"masks are in {place}, a row a frame in {place}/{table.name}"] if rows else lines
