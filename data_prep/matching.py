"""Which mask belongs to which image: by relative path without suffix."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path

from data_prep.findings import KEPT, LEFT_OUT, Finding
from polyp_monai.data import files, search
from polyp_monai.errors import shortened

DEPTH = 3  # how far below the source a set may be nested: a zip often holds it one or two folders down


def twin_folders(source: Path, images: str, masks: str) -> list[tuple[Path, Path]]:
    """Every (image folder, mask folder) of these names, in any case, side by side, up to `DEPTH` folders down."""
    found: list[tuple[Path, Path]] = []
    for place, folders, _ in os.walk(source):
        below = {name.casefold(): Path(place, name) for name in folders}
        if images in below and masks in below:
            found.append((below[images], below[masks]))
        depth = len(Path(place).relative_to(source).parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < DEPTH and not name.startswith((".", "__MACOSX")) and name.casefold() not in (images, masks)
        )
    return sorted(found)


def images_of(folder: Path, findings: list[Finding], recursive: bool = True) -> list[Path]:
    """The pictures in a folder; what else is there becomes findings: an error where a picture was meant."""
    found = search.search(folder, recursive)
    for path, reason in found.unreadable.items():
        findings.append(Finding("unreadable", "error", (files.printable(path),), reason, LEFT_OUT))
    if found.others:
        names = tuple(files.printable(path) for path in found.others)
        message = f"no picture of a known format: {shortened([path.name for path in map(Path, names)])}"
        findings.append(Finding("passed-over", "warning", names, message, LEFT_OUT))
    if found.burned_in:
        names = tuple(files.printable(path) for path in found.burned_in)
        message = "text, maybe of the patient, is burned into the pixels, as the file says (BurnedInAnnotation)"
        findings.append(Finding("burned-in-text", "warning", names, message, KEPT))
    named = {path: files.printable(path) for path in found.images}
    for path, shown in named.items():
        if shown != str(path):
            findings.append(Finding("bad-name", "error", (shown,), "its name is no UTF-8; rename it", LEFT_OUT))
    return [path for path, shown in named.items() if shown == str(path)]


def keyed(paths: Iterable[Path], folder: Path, suffix: str = "") -> dict[str, list[Path]]:
    """Paths by key: "sub/a" for folder/sub/a.jpg; `suffix` (such as "_mask") is cut off the stem's end."""
    keys: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        stem = files.stem_of(path).removesuffix(suffix)
        keys[(path.relative_to(folder).parent / stem).as_posix()].append(path)
    return dict(keys)


def match(
    images: Mapping[str, list[Path]],
    masks: Mapping[str, list[Path]],
    findings: list[Finding],
    without_mask: bool = False,
) -> list[tuple[str, Path, Path | None]]:
    """(key, image, mask) of every image that has exactly one mask, sorted by key; `without_mask`: or has none.

    Keys that differ by case alone match when there is no other candidate. What has no partner, or more than one,
    becomes a finding of severity error.
    """

    def tell(code: str, severity: str, paths: Iterable[Path], message: str, action: str) -> None:
        findings.append(Finding(code, severity, tuple(map(str, paths)), message, action))

    unclear = {key for side in (images, masks) for key, paths in side.items() if len(paths) > 1}
    for key in sorted(unclear):
        paths = [*images.get(key, []), *masks.get(key, [])]
        message = f"{key}: names that differ only by extension; which image belongs to which mask?"
        tell("ambiguous-name", "error", paths, message, LEFT_OUT)

    partner = {key: key for key in images if key in masks}
    alone: set[str] = set()
    free = {key for key in masks if key not in images and key not in unclear}
    folded = defaultdict(list)
    for key in free:
        folded[key.casefold()].append(key)
    for key in sorted(set(images) - set(partner) - unclear):
        same = folded.get(key.casefold(), [])
        if len(same) == 1 and same[0] in free:
            partner[key] = same[0]
            free.discard(same[0])
            message = f"image and mask of {key} differ by case; taken as a pair"
            tell("case-differs", "info", [images[key][0], masks[same[0]][0]], message, KEPT)
        else:
            alone.add(key)
            if not without_mask:
                tell("missing-partner", "error", images[key], f"image {key} has no mask", LEFT_OUT)
    for key in sorted(free):
        tell("missing-partner", "error", masks[key], f"mask {key} has no image", LEFT_OUT)
    pairs = [(key, images[key][0], masks[partner[key]][0]) for key in set(partner) - unclear]
    return sorted(pairs + [(key, images[key][0], None) for key in alone if without_mask], key=itemgetter(0))
