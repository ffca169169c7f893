"""`polyp predict --engine ray`."""

from __future__ import annotations

import argparse

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.errors import counted, say

WITHOUT_MEANING = ("probability", "overlay", "skip_existing", "strict", "part", "dicom_out", "boxes")


def declare(parser: Parser) -> None:
    group = parser.add_argument_group("many frames on many machines")
    parser.option(
        "engine",
        "",
        "ray writes Parquet rows, by Ray (local)",
        values.one_of("local", "ray"),
        default="local",
        group=group,
    )
    about = "Parquet with id and path, in place of INPUT; for ray"
    parser.option("manifest", "FILE", about, group=group, anywhere=True)
    parser.option("address", "HOST:PORT", "of a Ray cluster, or auto (one is started here)", group=group)
    parser.option("workers", "N", "processes with a network (as many as fit)", values.whole(1, 100_000), group=group)


def predict(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bulk import job
    from polyp_monai.bundle import locate, overrides
    from polyp_monai.data import remote

    if args.ensemble:  # of a temporary folder, which no other machine sees and no later run finds
        mistakes.misused("--ensemble: with --engine ray give the folder that `polyp ensemble` writes as BUNDLE")
    with mistakes.collecting():
        words = args.inputs
        if args.manifest:
            bundle, words = args.bundle or common.FLAGSHIP, words
            if words and args.bundle is None:
                bundle, words = words[0], words[1:]
            if words:
                mistakes.misused(f"{words[0]}: is not expected beside --manifest")
        else:
            bundle, words = common.bundle_of(words, args.bundle)
        root = locate.find(bundle)
        given = overrides.check(root, "inference", args.given, args.settings)
        common.weights(root, given)
        given |= common.calibrated(root, args.calibration, given)
        for key in set(WITHOUT_MEANING) & given.keys():
            mistakes.misused(
                f"--{key.replace('_', '-')}: has no meaning with --engine ray, whose jobs go on by themselves"
            )
    mistakes.check()
    asked = job.Job(
        root=root.resolve(),
        given={key: value for key, value in given.items() if key != "overwrite"},
        source=remote.absolute(args.manifest) if args.manifest else None,
        inputs=tuple(remote.absolute(word) for word in words),
        out=remote.absolute(args.out),
        address=args.address,
        workers=args.workers,
        overwrite=bool(given.get("overwrite")),
    )
    result = job.run(asked)
    for line in result.errors:
        say(f"polyp: error: {line}")
    if result.failed:
        of = f"{result.failed} of {counted(result.rows, 'row')}"
        say(f"polyp: error: {of} have no mask; `status` and `error` in the rows say why")
    content = {"out": asked.out, "rows": result.rows, "failed": result.failed}
    return Outcome([f"{counted(result.rows, 'row')} in {asked.out}/{job.ROWS}"], content, int(result.failed > 0))
