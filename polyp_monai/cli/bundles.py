"""`polyp new` and `polyp bundles`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from polyp_monai.bundle import values
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser

NEW = """Make a bundle for a network of your own, from the recipe that all bundles share, and check it.

The network takes (B, 3, H, W) and gives logits (B, 1, H, W). It is a class that can be imported (PACKAGE.MODULE.CLASS)
or stands in a file (FILE.py:CLASS), which is then copied into the bundle. Arguments of its constructor follow as
--KEY VALUE.
"""

NEW_EXAMPLES = """examples:
  polyp new my_net --network my_net.py:MyNet --width 24
  polyp new wide --network monai.networks.nets.UNet --divisor 16 --spatial_dims 2 --in_channels 3 --out_channels 1 \\
      --channels "[32, 64, 128, 256, 512]" --strides "[2, 2, 2, 2]"
"""

BUNDLES = (
    "List the bundles that come with polyp_monai: size, speed, published and measured Dice, and whether with weights."
)


def declare_new(parser: Parser) -> None:
    parser.description, parser.epilog = NEW, NEW_EXAMPLES
    parser.set_defaults(run=new)
    parser.any_key = True
    parser.add_argument("name", metavar="NAME", help="of the bundle: letters, digits and _")
    parser.option("network", "CLASS", "PACKAGE.MODULE.CLASS or FILE.py:CLASS", required=True)
    parser.option("divisor", "N", "product of the network's strides (32)", values.whole(1), default=32)
    parser.option("out", "DIR", "where the bundle's folder goes (here)", default=".")


def new(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import new, overrides

    arguments = {key: values.literal(text) for key, text in args.given.items()}
    for key, value in arguments.items():
        if overrides.is_code({key: value}):
            code = "holds an expression of MONAI ($, @, %, _target_), which can run code"
            mistakes.lines.append(f"--{key} {value}: {code}; write it into configs/model.yaml of the new bundle")
    mistakes.check()
    root = new.create(args.name, args.network, arguments, args.divisor, Path(args.out))
    line = f"{root} keeps the network contract; polyp train {os.path.relpath(root)} --data DATA"
    return Outcome([line], {"bundle": str(root)})


def declare_bundles(parser: Parser) -> None:
    parser.description = BUNDLES
    parser.epilog = "example:\n  polyp bundles --json"
    parser.set_defaults(run=bundles)


def bundles(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    mistakes.check()
    from polyp_monai.bundle import listing

    return Outcome(listing.table(), listing.facts())
