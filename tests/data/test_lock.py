"""One run at a time in a folder, and no lock that outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from polyp_monai.data import lock
from polyp_monai.errors import PolypError

HOLDER = """
import sys, time
from polyp_monai.data import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_of_the_first_and_a_dead_one_holds_nothing(tmp_path):
    process = holder(tmp_path / "out")
    told = rf"out: another run is writing there \(process {process.pid} on .*give another --out"
    with pytest.raises(PolypError, match=told), lock.held(tmp_path / "out"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out" / lock.NAME).exists()
    with lock.held(tmp_path / "out"):
        assert str(os.getpid()) in (tmp_path / "out" / lock.NAME).read_text()


def test_the_folder_is_left_as_it_was(tmp_path):
    with lock.held(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with lock.held(tmp_path / "a/b"):
        (tmp_path / "a/b/mask.png").touch()
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["mask.png"]


def test_files_of_one_folder_are_apart(tmp_path):
    again = lock.held(tmp_path, "a.mp4")
    told = pytest.raises(PolypError, match=r"a\.mp4: another run is writing there")
    with lock.held(tmp_path, "a.mp4"), lock.held(tmp_path, "b.mp4"), told, again:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PolypError, match="file: is a file; give the name of a folder"), lock.held(tmp_path / "file"):
        pass
