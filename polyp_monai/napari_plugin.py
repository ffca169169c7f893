"""The plugin of napari: an image layer in, a labels layer out. napari.yaml names it; nothing here imports napari."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from polyp_monai import api
from polyp_monai.errors import PolypError
from polyp_monai.metrics.lesions import components

if TYPE_CHECKING:
    import napari


def outline_polyps(
    image: napari.types.ImageData, bundle: str = "efficient_unet", threshold: float = 0.5
) -> napari.types.LabelsData:
    """The polyps of a picture, or of each of a stack, numbered from 1 in each picture.

    Args:
        image: (H, W, 3) RGB or (H, W) grey; or a stack of them, (N, H, W, 3) or (N, H, W), which may be lazy.
        bundle: name of a shipped bundle, or a path, as `polyp_monai.load` takes it.
        threshold: probability from which a pixel counts as polyp, 0..1.

    Returns:
        int32 (H, W), or (N, H, W) of a stack; 0 where no polyp is.

    Raises:
        PolypError: an image of another shape or type, or no such bundle.
    """
    several = _is_stack(image.shape)
    frames = (np.asarray(frame) for frame in (image if several else [image]))  # read one by one
    labels = [components(found.mask).labels for found in _loaded(bundle, threshold).predict(frames)]
    return np.stack(labels) if several else labels[0]


def _is_stack(shape: tuple[int, ...]) -> bool:
    colored = len(shape) > 2 and shape[-1] in (3, 4)
    if len(shape) - colored not in (2, 3):
        raise PolypError(f"an image of shape {shape}: expected (H, W, 3), (H, W) or a stack of them")
    return len(shape) - colored == 3


@lru_cache(maxsize=2)
def _loaded(bundle: str, threshold: float) -> api.Bundle:
    return api.load(bundle, threshold=threshold)
