from __future__ import annotations

import http.server
import re
import sys
import tarfile
import threading
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from polyp_monai.errors import PolypError
from polyp_monai.video.address import open_source
from tests.video.clips import SIZE, read, scene, write


def test_absent_and_empty_inputs(tmp_path):
    (tmp_path / "empty").mkdir()
    for address, reason in (
        (tmp_path / "a.mp4", "no such file"),
        (tmp_path / "empty", "no images there"),
        (tmp_path / "*.png", "no images there"),
        (tmp_path / "a.png", "no such file"),
        ("http://127.0.0.1:9/a.mp4", "cannot be opened"),
        ("nonsense://a", "cannot be opened"),
    ):
        with pytest.raises(PolypError, match=reason) as error:
            open_source(address)
        assert "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux")
def test_an_absent_camera():
    for address in ("camera:97", "/dev/video97"):
        with pytest.raises(PolypError, match="no such camera; /dev/video97 is not there"):
            open_source(address)


def test_an_image_sequence_in_the_order_of_its_numbers(tmp_path):
    for index in (10, 9, 2, 1, 100):
        Image.fromarray(scene(index)).save(tmp_path / f"frame{index}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    for address in (tmp_path, tmp_path / "*.png", f"{tmp_path}/frame*"):
        frames, source = read(address)
        assert [int(f.image.min()) - 20 for f in frames] == [1, 2, 9, 10, 100]
        assert [f.time for f in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
        assert (source.rate, source.count, source.live, source.size) == (25, 5, False, SIZE)
    assert [f.time for f in read(tmp_path, rate=2)[0]] == pytest.approx([0, 0.5, 1, 1.5, 2])
    frames, source = read(tmp_path / "frame2.png")
    assert (len(frames), source.count) == (1, 1)


def test_a_damaged_image_is_left_out_of_its_sequence(tmp_path):
    for index in range(4):
        Image.fromarray(scene(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    (tmp_path / "2.png").unlink()
    (tmp_path / "2.png").symlink_to("../annex/none")
    frames, source = read(tmp_path)
    assert [(f.index, f.time) for f in frames] == [(1, 0), (3, pytest.approx(0.08))]
    assert source.damaged.keys() == {0, 2}
    assert re.search(r"0\.png: cannot be read", source.damaged[0])
    assert re.search(r"2\.png: a link to \.\./annex/none", source.damaged[2])
    assert source.broken is None
    for name in ("1.png", "3.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(PolypError, match=r"no frame can be read .*0\.png"):
        open_source(tmp_path)


def test_photos_of_a_sequence_are_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene(1)).save(tmp_path / "1.png", exif=exif)
    (frame,), source = read(tmp_path)
    assert source.size == SIZE[::-1]
    assert np.array_equal(frame.image, np.rot90(scene(1), -1))


def test_names_with_colons_and_brackets(tmp_path):
    for name in ("http:a.mp4", "clip[1].mp4"):
        assert len(read(write(tmp_path / name, [0, 0.04]))[0]) == 2


def test_a_wrong_rate(tmp_path):
    for rate in (0, -1, 1e6, float("nan")):
        with pytest.raises(PolypError, match=r"rate .*: expected frames a second"):
            open_source(tmp_path, rate=rate)


def test_a_network_stream_is_live_and_hides_its_password(tmp_path):
    write(tmp_path / "a.mp4", np.arange(10) / 25)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        frames, source = read(f"http://me:secret@{address}/a.mp4")
        assert len(frames) == 10
        assert (source.live, source.count, source.name) == (True, None, f"http://{address}/a.mp4")
        with pytest.raises(PolypError, match="cannot be opened") as error:
            open_source(f"http://me:secret@{address}/absent.mp4")
        assert "secret" not in str(error.value)
    finally:
        server.shutdown()
        server.server_close()


def test_pictures_in_an_archive_are_no_video(tmp_path):
    """FFmpeg finds the JPEGs in a zip or a tar, and takes them for frames."""
    pytest.importorskip("av")
    for index in range(12):
        Image.fromarray(scene(index)).save(tmp_path / f"{index}.jpg")
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as packed, tarfile.open(tmp_path / "frames.tar", "w") as tape:
        for path in sorted(tmp_path.glob("*.jpg")):
            packed.write(path, path.name)
            tape.add(path, path.name)
    for name in ("frames.zip", "frames.tar"):
        with pytest.raises(PolypError, match=r"is no video.*unpack it"):
            open_source(tmp_path / name)
    (tmp_path / "clip.mjpeg").write_bytes(b"".join(path.read_bytes() for path in tmp_path.glob("*.jpg")))
    assert len(read(tmp_path / "clip.mjpeg")[0]) == 12
