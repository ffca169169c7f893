"""Labelled frames at a bundle's image size, for checking an export and for calibrating it."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyp_monai.data import datalist, files
from polyp_monai.data.transforms import FitFramed
from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import of_polyp
from polyp_monai.metrics.pixel import pixel_scores

AT_MOST = 100  # frames; a hundred tell a loss of half a point, and take seconds


@dataclass(frozen=True)
class Samples:
    """Some frames of a split of a data set.

    Args:
        entries: of the data list, `image` and `label` as paths.
        fit: of the bundle.
    """

    entries: Sequence[dict]
    fit: FitFramed

    @classmethod
    def of(cls, data: str, split: str, image_size: int, fit: str, crop: bool) -> Samples:
        """At most `AT_MOST` frames, the same each time. Raises PolypError as `datalist.read_split`."""
        entries = datalist.read_split(data, split)
        random.Random(0).shuffle(entries)
        return cls(entries[:AT_MOST], FitFramed("image", image_size, fit, crop, mask_keys="label"))

    def __len__(self) -> int:
        return len(self.entries)

    def pictures(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB each, as in the files."""
        return (files.read_rgb(entry["image"]) for entry in self.entries)

    def frames(self) -> Iterator[Tensor]:
        """(1, 3, W, H) float in 0..1 each, fitted."""
        return (frame for frame, _ in self.pairs())

    def pairs(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        """(1, 3, W, H) float in 0..1 and mask (W, H) uint8 {0, 1} each, fitted."""
        for picture, entry in zip(self.pictures(), self.entries, strict=True):
            mask = files.read_mask(entry["label"])[..., None]
            pair: dict[Hashable, Tensor] = {
                key: torch.from_numpy(pixels).permute(2, 1, 0) for key, pixels in (("image", picture), ("label", mask))
            }
            fitted = self.fit(pair)
            yield fitted["image"][None].contiguous() / 255, fitted["label"][0].numpy()

    @torch.no_grad()
    def dice(self, predict: Callable[[Tensor], Tensor], threshold: float) -> float:
        """Mean Dice over the frames with a polyp, at the fitted size; `predict` gives logits.

        Raises:
            PolypError: none of the frames has a polyp.
        """
        from tqdm import tqdm

        pairs = tqdm(self.pairs(), "check", len(self), unit="frame", disable=None)
        found = [
            pixel_scores(of_polyp(predict(frame)[0].sigmoid().numpy()) >= threshold, mask)["dice"]
            for frame, mask in pairs
        ]
        if np.isnan(found).all():
            raise PolypError("none of the frames to check the export on has a polyp; give other --data")
        return float(np.nanmean(found))
