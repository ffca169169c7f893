"""`polyp train`."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

from polyp_monai.bundle import locate, values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.errors import PolypError

TRAIN = """Train a bundle on a prepared data set.

BUNDLE by name is copied to runs/NAME (or --out) first, and trained there; by path it is trained where it is.
Any option of configs/train.yaml (below) can follow as --KEY VALUE, a part of one as --KEY::PART VALUE. --loss takes a
name out of configs/losses.yaml, --pretrained FILE or null takes other weights for the encoder than the bundle's, or
none. With several --data, it trains (and validates) on all of them.

--processes N trains in N processes, one on each GPU, or on CPU cores where there is no GPU: the batch size is that of
all together. For several machines, run the same command on each with its own --node-rank, in a folder that all share;
--print makes the bundle's folder and shows the plain torchrun line instead.
"""

EXAMPLES = """examples:
  polyp train unet --data data/kvasir
  polyp train attention_unet --data data/kvasir --loss dice_focal
  polyp train unet --data data/kvasir --epochs 100 --learning-rate 5e-4 --out runs/long
  polyp train unet --data data/kvasir --data data/clinicdb --out runs/both
  polyp train unet --data data/kvasir --resume
  polyp train unet --data data/kvasir --network_def::body::channels "[32, 64, 128, 256, 512]" --out runs/large
  polyp train unet --data data/kvasir --processes 8 --batch-size 64 --lr-batch-size 8 --out runs/eight
  polyp train unet --data data/kvasir --fold 1/5 --out runs/fold1
  polyp train unet --data data/kvasir --set train::random_transforms::1::rotation=30 --out runs/upright
"""


def declare(parser: Parser) -> None:
    from polyp_monai.bundle.overrides import tracking

    parser.description, parser.epilog = TRAIN, EXAMPLES
    parser.usage = "polyp train BUNDLE --data DIR [options]"
    parser.set_defaults(run=train)
    common.bundle(parser)
    common.data(parser, required=True, action="append")
    parser.option("out", "DIR", "where the trained bundle goes (runs/NAME)")
    parser.option("tracking", "mlflow|FILE", "log to MLflow, or as a file of MONAI's settings says", tracking)
    parser.option("processes", "N", "processes here, one a GPU where there are GPUs (1)", values.whole(1, 4096))
    parser.option("nodes", "N", "machines (1)", values.whole(1, 65536), default=1)
    parser.option("node-rank", "K", "number of this machine, from 0 (0)", values.whole(0), default=0)
    parser.option("rdzv", "HOST:PORT", "where machine 0 can be reached by the others", _address)
    parser.flag("print", "show the torchrun line of this training, and train nothing")
    common.setting(parser)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("expected HOST:PORT, such as node1:29500")
    return text


def train(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import launch, options, overrides

    sets: list[str] = []
    with mistakes.collecting():
        sets = common.prepared(args.data)
    world: launch.World | None = None
    with mistakes.collecting():
        root = locate.template(args.bundle, args.out)
        given = overrides.check(root, "train", args.given, args.settings)
        if given.get("resume") and given.get("overwrite"):
            raise PolypError("--resume goes on with a training, --overwrite begins it again; give one of them")
        if given.get("weights"):
            common.weights(root, given)
        if (args.processes or 1) * args.nodes > 1 or args.print or args.node_rank or args.rdzv:
            world = launch.World(args.processes or 1, args.nodes, args.node_rank, args.rdzv)
            batch_size = given.get("batch_size", options.options(root, "train")["batch_size"].default)
            launch.check(world, batch_size, given.get("device"), here=not args.print)
    mistakes.check()
    if args.tracking:
        given["tracking"] = args.tracking
    from polyp_monai.bundle import run

    if args.print and world:
        line = run.torchrun_line(args.bundle, sets, args.out, given, world)
        return Outcome([line], {"line": line})
    root = run.train(args.bundle, sets, args.out, given, world=world)
    if args.node_rank:
        return Outcome([], {"bundle": str(root)})
    weights = Path(given.get("ckpt_dir", root / "models")) / "model.pt"
    return _outcome(root, weights, Path(given.get("output_dir", root / "eval")) / "training.csv")


def _outcome(root: Path, weights: Path, log: Path) -> Outcome:
    with open(log, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = max((row for row in rows if row["validation"]), key=lambda row: float(row["validation"]), default=None)
    content = {"bundle": str(root), "weights": str(weights), "log": str(log), "epochs": len(rows)}
    content |= {"best": {"epoch": int(best["epoch"]), "dice": float(best["validation"])} if best else None}
    place = os.path.relpath(root)
    place = f"./{place}" if place in locate.shipped() else place  # the name alone means the shipped one
    of = "" if weights == root / "models/model.pt" else f" --weights {os.path.relpath(weights)}"
    return Outcome([f"the trained bundle is {place}; polyp evaluate {place}{of} --data DATA"], content)
