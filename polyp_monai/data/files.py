"""The one place that knows files: reading and writing frames and masks, axis order, bit depth, color.

Arrays here are (H, W, ...) as pictures are stored. The pixels are those of the file unless `upright` asks for the
picture as viewers show it, with its EXIF orientation applied: a frame to predict is read upright, image and mask of a
data set as stored. `transforms.py` turns the arrays to MONAI's (C, W, H).
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyp_monai.data import classes, dicom, remote, texts
from polyp_monai.errors import PolypError

if TYPE_CHECKING:
    import PIL.Image

HEIF_SUFFIXES = (".heic", ".heif")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *HEIF_SUFFIXES, *NIFTI_SUFFIXES, *dicom.SUFFIXES)

logger = logging.getLogger(__name__)

WRITER = "polyp "  # begins what a file says of who wrote it
BETWEEN = slice(64, 192)  # mask values far from 0 and 255; soft edges and JPEG put few pixels on each of them
INVERTED = 0.5, 0.6  # more of a mask, and of its edge, is polyp; of 1612 published masks that large none has .34
KINDS = {  # first bytes of a file -> what Pillow calls its format
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
MOST_PIXELS = 100_000_000  # of a picture in bytes, unless its reader says another number
LONGEST = 20  # times its shorter side, of a picture in bytes: a line of pixels is no frame, and grows when it is fitted
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts")
FULL_12 = 4096  # levels of 12 bits
ROUNDING = 1e-3  # by which floats may leave 0..1
FEW = 8  # levels above 0 that class numbers may take; maps of probabilities have more
PICTURE = 0.1  # share of the pixels spread over BETWEEN, its commonest value left out; photographs have .15 and more


def suffix_of(path: str | Path) -> str:
    """Lower-case suffix of a file name; ".nii.gz" counts as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem_of(path: str | Path) -> str:
    """File name without its suffix ("a.nii.gz" -> "a"); the numbers of a DICOM UID, 1.2.840, are none."""
    name, suffix = Path(path).name, suffix_of(path)
    return name if suffix[1:].isdecimal() else name[: len(name) - len(suffix)]


def mask_suffix(path: str | Path) -> str:
    """Suffix of the mask of a frame: NIfTI stays what it is, all else becomes PNG."""
    return suffix_of(path) if suffix_of(path) in NIFTI_SUFFIXES else ".png"


def check_name(path: str | Path) -> None:
    """Raises PolypError when the file's name is no UTF-8: no table and no list could hold it."""
    if (shown := printable(path)) != str(path):
        raise PolypError(f"{shown}: its name is no UTF-8; rename it")


def printable(path: str | Path) -> str:
    r"""A path as text that can be shown and stored: bytes that are no UTF-8 as \x.."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Picture:
    """Pixels as stored, with the geometry of their file.

    `pixels`: (H, W) or (H, W, channels), any dtype. `affine`: (4, 4), voxel (W, H, 0) to world; identity for all but
    NIfTI. `shape`: the spatial shape in the file's own axis order, (W, H) or (W, H, 1), which NIfTI output repeats.
    """

    pixels: np.ndarray
    affine: np.ndarray
    shape: tuple[int, ...]


class MaskError(PolypError):
    """A file that is a picture, but no mask that can be read without a guess. `code`: the kind, for an audit."""

    def __init__(self, code: str, path: str | Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.code = code


class TooLargeError(PolypError):
    """A picture that is well, and has more pixels than are taken."""


def read_picture(path: str | Path, upright: bool = False) -> Picture:
    """Read one PNG, JPEG, TIFF, BMP, WebP, HEIC or 2D NIfTI file, or a frame of a DICOM file.

    Args:
        path: the file, or its address (s3://); scan.dcm/3 is the third frame of scan.dcm. DICOM is known by its
            content, whatever its name.
        upright: apply the EXIF orientation, as viewers do; else the pixels stay as they are stored.

    Raises:
        PolypError: absent, unreadable, truncated, of an unknown format, or not two-dimensional; HEIC without its
            decoder.
    """
    if remote.is_address(path):
        with remote.fetched(str(path)) as copy:
            return read_picture(copy, upright)
    path = Path(path)
    if dicom.holds(path):
        pixels = dicom.read(path)
        return Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))
    if suffix_of(path) not in SUFFIXES:
        hint = "; of a video `polyp video` takes the frames" if suffix_of(path) in VIDEOS else ""
        raise PolypError(f"{path}: unknown image format; known are {', '.join(SUFFIXES)}{hint}")
    if not path.is_file():
        raise PolypError(f"{path}: {why_absent(path)}")
    if suffix_of(path) in HEIF_SUFFIXES:
        _register_heif(path)
    try:
        if suffix_of(path) in NIFTI_SUFFIXES:
            return _read_nifti(path)
        read = _read_tiff if suffix_of(path) in (".tif", ".tiff") else _read_pillow
        pixels = read(path, upright, path)
    except PolypError:
        raise
    except Exception as error:  # decoders raise anything from OSError to struct.error on a damaged file
        reason = str(error).replace(repr(str(path)), "").replace(str(path), "").strip(" :'") or type(error).__name__
        raise PolypError(f"{path}: cannot be read ({reason.splitlines()[0]}); is it damaged or cut short?") from error
    return Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))


def decode_picture(content: bytes, name: str, upright: bool = False, most_pixels: int = MOST_PIXELS) -> Picture:
    """Read one picture out of the bytes of a file, whoever sent them; nothing else is opened, nothing is written.

    The first bytes say what it is, its name does not count.

    Args:
        content: of a PNG, JPEG, TIFF, BMP, WebP, HEIC, DICOM or 2D NIfTI file (also gzipped).
        name: what messages call it.
        upright: as of `read_picture`.
        most_pixels: a larger picture is refused before it is decoded.

    Raises:
        TooLargeError: more pixels than that.
        PolypError: unknown, damaged, a picture that is a line, or not two-dimensional.
    """
    try:
        picture = _decoded(content, name, upright, most_pixels)
    except PolypError:
        raise
    except Exception as error:  # as in `read_picture`
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise PolypError(f"{name}: cannot be read ({reason[:160]}); is it damaged or cut short?") from error
    height, width = picture.pixels.shape[:2]
    if not picture.pixels.size or max(height, width) > LONGEST * min(height, width):
        raise PolypError(f"{name}: {width} x {height} pixels are no frame of a video")
    return picture


def _decoded(content: bytes, name: str, upright: bool, most_pixels: int) -> Picture:
    if dicom.is_content(content):
        pixels = dicom.decode(content, name, lambda shape: check_pixels(shape, name, most_pixels))
        return Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))
    if content[:2] == b"\x1f\x8b" or content[344:348] == b"n+1\0" or content[4:8] == b"n+2\0":
        return _decode_nifti(content, name, most_pixels)
    if content[4:8] == b"ftyp":
        _register_heif(Path(name))
        kind = "HEIF"
    else:
        kind = next((kind for start, kind in KINDS.items() if content.startswith(start)), "")
    if not kind:
        raise PolypError(f"{name}: is no picture; known are PNG, JPEG, TIFF, BMP, WebP, HEIC, NIfTI and DICOM")
    source = BytesIO(content)
    read = _read_tiff if kind == "TIFF" else _read_pillow
    pixels = read(source, upright, name, most_pixels, (kind,))
    return Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))


def check_pixels(shape: tuple[int, ...], name: str | Path, most: int | None) -> None:
    """Raises TooLargeError when a picture of this shape, with up to four channels, has more pixels than `most`."""
    if most is not None and math.prod(shape) > most * (1 if len(shape) < 3 else 4):
        size = " x ".join(map(str, shape))
        raise TooLargeError(f"{name}: {size} is too large; up to {most / 1e6:g} megapixels are taken")


def why_absent(path: Path) -> str:
    """Why there is no file at `path`, which is no file."""
    if path.is_symlink():  # DVC, git-annex: the content was not fetched
        return f"a link to {os.readlink(path)}, which is not there; fetch the file it stands for"
    return "is no file that can be read" if path.exists() else "no such file"


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise PolypError(
            f"{path}: HEIC needs pillow-heif; pip install pillow-heif (the extra 'heic'), or save it as JPEG"
        ) from error
    register_heif_opener()


def _read_pillow(
    source: Path | BytesIO,
    upright: bool,
    name: str | Path,
    most_pixels: int | None = None,
    kinds: tuple[str, ...] | None = None,
) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        opened = Image.open(source, formats=kinds)
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: is too large ({str(error).partition(',')[0]})") from error
    with opened as image:
        check_pixels(image.size, name, most_pixels)
        if hasattr(image, "n_frames") and image.n_frames > 1:
            raise PolypError(f"{name}: holds {image.n_frames} pages; one picture a file is expected")
        return pixels_of(ImageOps.exif_transpose(image) if upright else image)


def pixels_of(image: PIL.Image.Image) -> np.ndarray:
    """(H, W) or (H, W, channels) of a Pillow image of any mode; a copy, because Pillow's own memory is read-only."""
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    return np.array(image)


def _read_tiff(
    source: Path | BytesIO,
    upright: bool,
    name: str | Path,
    most_pixels: int | None = None,
    kinds: tuple[str, ...] | None = None,
) -> np.ndarray:
    """Pillow first (it knows every compression), tifffile for what Pillow refuses.

    The publisher's CVC-ClinicDB images say PhotometricInterpretation BlackIsZero with 3 samples a pixel, which Pillow
    calls an unknown mode; their pixels are plain interleaved RGB.
    """
    from PIL import UnidentifiedImageError

    try:
        return _read_pillow(source, upright, name, most_pixels, kinds)
    except (UnidentifiedImageError, SyntaxError):
        import tifffile

        with tifffile.TiffFile(source) as tiff:
            if len(tiff.pages) > 1:
                raise PolypError(f"{name}: holds {len(tiff.pages)} pages; one picture a file is expected") from None
            page: Any = tiff.pages[0]
            check_pixels(page.shape, name, most_pixels)
            pixels = page.asarray()
            planar = page.planarconfig is not None and page.planarconfig.name == "SEPARATE"
        return np.moveaxis(pixels, 0, -1) if planar and pixels.ndim == 3 else pixels


def _read_nifti(path: Path) -> Picture:
    import nibabel

    return _of_nifti(nibabel.load(path), path)


def _decode_nifti(content: bytes, name: str, most_pixels: int) -> Picture:
    import nibabel

    if content[:2] == b"\x1f\x8b":
        most, unzip = 12 * most_pixels + 2**20, zlib.decompressobj(31)
        content = unzip.decompress(content, most)
        if not unzip.eof:
            raise PolypError(f"{name}: is damaged, cut short, or unpacks to more than {most / 1e6:.0f} MB")
    kind = nibabel.Nifti2Image if content[4:8] == b"n+2\0" else nibabel.Nifti1Image
    image = kind.from_bytes(content)
    check_pixels(image.shape, name, most_pixels)
    return _of_nifti(image, name)


def _of_nifti(image: Any, path: str | Path) -> Picture:
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:  # RGB24 / RGBA32
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
    spatial = data.shape[:2]
    if data.ndim > 3 or (data.ndim == 3 and data.shape[2] == 1):
        if data.shape[2] != 1 or data.ndim > 4:
            raise PolypError(f"{path}: shape {data.shape} is not a 2D picture; expected (W, H), (W, H, 1) or RGB last")
        data, spatial = data[:, :, 0], (*spatial, 1)
    if data.ndim < 2 or (data.ndim == 3 and data.shape[2] not in (1, 3, 4)):
        raise PolypError(f"{path}: shape {data.shape} is not a 2D picture; expected (W, H), (W, H, 1) or RGB last")
    return Picture(np.swapaxes(data, 0, 1), np.asarray(image.affine), tuple(spatial))


def _to_uint8(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    """8-bit values of any stored depth: bool, 8 and 16 bit by their full range, floats in 0..1 or 0..255."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # of either byte order
        return (pixels / 257).round().astype(np.uint8)
    low, high = _range(pixels, path)
    if pixels.dtype.kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        return (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    if low < 0 or high > 255 or (pixels.dtype.kind == "f" and high < 2):  # of 0..255 it would be black
        raise PolypError(f"{path}: values from {low:g} to {high:g}; expected 0..255, 0..1 or unsigned 16 bit")
    return pixels.round().astype(np.uint8)


def _range(pixels: np.ndarray, path: str | Path) -> tuple[float, float]:
    """The lowest and the highest value. Raises PolypError for NaN and infinity."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise PolypError(f"{path}: holds NaN or infinite values")
    return (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)


def _of_one(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Floats of a mask or map as 0..1: they are that, within rounding, or whole numbers of 0..255."""
    low, high = _range(values, path)
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return values.clip(0, 1)
    if low < 0 or high > 255 or (values != values.round()).any():
        raise PolypError(f"{path}: values from {low:g} to {high:g}; expected 0..1, or whole numbers of 0..255")
    return values / 255


def to_rgb(picture: Picture, path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any picture: grey is repeated, alpha dropped, 16 bit scaled to 8."""
    stored = picture.pixels
    pixels = _to_uint8(stored, path)
    if stored.dtype.kind == "u" and stored.dtype.itemsize == 2 and 0 < (highest := stored.max(initial=0)) < FULL_12:
        logger.warning(f"{path}: 16 bits with values up to {highest}: data of 12 bits or fewer is read as almost black")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] in (1, 2):
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def largest_channel(pixels: np.ndarray) -> np.ndarray:
    """(H, W) largest of the color channels of (H, W) or (H, W, channels), alpha left out."""
    if pixels.ndim == 2:
        return pixels
    colors = pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    return reduce(np.maximum, np.moveaxis(colors, -1, 0))  # many times as fast as max(axis=2)


def to_mask(picture: Picture, path: str | Path) -> np.ndarray:
    """(H, W) uint8 {0, 1} of any mask: the largest color channel above 127; a mask of 0 and 1 alone is taken as is.

    JPEG masks ring around the edge: a threshold at 0 would cost 4 to 5 Dice points on Kvasir-SEG. This is the one rule
    of what a mask may hold, for every command that reads one.

    Raises:
        MaskError: what nobody meant as a mask of 0 and 255: not black, but nowhere bright ("dim-mask"); drawn in the
            alpha channel ("alpha-mask"); a photograph ("not-a-mask").
    """
    levels = mask_levels(picture, path)
    mask = (levels > 127).astype(np.uint8)
    if not mask.any() and (values := largest_channel(picture.pixels)).any():
        raise MaskError(
            "dim-mask",
            path,
            f"the mask's largest value is {values.max():g} ({values.dtype}), too dark for a polyp; "
            "expected 0 and 255, or 0 and 1",
        )
    _check_alpha(picture.pixels, mask, path)
    between = np.bincount(levels.ravel(), minlength=256)[BETWEEN] / max(1, levels.size)
    if between.sum() - between.max() > PICTURE:
        raise MaskError(
            "not-a-mask",
            path,
            f"{between.sum():.0%} of the mask's pixels are neither dark nor bright: a picture, not a mask",
        )
    return mask


def is_inverted(mask: np.ndarray) -> bool:
    """Whether in an (H, W) mask of {0, 1} the polyp seems to be black: more than half of it, and of its edge, is 1."""
    edge = np.concatenate([mask[[0, -1]].ravel(), mask[:, [0, -1]].ravel()])
    return bool(edge.mean() > INVERTED[1] and mask.mean() > INVERTED[0])


def check_not_inverted(mask: np.ndarray, path: str | Path, otherwise: str = "give --keep-inverted") -> None:
    """Raises MaskError ("inverted-mask"), with what to do `otherwise`, for what `is_inverted`."""
    if is_inverted(mask):
        raise MaskError(
            "inverted-mask",
            path,
            f"polyp on {mask.mean():.0%} of the mask and along its edge: is the polyp black? Invert it, or {otherwise}",
        )


def mask_levels(picture: Picture, path: str | Path) -> np.ndarray:
    """(H, W) uint8 of a stored mask, on the scale 0..255: 0 and 1 alone become 0 and 255."""
    values = largest_channel(picture.pixels)
    if values.dtype.kind == "f":
        return (_of_one(values, path) * 255).round().astype(np.uint8)
    highest = values.max(initial=0)
    if values.dtype != bool and highest == 1:
        return (values > 0.5).astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and highest <= 255:  # 8-bit values, in a file of 16 bits too
        return values.astype(np.uint8)
    return _to_uint8(values, path)


def _check_alpha(pixels: np.ndarray, mask: np.ndarray, path: str | Path) -> None:
    """Raises MaskError where the alpha channel says something else than the colors."""
    if pixels.ndim == 2 or pixels.shape[2] not in (2, 4):
        return
    alpha, colors = pixels[..., -1], pixels[..., :-1]
    if alpha.min() == alpha.max():
        return
    if (colors == colors[0, 0]).all() or (alpha[mask > 0] == 0).any():
        raise MaskError(
            "alpha-mask",
            path,
            "the mask is drawn in the alpha channel; save it as black and white, without transparency",
        )


def read_rgb(path: str | Path, upright: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Arguments and PolypError as `read_picture`."""
    return to_rgb(read_picture(path, upright), path)


def read_mask(path: str | Path) -> np.ndarray:
    """(H, W) uint8 {0, 1}, 1 = polyp. Raises PolypError as `read_picture` and `to_mask`."""
    return to_mask(read_picture(path), path)


def read_indices(path: str | Path) -> np.ndarray:
    """(H, W) uint8 of a mask that holds the numbers of classes: of a palette its indices, of others the values.

    Raises:
        PolypError: unreadable, or colors or fractions in place of numbers of 0 to 255.
    """
    if suffix_of(path) in (".png", ".bmp", ".tif", ".tiff") and (indices := _palette_indices(Path(path))) is not None:
        return indices
    pixels = read_picture(path).pixels
    if pixels.ndim == 3 and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    whole = pixels.ndim == 2 and (pixels.dtype.kind in "bui" or (np.isfinite(pixels) & (pixels % 1 == 0)).all())
    if not whole or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
        raise PolypError(f"{path}: no mask of classes by number; expected one channel of whole numbers from 0")
    return pixels.astype(np.uint8)


def _palette_indices(path: Path) -> np.ndarray | None:
    """Indices of a picture with a palette; None of any other, and of one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image) if image.mode == "P" else None
    except Exception:  # decoders raise anything
        return None


def read_classes(path: str | Path, count: int) -> np.ndarray:
    """(H, W) uint8 of 0 to `count`: a mask as a data list with `count` classes has it.

    Raises:
        PolypError: as `read_indices`, or a number above `count`.
    """
    indices = read_indices(path)
    if (highest := int(indices.max(initial=0))) > count:
        raise PolypError(f"{path}: holds class {highest}, and the list names {count}; prepare the set again")
    return indices


def read_map(path: str | Path, of_ones: bool = True, dim: bool = False) -> np.ndarray:
    """(H, W) float32 in 0..1 of a mask or probability map; of several channels the largest counts, alpha left out.

    Whole numbers are read against the largest value of their type, floats as they are, or by 255 when they are whole
    numbers beyond 1.

    Args:
        path: the file.
        of_ones: whether a file of 0 and 1 alone is a mask; else its 1 is the least above 0, as in 8-bit maps of which
            others go further.
        dim: whether whole numbers of which none reaches half of their depth may pass with few levels: one above 0, or
            eight where 0 and 1 are a mask. They are a mask or classes in a code of its own, and as probabilities all
            doubts.

    Raises:
        PolypError: unreadable, NaN or negative values, floats beyond 255, dim, or a picture in color.
        MaskError: drawn in the alpha channel.
    """
    stored = read_picture(path).pixels
    pixels = largest_channel(stored)
    found = _scaled(pixels, path, of_ones, dim) if pixels.dtype != bool else pixels.astype(np.float32)
    _check_gray(stored, found, path)
    _check_alpha(stored, found >= 0.5, path)
    return found


def _scaled(pixels: np.ndarray, path: str | Path, of_ones: bool, dim: bool) -> np.ndarray:
    """float32 in 0..1 of a map's numbers, as `read_map` says."""
    low, highest = _range(pixels, path)
    if pixels.dtype.kind == "f":
        found, wide = _of_one(pixels, path).astype(np.float32), 255 if highest > 1 + ROUNDING else 1
    else:
        if low < 0:
            raise PolypError(f"{path}: values from {low:g} to {highest:g}; a map is 0..1 or 0..255, not logits")
        wide = 1 if highest <= 1 and of_ones else 255 if highest <= 255 else np.iinfo(pixels.dtype).max
        found = pixels.astype(np.float32) / np.float32(wide)
    if not dim and 1 < highest < wide / 2:
        above = np.unique(pixels[pixels > 0])
        if len(above) <= (FEW if of_ones else 1):
            values = " and ".join([", ".join(f"{value:g}" for value in (0, *above[:-1])), f"{highest:g}"])
            raise PolypError(f"{path}: holds {values} alone, too dark for a mask; --normalize minmax stretches it")
    return found


def _check_gray(stored: np.ndarray, found: np.ndarray, path: str | Path) -> None:
    """Raises PolypError for a photograph in color; `found` is its largest channel, as 0..1."""
    if stored.ndim == 2 or stored.shape[2] < 3:
        return
    least = reduce(np.minimum, np.moveaxis(stored[..., :3], -1, 0))
    colored = found[least < 0.8 * largest_channel(stored)]  # JPEG moves channels less
    between = np.bincount((colored * 255).astype(np.uint8), minlength=256)[32:240] / max(1, found.size)
    if between.sum() - between.max() > PICTURE:
        raise PolypError(f"{path}: a picture in color, not a mask or a map of probabilities; is it the right folder?")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise."""
    path = Path(path)
    make_folder(path.parent)
    # the suffix stays last: writers choose their format by it
    partial = path.parent / f".partial-{secrets.token_hex(8)}{suffix_of(path)}"
    try:
        partial.touch(exist_ok=False)  # with the rights of any new file; those of tempfile nobody else could read
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)).name == partial.name:
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the user knows
        raise
    finally:
        partial.unlink(missing_ok=True)


def is_whole_zip(path: str | Path) -> bool:
    """Whether all in a zip is as its checksums say, which PyTorch does not look at; True of what is no zip."""
    if not zipfile.is_zipfile(path):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged file makes it raise anything
        return False


def make_folder(path: str | Path) -> None:
    """Make a folder, and those above it.

    Raises:
        PolypError: a file, or a link that leads nowhere, is in its place.
        OSError: it may not be made.
    """
    texts.check_folder(path)
    Path(path).mkdir(parents=True, exist_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as partial:  # a file name that is no UTF-8 is written escaped, as JSON reads it
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON atomically; NaN is refused, because other readers of JSON refuse it."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of one shape as CSV atomically; NaN becomes an empty cell."""
    names = list(rows[0])
    cells = ((row[name] for name in names) for row in rows)
    plain = (["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in cells)
    write_text(path, csv_text([names, *plain]))


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as lines of a CSV. Of a name with a carriage return, `csv` quotes it only where lines end in one."""
    lines = []
    for row in rows:
        buffer = StringIO()
        csv.writer(buffer).writerow(row)
        lines.append(buffer.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def write_png(path: str | Path, pixels: np.ndarray, command: str | None = None) -> None:
    """Write (H, W) or (H, W, 3) uint8 as PNG atomically; `command` as of `write_mask`."""
    from PIL import Image

    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", compress_level=1)
    with atomic(path) as partial:
        partial.write_bytes(_signed(encoded.getvalue(), command))


def write_mask(path: str | Path, mask: np.ndarray, like: Picture | None = None, command: str | None = None) -> None:
    """Write an (H, W) mask of {0, 1}: {0, 255} in a PNG, {0, 1} in a NIfTI with affine and shape of `like`.

    `command` is kept in the file, and `written_by` tells it again.
    """
    if suffix_of(path) in NIFTI_SUFFIXES:
        write_nifti(path, mask.astype(np.uint8), like, command)
        return
    with atomic(path) as partial:
        partial.write_bytes(_signed(encode_mask(mask), command))


def write_indices(path: str | Path, indices: np.ndarray, command: str | None = None) -> None:
    """Write an (H, W) uint8 mask of 0 (background) and the numbers of classes: a PNG with a palette of their colors.

    `command` as of `write_mask`.
    """
    with atomic(path) as partial:
        partial.write_bytes(_signed(encode_indices(indices), command))


def encode_indices(indices: np.ndarray) -> bytes:
    """An (H, W) uint8 mask of 0 and the numbers of classes as PNG with a palette."""
    from PIL import Image

    image, encoded = Image.fromarray(indices), BytesIO()
    image.putpalette([value for color in ((0, 0, 0), *classes.COLORS) for value in color])
    image.save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()


def encode_mask(mask: np.ndarray) -> bytes:
    """An (H, W) mask of {0, 1} as PNG of {0, 255}."""
    import cv2

    # even areas need no filter and no search for repeats: three times as fast as Pillow, and smaller
    cheap = (
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
    )
    _, encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255, cheap)
    return encoded.tobytes()


def write_nifti(path: str | Path, values: np.ndarray, like: Picture | None = None, command: str | None = None) -> None:
    """Write (H, W) values as NIfTI atomically, with affine and (W, H[, 1]) shape of `like`; `command` as above."""
    import nibabel

    array = values.T if like is None else values.T.reshape(like.shape)
    image = nibabel.Nifti1Image(array, np.eye(4) if like is None else like.affine)
    if command:
        image.header["descrip"] = f"{WRITER}{command}"
    with atomic(path) as partial:
        nibabel.save(image, partial)


def _signed(png: bytes, command: str | None) -> bytes:
    """A PNG with the text "Software: polyp COMMAND" behind its header, which is 33 bytes long."""
    if command is None:
        return png
    text = b"tEXtSoftware\0" + f"{WRITER}{command}".encode("ascii")
    return png[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + png[33:]


def written_by(path: str | Path) -> str | None:
    """The command that a picture says it was written by; None where it says nothing."""
    from PIL import Image

    try:
        if suffix_of(path) in NIFTI_SUFFIXES:
            import nibabel

            told = str(np.char.decode(nibabel.Nifti1Image.from_filename(path).header["descrip"], "ascii"))
        else:
            with Image.open(path) as image:
                told = str(image.info.get("Software", ""))
    except Exception:  # a file of any kind
        return None
    return told.removeprefix(WRITER) if told.startswith(WRITER) else None
