"""Kvasir-SEG (Jha et al., MMM 2020): 1000 images and masks, JPEG, images/NAME.jpg and masks/NAME.jpg.

facts/kvasir_seg.csv carries the names, the official 880/120 split, the 900/100 split of PraNet (Fan et al., MICCAI
2020) and which 196 polyps are sessile (Kvasir-Sessile).
"""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

from data_prep.findings import LEFT_OUT, Finding
from data_prep.matching import images_of, keyed, match, twin_folders
from data_prep.pair import Pair
from polyp_monai.data import search
from polyp_monai.errors import PolypError

PROTOCOLS = ("official", "pranet", "ratio", "kfold")


def facts() -> dict[str, dict[str, str]]:
    """{name: {"official": part, "pranet": part, "sessile": "sessile" or ""}} of the 1000 images."""
    text = resources.files("data_prep").joinpath("facts/kvasir_seg.csv").read_text(encoding="utf-8")
    return {row.pop("name"): row for row in csv.DictReader(text.splitlines())}


def published(split: str) -> dict[str, str]:
    """{name: "training" | "test"} of the split "official" or "pranet"."""
    return {name: fact[split] for name, fact in facts().items()}


def pairs(source: Path, findings: list[Finding]) -> list[Pair]:
    """The pairs below `source`; each image is a group of its own.

    Raises:
        PolypError: no images/ and masks/ side by side, or none of the names is one of Kvasir-SEG.
    """
    known = facts()
    copies = []
    for images, masks in twin_folders(source, "images", "masks"):
        found = keyed(search.search(images, recursive=False).images, images)
        if any(name in known for name in found):
            copies.append((found, images, masks))
    if not copies:
        raise PolypError(
            f"{source}: not Kvasir-SEG (no folder below it has images/ and masks/ with the set's file names); "
            "for images of your own use: polyp prepare folder"
        )
    found, images, masks = max(copies, key=lambda copy: sum(name in known for name in copy[0]))  # the first of equals
    if len(copies) > 1:
        message = f"{len(copies)} copies below the source; {images.parent.relative_to(source).as_posix()}/ is used"
        findings.append(Finding("several-copies", "info", (), message, "the fullest one is used"))
    found = keyed(images_of(images, findings, recursive=False), images)
    matched = match(found, keyed(images_of(masks, findings, recursive=False), masks), findings)
    for name, image, _ in matched:
        if name not in known:
            message = f"image {name} is not one of the 1000 of Kvasir-SEG"
            findings.append(Finding("unknown-name", "error", (str(image),), message, LEFT_OUT))
    absent = sorted(set(known) - set(found))
    if absent:
        message = f"{len(absent)} of the 1000 images of Kvasir-SEG are absent"
        findings.append(Finding("incomplete-set", "warning", tuple(f"images/{name}.jpg" for name in absent), message))
    return [
        Pair(name, image, mask, group=name, tags=("sessile",) if known[name]["sessile"] else ())
        for name, image, mask in matched
        if name in known
    ]
