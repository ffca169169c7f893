"""What is wrong with these files? One list of findings, for every data set."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.coding import Coding
from data_prep.findings import KEPT, LEFT_OUT, Finding
from data_prep.pair import NEGATIVE, Pair
from polyp_monai.data import dicom, files, similarity
from polyp_monai.errors import PolypError, shortened

# share of the pixels at one of files.BETWEEN: a class of its own; JPEG masks (BKAI-IGH) stay below .001
THIRD_CLASS = 0.002
UNCHANGED = "kept: the published split is not changed"
NEARLY_ALL = 0.9  # a polyp that covers more of the image than this
ITS_IMAGE = 0.98  # IoU of the mask with the bright pixels of its image
PLAIN_MODES = ("RGB", "YCbCr")
REFUSED_BY_PILLOW = "TIFF that Pillow refuses"
DICOM = "DICOM"
ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class ClassSeen(NamedTuple):
    """Polyps of one class in a mask: their share of its pixels, 0..1, and how many connected regions they are."""

    area: float
    polyps: int


class _Mask(NamedTuple):
    """A mask that was read: (H, W) uint8 {0, 1}; and what is odd about it, as `Record` has it."""

    pixels: np.ndarray
    other: int
    third: float
    is_01: bool
    is_colored: bool
    classes: dict[str, ClassSeen]


@dataclass(frozen=True)
class Record:
    """What one pair's pixels say. Sizes are (W, H) in pixels, shares 0..1, brightness 0..255."""

    pair: Pair
    size: tuple[int, int]
    mode: str
    orientation: int
    turned: bool  # the mask lies on the upright image, not on the stored pixels
    brightness: float
    polyp_area: float
    mask_other: int  # pixels that are neither 0 nor 255 (nor 1 in a mask of 0 and 1)
    mask_third: float  # largest share of the pixels at one value of files.BETWEEN
    mask_is_01: bool
    mask_is_colored: bool
    mask_is_inverted: bool  # as `files.is_inverted` guesses
    mask_is_image: bool  # the image shows the mask, not a frame
    classes: dict[str, ClassSeen]  # of each class that a coded mask shows
    digest: str
    thumbnail: np.ndarray
    hash: np.ndarray
    mask_thumbnail: np.ndarray

    @property
    def name(self) -> str:
        """The pair's."""
        return self.pair.name


@dataclass(frozen=True)
class Bond:
    """Two records that look alike, by name. `mask_dice`: how well their masks agree at 32 x 32, 0..1."""

    first: str
    second: str
    exact: bool
    correlation: float
    mask_dice: float


def inspect(pair: Pair, keep_inverted: bool = False) -> Record | Finding:
    """Read a pair once; a Finding of severity error when it cannot be used, as is an inverted mask unless kept."""
    try:
        return _inspect(pair, keep_inverted)
    except _UnusableError as reason:
        return reason.finding


class _UnusableError(Exception):
    def __init__(self, code: str, path: Path | None, message: str) -> None:
        self.finding = Finding(code, "error", (str(path),) if path else (), message, LEFT_OUT)


def _inspect(pair: Pair, keep_inverted: bool) -> Record:
    import cv2

    try:
        image = files.read_rgb(pair.image)
        mode, orientation = _stored(pair.image)
    except PolypError as error:
        raise _UnusableError("unreadable", pair.image, _without_path(error, pair.image)) from error
    read = _mask_of(pair, image, keep_inverted)
    mask = read.pixels
    turned = orientation in ROTATED and image.shape[1::-1] == mask.shape != image.shape[:2]
    if turned:  # drawn on the image as viewers show it
        image = files.read_rgb(pair.image, upright=True)
    if image.shape[:2] != mask.shape:
        height, width = mask.shape
        message = f"image is {image.shape[1]} x {image.shape[0]}, mask {width} x {height}"
        raise _UnusableError("size-mismatch", pair.mask, message)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumbnail, bits = similarity.views(grey)
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.data)
    small = (similarity.THUMBNAIL, similarity.THUMBNAIL)
    return Record(
        pair=pair,
        size=(image.shape[1], image.shape[0]),
        mode=mode,
        orientation=orientation,
        turned=turned,
        brightness=round(float(grey.mean()), 2),
        polyp_area=round(float(mask.mean()), 6),
        mask_other=read.other,
        mask_third=read.third,
        mask_is_01=read.is_01,
        mask_is_colored=read.is_colored,
        mask_is_inverted=files.is_inverted(mask),
        mask_is_image=_is_image(mask, image),
        classes=read.classes,
        digest=digest.hexdigest(),
        thumbnail=thumbnail,
        hash=bits,
        mask_thumbnail=cv2.resize(mask * np.uint8(255), small, interpolation=cv2.INTER_AREA),
    )


def _is_image(mask: np.ndarray, image: np.ndarray) -> bool:
    """True when the bright pixels of the image are the mask, as where both come from the folder of masks."""
    bright = files.largest_channel(image) > 127
    polyp = mask > 0
    return bool(polyp.any() and np.count_nonzero(bright & polyp) >= ITS_IMAGE * np.count_nonzero(bright | polyp))


def _mask_of(pair: Pair, image: np.ndarray, keep_inverted: bool) -> _Mask:
    """The mask; empty for a negative that came without."""
    if pair.mask is None:
        return _Mask(np.zeros(image.shape[:2], np.uint8), 0, 0.0, False, False, {})
    try:
        read = _plain(pair.mask) if pair.coding is None else _coded(pair.mask, pair.coding)
        if not keep_inverted:
            files.check_not_inverted(read.pixels, pair.mask)
        return read
    except PolypError as error:
        code = error.code if isinstance(error, files.MaskError) else "unreadable"
        raise _UnusableError(code, pair.mask, _without_path(error, pair.mask)) from error


def _plain(path: Path) -> _Mask:
    stored = files.read_picture(path)
    mask = files.to_mask(stored, path)
    values = files.largest_channel(stored.pixels)
    levels = files.mask_levels(stored, path)
    pixels_at = np.bincount(levels.ravel(), minlength=256)
    third = float((pixels_at[files.BETWEEN] / levels.size).max())
    is_01 = bool(values.dtype != bool and values.max(initial=0) == 1)
    return _Mask(mask, int(pixels_at[1:255].sum()), third, is_01, _is_colored(stored.pixels, mask), {})


def _coded(path: Path, coding: Coding) -> _Mask:
    import cv2

    numbers, other = coding.read(path)
    seen = {}
    for number, name in enumerate(coding.names, 1):
        of_class = (numbers == number).astype(np.uint8)
        if area := float(of_class.mean()):
            seen[name] = ClassSeen(round(area, 6), cv2.connectedComponents(of_class, connectivity=8)[0] - 1)
    return _Mask((numbers > 0).astype(np.uint8), other, 0.0, False, False, seen)


def _is_colored(pixels: np.ndarray, mask: np.ndarray) -> bool:
    """True when most polyp pixels of a stored mask are far from grey."""
    if pixels.ndim == 2 or pixels.shape[2] < 3 or not mask.any():
        return False
    channels = np.moveaxis(pixels[..., :3] if pixels.dtype == np.uint8 else pixels[..., :3].astype(np.float32), -1, 0)
    spread = (reduce(np.maximum, channels) - reduce(np.minimum, channels))[mask > 0]
    return bool(np.mean(spread > 127) > 0.5)


def _without_path(error: PolypError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _stored(path: Path) -> tuple[str, int]:
    """Color mode and EXIF orientation (1: upright) as stored."""
    from PIL import Image, UnidentifiedImageError

    if dicom.holds(path):
        return DICOM, 1
    if files.suffix_of(path) in files.NIFTI_SUFFIXES:
        return "NIfTI", 1
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            return image.mode, orientation if orientation in range(1, 9) else 1
    except UnidentifiedImageError:
        return REFUSED_BY_PILLOW, 1


def bonds(records: Sequence[Record]) -> list[Bond]:
    """Exact and near duplicates among the images."""
    if not records:
        return []
    found = similarity.find(
        [record.digest for record in records],
        np.stack([record.thumbnail for record in records]),
        np.stack([record.hash for record in records]),
    )
    return [
        Bond(
            records[twin.first].name,
            records[twin.second].name,
            twin.exact,
            round(twin.correlation, 4),
            round(_dice(records[twin.first].mask_thumbnail, records[twin.second].mask_thumbnail), 3),
        )
        for twin in found
    ]


def check_negatives(records: Sequence[Record], alike: Sequence[Bond], relative: Callable[[Path], str]) -> None:
    """Raises PolypError where one picture is there as a negative, without a mask, and with a polyp."""
    by_name = {record.name: record for record in records}
    for bond in alike:
        pair = sorted((by_name[bond.first], by_name[bond.second]), key=lambda record: record.polyp_area)
        if bond.exact and pair[0].pair.mask is None and pair[1].polyp_area:
            negative, other = (relative(record.pair.image) for record in pair)
            raise PolypError(f"{negative}: is given as a negative, and {other}, the same picture, shows a polyp")


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = int(first.sum(dtype=np.int64) + second.sum(dtype=np.int64))
    return 2 * int(np.minimum(first, second).sum(dtype=np.int64)) / total if total else 1.0


_MODES = {
    "L": ("one grey channel", "read as RGB with three equal channels"),
    "LA": ("grey with alpha", "alpha is dropped when read"),
    "1": ("two values", "read as black and white"),
    "RGBA": ("an alpha channel", "alpha is dropped when read"),
    "P": ("a palette", "read by its colors"),
    "PA": ("a palette with alpha", "read by its colors"),
    "I;16": ("16 bits", "scaled to 8 bit when read"),
    "I;16B": ("16 bits", "scaled to 8 bit when read"),
    DICOM: ("DICOM", "same pixels, written as PNG without what the file says of the patient"),
    REFUSED_BY_PILLOW: ("a TIFF layout that Pillow refuses", "same pixels, written as PNG"),
}


def findings_of(records: Sequence[Record], relative: Callable[[Path], str]) -> list[Finding]:
    """Findings on single pairs that can be used. `relative` turns a path to what the source calls it."""
    found: list[Finding] = []

    def tell(
        code: str, severity: str, about: Iterable[Record], message: str, action: str = KEPT, mask: bool = True
    ) -> None:
        about = list(about)
        if about:
            paths = tuple(relative(r.pair.mask if mask and r.pair.mask else r.pair.image) for r in about)
            message += f" in {len(about)} {'mask' if mask else 'image'}{'s' * (len(about) > 1)}"
            found.append(Finding(code, severity, paths, message, action, tuple(r.name for r in about)))

    by_mode = defaultdict(list)
    for record in records:
        by_mode[record.mode].append(record)
    for mode in sorted(set(by_mode) - set(PLAIN_MODES)):
        tell("image-format", "info", by_mode[mode], *_MODES.get(mode, (f"mode {mode}", KEPT)), mask=False)
    message = "an EXIF orientation"
    done = "the stored pixels are used, whose size the mask has; written as PNG without it"
    kept = [record for record in records if record.orientation != 1 and not record.turned]
    tell("exif-orientation", "warning", kept, message, done, mask=False)
    done = "turned upright, as its mask is, and written as PNG"
    tell("exif-orientation", "warning", [r for r in records if r.turned], message, done, mask=False)

    empty = [record for record in records if record.polyp_area == 0]
    tell("empty-mask", "info", [r for r in empty if NEGATIVE in r.pair.tags], "no polyp, as the tag says,")
    tell("empty-mask", "warning", [r for r in empty if NEGATIVE not in r.pair.tags], "no polyp")
    inverted = [r for r in records if r.mask_is_inverted]
    message = "polyp on more than half of the image and along its edge (inverted: is the polyp black?)"
    tell("inverted-mask", "warning", inverted, message)
    full = [r for r in records if r.polyp_area > NEARLY_ALL and r not in inverted]
    tell("full-mask", "warning", full, f"a polyp that covers more than {NEARLY_ALL:.0%} of the image")
    message = "the same picture as image and mask"
    tell("mask-is-image", "warning", [r for r in records if r.mask_is_image], message)
    third = [record for record in records if record.mask_third > THIRD_CLASS]
    for record in third:
        other = record.mask_other / (record.size[0] * record.size[1])
        message = f"{record.mask_other} pixels ({other:.2%}) neither 0 nor 255 (a third class?)"
        tell("third-value", "warning", [record], message, "values above 127 are polyp")
    ringing = [record for record in records if record.mask_other and record not in third]
    if ringing:
        shares = [record.mask_other / (record.size[0] * record.size[1]) for record in ringing]
        message = f"values between 0 and 255 (median {np.median(shares):.2%} of pixels, at most {max(shares):.2%})"
        coded = any(record.pair.coding for record in ringing)
        if coded:
            message = message.replace("values between 0 and 255", "colors of no class")
        done = "the nearest class, then that of most of a region" if coded else "values above 127 are polyp"
        tell("mask-values", "info", ringing, message, done)
    both = [record for record in records if len(record.classes) > 1]
    tell("several-classes", "info", both, "polyps of more than one class")
    tell("mask-0-1", "info", [r for r in records if r.mask_is_01], "0 and 1 instead of 0 and 255", "1 is polyp")
    colored = [record for record in records if record.mask_is_colored]
    tell("mask-colors", "info", colored, "colors", "every color is polyp (largest channel above 127)")
    return found


def findings_of_split(
    records: Sequence[Record], alike: Sequence[Bond], split_of: Mapping[str, str], fixed: bool
) -> list[Finding]:
    """Findings that depend on the split: duplicates, and groups that a published (`fixed`) split tears apart."""
    found: list[Finding] = []
    group = {record.name: record.pair.group for record in records}
    within = [bond for bond in alike if group[bond.first] == group[bond.second] and not bond.exact]
    for bond in sorted(set(alike) - set(within), key=lambda bond: (bond.first, bond.second)):
        kind = "equal pixels" if bond.exact else f"look alike (correlation {bond.correlation:.3f})"
        apart = split_of[bond.first] != split_of[bond.second]
        message = f"{bond.first} and {bond.second}: {kind}, masks agree by Dice {bond.mask_dice:.2f}"
        if apart:
            message += f"; one is in {split_of[bond.first]}, the other in {split_of[bond.second]}"
        action = UNCHANGED if apart else f"kept together in {split_of[bond.first]}"
        severity = "warning" if apart or bond.exact else "info"
        code = "exact-duplicate" if bond.exact else "near-duplicate"
        found.append(Finding(code, severity, (bond.first, bond.second), message, action, (bond.first, bond.second)))
    torn = [bond for bond in within if split_of[bond.first] != split_of[bond.second]]
    whole = [bond for bond in within if bond not in torn]
    if torn:
        found.append(_within_groups(torn, group, "warning", "on both sides of the split", UNCHANGED))
    if whole:
        found.append(_within_groups(whole, group, "info", "in one split", KEPT))
    if fixed:
        found += _torn_groups(group, split_of)
    return found + _splits_without_polyp(records, split_of)


def _splits_without_polyp(records: Sequence[Record], split_of: Mapping[str, str]) -> list[Finding]:
    """Parts that no Dice can be measured on."""
    found = []
    for split in sorted(set(split_of.values())):
        inside = [record for record in records if split_of[record.name] == split]
        names = tuple(record.name for record in inside)
        if not any(record.polyp_area for record in inside):
            meant = all(NEGATIVE in record.pair.tags for record in records)
            message = f"no image of the {split} part has a polyp, so there is no Dice to measure"
            message += ", only the share left empty" if meant else "; add images"
            found.append(Finding("no-polyp", "info" if meant else "warning", names, message, KEPT, names))
    return found


def _within_groups(alike: Sequence[Bond], group: Mapping[str, str], severity: str, where: str, action: str) -> Finding:
    """One finding for all look-alike frames within groups: a sequence is full of them."""
    names = tuple(dict.fromkeys(name for bond in alike for name in (bond.first, bond.second)))
    inside = len({group[bond.first] for bond in alike})
    message = f"look-alike pairs within a group, {where}: {len(alike)}, in {inside} group{'s' * (inside > 1)}"
    return Finding("near-duplicate", severity, names, message, action, names)


def _torn_groups(group: Mapping[str, str], split_of: Mapping[str, str]) -> list[Finding]:
    """Groups of the test split that have images in training or validation as well."""
    test = {group[name] for name, split in split_of.items() if split == "test"}
    torn = test & {group[name] for name, split in split_of.items() if split != "test"}
    if not torn:
        return []
    names = tuple(name for name, split in split_of.items() if split == "test" and group[name] in torn)
    message = (
        f"{len(torn)} of the {len(test)} groups of the test split are also in training or the validation carved of it "
        f"({shortened(sorted(torn), 3)}): the same polyps are on both sides, so test scores "
        "overstate; use this split only to compare with papers"
    )
    return [Finding("torn-group", "warning", names, message, UNCHANGED, names)]
