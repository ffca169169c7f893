"""Open whatever holds frames by its address: a video file, an image sequence, a camera or a network stream."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path

from polyp_monai.data import dicom, files, search
from polyp_monai.errors import PolypError
from polyp_monai.video.container import open_camera, open_container, without_password
from polyp_monai.video.dicom_video import open_dicom
from polyp_monai.video.source import RATE, Source, read_images

logger = logging.getLogger(__name__)
STREAM = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
CAMERA = re.compile(r"camera:(\d+)|/dev/video(\d+)")


def open_source(address: str | Path, rate: float | None = None) -> Source:
    """Open whatever holds frames.

    Args:
        address: a video file, DICOM too; an image, a folder of images or a glob of them (an image sequence, in the
            order of the numbers in their names); "camera:0" or /dev/video0; or the address of a stream (rtsp://,
            http://, udp://).
        rate: frames a second of an image sequence (25) and of a video that tells no times; what a camera is asked for.

    Raises:
        PolypError: nothing there, no video in it, an unknown codec, no frames, or PyAV is not installed.
    """
    text = str(address)
    if rate is not None and not 0 < rate <= 1000:
        raise PolypError(f"rate {rate:g}: expected frames a second, above 0 and up to 1000")
    if camera := CAMERA.fullmatch(text):
        return open_camera(text, int(camera[1] or camera[2]), rate)
    if STREAM.match(text):
        options = {"rtsp_transport": "tcp"} if text.lower().startswith("rtsp") else {}
        return open_container(text, without_password(text), rate, live=True, options=options)
    path = Path(text.removeprefix("file://"))
    if path.is_dir() or (not path.exists() and glob.has_magic(str(path))):
        return _open_images(path, rate or RATE)
    if not path.exists():
        raise PolypError(f"{path}: no such file; a video, a folder of images, camera:0 or a stream address is expected")
    if dicom.holds(path):
        return open_dicom(path, rate)
    if files.suffix_of(path) in files.SUFFIXES:
        return _open_images(path, rate or RATE)
    if path.stat().st_size == 0:
        raise PolypError(f"{path}: is empty (0 bytes); copy or record it again")
    url = f"file:{path.absolute()}"  # "file:" because names may hold colons
    return open_container(url, path.name, rate, live=False)


def _open_images(path: Path, rate: float) -> Source:
    if path.is_dir():
        found = search.search(path, recursive=False)
    else:
        found = search.Found()
        for name in [path] if path.is_file() else map(Path, glob.glob(str(path), recursive=True)):
            if not name.is_dir():
                for entry in search.entries_of(str(name)):
                    found.add(entry)
    if not found.images:
        raise PolypError(f"{path}: no images there; known formats are {', '.join(files.SUFFIXES)}")
    if found.others:
        logger.warning(search.passed_over_line(found.others))
    frames = sorted([*found.images, *found.unreadable], key=_natural)  # what cannot be read has its place too
    return Source(path.name or str(path), read_images(frames, rate), rate, len(frames))


def _natural(path: Path) -> list[str | int]:
    """Sorting key by which frame2 comes before frame10."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", str(path))]
