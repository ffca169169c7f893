"""BKAI-IGH NeoPolyp (Lan et al., "NeoUNet", ISVC 2021): 1000 images with masks, where neoplastic polyps are red and the
others green. The folders are train and train_gt, as the challenge packs them, or images and masks.

Who the patients are is not published, so an image is a group of its own; images of equal bytes are one group.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from data_prep.coding import Coding
from data_prep.findings import Finding
from data_prep.matching import images_of, keyed, match, twin_folders
from data_prep.pair import Pair
from polyp_monai.errors import PolypError

PROTOCOLS = ("ratio", "kfold")
FOLDERS = (("train", "train_gt"), ("images", "masks"))
CODING = Coding(("neoplastic", "non-neoplastic"), ((255, 0, 0), (0, 255, 0)))
IMAGES = 1000


def pairs(source: Path, findings: list[Finding]) -> list[Pair]:
    """The pairs below `source`.

    Raises:
        PolypError: none of the folders side by side.
    """
    copies = [(names, twin) for names in FOLDERS for twin in twin_folders(source, *names)]
    if not copies:
        raise PolypError(
            f"{source}: not BKAI-IGH NeoPolyp (no folder below it has train/ and train_gt/, or images/ and masks/); "
            "for images of your own use: polyp prepare folder --classes"
        )
    _, (images, masks) = copies[0]
    if len(copies) > 1:
        message = f"{len(copies)} copies below the source; {images.relative_to(source).as_posix()}/ is used"
        findings.append(Finding("several-copies", "info", (), message))
    # train/train and train_gt/train_gt, as the challenge's zips unpack
    images, masks = (deep if (deep := folder / folder.name).is_dir() else folder for folder in (images, masks))
    found, drawn = (keyed(images_of(folder, findings, recursive=False), folder) for folder in (images, masks))
    matched = match(found, drawn, findings)
    if len(matched) < IMAGES:
        message = f"{len(matched)} of the {IMAGES} images of BKAI-IGH NeoPolyp are here"
        findings.append(Finding("incomplete-set", "info", (), message))
    first: dict[str, str] = {}
    groups = {name: first.setdefault(_digest(image), name) for name, image, _ in matched}
    return [Pair(name, image, mask, groups[name], coding=CODING) for name, image, mask in matched]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
