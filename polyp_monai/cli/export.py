"""`polyp export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from polyp_monai.bundle import values
from polyp_monai.cli import common
from polyp_monai.cli.grammar import Mistakes, Outcome, Parser
from polyp_monai.runtime.formats import FORMATS, PRECISIONS

EXPORT = """Write the trained network of a bundle as one file that other runtimes read, and check it at once.

In: (B, 3, W, H) RGB 0..1, width before height, of any size from 33 pixels. Out: logits of that size. The file also
holds the bundle's name and version, its image size, threshold and the weights' digest. A file whose probabilities
differ from PyTorch's by more than 1e-4 (fp32), or whose Dice on the validation split of --data is more than .005 lower
(the others), is not kept.

`triton` writes ONNX into a model repository, OUT/BUNDLE/1/model.onnx with a config.pbtxt, for Triton and OpenVINO Model
Server.
"""

EXAMPLES = """examples:
  polyp export efficient_unet --format onnx
  polyp export runs/unet --format openvino --precision bf16 --data data/kvasir --out unet.xml
  polyp export efficient_unet --format onnx --precision int8 --data data/kvasir
  polyp export efficient_unet --format triton --out model_repository
  polyp predict efficient_unet frames --out masks --weights efficient_unet.int8.onnx
"""


def declare(parser: Parser) -> None:
    parser.description, parser.epilog = EXPORT, EXAMPLES
    parser.set_defaults(run=export)
    common.bundle(parser)
    parser.option("format", "", "what to write", values.one_of(*FORMATS, "triton"), required=True)
    parser.option("precision", "", "of its numbers (fp32)", values.one_of(*PRECISIONS), default="fp32")
    common.data(parser, "prepared set, for all but fp32: to calibrate and to check")
    parser.option("weights", "FILE", "other weights than the bundle's models/model.pt")
    parser.option("out", "FILE", "file to write (here, named like the bundle); of triton a folder", Path)
    common.overwrite(parser, "the file")


def export(args: argparse.Namespace, mistakes: Mistakes) -> Outcome:
    from polyp_monai.bundle import locate, options

    with mistakes.collecting():
        root = locate.find(args.bundle)
        options.check_files(root, "inference")
        common.weights(root, {"weights": args.weights})
    with mistakes.collecting():
        common.prepared([args.data] if args.data else [])
    mistakes.check()

    from polyp_monai.export import export, triton

    given = args.precision, args.out, args.data, args.weights, args.overwrite
    made = triton.repository(root, *given) if args.format == "triton" else export.export(root, args.format, *given)
    content = {"file": str(made.path), "format": args.format, "precision": args.precision}
    return Outcome([str(made)], content | {"bytes": made.size, "finding": made.finding})
