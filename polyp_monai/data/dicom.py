"""DICOM pictures: known by their content, read to pixels, and nothing of a patient with them.

Only the elements in `TAGS` are ever taken from a file here, so that no name can get into a message, a table or a log. A
file of several frames counts as a folder of them: scan.dcm/01, scan.dcm/02 ... , numbered from 1 as DICOM does.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from polyp_monai.errors import PolypError, counted, shortened

if TYPE_CHECKING:
    from pydicom import Dataset

MARK = b"DICM"  # at byte 128
SUFFIXES = (".dcm", ".dicom")
PICTURES = {  # storage classes of a camera's pictures
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # VL Endoscopic
    "1.2.840.10008.5.1.4.1.1.77.1.1.1",  # Video Endoscopic
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic
    "1.2.840.10008.5.1.4.1.1.77.1.4.1",  # Video Photographic
}
VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")  # MPEG-2, H.264, HEVC, also in fragments
DEFLATED = "1.2.840.10008.1.2.1.99"
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
GREYS = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
DECODERS = ("pillow", "pydicom", "pyjpegls")  # one a compression; GDCM is none: it ends the process on damaged files
LARGEST = 2**26  # pixels of a frame: twice those of an 8K picture
INFLATED = 2**30  # bytes of a deflated file
_TABLES = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")  # of what another object refers to
TAGS = [
    *NEEDED,
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "CineRate",
    "FrameTime",
    "RecommendedDisplayFrameRate",
    "BurnedInAnnotation",
    *[f"{table}{what}" for table in _TABLES for what in ("Descriptor", "Data")],
    *[f"Segmented{table}Data" for table in _TABLES],
]


class OtherClassError(PolypError):
    """A DICOM file that holds no picture of a camera: a report, a CT, a directory ..."""


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels.

    frames: how many; 0 of a video, whose stream knows. video: whether they are a stream of H.264, HEVC or MPEG-2.
    rate: frames a second, where it tells one. burned_in: whether it says that text is burned into the pixels.
    fragments: (offset, length) in bytes of each piece of compressed pixels.
    """

    frames: int
    video: bool
    rate: float | None
    burned_in: bool
    fragments: tuple[tuple[int, int], ...]
    about: Dataset


def holds(path: str | Path) -> bool:
    """Whether `path` is a DICOM file, by its content or its suffix, or a frame of one (scan.dcm/01)."""
    return _place(Path(path)) is not None


def frames_of(path: Path) -> list[Path]:
    """The addresses of a file's frames: its own, or one a frame. Raises PolypError as `header`."""
    count = header(path).frames
    digits = len(str(count))
    return [path / f"{number:0{digits}}" for number in range(1, count + 1)] if count > 1 else [path]


def header(path: Path) -> Header:
    """What the file `path` says of its pixels, checked against its length, before anything is decoded.

    Raises:
        OtherClassError: DICOM, but no picture of a camera.
        PolypError: no DICOM, damaged, cut short, without pixels, too large, of a layout that is not read; or pydicom is
            not installed.
    """
    state = os.stat(path)
    return _header(path, state.st_mtime_ns, state.st_size)


def read(path: str | Path) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8, or uint16 of 16-bit color, of the frame at `path`, which `holds` knows.

    Raises:
        PolypError: as `header`; a video; several frames and none named; pixels that cannot be decoded.
    """
    place = _place(Path(path))
    if place is None:
        raise PolypError(f"{path}: is no DICOM file")
    file, number = place
    with open(file, "rb") as opened:
        return _frame(opened, str(file), header(file), number)


def decode(content: bytes, name: str, check: Callable[[tuple[int, int]], None] = lambda shape: None) -> np.ndarray:
    """The only frame of a file in memory, which `is_content` knows; pixels and PolypError as `read`.

    `check` gets its (H, W) before it is decoded, and may refuse it.
    """
    with BytesIO(content) as file:
        found = _checked(file, name, len(content))
        check((int(found.about.get("Rows") or 0), int(found.about.get("Columns") or 0)))
        return _frame(file, name, found, None)


def is_content(head: bytes) -> bool:
    """Whether a file that begins with these bytes, 132 or more, is DICOM."""
    return head[128:132] == MARK


def source_of(path: str | Path) -> tuple[Path, int | None]:
    """The file of a frame that `holds` knows, and its number from 1; None where the file was named by itself."""
    place = _place(Path(path))
    assert place is not None, path
    return place


def no_object(path: str | Path) -> str | None:
    """Why no DICOM object can refer to a frame that `holds` knows; None where one can, or where nothing can be read."""
    try:
        about = header(source_of(path)[0]).about
    except PolypError:
        return None
    missing = next((name for name in NEEDED if not about.get(name)), None)
    return f"has no {missing}, to which a DICOM object could refer" if missing else None


def burned_in_line(paths: Sequence[Path]) -> str:
    """One line on files that say so themselves."""
    says = "file says" if len(paths) == 1 else "files say"
    return (
        f"{len(paths)} DICOM {says} that text, maybe of the patient, is burned into the pixels (BurnedInAnnotation); "
        f"overlays show it: {shortened([str(path) for path in paths])}"
    )


def import_pydicom() -> ModuleType:
    """pydicom. Raises PolypError when it is not installed."""
    try:
        import pydicom
    except ImportError as error:
        raise PolypError("DICOM needs pydicom; install it with: pip install 'polyp_monai[dicom]'") from error
    return pydicom


def _place(path: Path) -> tuple[Path, int | None] | None:
    if _is_dicom(path):
        return path, None
    if path.name.isdecimal() and _is_dicom(path.parent):
        return path.parent, int(path.name)
    return None


def _is_dicom(path: Path) -> bool:
    if not os.path.isfile(path):
        return False
    return path.suffix.lower() in SUFFIXES or _has_mark(path)


def _has_mark(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(128)
            return file.read(4) == MARK
    except OSError:
        return False


@lru_cache(maxsize=64)
def _header(path: Path, modified: int, size: int) -> Header:
    with open(path, "rb") as file:
        return _checked(file, str(path), size)


def _checked(file: BinaryIO, name: str, size: int) -> Header:
    import_pydicom()
    file.seek(128)
    if file.read(4) != MARK:
        raise PolypError(f"{name}: is no DICOM file, or one without its head (no DICM at byte 128)")
    try:
        return _read_header(file, name, size)
    except (PolypError, OSError):
        raise
    except Exception as error:  # its text may hold what stood in the file, a name too
        raise PolypError(f"{name}: {_damaged(error)}") from None


def _read_header(file: BinaryIO, name: str, size: int) -> Header:
    from pydicom import dcmread
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    file.seek(132)
    head = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = UID(str(head.get("TransferSyntaxUID", "")))
    if not syntax:
        raise PolypError(f"{name}: does not say how it is encoded (no TransferSyntaxUID); is it damaged?")
    if syntax == DEFLATED:
        _check_inflated(file, name)
    file.seek(0)
    about = dcmread(file, specific_tags=list(TAGS), stop_before_pixels=True)
    kind = UID(str(about.file_meta.get("MediaStorageSOPClassUID") or about.get("SOPClassUID", "")))
    if kind not in PICTURES:
        raise OtherClassError(
            f"{name}: is DICOM, but no picture of a camera ({kind.name or 'of no class'}); VL Endoscopic, VL "
            "Photographic and Secondary Capture are read"
        )
    video = VIDEO.fullmatch(syntax) is not None
    frames = 0 if video else max(1, int(about.get("NumberOfFrames") or 1))
    if not video:
        _check_layout(about, name)
    fragments: tuple[tuple[int, int], ...] = ()
    if syntax != DEFLATED:  # of which dcmread reads the whole
        needed = 0 if video else frames * _frame_bytes(about)
        fragments = _check_pixels(file, name, syntax, needed, frames, size)
    return Header(frames, video, _rate(about), about.get("BurnedInAnnotation") == "YES", fragments, about)


def _rate(about: Dataset) -> float | None:
    milliseconds = float(about.get("FrameTime") or 0)
    rate = float(about.get("CineRate") or about.get("RecommendedDisplayFrameRate") or 0)
    rate = 1000 / milliseconds if milliseconds > 0 else rate
    return rate if 0 < rate <= 1000 else None


def _check_layout(about: Dataset, name: str) -> None:
    """Raises PolypError for what is no frame of 8-bit color or grey, nor one of 16-bit color."""
    width, height = int(about.get("Columns") or 0), int(about.get("Rows") or 0)
    if not width or not height:
        raise PolypError(f"{name}: holds no pixels")
    if width * height > LARGEST:
        raise PolypError(f"{name}: {width} x {height} pixels; a frame of at most {LARGEST:,} is read")
    color, samples = str(about.get("PhotometricInterpretation", "")), int(about.get("SamplesPerPixel") or 1)
    bits, stored = int(about.get("BitsAllocated") or 0), int(about.get("BitsStored") or 0)
    deep = (8,) if color in GREYS else (8, 16)
    fits = samples == (3 if color in COLORS else 1) and color in (*COLORS, *GREYS, PALETTE)
    whole = stored == bits or color == PALETTE
    if not fits or bits not in deep or not whole or int(about.get("PixelRepresentation") or 0):
        raise PolypError(
            f"{name}: {color or 'unknown color'}, {samples} x {stored} bits a pixel; read are RGB, YBR and palette "
            "color, and grey of 8 bits"
        )


def _frame_bytes(about: Dataset) -> int:
    """Bytes of an uncompressed frame."""
    halved = about.PhotometricInterpretation == "YBR_FULL_422"  # two pixels share their color
    samples = 2 if halved else int(about.get("SamplesPerPixel") or 1)
    return int(about.Rows) * int(about.Columns) * samples * int(about.BitsAllocated) // 8


def _check_pixels(
    file: BinaryIO, name: str, syntax: Any, needed: int, frames: int, size: int
) -> tuple[tuple[int, int], ...]:
    """Where the compressed pixels lie; `file` stands at their element. Raises PolypError when some are not there."""
    order = "<" if syntax.is_little_endian else ">"
    start = file.read(8)
    if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != (0x7FE0, 0x0010):
        raise PolypError(f"{name}: holds no pixels")
    length = struct.unpack(f"{order}L", start[4:] if syntax.is_implicit_VR else file.read(4))[0]
    if not syntax.is_compressed:
        if length < needed or size - file.tell() < length:
            there = min(length, size - file.tell())
            raise PolypError(f"{name}: {there:,} of {needed:,} bytes of its pixels are there; it is cut short")
        if needed:
            _check_not_more(length, needed, name)
        return ()
    if length != 0xFFFFFFFF:
        raise PolypError(f"{name}: says that its pixels are compressed, and they are not; is it damaged?")
    items = []
    while (head := file.read(8))[:4] == b"\xfe\xff\x00\xe0" and len(head) == 8:
        length = struct.unpack("<L", head[4:])[0]
        items.append((file.tell(), length))
        if file.tell() + length > size:
            break
        file.seek(length, os.SEEK_CUR)
    if head[:4] != b"\xfe\xff\xdd\xe0":
        raise PolypError(f"{name}: its pixels do not end; it is cut short or damaged")
    if len(items) - 1 < max(1, frames):  # the first is a table
        raise PolypError(f"{name}: announces {counted(frames, 'frame')} and holds {len(items) - 1}; it is cut short")
    return tuple(items[1:])


def _check_not_more(length: int, needed: int, name: str) -> None:
    """Raises PolypError where there are more bytes than the layout says, but for the one that makes them even."""
    if length > needed + needed % 2:
        raise PolypError(
            f"{name}: holds {length:,} bytes of pixels, and its size, colors and frames make {needed:,}; damaged?"
        )


def _check_inflated(file: BinaryIO, name: str) -> None:
    """Raises PolypError for a small file that unfolds to a huge one; `file` stands where the deflated part begins."""
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    waiting = file.read(2**20)
    while waiting and not inflater.eof:
        total += len(inflater.decompress(waiting, 2**24))
        if total > INFLATED:
            raise PolypError(f"{name}: unfolds to more than {INFLATED // 2**20} MiB; not read")
        waiting = inflater.unconsumed_tail or file.read(2**20)
    if not inflater.eof:
        raise PolypError(f"{name}: its deflated data do not end; it is cut short or damaged")


def _frame(file: BinaryIO, name: str, found: Header, number: int | None) -> np.ndarray:
    if found.video:
        raise PolypError(f"{name}: is a video; `polyp video` follows the polyps in it")
    if number is None and found.frames > 1:
        raise PolypError(f"{name}: holds {found.frames} frames; name one, as {name}/1")
    if number is not None and not 1 <= number <= found.frames:
        raise PolypError(f"{name}/{number}: no such frame; there are {found.frames}, numbered from 1")
    return _decode(file, name, found, (number or 1) - 1)


def _decode(file: BinaryIO, name: str, found: Header, index: int) -> np.ndarray:
    from pydicom.pixels import apply_color_lut, convert_color_space

    about, color = found.about, found.about.PhotometricInterpretation
    try:
        if about.file_meta.TransferSyntaxUID in LOSSLESS_JPEG:
            pixels = _lossless_jpeg(_stream(file, name, found, index), name)
            pixels = convert_color_space(pixels, "YBR_FULL", "RGB") if color == "YBR_FULL" else pixels
        else:
            pixels = _by_pydicom(file, name, about, index)
        if color == PALETTE:
            pixels = apply_color_lut(pixels, about)
            pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    except PolypError:
        raise
    except Exception as error:
        raise PolypError(f"{name}: {_damaged(error)}") from error
    if pixels.shape[:2] != (about.Rows, about.Columns):
        raise PolypError(
            f"{name}: its pixels are {pixels.shape[1]} x {pixels.shape[0]}, and it says otherwise; damaged?"
        )
    return np.uint8(255) - pixels if color == "MONOCHROME1" else pixels


def _by_pydicom(file: BinaryIO, name: str, about: Dataset, index: int) -> np.ndarray:
    from pydicom import dcmread
    from pydicom.pixels import get_decoder, pixel_array

    syntax, plugin = about.file_meta.TransferSyntaxUID, ""
    if syntax.is_encapsulated:
        try:
            there = get_decoder(syntax).available_plugins
        except NotImplementedError:
            there = ()
        plugin = next((plugin for plugin in DECODERS if plugin in there), "")
        if not plugin:
            raise PolypError(f"{name}: its compression, {syntax.name}, is not known here; decompress it first")
    source: Any = file
    if syntax == DEFLATED:
        source = dcmread(file, specific_tags=[*TAGS, "PixelData"])
        frames = max(1, int(about.get("NumberOfFrames") or 1))
        _check_not_more(len(source.PixelData), frames * _frame_bytes(about), name)
    return pixel_array(source, index=index, decoding_plugin=plugin)


def _stream(file: BinaryIO, name: str, found: Header, index: int) -> bytes:
    """The compressed bytes of a frame."""
    if found.frames not in (1, len(found.fragments)):
        raise PolypError(f"{name}: its frames are in several pieces each; decompress it first")
    content = b""
    for offset, length in found.fragments if found.frames == 1 else [found.fragments[index]]:
        file.seek(offset)
        content += file.read(length)
    return content


def _lossless_jpeg(content: bytes, name: str) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8, by FFmpeg: pydicom's decoders of it are under the GPL, or abort on damaged files."""
    try:
        import av
    except ImportError as error:
        line = "JPEG Lossless needs PyAV; install it with: pip install 'polyp_monai[dicom]'"
        raise PolypError(f"{name}: {line}") from error
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    picture = [*decoder.decode(av.Packet(content)), *decoder.decode(None)][0]
    pixels = picture.to_ndarray()
    if picture.format.name == "bgr24":  # of any three components, the last first
        return np.ascontiguousarray(pixels[..., ::-1])
    if picture.format.name != "gray":
        raise PolypError(f"{name}: JPEG Lossless of a layout that is not read ({picture.format.name})")
    return pixels


def _damaged(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__}); is it damaged or cut short?"
