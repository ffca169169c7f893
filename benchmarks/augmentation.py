"""The input pipeline of training: images/s on one core, against albumentations with OpenCV, and against plain MONAI.

    python benchmarks/augmentation.py [--count 200] [--rounds 7] [--image_size 352]

albumentations is needed for this benchmark alone (`pip install -r benchmarks/requirements.txt`, in an environment of
its own if you like); without it only plain MONAI is compared.

All sides start from the same frames, decoded and resized to the image size, in memory as uint8, and end in a float
image 0..1 and a mask for each; one thread. Fairness:

- Ours is the `train::dataset` of the unet bundle as its config says it: what `CacheDataset` does to hand out a cached
  frame is counted, and so are the specular highlights, which albumentations does not have and therefore leaves out.
- albumentations gets the same kinds of transform with the same shares and ranges, from plain (H, W, 3) arrays, its
  native layout, and hands out a tensor that is a view, which is its quickest way.
- Plain MONAI is the chain that its tutorials show, in their order (float first), with the same shares; it has no JPEG
  noise and no change of saturation and hue, so it does less.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from common import alternate, find_pairs, report, scratch_bundle
from monai.bundle import ConfigParser
from monai.data import CacheDataset
from monai.utils import set_determinism

TARGET = 1.0

MONAI_CHAIN = [
    "%configs/data.yaml::scale",
    {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
    {
        "_target_": "RandAffined",
        "keys": ["image", "label"],
        "prob": 1.0,
        "rotate_range": math.pi,
        "scale_range": [-0.25, 0.4],
        "shear_range": [0.1, 0.1],
        "translate_range": "$0.1 * @image_size",
        "mode": ["bilinear", "nearest"],
        "padding_mode": "zeros",
    },
    {"_target_": "RandAdjustContrastd", "keys": "image", "prob": 0.8, "gamma": [0.8, 1.25]},
    {"_target_": "RandScaleIntensityd", "keys": "image", "prob": 0.8, "factors": 0.2, "channel_wise": True},
    {"_target_": "RandShiftIntensityd", "keys": "image", "prob": 0.8, "offsets": 0.12},
    {"_target_": "RandGaussianSmoothd", "keys": "image", "prob": 0.15, "sigma_x": [0.3, 1.5], "sigma_y": [0.3, 1.5]},
]


def cached(pairs: list[tuple[Path, Path]], image_size: int, random_transforms: list[Any] | None = None) -> CacheDataset:
    """`train::dataset` of the bundle for `pairs`, with its own random transforms or with others."""
    parser = ConfigParser()
    parser.read_config("configs/train.yaml")
    parser["image_size"] = image_size
    parser["train::dataset::data"] = [{"image": str(image), "label": str(mask)} for image, mask in pairs]
    if random_transforms is not None:
        parser["train::random_transforms"] = random_transforms
    return parser.get_parsed_content("train::dataset")


def in_albumentations() -> Callable[..., dict[str, Any]] | None:
    """The random transforms of the unet bundle's train.yaml; None when albumentations is not installed."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the package index for a newer version
    try:
        import albumentations
    except ImportError:
        print("albumentations is not installed: pip install -r benchmarks/requirements.txt", file=sys.stderr)
        return None
    shear = math.degrees(math.atan(0.1))
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(
                scale=(0.75, 1.4),
                rotate=(-180, 180),
                shear={"x": (-shear, shear), "y": (0, 0)},
                translate_percent=(-0.1, 0.1),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                p=1.0,
            ),
            albumentations.ColorJitter(
                brightness=(0.88, 1.12), contrast=(0.8, 1.2), saturation=(0.75, 1.25), hue=(-6 / 360, 6 / 360), p=0.8
            ),
            albumentations.GaussianBlur(sigma_limit=(0.3, 1.5), blur_limit=0, p=0.15),
            albumentations.ImageCompression(compression_type="jpeg", quality_range=(40, 90), p=0.15),
            albumentations.ToFloat(max_value=255),
            albumentations.ToTensorV2(),
        ],
        seed=0,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=200, help="images (200)")
    options.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    options.add_argument("--image_size", type=int, default=352, help="side of the images in pixels (352)")
    args = options.parse_args()
    other = in_albumentations()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    set_determinism(0)
    with scratch_bundle() as (folder, _):
        pairs, kind = find_pairs(folder, args.count)
        ours, plain = cached(pairs, args.image_size), cached(pairs, args.image_size, MONAI_CHAIN)
    sides: dict[str, Callable[[], object]] = {"polyp_monai (cache and random transforms)": lambda: [*map(check, ours)]}
    against = "MONAI's own dictionary transforms"
    if other is not None:
        arrays = [(s["image"].permute(1, 2, 0), s["label"][0]) for s in ours._cache]
        arrays = [(image.contiguous().numpy(), mask.contiguous().numpy()) for image, mask in arrays]
        against = "albumentations with OpenCV"
        sides[against] = lambda: [check(other(image=image, mask=mask)) for image, mask in arrays]
    sides["MONAI's own dictionary transforms"] = lambda: [*map(check, plain)]
    title = f"Random transforms of training, {kind} of {args.image_size} x {args.image_size}, one core"
    report(title, args.count, alternate(sides, args.rounds), against, TARGET if other is not None else None)


def check(sample: dict[str, Any]) -> None:
    """What every side has to hand out."""
    image = sample["image"]
    if image.dtype != torch.float32 or image.shape[0] != 3:
        raise AssertionError(f"not a float image of 3 channels: {image.dtype}, {tuple(image.shape)}")


if __name__ == "__main__":
    main()
