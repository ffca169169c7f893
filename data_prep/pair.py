"""What every data set module hands to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.coding import Coding
from polyp_monai.data import files

NEGATIVE = "negative"


@dataclass(frozen=True)
class Pair:
    """One image and its mask, by path.

    `name` is unique within the set and becomes the file stem of both. Pairs of one `group` (frames of a sequence,
    images of a patient) never straddle two splits. `tags` name subsets, such as "sessile". An image without a
    polyp may come without a mask: `mask` is None, `tags` says `NEGATIVE`, and its mask is written empty. `coding`: of
    masks that tell classes apart.
    """

    name: str
    image: Path
    mask: Path | None
    group: str
    tags: tuple[str, ...] = ()
    coding: Coding | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Image and, where there is one, mask."""
        return (self.image,) if self.mask is None else (self.image, self.mask)

    def read_mask(self) -> np.ndarray:
        """(H, W) uint8 {0, 1}; of several classes 0 and their numbers. Raises PolypError as `files.read_picture`."""
        if self.mask is None:
            return np.zeros(files.read_picture(self.image).pixels.shape[:2], np.uint8)
        return files.read_mask(self.mask) if self.coding is None else self.coding.read(self.mask)[0]
