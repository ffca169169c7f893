"""What it costs to bring a frame to the network, a frame of each size: whole and stretched, against cropped to the
endoscope's picture with its aspect kept; and to bring the map back.

    python benchmarks/fit.py [--rounds 7]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import alternate, report
from monai.data import MetaTensor

from polyp_monai.data.transforms import FitFrame

SIZES = ((622, 529), (1280, 1024), (1920, 1080))
FRAMES = 20
IMAGE_SIZE = 320


def framed(size: tuple[int, int]) -> MetaTensor:
    """(3, W, H) uint8: noise as bright as mucosa in the middle of a black border."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 20 : -height // 20, width // 8 : -width // 8] = 1
    image *= np.random.default_rng(0).integers(80, 220, image.shape, dtype=np.uint8)
    return MetaTensor(torch.from_numpy(image).permute(2, 1, 0))


def there_and_back(fit: FitFrame, frame: MetaTensor, back: bool) -> None:
    for _ in range(FRAMES):
        fitted = fit(frame)
        if back:
            fit.inverse(MetaTensor(torch.zeros((1, *fitted.shape[1:]))).copy_meta_from(fitted))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    torch.set_num_threads(1)
    fits = {"crop, area": FitFrame(IMAGE_SIZE, "area", crop=True), "whole, stretch": FitFrame(IMAGE_SIZE)}
    for size in SIZES:
        frame = framed(size)
        for back in (False, True):
            sides = {name: lambda f=fit, x=frame, b=back: there_and_back(f, x, b) for name, fit in fits.items()}
            title = f"{size[0]} x {size[1]}, {'there and back' if back else 'to the image size'}"
            report(title, FRAMES, alternate(sides, rounds), "whole, stretch")


if __name__ == "__main__":
    main()
