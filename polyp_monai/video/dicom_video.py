"""DICOM as a source of frames: the stream of a Video Endoscopic Image, or the frames of a multi-frame image."""

from __future__ import annotations

import io
import logging
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

from polyp_monai.data import dicom
from polyp_monai.video.container import open_container
from polyp_monai.video.source import RATE, Source, read_images

logger = logging.getLogger(__name__)


def open_dicom(path: Path, rate: float | None) -> Source:
    """Source of a DICOM file. The stream's own size and rate win over the tags (PS3.5 8.2.7).

    Args:
        path: the file, or one of its frames, which `dicom.holds` knows.
        rate: frames a second where the stream tells none; by default those of the tags, else 25.

    Raises:
        PolypError: as `dicom.header`, or as `open_container`.
    """
    file, number = dicom.source_of(path)
    about = dicom.header(file)
    if about.burned_in:
        logger.warning(dicom.burned_in_line([file]))
    rate = rate or about.rate
    if not about.video:
        frames = [path] if number else dicom.frames_of(file)
        return Source(path.name, read_images(frames, rate or RATE), rate or RATE, len(frames))
    stream = Fragments(file, about.fragments)
    try:
        return open_container(cast(BinaryIO, stream), path.name, rate, live=False)
    except BaseException:
        stream.close()
        raise


class Fragments(io.RawIOBase):
    """The pieces of compressed pixels of a DICOM file as one stream, however long: none of it is held in memory.

    Args:
        path: the file.
        pieces: (offset, length) of each, in bytes.
    """

    def __init__(self, path: Path, pieces: Sequence[tuple[int, int]]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  closed by close
        self._pieces = pieces
        self._starts = [0, *accumulate(length for _, length in pieces)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        index = bisect_right(self._starts, self._at) - 1
        if index >= len(self._pieces):
            return 0
        offset, length = self._pieces[index]
        inside = self._at - self._starts[index]
        self._file.seek(offset + inside)
        taken = self._file.readinto(memoryview(buffer)[: length - inside])
        self._at += taken
        return taken

    def close(self) -> None:
        self._file.close()
        super().close()
