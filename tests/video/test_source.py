from __future__ import annotations

import threading

import numpy as np
import pytest

from polyp_monai.video.address import open_source
from polyp_monai.video.source import _Clock
from tests.video.clips import SIZE, encode, read, write


def test_a_size_that_changes_is_fitted_into_the_first(tmp_path):
    parts = [encode(tmp_path / f"{n}.ts", 10, size=size).read_bytes() for n, size in enumerate([SIZE, (96, 96)])]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    frames, source = read(tmp_path / "a.ts")
    assert len(frames) == 20
    assert source.rescaled == 10
    assert {f.image.shape for f in frames} == {(96, 160, 3)}
    assert frames[15].image[:, :30].max() <= 2  # black, then the picture with its aspect kept
    assert frames[15].image[:, 36:124].min() > 15
    steps = np.diff([f.time for f in frames])  # the second part's times start again
    assert (steps > 0).all()
    assert steps.max() < 0.1


def test_closing_ends_the_iteration(tmp_path):
    source = open_source(write(tmp_path / "a.mp4", np.arange(10) / 25))
    assert next(source).index == 0
    source.close()
    source.close()
    assert list(source) == []


def test_closing_while_another_thread_reads(tmp_path):
    source = open_source(encode(tmp_path / "a.mp4", 100))
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    source.close()
    thread.join()
    assert len(seen) <= 100


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ([3.0, 3.1, 3.2], [0, 0.1, 0.2]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([None, 5.0, 5.1], [0, 0.1, 0.2]),
        ([0, 0.1, None, 0.3], [0, 0.1, 0.2, 0.3]),
        ([0, 0.1, 0.1, 0.3], [0, 0.1, 0.15, 0.3]),
        ([0, 0.1, 9.0, 0.0, 0.1], [0, 0.1, 9.0, 9.1, 9.2]),  # two recordings joined
    ],
)
def test_clock(declared, expected):
    clock = _Clock(0.1)
    assert [clock.tick(seconds) for seconds in declared] == pytest.approx(expected)
