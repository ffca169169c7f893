"""The main job in a few minutes with nothing downloaded: `make demo`, or `python -m polyp_monai.cli.demo`.

Makes a synthetic colonoscopy set, trains the bundle `unet` on it, evaluates it, predicts, and draws a picture; then the
bundle `efficient_unet` predicts with the weights that it comes with. Each step is a `polyp` command, printed before it
runs. Fails when the Dice that it reached is below 0.7.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np

from polyp_monai.cli.main import main as polyp
from polyp_monai.data import datalist, files

FOLDER = Path("demo")
LOWEST_DICE = 0.7
COMMANDS = [
    "polyp prepare synthetic --count 400 --out demo/data --overwrite",
    # Dice + BCE settles in a few minutes, Tversky takes longer; the synthetic set has negative frames of its own
    "polyp train unet --data demo/data --out demo/unet --overwrite --image-size 128 --epochs 26 --learning-rate 0.002 "
    "--loss dice_bce --negative-crops 0",
    "polyp evaluate demo/unet --data demo/data --out demo/evaluation --overwrite --tta flip",
    "polyp predict demo/unet demo/data/images --out demo/predictions --overlay --overwrite",
    "polyp predict efficient_unet demo/data/images/*0.jpg --out demo/shipped --overlay --overwrite",
]


def main() -> int:
    """Run the demo in the folder ./demo; returns the exit status."""
    started = time.monotonic()
    for command in COMMANDS:
        print(f"\n$ {command}", flush=True)
        status = polyp(shlex.split(command)[1:])
        if status:
            return status
    picture = FOLDER / "pictures.png"
    test = datalist.read(FOLDER / "data")["test"]
    files.write_png(picture, contact_sheet([_panels(sample) for sample in test[:6]]))
    summary = json.loads((FOLDER / "evaluation/summary.json").read_text(encoding="utf-8"))
    dice, minutes = summary["frames_with_polyp"]["mean"]["dice"], (time.monotonic() - started) / 60
    print(f"\nmean Dice {dice:.3f} on {len(test)} held-out frames, after {minutes:.1f} minutes")
    print(f"look at {picture} (frame, truth in green, prediction in yellow), at {FOLDER / 'predictions'}, and at what")
    print(f"the weights that come with efficient_unet, which know real frames only, make of some: {FOLDER / 'shipped'}")
    if dice < LOWEST_DICE:
        print(f"polyp: error: Dice below {LOWEST_DICE}: something is wrong with this installation", file=sys.stderr)
        return 1
    return 0


def _panels(sample: dict) -> list[np.ndarray]:
    """The frame, with the outline of its truth, and with that of its prediction."""
    from polyp_monai.data.overlay import draw_contour

    image = files.read_rgb(FOLDER / "data" / sample["image"])
    truth = files.read_mask(FOLDER / "data" / sample["label"])
    prediction = files.read_mask(FOLDER / "evaluation/masks" / f"{files.stem_of(sample['image'])}.png")
    return [image, draw_contour(image, truth, (0, 230, 90)), draw_contour(image, prediction)]


def contact_sheet(rows: list[list[np.ndarray]], height: int = 200, width: int = 260, columns: int = 2) -> np.ndarray:
    """Rows of (H, W, 3) uint8 pictures, each fitted into height x width, as one picture; `columns` rows abreast."""
    import cv2

    def fitted(picture: np.ndarray) -> np.ndarray:
        scale = min(height / picture.shape[0], width / picture.shape[1])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        tile = np.full((height, width, 3), 24, np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        tile[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return tile

    strips = [np.hstack([fitted(picture) for picture in row]) for row in rows]
    strips += [np.full_like(strips[0], 24)] * (-len(strips) % columns)
    return np.vstack([np.hstack(strips[i : i + columns]) for i in range(0, len(strips), columns)])


if __name__ == "__main__":
    sys.exit(main())
