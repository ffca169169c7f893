"""What every data set module hands to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """One image and its mask, by path.

    `name` is unique within the set and becomes the file stem of both. Pairs of one `group` (frames of a sequence,
    images of a patient) never straddle two splits. `tags` name subsets, such as "sessile".
    """

    name: str
    image: Path
    mask: Path
    group: str
    tags: tuple[str, ...] = ()
