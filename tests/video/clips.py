"""Clips that tell their frames apart, written and read back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from polyp_monai.video.address import open_source
from polyp_monai.video.sink import VideoSink

av = pytest.importorskip("av")

SIZE = (160, 96)


def scene(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A textured picture whose grey tells its index; textured, so that a video of it has some bytes to damage."""
    noise = np.random.default_rng(index).integers(0, 30, (size[1] // 4 + 1, size[0] // 4 + 1), dtype=np.uint8)
    grey = noise.repeat(4, axis=0).repeat(4, axis=1)[: size[1], : size[0]] + np.uint8(20 + index)
    return np.repeat(grey[..., None], 3, axis=2)


def write(path: Path, times, size=SIZE) -> Path:
    with VideoSink(path, size, 25) as sink:
        for index, seconds in enumerate(times):
            sink.write(scene(index, size), seconds)
    return path


def encode(path: Path, count=40, codec="libx264", size=SIZE, options=None, muxing=None, prepare=None, **tags) -> Path:
    """A video of `count` frames at 25 frames a second, made with PyAV alone."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"b": "4M", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if prepare:
            prepare(stream)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(scene(index, size), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt, **tags)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(address, **options):
    """(frames, source) after the iteration."""
    with open_source(address, **options) as source:
        return list(source), source


def check_prefix(frames, count=40):
    """The frames are the first of the clip, in order, undamaged."""
    assert 0 < len(frames) < count
    for index, frame in enumerate(frames):
        assert frame.index == index
        assert np.abs(frame.image.astype(int) - scene(index)).mean() < 4
