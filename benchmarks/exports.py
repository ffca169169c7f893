"""Trained bundles as exported files: size, Dice and speed of each precision, a row of a Markdown table each.

    python benchmarks/exports.py BUNDLE [BUNDLE ...] --data DIR [--rounds 5]

The network of each bundle in eager PyTorch (channels_last) and as ONNX in fp32 and int8, which run in the faster of
ONNX Runtime and OpenVINO. Speed: at 352 x 352, a frame at a time, all sides in turn. Dice: of the validation split of
DIR, a prepared set, at the bundle's own image size; int8 is calibrated on its training split.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from common import alternate, find_pairs, machine
from realtime import loop, networks, tensors

from polyp_monai.bundle import locate
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.errors import PolypError
from polyp_monai.export import export
from polyp_monai.export.samples import Samples

FRAMES = 10
COLUMNS = ("bundle", "file", "MB", "Dice", "ms a frame", "images/s", "against PyTorch")


def exports(root: Path, data: str, folder: Path) -> dict[str, Path]:
    """Precision -> file, of those that pass the check; what it says of each goes to the log."""
    files = {}
    for precision in ("fp32", "int8"):
        path = folder / f"{root.name}.{precision}.onnx"
        try:
            print(export.export(root, "onnx", precision, path, data), flush=True)
            files[precision] = path
        except PolypError as error:
            print(error, flush=True)
    return files


def rows(root: Path, data: str, folder: Path, images: list[Path], rounds: int) -> list[str]:
    """The table's rows of one bundle."""
    files = exports(root, data, folder)
    sides, frames = networks(root, list(files.values())), tensors(images)
    taken = alternate({name: loop(network, frames) for name, network in sides.items()}, rounds)
    config = BundleConfig(root)
    image_size, fit, crop, threshold, inferer = (
        config[k] for k in ("image_size", "fit", "crop", "threshold", "inferer")
    )
    eager, *exported = sides
    samples = Samples.of(data, "validation", image_size, fit, crop)
    fastest = {p: min((n for n in exported if n.endswith(p)), key=lambda n: statistics.median(taken[n])) for p in files}
    found = []
    for name, file in [(eager, root / "models/model.pt"), *((fastest[p], files[p]) for p in files)]:
        dice = samples.dice(lambda batch, network=sides[name]: inferer(batch, network), threshold)
        ms = 1000 * statistics.median(taken[name]) / len(frames)
        ratio = statistics.median(theirs / ours for ours, theirs in zip(taken[name], taken[eager], strict=True))
        cells = f"{name} | {file.stat().st_size / 1e6:.1f} | {dice:.4f} | {ms:.0f} | {1000 / ms:.0f} | {ratio:.1f}"
        found.append(f"| `{root.name}` | {cells} |")
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("bundles", metavar="BUNDLE", nargs="+", help="name or folder of a bundle with weights")
    options.add_argument("--data", metavar="DIR", required=True, help="prepared set")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    args = options.parse_args()
    logging.disable(logging.INFO)
    with TemporaryDirectory(prefix="polyp-bench-") as name:
        images = [image for image, _ in find_pairs(Path(name), FRAMES)[0]]
        table = []
        for bundle in args.bundles:
            table += rows(locate.find(bundle), str(Path(args.data).resolve()), Path(name), images, args.rounds)
    print(f"\n{machine()}\n", f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|", *table, sep="\n")


if __name__ == "__main__":
    main()
