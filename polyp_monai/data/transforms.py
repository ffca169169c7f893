"""Deterministic transforms that the configs name: load, fit to the network's image size, save.

A sample is a dictionary; `image` is (3, W, H) RGB and `label` is (1, W, H) of {0, 1}: MONAI's axis order, W before H.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Resize
from monai.transforms.utils import scale_affine
from monai.utils import MetaKeys

from polyp_monai.data import files
from polyp_monai.errors import PolypError

OUTLINE = (255, 221, 0)  # RGB yellow, which mucosa never has
UPRIGHT = "upright"  # meta key: whether the EXIF orientation was applied
FILE_AXES = "file_axes"  # meta key: 2 for a file of (W, H), 3 for (W, H, 1), which a NIfTI mask repeats


class LoadPictured(MapTransform):
    """Path -> MetaTensor (C, W, H) uint8 with affine, shape and file name in its meta.

    Any format of `files.SUFFIXES` gives the same axis order, so a PNG and a TIFF of one frame are equal. MONAI's
    `LoadImaged` is not used because, when a given reader fails, it tries its other readers: a damaged file would
    then be read another way instead of refused.

    Args:
        keys: keys of paths.
        mask: False reads RGB 0..255, (3, W, H); True reads masks as {0, 1}, (1, W, H).
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
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask, self.like, self.upright = mask, like, upright

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            path = str(d[key])
            d[key] = self._load(path)
            if self.like and (size := d[key].shape[1:]) != (expected := d[self.like].shape[1:]):
                raise PolypError(
                    f"{path}: the mask is {size[0]} x {size[1]} but its image, {d[self.like].meta['filename_or_obj']}, "
                    f"{expected[0]} x {expected[1]}; pair them again, with `polyp prepare`"
                )
        return d

    def _load(self, path: str) -> MetaTensor:
        picture = files.read_picture(path, self.upright)
        pixels = files.to_mask(picture, path)[..., None] if self.mask else files.to_rgb(picture, path)
        meta = {
            MetaKeys.SPATIAL_SHAPE: np.asarray(pixels.shape[1::-1]),
            MetaKeys.ORIGINAL_AFFINE: picture.affine,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
            FILE_AXES: len(picture.shape),
            UPRIGHT: self.upright,
            "filename_or_obj": path,
        }
        return MetaTensor(torch.from_numpy(pixels).permute(2, 1, 0), affine=picture.affine, meta=meta)


class FitFrame(Resize):
    """Resize (C, W, H) uint8 to the network's image size; the inverse restores the native size of any map.

    Shrinking averages areas (no aliasing), enlarging and the inverse interpolate bilinearly; masks use nearest. OpenCV
    does the forward part, because torch has no area mode for uint8; the inverse is that of MONAI's `Resize`.

    Args:
        image_size: side of the square in pixels.
        keep_aspect: False stretches the frame to image_size x image_size; True brings its shorter side to `image_size`.
        mode: "area" for images, "nearest" for masks.
    """

    def __init__(self, image_size: int, keep_aspect: bool = False, mode: str = "area") -> None:
        super().__init__(spatial_size=(image_size, image_size), mode="nearest" if mode == "nearest" else "bilinear")
        self.image_size = image_size
        self.keep_aspect = keep_aspect

    def target_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(W, H) after the transform for a frame of `size` (W, H)."""
        if not self.keep_aspect:
            return self.image_size, self.image_size
        scale = self.image_size / min(size)
        return max(self.image_size, round(size[0] * scale)), max(self.image_size, round(size[1] * scale))

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        size = tuple(img.shape[1:])
        target = self.target_size(size)
        shrinks = target[0] <= size[0] and target[1] <= size[1]
        flag = cv2.INTER_NEAREST_EXACT if self.mode == "nearest" else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # a loaded frame lies in memory as its file does, (H, W, C): turned once it is small
        picture = np.ascontiguousarray(img.numpy().transpose(2, 1, 0))
        fitted = cv2.transpose(cv2.resize(picture, target, interpolation=flag)).reshape(*target, -1)
        out = torch.from_numpy(fitted).permute(2, 0, 1)
        if not isinstance(img, MetaTensor):
            return out
        info = self.track_transform_meta(
            img,
            sp_size=target,
            affine=scale_affine(size, target),
            orig_size=size,
            extra_info={"mode": self.mode, "align_corners": "none", "dtype": "float32", "new_dim": 0},
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(info)


class FitFramed(MapTransform, InvertibleTransform):
    """Dictionary form of `FitFrame`; `mask_keys` are resized with nearest, `keys` by area."""

    def __init__(
        self,
        keys: KeysCollection,
        image_size: int,
        keep_aspect: bool = False,
        mask_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        masks = (mask_keys,) if isinstance(mask_keys, str) else tuple(mask_keys)
        super().__init__((*((keys,) if isinstance(keys, str) else keys), *masks), allow_missing_keys)
        self.fit = {key: FitFrame(image_size, keep_aspect, "nearest" if key in masks else "area") for key in self.keys}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.fit[key](d[key])
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.fit[key].inverse(d[key])
        return d


class SavePredictiond(MapTransform):
    """Write predicted masks in the geometry of their images: {0, 255} PNG, or NIfTI with affine and shape of the input.

    The sample's `output` key (a relative path without suffix) names the file below `output_dir`; see
    `datalist.frames`, which keeps the input's folder tree and lets no two names meet.

    Args:
        keys: key of the mask, (1, W, H) of {0, 1}, at native size.
        output_dir: folder to write into; made when absent.
        probability_key: key of the probability map 0..1, (1, W, H); written as `<output>_probability` when given.
        overlay: also write `<output>_overlay.png`, the image with the mask's contour in yellow.
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
            self._save(d[key], str(d["output"]), d.get(self.probability_key))
        return d

    def _save(self, mask: MetaTensor, output: str, probability: torch.Tensor | None) -> None:
        source = str(mask.meta["filename_or_obj"])
        nifti = files.suffix_of(source) in files.NIFTI_SUFFIXES
        suffix = files.mask_suffix(source)
        pixels = _to_pixels(mask.to(torch.uint8))
        like = None
        if nifti:
            shape = (*pixels.shape[::-1], *(1,) * (int(mask.meta[FILE_AXES]) - 2))
            like = files.Picture(pixels, np.asarray(mask.meta[MetaKeys.ORIGINAL_AFFINE]), shape)
        files.write_mask(self.output_dir / f"{output}{suffix}", pixels, like)
        if probability is not None:
            values = _to_pixels(probability.float())
            path = self.output_dir / f"{output}_probability{suffix}"
            files.write_nifti(path, values, like) if nifti else files.write_png(
                path, (values * 255).round().astype(np.uint8)
            )
        if self.overlay:
            frame = files.read_rgb(source, upright=bool(mask.meta[UPRIGHT]))
            files.write_png(self.output_dir / f"{output}_overlay.png", draw_contour(frame, pixels))


def _to_pixels(tensor: torch.Tensor) -> np.ndarray:
    """(1, W, H) tensor -> (H, W) array."""
    return cv2.transpose(tensor[0].detach().cpu().numpy())  # many times as fast as numpy's


def draw_contour(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = OUTLINE) -> np.ndarray:
    """A copy of the (H, W, 3) image with the outline of the (H, W) mask {0, 1}, about 0.4 % of the width thick."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(image.copy(), contours, -1, color, max(1, round(image.shape[1] / 250)))
