"""Frames out of the middle of a video are those that a reading from its start gives."""

from __future__ import annotations

import numpy as np
import pytest

from polyp_monai.errors import PolypError
from polyp_monai.video.address import open_source
from tests.video.clips import encode

stretch = pytest.importorskip("polyp_monai.video.stretch").stretch


@pytest.mark.parametrize("options", [{}, {"g": "8", "bf": "3"}, {"bf": "0"}])
def test_frames_by_number(tmp_path, options):
    path = encode(tmp_path / "clip.mp4", 40, options=options)
    with open_source(path) as source:
        every = {frame.index: frame.image for frame in source}
    for first, last in ((0, 0), (0, 39), (17, 23), (39, 39)):
        found = list(stretch(path, first, last))
        assert [number for number, _ in found] == list(range(first, last + 1))
        assert all(np.array_equal(image, every[number]) for number, image in found)


def test_what_cannot_be_read_is_one_line(tmp_path):
    path = encode(tmp_path / "clip.mp4", 10)
    with pytest.raises(PolypError, match="has 10 frames, and 10 is asked for"):
        list(stretch(path, 3, 10))
    (tmp_path / "text.mp4").write_text("words")
    with pytest.raises(PolypError, match=r"text\.mp4: cannot be read as a video"):
        list(stretch(tmp_path / "text.mp4", 0, 1))
