"""Deterministic transforms that the configs name: load, fit to the network's image size, save.

A sample is a dictionary; `image` is (3, W, H) RGB and `label` is (C, W, H) of {0, 1}, a channel for each class: MONAI's
axis order, W before H.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Resize
from monai.transforms.utils import scale_affine
from monai.utils import MetaKeys, TraceKeys

from polyp_monai.data import files
from polyp_monai.data.classes import POLYP
from polyp_monai.data.overlay import draw_classes, draw_contour
from polyp_monai.data.view import View, find_view, whole
from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import class_map, of_polyp

FITS = ("stretch", "area", "windows")
STEP = 32  # pixels; what the networks' strides divide
CLASS_MAP = "class_map"  # key of a sample
UPRIGHT = "upright"  # meta key: whether the EXIF orientation was applied
FILE_AXES = "file_axes"  # meta key: 2 for a file of (W, H), 3 for (W, H, 1), which a NIfTI mask repeats


class LoadPictured(MapTransform):
    """Path, or picture in memory, -> MetaTensor (C, W, H) uint8 with affine, shape and file name in its meta.

    Any format of `files.SUFFIXES` gives the same axis order, so a PNG and a TIFF of one frame are equal. MONAI's
    `LoadImaged` is not used because, when a given reader fails, it tries its other readers: a damaged file would
    then be read another way instead of refused.

    Args:
        keys: keys of paths, or of `files.Picture`s.
        mask: False reads RGB 0..255, (3, W, H); True reads masks as {0, 1}, (C, W, H), and refuses one that seems
            inverted, unless the sample's `large` says that it was prepared so.
        classes: names of the model's classes, of which each gets a channel of a mask. Of several, the mask must hold
            their numbers; of one, every polyp of any mask counts.
        like: key of a picture that was loaded before and must have the same size.
        upright: apply the EXIF orientation, as viewers do. Not in a data set, whose masks lie on the stored pixels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask: bool = False,
        like: str | None = None,
        upright: bool = False,
        allow_missing_keys: bool = False,
        classes: Sequence[str] = POLYP,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask, self.like, self.upright, self.count = mask, like, upright, len(classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            picture, path = d[key], "a picture in memory"
            if self.mask and self.count > 1:
                picture = in_memory(files.read_classes(picture, self.count))
                path = str(d[key])
            if not isinstance(picture, files.Picture):
                picture, path = files.read_picture(picture, self.upright), str(picture)
            d[key] = self._load(picture, path, bool(d.get("large")))
            if self.like and (size := d[key].shape[1:]) != (expected := d[self.like].shape[1:]):
                raise PolypError(
                    f"{path}: the mask is {size[0]} x {size[1]} but its image, {d[self.like].meta['filename_or_obj']}, "
                    f"{expected[0]} x {expected[1]}; pair them again, with `polyp prepare`"
                )
        return d

    def _load(self, picture: files.Picture, path: str, large: bool) -> MetaTensor:
        if not self.mask:
            pixels = files.to_rgb(picture, path)
        elif self.count == 1:
            pixels = files.to_mask(picture, path)[..., None]
        else:
            pixels = (picture.pixels[..., None] == np.arange(1, self.count + 1, dtype=np.uint8)).astype(np.uint8)
        if self.mask and not large:
            any_class = pixels[..., 0] if self.count == 1 else pixels.max(-1)
            files.check_not_inverted(any_class, path, "`polyp prepare` its set with --keep-inverted")
        meta = {
            MetaKeys.SPATIAL_SHAPE: np.asarray(pixels.shape[1::-1]),
            MetaKeys.ORIGINAL_AFFINE: picture.affine,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
            FILE_AXES: len(picture.shape),
            UPRIGHT: self.upright,
            "filename_or_obj": path,
        }
        return MetaTensor(torch.from_numpy(pixels).permute(2, 1, 0), affine=picture.affine, meta=meta)


def fitted_size(size: tuple[int, int], image_size: int, fit: str) -> tuple[int, int]:
    """(W, H) of a picture of `size` (W, H) after `FitFrame`.

    Raises:
        ValueError: `fit` is none of `FITS`.
    """
    if fit == "stretch":
        return image_size, image_size
    if fit == "windows":
        scale = image_size / min(size)
        return max(image_size, round(size[0] * scale)), max(image_size, round(size[1] * scale))
    if fit != "area":
        raise ValueError(f"fit {fit!r}: expected one of {', '.join(FITS)}")
    aspect = max(size) / min(size)
    longer, shorter = min(area_bins(image_size), key=lambda sides: abs(math.log(sides[0] / sides[1] / aspect)))
    return (longer, shorter) if size[0] >= size[1] else (shorter, longer)


def area_bins(image_size: int) -> list[tuple[int, int]]:
    """(longer, shorter) sides, multiples of 32, of about window * network pixels: 320 gives 320 x 320 to 448 x 224.

    A handful of sizes, so that a runtime meets each of them soon, and none is stretched by more than a seventh up to
    an aspect of 2.
    """
    square = max(STEP, round(image_size / STEP) * STEP)
    longer = range(square, int(square * math.sqrt(2)) + 1, STEP)
    return [(side, round(square * square / side / STEP) * STEP) for side in longer]


class FitFrame(Resize):
    """Fit (C, W, H) uint8 to the network's image size; the inverse restores the native size of any map.

    With `crop` the endoscope's picture is cut out first, without black border, text and insets beside it; outside of it
    the inverse gives 0, so no polyp. Shrinking averages areas (no aliasing), enlarging and the inverse interpolate
    bilinearly; masks use nearest. OpenCV does the forward part, because torch has no area mode for uint8; the inverse
    is that of MONAI's `Resize`.

    Args:
        image_size: side of the square in pixels.
        fit: "stretch" makes each frame image_size x image_size; "area" keeps the aspect, nearly, with the
            image size's area (see `area_bins`); "windows" brings the shorter side to `image_size`, for overlapping
            windows.
        crop: cut the frame to the endoscope's picture (`data.view`).
        mode: "area" for images, "nearest" for masks.
    """

    def __init__(self, image_size: int, fit: str = "stretch", crop: bool = False, mode: str = "area") -> None:
        super().__init__(spatial_size=(image_size, image_size), mode="nearest" if mode == "nearest" else "bilinear")
        fitted_size((image_size, image_size), image_size, fit)  # refuses an unknown fit
        self.image_size, self.fit, self.crop = image_size, fit, crop

    def view(self, img: torch.Tensor) -> View:
        """What is kept of the image (3, W, H) uint8."""
        picture = _lying(img)
        return find_view(picture) if self.crop else whole(picture)

    def __call__(self, img: torch.Tensor, view: View | None = None) -> torch.Tensor:
        """`view`: what to keep; a mask needs that of its image, an image finds its own."""
        box = astuple(view or self.view(img))
        x0, y0, x1, y1 = box
        size = x1 - x0, y1 - y0
        target = fitted_size(size, self.image_size, self.fit)
        shrinks = target[0] <= size[0] and target[1] <= size[1]
        flag = cv2.INTER_NEAREST_EXACT if self.mode == "nearest" else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # turned once it is small
        kept = np.ascontiguousarray(_lying(img)[y0:y1, x0:x1])
        resized = cv2.resize(kept, target, interpolation=flag)
        # OpenCV is faster, and turns no five channels
        turned = cv2.transpose(resized) if kept.shape[2] <= 4 else np.ascontiguousarray(resized.swapaxes(0, 1))
        fitted = turned.reshape(*target, -1)
        out = torch.from_numpy(fitted).permute(2, 0, 1)
        if not isinstance(img, MetaTensor):
            return out
        placed = np.eye(3)
        placed[:2, 2] = x0, y0
        info = self.track_transform_meta(
            img,
            sp_size=target,
            affine=placed @ scale_affine(size, target),
            orig_size=size,
            extra_info={
                "mode": self.mode,
                "align_corners": "none",
                "dtype": "float32",
                "new_dim": 0,
                "view": box,
                "native_size": tuple(img.shape[1:]),
            },
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(info)

    def inverse_transform(self, data: torch.Tensor, transform: dict) -> torch.Tensor:
        restored = super().inverse_transform(data, transform)
        x0, y0, x1, y1 = transform[TraceKeys.EXTRA_INFO]["view"]
        width, height = transform[TraceKeys.EXTRA_INFO]["native_size"]
        if (x1 - x0, y1 - y0) == (width, height):
            return restored
        padded = F.pad(restored.as_tensor(), (y0, height - y1, x0, width - x1))
        whole_frame = MetaTensor(padded).copy_meta_from(restored)
        moved = torch.eye(4, dtype=torch.float64)
        moved[:2, 3] = -torch.tensor([x0, y0], dtype=torch.float64)
        whole_frame.affine = restored.affine @ moved
        return whole_frame


def _lying(img: torch.Tensor) -> np.ndarray:
    """(C, W, H) -> (H, W, C), as a file has it: of a loaded frame no copy."""
    return np.ascontiguousarray(img.numpy().transpose(2, 1, 0))


class FitFramed(MapTransform, InvertibleTransform):
    """Dictionary form of `FitFrame`: `keys` are resized by area, `mask_keys` with nearest.

    All keep the part of the frame in which the endoscope's picture lies in the first of `keys`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: int,
        fit: str = "stretch",
        crop: bool = False,
        mask_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        images, masks = ((names,) if isinstance(names, str) else tuple(names) for names in (keys, mask_keys))
        super().__init__((*images, *masks), allow_missing_keys)
        self.leader = images[0]
        self.fit = {
            key: FitFrame(image_size, fit, crop, "nearest" if key in masks else "area") for key in (*images, *masks)
        }

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        view = self.fit[self.leader].view(d[self.leader])
        for key in self.key_iterator(d):
            d[key] = self.fit[key](d[key], view)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.fit[key].inverse(d[key])
        return d


class ClassMapd(MapTransform):
    """Adds `CLASS_MAP` to a sample: which class each predicted polyp is, (1, W, H) uint8; of one class nothing.

    Args:
        keys: key of the probability, (C, W, H) in 0..1, at native size.
        threshold: probability of a polyp of any class from which a pixel counts, 0..1.
        to: key of what is added, such as that of the probability itself.
    """

    def __init__(self, keys: KeysCollection, threshold: float, to: str = CLASS_MAP) -> None:
        super().__init__(keys)
        self.threshold, self.to = threshold, to

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if len(d[key]) > 1:
                found = class_map(channels(d[key]), self.threshold)
                numbers = torch.from_numpy(np.ascontiguousarray(found.T))[None]
                tracked = isinstance(d[key], MetaTensor)
                d[self.to] = MetaTensor(numbers).copy_meta_from(d[key]) if tracked else numbers
        return d


class SavePredictiond(MapTransform):
    """Write predicted masks in the geometry of their images: {0, 255} PNG, or NIfTI with affine and shape of the input.
    Of several classes, where the sample has its `CLASS_MAP`, the mask holds their numbers.

    The sample's `output` key (a relative path without suffix) names the file below `output_dir`; see
    `datalist.frames`, which keeps the input's folder tree and lets no two names meet.

    Args:
        keys: key of the mask, (C, W, H) of {0, 1}, at native size.
        output_dir: folder to write into; made when absent.
        probability_key: key of the probability map 0..1, (C, W, H), of which that of a polyp of any class is written as
            `<output>_probability` when given.
        overlay: also write `<output>_overlay.png`, the image with the mask's contour in yellow, or in those of the
            classes.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str, probability_key: str | None = None, overlay: bool = False
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.probability_key = probability_key
        self.overlay = overlay

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            self._save(d[key], d.get(CLASS_MAP), str(d["output"]), d.get(self.probability_key))
        return d

    def _save(
        self, mask: MetaTensor, numbers: torch.Tensor | None, output: str, probability: torch.Tensor | None
    ) -> None:
        source = str(mask.meta["filename_or_obj"])
        nifti = files.suffix_of(source) in files.NIFTI_SUFFIXES
        suffix = files.mask_suffix(source)
        pixels = to_pixels(mask.to(torch.uint8) if numbers is None else numbers)
        like = in_geometry_of(mask.meta, pixels) if nifti else None
        path = self.output_dir / f"{output}{suffix}"
        files.write_indices(path, pixels) if numbers is not None and not nifti else files.write_mask(path, pixels, like)
        if probability is not None:
            values = of_polyp(channels(probability))
            path = self.output_dir / f"{output}_probability{suffix}"
            files.write_nifti(path, values, like) if nifti else files.write_png(
                path, (values * 255).round().astype(np.uint8)
            )
        if self.overlay:
            frame = files.read_rgb(source, upright=bool(mask.meta[UPRIGHT]))
            drawn = draw_contour(frame, pixels) if numbers is None else draw_classes(frame, pixels)
            files.write_png(self.output_dir / f"{output}_overlay.png", drawn)


def in_memory(pixels: np.ndarray) -> files.Picture:
    """(H, W, ...) pixels without a geometry of their own."""
    return files.Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))


def in_geometry_of(meta: Mapping[str, Any], pixels: np.ndarray) -> files.Picture:
    """(H, W) `pixels` with the affine and the shape of the file that `LoadPictured` read, as its `meta` says."""
    shape = (*pixels.shape[::-1], *(1,) * (int(meta[FILE_AXES]) - 2))
    return files.Picture(pixels, np.asarray(meta[MetaKeys.ORIGINAL_AFFINE]), shape)


def channels(tensor: torch.Tensor) -> np.ndarray:
    """(C, W, H) tensor -> (C, H, W) array of float32."""
    maps = np.asarray(tensor.detach().cpu().float())
    return np.stack([cv2.transpose(channel) for channel in maps])


def to_pixels(tensor: torch.Tensor) -> np.ndarray:
    """(1, W, H) tensor -> (H, W) array."""
    return cv2.transpose(tensor[0].detach().cpu().numpy())  # many times as fast as numpy's
