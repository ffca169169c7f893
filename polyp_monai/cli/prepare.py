"""`polyp prepare`: options, messages, and the order of the steps. Light to import."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import registry
from polyp_monai.errors import PolypError

if TYPE_CHECKING:
    from data_prep.findings import Finding
    from data_prep.output import OutputFolder
    from data_prep.pair import Pair
    from data_prep.prepare import Prepared
    from data_prep.splits import Plan

MOST = 100_000  # synthetic images: 5 GB

EPILOG = """examples:
  polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir
  polyp prepare cvc-clinicdb --source CVC-ClinicDB --out data/clinicdb --split kfold --folds 5 --fold 0
  polyp prepare folder --images frames --masks masks --group-regex '^(seq[0-9]+)_' --out data/mine
  polyp prepare synthetic --count 120 --out data/demo

writes images/, masks/ (0 and 255, PNG), audit.html to look at, audit.json, and last datalist.json.
data sets:
""" + "\n".join(f"  {name:14}{about}" for name, about in registry.SETS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `polyp prepare`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Check a data set, split it, and write a MONAI data list."
    parser.epilog = EPILOG
    parser.add_argument("set", choices=registry.SETS, metavar="SET", help=", ".join(registry.SETS))
    parser.add_argument("--source", type=Path, metavar="PATH", help="folder or zip of the publisher")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace another prepared data set in DIR")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be used instead of refusing")
    split = parser.add_argument_group("split")
    split.add_argument("--split", metavar="NAME", help="one of the data set's splits (below); default: its first")
    split.add_argument("--ratios", metavar="T,V,S", help="training,validation,test for ratio, grouped (0.8,0.1,0.1)")
    split.add_argument("--folds", type=int, metavar="K", help="number of folds for kfold (5)")
    split.add_argument("--fold", type=int, metavar="I", help="the fold, from 0, that is the test split (0)")
    split.add_argument("--validation", type=float, metavar="SHARE", help="validation share of the training split (0.1)")
    split.add_argument("--seed", type=int, default=0, help="of every random choice (0)")
    own = parser.add_argument_group("folder")
    own.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, with what is below it")
    own.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks: same relative path as the image")
    own.add_argument("--mask-suffix", metavar="TEXT", help="end of the masks' names: _mask for a_mask.png of a.jpg")
    own.add_argument("--group-regex", metavar="REGEX", help="first capture group on the name is the group")
    own.add_argument("--group-csv", type=Path, metavar="FILE", help="table with the columns name and group")
    own.add_argument("--name", help="name of the data set (the source folder's)")
    made = parser.add_argument_group("synthetic")
    made.add_argument("--count", type=int, metavar="N", help="images to generate (120)")


def run(args: argparse.Namespace) -> int:
    """Prepare a data set and print a summary. Returns the exit status.

    Raises:
        PolypError: see its text. Nothing is written then.
        OSError: DIR cannot be written, e.g. the disk is full; the run can be repeated.
    """
    from data_prep import prepare
    from data_prep.output import OutputFolder
    from polyp_monai.data import lock

    module = registry.load(args.set)
    _check_options(args, module)
    plan = _plan(args, registry.splits_of(module))
    identity = _identity(args, plan)
    published = module.published(plan.name) if plan.name in registry.FIXED_SPLITS else None
    findings: list[Finding] = []
    with ExitStack() as stack:
        OutputFolder(args.out, identity, args.overwrite)  # a place that cannot be taken is left as it is
        stack.enter_context(lock.held(args.out))
        output = OutputFolder(args.out, identity, args.overwrite)
        pairs = _collect(args, module, output, stack, findings)
        try:
            prepared = prepare.examine(identity["name"], pairs, findings, plan, published, args.skip_bad)
        except prepare.RefusedError as refusal:
            for finding in refusal.findings[: prepare.LISTED]:
                print(f"  {', '.join(finding.files)}: {finding.message}", file=sys.stderr)
            raise
        changed = prepare.write(prepared, output)
    _summarize(prepared, output)
    if not changed:
        print("all of it was there already; nothing was written")
    return 0


def _check_options(args: argparse.Namespace, module: Any) -> None:
    """Refuse an option that this data set would pass over, or a value out of range."""
    if args.seed < 0:
        raise PolypError(f"--seed {args.seed}: expected 0 or more")
    foreign = {"images", "masks", "mask_suffix", "group_regex", "group_csv", "name", "count"}
    foreign -= {*registry.options_of(module), *(("count",) if args.set == "synthetic" else ())}
    for option in sorted(foreign):
        if getattr(args, option) is not None:
            raise PolypError(f"--{option.replace('_', '-')} is not an option of {args.set}")
    if args.set == "synthetic":
        if args.source is not None:
            raise PolypError("--source is not an option of synthetic: it generates its images")
        if args.count is not None and not 1 <= args.count <= MOST:
            raise PolypError(f"--count {args.count}: need 1 to {MOST}")
        return
    if (args.images is None) != (args.masks is None):
        raise PolypError("--images and --masks: give both, or --source")
    if (args.images is None) == (args.source is None):
        both = "--source or --images with --masks" if "images" in registry.options_of(module) else "--source"
        raise PolypError(f"{args.set}: say where it is with {both}{'' if args.source is None else ', not with both'}")


def _plan(args: argparse.Namespace, offered: tuple[str, ...]) -> Plan:
    from data_prep.splits import Plan

    name = args.split or offered[0]
    if name not in offered:
        raise PolypError(f"--split {name}: {args.set} offers {', '.join(offered)}")
    takes = {"ratio": ["ratios"], "grouped": ["ratios"], "kfold": ["folds", "fold", "validation"]}
    uses = takes.get(name, ["validation"])
    given = {key: vars(args)[key] for key in ("ratios", "folds", "fold", "validation") if vars(args)[key] is not None}
    for key in given:
        if key not in uses:
            raise PolypError(f"--{key} has no meaning for the split {name}; it takes --{', --'.join(uses)}")
    if "ratios" in given:
        try:
            training, validation, test = (float(share) for share in given["ratios"].split(","))
        except ValueError:
            raise PolypError(f"--ratios {given['ratios']}: need three numbers, e.g. 0.8,0.1,0.1") from None
        given["ratios"] = (training, validation, test)
    return Plan(name, args.seed, **given)


def _identity(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """What DIR is for: a data set and its split. Folders of one's own are known by where they are."""
    split = {"split": plan.described()}
    if args.set != "folder":
        return {"name": args.set} | split
    places = [place.resolve() for place in (args.source, args.images, args.masks) if place is not None]
    return {"name": args.name or places[0].stem, "source": " ".join(map(str, places))} | split


def _collect(
    args: argparse.Namespace, module: Any, output: OutputFolder, stack: ExitStack, findings: list[Finding]
) -> list[Pair]:
    """The pairs; what has to be unpacked or generated first lives until `stack` closes."""
    from data_prep import source

    if args.set == "synthetic":
        count = 120 if args.count is None else args.count
        place = stack.enter_context(output.workspace())
        return module.pairs(place, count, args.seed)
    for origin in (args.source, args.images, args.masks):
        if origin is not None and _overlap(args.out.resolve(), origin.resolve()):
            raise PolypError(f"{args.out}: --out and the source {origin} lie in each other; give another --out")
    options = {key: getattr(args, key) for key in registry.options_of(module) if key != "name"}
    given = {key: value for key, value in options.items() if value is not None}
    if args.source is None:
        return module.pairs(None, findings, **given)
    place = args.source
    if source.is_zip(args.source):
        place = source.unpack(args.source, stack.enter_context(output.workspace()))
    source.check_not_empty(place, args.source)
    try:
        return module.pairs(place, findings, **given)
    except PolypError as error:  # the user knows the zip, not the folder it was unpacked to
        raise PolypError(str(error).replace(str(place), str(args.source))) from error


def _overlap(out: Path, origin: Path) -> bool:
    return out.is_relative_to(origin) or (origin.is_dir() and origin.is_relative_to(out))


def _summarize(prepared: Prepared, output: OutputFolder) -> None:
    from data_prep.findings import SEVERITIES
    from data_prep.splits import SPLITS

    counts = ", ".join(f"{split} {len(prepared.in_split(split))}" for split in SPLITS)
    print(f"{prepared.name}, split {prepared.plan.name}: {counts}")
    for severity in SEVERITIES:
        codes = Counter(finding.code for finding in prepared.findings if finding.severity == severity)
        if codes:
            print(f"  {severity}: " + ", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    if prepared.warning:
        print(f"WARNING: {prepared.warning}", file=sys.stderr)
    print(f"look at {output.path / 'audit.html'}; the data list is {output.path / 'datalist.json'}")
