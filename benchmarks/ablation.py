"""What each step of the flagship's recipe does at a hospital that is not in training: one short training for each.

    python benchmarks/ablation.py --data KVASIR --data CLINICDB --data NEGATIVES --unseen BKAI --weights W.pt --out DIR

Every row goes on from the same weights, for `--epochs` on the training splits of `--data`, with one step left out.
`full` is trained with several seeds, which says how much of a difference is noise. Scores are taken on the frames of
`--unseen`, whatever their split, and on the validation splits of `--data`. Results stand in DIR/results.json; a row
that stands there is not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import polyp_monai
from polyp_monai.data import datalist, files
from polyp_monai.metrics import lesions
from polyp_monai.metrics.pixel import pixel_scores

CAP = 0.858  # highest probability below which a frame stays empty, of a presence of 1.8
SMALL = 0.025  # share of the frame
COLORS = (4, 5)  # of train::random_transforms
OPTICS = (6, 7, 8, 9, 10)


def without(*transforms: int) -> list[str]:
    """Arguments that switch random transforms off."""
    return [a for n in transforms for a in ("--set", f"train::random_transforms::{n}::prob=0.0")]


ROWS = {
    "full": [],
    "no negatives": ["--negatives", "0", "--negative-crops", "0"],
    "no presence loss": ["--set", "loss::weights=[1.0, 1.0, 0.0]"],
    "full, seed 1": ["--seed", "1"],
    "no boxes, text, fields": ["--overlays", "0", "--fields", "0"],
    "no colors, no gamma": without(*COLORS),
    "no vignette, blur, glare, JPEG": without(*OPTICS),
    "no frames from afar": ["--far", "0"],
    "not cropped to the view": ["--no-crop"],
    "no polyp-free crops": ["--negative-crops", "0"],
    "full, seed 2": ["--seed", "2"],
}


def measure(run: Path, sets: list[tuple[str, str, int]]) -> list[dict[str, Any]]:
    """One row a frame of (folder, split, every n-th): what it shows, and what the trained bundle finds there."""
    bundle = polyp_monai.load(run, device="cpu")
    rows = []
    for folder, split, step in sets:
        samples = datalist.labelled_frames(folder, split)[::step]
        found = bundle.predict(iter([s["image"] for s in samples]))
        for sample, result in zip(samples, found, strict=True):
            truth = files.read_mask(sample["label"]) > 0
            polyps = lesions.match(result.probability, result.mask, truth).polyps
            small = [polyp.iou_50 for polyp in polyps if polyp.share < SMALL]
            rows.append(
                {
                    "set": Path(folder).name,
                    "polyp": bool(truth.any()),
                    "dice": pixel_scores(result.mask, truth)["dice"],
                    "found": bool(result.mask.any()),
                    "highest": float(result.probability.max()),
                    "small": [sum(small), len(small)],
                }
            )
    return rows


def scores(rows: list[dict[str, Any]], unseen: set[str]) -> dict[str, float]:
    """Of one training. AUC: the highest probability of unseen frames with a polyp against that of all negatives."""
    shown, empty = [r for r in rows if r["polyp"]], [r for r in rows if not r["polyp"]]
    new = [r for r in shown if r["set"] in unseen]
    highest = np.array([r["highest"] for r in new])[:, None], np.array([r["highest"] for r in empty])
    small = np.array([r["small"] for r in new]).sum(0)
    return {
        "Dice, unseen": float(np.mean([r["dice"] for r in new])),
        "the same, capped": float(np.mean([r["dice"] * (r["highest"] >= CAP) for r in new])),
        "small found": float(small[0] / small[1]),
        "left empty": float(np.mean([not r["found"] for r in empty])),
        "left empty, capped": float(np.mean([r["highest"] < CAP for r in empty])),
        "AUC": float(np.mean(highest[0] > highest[1]) + np.mean(highest[0] == highest[1]) / 2),
        "Dice, seen": float(np.mean([r["dice"] for r in shown if r["set"] not in unseen])),
    }


def train(out: Path, name: str, args: argparse.Namespace) -> Path:
    """The folder of the run of a row, trained unless it stands there whole."""
    run = out / "".join(c if c.isalnum() else "-" for c in name)
    base = ["--weights", args.weights, "--epochs", args.epochs, "--image-size", "320", "--cut", args.cut]
    base += ["--learning-rate", "0.0004", "--min-lr-ratio", "0.05", "--ema-horizon", "0.25"]
    base += ["--val-interval", args.epochs, "--network_def::presence", "0.0", "--out", str(run)]
    polyp = "import sys; from polyp_monai.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", polyp, "train", "efficient_unet", *map(str, base)]
    command += [word for folder in args.data for word in ("--data", folder)]
    resume = ["--resume"] if (run / "models/last.pt").exists() else []
    subprocess.run([*command, *ROWS[name], *resume], check=True)
    return run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", action="append", required=True, help="prepared set to train on; repeat it")
    options.add_argument("--unseen", action="append", required=True, help="prepared set of another hospital")
    options.add_argument("--every", type=int, default=3, help="measure every n-th frame of it (3)")
    options.add_argument("--weights", required=True, help="weights that every row goes on from")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--cut", type=int, default=224, help="pixels that a training frame is cut to (224)")
    options.add_argument("--out", type=Path, required=True)
    args = options.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.json"
    sets = [(folder, "validation", 1) for folder in args.data] + [(folder, "all", args.every) for folder in args.unseen]
    done = json.loads(results.read_text()) if results.exists() else {}
    for name in ROWS:
        if name not in done:
            done[name] = measure(train(args.out, name, args), sets)
            results.write_text(json.dumps(done))
        row = scores(done[name], {Path(folder).name for folder in args.unseen})
        if name == "full":
            print("| |", " | ".join(row), "|\n|", "--- | " * (len(row) + 1), flush=True)
        print(f"| {name} |", " | ".join(f"{value:.3f}" for value in row.values()), "|", flush=True)


if __name__ == "__main__":
    main()
