from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from polyp_monai.errors import PolypError, exit_status
from polyp_monai.video.sink import VideoSink

av = pytest.importorskip("av")

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (0, 0, 0), (200, 110, 90)]


def scene(index: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A picture that tells its index by its grey."""
    return np.full((size[1], size[0], 3), 20 + index * 5, np.uint8)


def write(path, times, size=(96, 64), rate=25, **options):
    with VideoSink(path, size, rate, **options) as sink:
        for index, seconds in enumerate(times):
            sink.write(scene(index, size), seconds)


def read(path):
    """(times in seconds, mean greys) as FFmpeg finds them."""
    with av.open(str(path)) as container:
        frames = [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]
    return [t for t, _ in frames], [g for _, g in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_of_a_variable_rate_are_kept(tmp_path, suffix):
    times = [0.0, 1 / 30, 0.1, 0.5, 0.511, 2.0, 2.04]
    write(tmp_path / f"a{suffix}", times)
    found, greys = read(tmp_path / f"a{suffix}")
    assert found == pytest.approx(times, abs=0.0006 if suffix == ".mkv" else 1e-5)
    assert greys == pytest.approx([20 + 5 * i for i in range(7)], abs=2)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_last_frame_lasts(tmp_path):
    write(tmp_path / "a.mp4", [0, 0.5, 1.0], rate=10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1.1, abs=0.002)


def test_what_browsers_need(tmp_path):
    write(tmp_path / "a.mp4", np.arange(10) / 25)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"avc1" in content
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (6, 1)  # BT.601, limited: what the pixels are made by


def test_saturated_colors_come_back(tmp_path):
    image = np.repeat(np.array(COLORS, np.uint8), 32, axis=0)[None].repeat(64, axis=0)
    with VideoSink(tmp_path / "a.mp4", (image.shape[1], 64), 25) as sink:
        for index in range(3):
            sink.write(image, index / 25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        for frame in container.decode(video=0):
            found = frame.to_ndarray(format="rgb24").astype(int)
            for i, color in enumerate(COLORS):
                assert np.abs(found[:, i * 32 + 4 : i * 32 + 28] - color).max() <= 6


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64), (50, 70), (3, 5)])
def test_an_odd_side_repeats_its_edge(tmp_path, size):
    write(tmp_path / "a.mp4", [0, 0.04], size)
    with av.open(str(tmp_path / "a.mp4")) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert image.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    assert np.abs(image.astype(int) - 20).max() <= 2


def test_refusals_come_before_any_work(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    for name, reason in (("old.mp4", "exists already"), ("a.avi", r"\.mp4, \.mov, \.mkv"), ("a", "unknown kind")):
        with pytest.raises(PolypError, match=reason):
            VideoSink(tmp_path / name, (96, 64), 25)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PolypError, match="is a folder"):
        VideoSink(tmp_path / "folder.mp4", (96, 64), 25, overwrite=True)
    with pytest.raises(PolypError, match=r"old\.mp4: is a file"):
        VideoSink(tmp_path / "old.mp4" / "a.mp4", (96, 64), 25)
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


def test_a_missing_folder_is_made_and_overwriting_allowed(tmp_path):
    path = tmp_path / "new" / "deep" / "a.mp4"
    write(path, [0, 0.04])
    write(path, [0, 0.04, 0.08], overwrite=True)
    assert len(read(path)[0]) == 3


def test_without_a_frame_nothing_appears(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    with VideoSink(tmp_path / "a.mp4", (96, 64), 25), VideoSink(tmp_path / "old.mp4", (96, 64), 25, overwrite=True):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"old.mp4"}
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


def test_an_interrupt_leaves_a_playable_file(tmp_path):
    def run():
        with VideoSink(tmp_path / "a.mp4", (96, 64), 25) as sink:
            for index in range(10):
                sink.write(scene(index), index / 25)
            raise KeyboardInterrupt

    assert exit_status(run) == 130
    assert len(read(tmp_path / "a.mp4")[0]) == 10


def test_an_interrupt_amid_writing_loses_the_tail_alone(tmp_path):
    def run():
        with VideoSink(tmp_path / "a.mp4", (96, 64), 25) as sink:

            def interrupted(frame):
                sink._stream.encode(frame)
                raise KeyboardInterrupt  # with a packet lost that the next ones would build on

            for index in range(20):
                sink.write(scene(index), index / 25)
            sink._mux = interrupted
            sink.write(scene(20), 20 / 25)

    assert exit_status(run) == 130
    _, greys = read(tmp_path / "a.mp4")
    assert 15 <= len(greys) <= 20
    assert greys == pytest.approx([20 + 5 * i for i in range(len(greys))], abs=2)


def test_closing_twice_and_writing_afterwards(tmp_path):
    sink = VideoSink(tmp_path / "a.mp4", (96, 64), 25)
    sink.write(scene(0), 0)
    sink.close()
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink.write(scene(1), 1)


def test_closing_while_another_thread_writes(tmp_path):
    sink = VideoSink(tmp_path / "a.mp4", (96, 64), 25)
    written = []

    def work():
        try:
            for index in range(100_000):
                sink.write(scene(index % 40), index / 25)
                written.append(index)
        except ValueError:
            return

    thread = threading.Thread(target=work)
    thread.start()
    while len(written) < 20:
        time.sleep(0.001)
    sink.close()
    thread.join()
    assert len(read(tmp_path / "a.mp4")[0]) == len(written)


def test_wrong_frames_are_refused(tmp_path):
    with VideoSink(tmp_path / "a.mp4", (96, 64), 25) as sink:
        sink.write(scene(0), 0)
        for image, seconds in ((scene(0, (64, 96)), 1), (scene(0), 0), (scene(0), float("nan")), (scene(0), -1)):
            with pytest.raises(ValueError, match=r"shape|come after"):
                sink.write(image, seconds)
    assert len(read(tmp_path / "a.mp4")[0]) == 1


def test_times_closer_than_a_tick_stay_apart(tmp_path):
    write(tmp_path / "a.mp4", [0, 1e-7, 2e-7, 0.04])
    found, _ = read(tmp_path / "a.mp4")
    assert len(found) == 4
    assert (np.diff(found) > 0).all()


class FullDisk:
    """A container on a disk without space."""

    def mux(self, packet):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "x")

    def close(self):
        self.mux(None)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, capsys):
    def run():
        with VideoSink(tmp_path / "a.mp4", (96, 64), 25) as sink:
            sink.write(scene(0), 0)
            sink._container = FullDisk()
            for index in range(1, 20):
                sink.write(scene(index), index)

    assert exit_status(run) == 1
    line = f"polyp: error: {tmp_path / 'a.mp4'}: the disk is full; free some space and run it again\n"
    assert capsys.readouterr().err == line
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys, numpy as np
from polyp_monai.errors import exit_status
from polyp_monai.video.sink import VideoSink

def run():
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    with VideoSink(sys.argv[1], (320, 256), 25) as sink:
        for index in range(int(sys.argv[2])):
            sink.write(np.roll(noise, index * 7, axis=1), index / 25)
            if index == 30:
                print("written", flush=True)

sys.exit(exit_status(run))
"""


def start(path, frames, *before):
    command = [*before, sys.executable, "-c", WRITER, str(path), str(frames)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_tiny_file_system_fills_up(tmp_path):
    mounted = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=200k none "$0" && exec "$@"', str(tmp_path)]
    try:
        subprocess.run([*mounted, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    _, err = (process := start(tmp_path / "a.mp4", 300, *mounted)).communicate(timeout=60)
    assert process.returncode == 1
    assert err == f"polyp: error: {tmp_path / 'a.mp4'}: the disk is full; free some space and run it again\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_signals(tmp_path, number):
    process = start(tmp_path / "a.mp4", 10**9)
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert not (tmp_path / "a.mp4").exists()
    else:
        assert process.returncode == 130
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
        assert len(read(tmp_path / "a.mp4")[0]) >= 30
