"""`polyp prepare`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import registry
from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser, complete
from polyp_monai.errors import PolypError, known_as, say

if TYPE_CHECKING:
    from data_prep.findings import Finding
    from data_prep.output import OutputFolder
    from data_prep.pair import Pair
    from data_prep.prepare import Prepared
    from data_prep.splits import Plan

PREPARE = "Check a data set, split it, and write a MONAI data list."

EXAMPLES = """examples:
  polyp prepare kvasir-seg --source kvasir-seg.zip --out data/kvasir
  polyp prepare cvc-clinicdb --source CVC-ClinicDB --out data/clinicdb --protocol kfold --folds 5 --fold 0
  polyp prepare folder --images frames --masks masks --group-regex '^(seq[0-9]+)_' --out data/mine
  polyp prepare neopolyp --source bkai-igh-neopolyp --out data/neopolyp --ratios 0.7,0.15,0.15
  polyp prepare folder --images frames --masks masks --classes classes.csv --out data/classes
  polyp prepare folder --negatives empty --group-csv scenes.csv --out data/negatives
  polyp prepare synthetic --count 120 --out data/demo

writes images/, masks/ (0 and 255, PNG; of classes 0 and their numbers, with a palette), audit.html to look at,
audit.json, and last datalist.json.
data sets:
""" + "\n".join(f"  {name:14}{about}" for name, about in registry.SETS.items())

MOST = 100_000  # synthetic images: 5 GB
DEFAULT_COUNT = 120


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = PREPARE, EXAMPLES
    parser.set_defaults(run=prepare)
    complete(parser.add_argument("set", metavar="SET", help=", ".join(registry.SETS)), lambda **_: registry.SETS)
    parser.option("source", "PATH", "folder or zip of the publisher", common.place)
    parser.option("out", "DIR", "folder to write", Path, required=True)
    common.overwrite(parser, "another data set, or another split of it,")
    parser.flag("skip-bad", "leave out what cannot be used instead of refusing")
    common.keep_inverted(parser)
    split = parser.add_argument_group("split")
    parser.option("protocol", "NAME", "one of the data set's (below); default: its first", group=split)
    shares = "training,validation,test for ratio, grouped (0.8,0.1,0.1)"
    parser.option("ratios", "T,V,S", shares, values.ratios, group=split)
    parser.option("folds", "K", "number of folds for kfold (5)", values.whole(2, 1000), group=split)
    parser.option("fold", "I", "the fold, from 0, that is the test split (0)", values.whole(0, 999), group=split)
    parser.option(
        "validation", "SHARE", "validation share of the training split (0.1)", values.number(0, 1), group=split
    )
    seed = values.whole(0, values.LARGEST_SEED)
    parser.option("seed", "N", "of every random choice (0)", seed, group=split, default=0)
    as_there = "take the split of the data list there, by the frames' names: for weights that were trained with it"
    parser.option("split-of", "DIR", as_there, common.place, group=split)
    own = parser.add_argument_group("folder")
    parser.option("images", "DIR", "folder of the images, with what is below it", common.place, group=own)
    parser.option("masks", "DIR", "folder of the masks: same relative path as the image", common.place, group=own)
    parser.option("mask-suffix", "TEXT", "end of the masks' names: _mask for a_mask.png of a.jpg", group=own)
    parser.option(
        "missing-mask", "", "empty: an image without a mask has no polyp", values.one_of("error", "empty"), group=own
    )
    parser.option("negatives", "DIR", "folder of images without a polyp, and without masks", common.place, group=own)
    parser.option("group-regex", "REGEX", "first capture group on the name is the group", group=own)
    parser.option("group-csv", "FILE", "table with the columns name and group", Path, group=own)
    classes = "table of what masks hold: columns name and color (#ff0000), or name and index"
    parser.option("classes", "FILE", classes, Path, group=own)
    parser.option("name", "NAME", "name of the data set (the source folder's)", group=own)
    made = parser.add_argument_group("synthetic")
    parser.option("count", "N", f"images to generate ({DEFAULT_COUNT})", values.whole(1, MOST), group=made)
    parser.flag("by-shape", "the polyps' shapes are their classes", group=made)


def prepare(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    """Prepare a data set.

    Raises:
        PolypError: see its text. Nothing is written then.
        OSError: DIR cannot be written, e.g. the disk is full; the run can be repeated.
    """
    with mistakes.collecting():
        if args.set not in registry.SETS:
            known = ", ".join(registry.SETS)
            near = values.did_you_mean(args.set, registry.SETS)
            raise PolypError(f"{args.set}: no such data set{near or '; known are ' + known}")
        module = registry.load(args.set)
        with mistakes.collecting():
            _check_options(args, module)
        plan = _plan(args, registry.protocols_of(module))
    mistakes.check()
    return _run(args, module, plan)


def _run(args: argparse.Namespace, module: Any, plan: Plan) -> Outcome:
    from data_prep import prepare
    from data_prep.output import OutputFolder
    from polyp_monai.data import lock
    from polyp_monai.report import audit

    identity = _identity(args, plan)
    published = module.published(plan.name) if plan.name in registry.FIXED_PROTOCOLS else _listed(args.split_of)
    findings: list[Finding] = []
    with ExitStack() as stack:
        OutputFolder(args.out, identity, args.overwrite)  # a place that cannot be taken is left as it is
        stack.enter_context(lock.held(args.out))
        output = OutputFolder(args.out, identity, args.overwrite)
        pairs = _collect(args, module, output, stack, findings)
        try:
            prepared = prepare.examine(
                identity["name"], pairs, findings, plan, published, args.skip_bad, args.keep_inverted
            )
        except prepare.RefusedError as refusal:
            for finding in refusal.findings[: prepare.LISTED]:
                say(f"  {', '.join(finding.files)}: {finding.message}")
            raise
        changed = prepare.write(prepared, output, audit.write)
    if prepared.warning:
        say(f"WARNING: {prepared.warning}")
    content = prepare.report(prepared)
    content = {"out": str(output.path)} | {key: content[key] for key in ("name", "protocol", "counts", "findings")}
    lines = _summary(prepared, output)
    if not changed:
        lines.append("all of it was there already; nothing was written")
    return Outcome(lines, content | {"changed": changed})


def _check_options(args: argparse.Namespace, module: Any) -> None:
    """Refuse an option that this data set would pass over."""
    from data_prep import folder

    foreign = {*folder.OPTIONS, "count"}
    foreign -= {*registry.options_of(module), *(("count",) if args.set == "synthetic" else ())}
    for option in sorted(foreign):
        if getattr(args, option) is not None:
            raise PolypError(f"--{option.replace('_', '-')} is not an option of {args.set}")
    if args.by_shape and args.set != "synthetic":
        raise PolypError(f"--by-shape is not an option of {args.set}")
    if args.set == "synthetic":
        if args.source is not None:
            raise PolypError("--source is not an option of synthetic: it generates its images")
        return
    if (args.images is None) != (args.masks is None):
        raise PolypError("--images and --masks: give both, or --source")
    if args.images is None and args.source is None and args.negatives is not None:
        return
    if (args.images is None) == (args.source is None):
        both = "--source or --images with --masks" if "images" in registry.options_of(module) else "--source"
        raise PolypError(f"{args.set}: say where it is with {both}{'' if args.source is None else ', not with both'}")


def _plan(args: argparse.Namespace, offered: tuple[str, ...]) -> Plan:
    from data_prep.splits import OF, Plan

    if args.split_of:
        from polyp_monai.data import datalist

        chosen = ("protocol", "ratios", "folds", "fold", "validation")
        if other := next((key for key in chosen if vars(args)[key] is not None), None):
            raise PolypError(f"--{other}: --split-of {args.split_of} says the split already; leave one of them out")
        return Plan(OF + str(datalist.read(args.split_of).get("name", args.split_of.name)))
    name = args.protocol or offered[0]
    if name not in offered:
        raise PolypError(f"--protocol {name}: {args.set} offers {', '.join(offered)}")
    takes = {"ratio": ["ratios"], "grouped": ["ratios"], "kfold": ["folds", "fold", "validation"]}
    uses = takes.get(name, ["validation"])
    given = {key: vars(args)[key] for key in ("ratios", "folds", "fold", "validation") if vars(args)[key] is not None}
    for key in given:
        if key not in uses:
            raise PolypError(f"--{key} has no meaning for the protocol {name}; it takes --{', --'.join(uses)}")
    return Plan(name, args.seed, **given)


def _listed(folder: Path | None) -> dict[str, str] | None:
    """{name: split} of the frames in the data list of a folder."""
    if folder is None:
        return None
    from polyp_monai.data import SPLITS, datalist, files

    content = datalist.read(folder)
    return {e.get("name", files.stem_of(e["image"])): split for split in SPLITS for e in content.get(split) or []}


def _identity(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """What DIR is for: a data set and its split. Folders of one's own are known by where they are."""
    protocol = {"protocol": plan.described()}
    if args.set != "folder":
        return {"name": f"{args.set}-by-shape" if args.by_shape else args.set} | protocol
    places = [place.resolve() for place in (args.source, args.images, args.masks, args.negatives) if place]
    return {"name": args.name or places[0].stem, "source": " ".join(map(str, places))} | protocol


def _collect(
    args: argparse.Namespace, module: Any, output: OutputFolder, stack: ExitStack, findings: list[Finding]
) -> list[Pair]:
    """The pairs; what has to be unpacked or generated first lives until `stack` closes."""
    from data_prep import source

    if args.set == "synthetic":
        count = args.count or DEFAULT_COUNT
        place = stack.enter_context(output.workspace())
        return module.pairs(place, count, args.seed, args.by_shape)
    for origin in (args.source, args.images, args.masks, args.negatives):
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
    with known_as(place, args.source):  # the user knows the zip, not the folder it was unpacked to
        return module.pairs(place, findings, **given)


def _overlap(out: Path, origin: Path) -> bool:
    return out.is_relative_to(origin) or (origin.is_dir() and origin.is_relative_to(out))


def _summary(prepared: Prepared, output: OutputFolder) -> list[str]:
    from data_prep.findings import SEVERITIES, count_by_code
    from polyp_monai.data import SPLITS

    counts = ", ".join(f"{split} {len(prepared.in_split(split))}" for split in SPLITS)
    lines = [f"{prepared.name}, protocol {prepared.plan.name}: {counts}"]
    for severity in SEVERITIES:
        found = [finding for finding in prepared.findings if finding.severity == severity]
        lines += [f"  {severity}: {line}" for line in count_by_code(found)]
    if prepared.classes:
        shown = (f"{name} {sum(name in r.classes for r in prepared.records)}" for name in prepared.classes)
        lines.insert(1, f"  frames that show a class: {', '.join(shown)}")
    return [*lines, f"look at {output.path / 'audit.html'}; the data list is {output.path / 'datalist.json'}"]
