"""CVC-ClinicDB (Bernal et al., 2015): 612 frames of 29 sequences, Original/N.png and "Ground Truth"/N.png (or .tif).

Frames of one sequence show the same polyp from nearby views, so the sequence is the group.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from pathlib import Path

from data_prep.findings import LEFT_OUT, Finding
from data_prep.matching import images_of, keyed, match, twin_folders
from data_prep.pair import Pair
from polyp_monai.data import search
from polyp_monai.errors import PolypError

PROTOCOLS = ("grouped", "pranet", "random", "kfold")
RANDOM_TRAINING = 267  # of 612 frames, the others are the test split
LAST_FRAMES = (  # of the sequences 1..29, from the publisher's README
    *(25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317),
    *(342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612),
)
PRANET_TEST = (  # Fan et al., MICCAI 2020; drawn frame by frame, so training holds all of their sequences too
    *(14, 21, 25, 31, 42, 50, 52, 61, 65, 66, 73, 80, 89, 100, 106, 119, 134, 148, 154, 163, 166, 171, 179, 181, 185),
    *(191, 205, 240, 251, 266, 279, 287, 300, 307, 349, 353, 374, 381, 388, 397, 400, 404, 425, 429, 431, 442, 453),
    *(459, 464, 474, 481, 483, 492, 526, 529, 545, 555, 559, 561, 569, 571, 575),
)
FRAMES = {str(frame) for frame in range(1, LAST_FRAMES[-1] + 1)}


def sequence_of(frame: int) -> int:
    """Sequence 1..29 of frame 1..612."""
    return bisect_left(LAST_FRAMES, frame) + 1


def published(split: str) -> dict[str, str]:
    """{name: "training" | "test"} of the split "pranet" (550/62), or "random" (267/345).

    The latter is how some papers split: frames are drawn without a look at their sequences. Their lists are not
    published, so the frames are drawn again, always the same ones.
    """
    if split == "random":
        drawn = random.Random(0).sample(sorted(FRAMES), RANDOM_TRAINING)
        return {name: "training" if name in drawn else "test" for name in FRAMES}
    return {name: "test" if int(name) in PRANET_TEST else "training" for name in FRAMES}


def pairs(source: Path, findings: list[Finding]) -> list[Pair]:
    """The pairs below `source` in the order of the frames. A source with PNG and TIFF copies: the fullest, PNG first.

    Raises:
        PolypError: no Original/ and "Ground Truth"/ side by side with files that are named 1 to 612.
    """
    copies = []
    for images, masks in twin_folders(source, "original", "ground truth"):
        found = keyed(search.search(images, recursive=False).images, images)
        if FRAMES & set(found):
            copies.append((found, images, masks))
    if not copies:
        raise PolypError(
            f'{source}: not CVC-ClinicDB (no folder below it has "Original" and "Ground Truth" with frames 1 to 612); '
            "for images of your own use: polyp prepare folder"
        )
    found, images, masks = max(copies, key=lambda copy: len(FRAMES & set(copy[0])))  # the first of equals
    if len(copies) > 1:
        message = f"{len(copies)} copies below the source; {images.parent.relative_to(source).as_posix()}/ is used"
        findings.append(Finding("several-copies", "info", (), message, "the fullest one is used"))
    found = keyed(images_of(images, findings, recursive=False), images)
    matched = match(found, keyed(images_of(masks, findings, recursive=False), masks), findings)
    for name, image, _ in matched:
        if name not in FRAMES:
            message = f"{name} is not one of the frames 1 to 612 of CVC-ClinicDB"
            findings.append(Finding("unknown-name", "error", (str(image),), message, LEFT_OUT))
    absent = sorted(FRAMES - set(found), key=int)
    if absent:
        message = f"{len(absent)} of the 612 frames of CVC-ClinicDB are absent"
        findings.append(Finding("incomplete-set", "warning", tuple(absent), message))
    return [
        Pair(name, image, mask, group=f"sequence-{sequence_of(int(name)):02d}")
        for name, image, mask in sorted((m for m in matched if m[0] in FRAMES), key=lambda m: int(m[0]))
    ]
