"""How often a frame without a polyp gets an empty mask: parts of test frames without one, and synthetic frames.

    python benchmarks/negatives.py BUNDLE --data DIR [--synthetic 100]

Public sets hold hardly a negative frame, so these stand for them. A part is the largest of the four strips beside the
polyps of a frame whose sides are at least `SHORTEST` of the frame's; frames without such a strip are passed over.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from data_prep import synthetic
from polyp_monai.cli import main as polyp
from polyp_monai.data import datalist, files

SHORTEST = 0.35
SPECK = 0.001  # share of a frame below which a false outline is called a speck


def strip_without_polyp(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the largest strip beside the polyps of an (H, W) mask; None when all are too narrow."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    if len(rows) == 0:
        return slice(0, height), slice(0, width)
    strips = [
        (slice(0, rows[0]), slice(0, width)),
        (slice(rows[-1] + 1, height), slice(0, width)),
        (slice(0, height), slice(0, columns[0])),
        (slice(0, height), slice(columns[-1] + 1, width)),
    ]
    wide = [s for s in strips if mask[s].shape[0] >= SHORTEST * height and mask[s].shape[1] >= SHORTEST * width]
    return max(wide, key=lambda s: mask[s].size, default=None)


def write_parts(data: Path, folder: Path) -> None:
    """Polyp-free parts of the test frames of a prepared set, as PNG."""
    for sample in datalist.labelled_frames(data, "test"):
        strip = strip_without_polyp(files.read_mask(sample["label"]))
        if strip is not None:
            files.write_png(
                folder / f"{sample['name']}.png", np.ascontiguousarray(files.read_rgb(sample["image"])[strip])
            )


def write_synthetic(folder: Path, count: int) -> None:
    """`count` synthetic frames without a polyp."""
    for number in range(count):
        rng = np.random.default_rng((10_000, number))
        image, _ = synthetic.render(rng, (480, 400))
        files.write_png(folder / f"{number:04d}.png", image)


def report(name: str, bundle: str, folder: Path, out: Path) -> None:
    """Predict the folder's frames and print how many masks stay empty."""
    if status := polyp(["predict", bundle, str(folder), "--out", str(out)]):
        raise SystemExit(status)
    shares = np.array([files.read_mask(path).mean() for path in sorted(out.glob("*.png"))])
    print(
        f"{name}: {len(shares)} frames, empty {np.mean(shares == 0):.1%}, "
        f"empty or a speck {np.mean(shares < SPECK):.1%}, mean false area {shares.mean():.2%}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("bundle", help="name or folder of a trained bundle")
    options.add_argument("--data", required=True, help="folder that `polyp prepare` wrote")
    options.add_argument("--synthetic", type=int, default=100, help="synthetic frames (100)")
    args = options.parse_args()
    with TemporaryDirectory(prefix="polyp-negatives-") as name:
        folder = Path(name)
        write_parts(Path(args.data), folder / "parts")
        write_synthetic(folder / "synthetic", args.synthetic)
        for kind in ("parts", "synthetic"):
            report(kind, args.bundle, folder / kind, folder / f"{kind}-masks")


if __name__ == "__main__":
    main()
