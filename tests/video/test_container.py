from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from polyp_monai.errors import PolypError
from polyp_monai.video import container
from polyp_monai.video.address import open_source
from polyp_monai.video.sink import VideoSink
from tests.video.clips import SIZE, check_prefix, encode, read, scene, write

av = pytest.importorskip("av")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_of_a_variable_rate(tmp_path, suffix):
    times = [0.0, 1 / 30, 0.1, 0.5, 0.511, 2.0, 2.04]
    frames, source = read(write(tmp_path / f"a{suffix}", times))
    assert [f.time for f in frames] == pytest.approx(times, abs=0.0006 if suffix == ".mkv" else 1e-5)
    assert [f.index for f in frames] == list(range(7))
    assert (source.size, source.live, source.broken, source.rescaled) == (SIZE, False, None, 0)
    for index, frame in enumerate(frames):
        assert frame.image.shape == (SIZE[1], SIZE[0], 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.writeable
        assert np.abs(frame.image.astype(int) - scene(index)).mean() < 4


def test_time_starts_at_the_first_frame(tmp_path):
    frames, _ = read(write(tmp_path / "a.mp4", [7.0, 7.04, 7.1]))
    assert [f.time for f in frames] == pytest.approx([0, 0.04, 0.1], abs=1e-4)


def test_rate_and_count(tmp_path):
    _, source = read(write(tmp_path / "a.mp4", np.arange(30) / 12.5))
    assert source.name == "a.mp4"
    assert source.rate == pytest.approx(12.5, rel=0.03)
    assert source.count == 30


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "mpeg4", {}),
        ("b.avi", "mpeg4", {"bf": "2"}),
        ("a.avi", "libx264", {}),  # with frames out of order, for which AVI has no times
        ("a.avi", "mjpeg", {}),
        ("a.mov", "mpeg4", {}),
        ("a.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.ts", "libx264", {}),
        ("a.mpg", "mpeg2video", {}),
        ("a.h264", "libx264", {}),  # no times at all
    ],
)
def test_containers_and_codecs(tmp_path, name, codec, options):
    frames, source = read(encode(tmp_path / name, 20, codec, options=options))
    assert len(frames) == 20
    assert source.broken is None
    assert [f.time for f in frames] == pytest.approx(np.arange(20) / 25, abs=0.002)
    assert source.rate == pytest.approx(25)


def test_a_video_without_times_takes_the_given_rate(tmp_path):
    frames, source = read(encode(tmp_path / "a.h264", 5), rate=10)
    assert source.rate == 10
    assert [f.time for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, degrees, mirrored):
    upright = np.zeros((96, 160, 3), np.uint8)
    upright[:48, :80], upright[:48, 80:], upright[48:, :80] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.pix_fmt = "yuv420p"
        # a player turns the stored picture counterclockwise, then mirrors it: undone here
        stream.set_display_rotation(degrees, hflip=mirrored)
        stored = np.rot90(upright[:, ::-1] if mirrored else upright, -degrees // 90)
        stream.width, stream.height = stored.shape[1], stored.shape[0]
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, source = read(tmp_path / "a.mp4")
    assert source.size == (160, 96)
    assert np.abs(frames[0].image.astype(int) - upright).mean() < 4


def test_a_telephone_held_upright_turns_clockwise(tmp_path):
    def turned(stream):
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])  # as telephones write it: "rotate 90"

    frames, source = read(encode(tmp_path / "a.mp4", 2, prepare=turned))
    assert source.size == SIZE[::-1]
    assert np.abs(frames[0].image.astype(int) - np.rot90(scene(0), -1)).mean() < 4


@pytest.mark.parametrize("matrix", ["ITU601", "ITU709"])
@pytest.mark.parametrize("limits", ["MPEG", "JPEG"])
def test_colors_by_the_tags(tmp_path, matrix, limits):
    colors = [(220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 40), (250, 250, 250), (5, 5, 5)]
    image = np.repeat(np.array(colors, np.uint8), 32, axis=0)[None].repeat(64, axis=0)
    tags = {"dst_colorspace": matrix, "src_color_range": "JPEG", "dst_color_range": limits}
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], 64, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = {"ITU601": 6, "ITU709": 1}[matrix], {"MPEG": 1, "JPEG": 2}[limits]
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", **tags)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, _ = read(tmp_path / "a.mkv")
    for i, color in enumerate(colors):
        assert np.abs(frames[0].image[:, i * 32 + 4 : i * 32 + 28].astype(int) - color).max() <= 6


def test_other_streams_are_passed_over(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.mux(sound.encode(_silence(seconds=3)))  # longer than the picture: that is no break
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(scene(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, source = read(tmp_path / "a.mkv")
    assert len(frames) == 5
    assert source.broken is None


def _silence(seconds):
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * seconds), np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    return frame


@pytest.mark.parametrize(
    ("name", "codec", "muxing"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "mpeg4", {}),
        ("a.avi", "mjpeg", {}),
        ("a.webm", "libvpx", {}),
    ],
)
def test_a_truncated_file_gives_its_good_frames(tmp_path, name, codec, muxing):
    hurry = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else {}
    path = encode(tmp_path / name, codec=codec, options=hurry, muxing=muxing)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.45)])
    frames, source = read(path)
    check_prefix(frames)
    assert len(frames) > 8
    last = frames[-1]
    assert source.broken.startswith(f"{name}: breaks after frame {last.index} ({last.time:.2f} s): ")
    assert "\n" not in source.broken


@pytest.mark.parametrize("damage", ["noise", "zeros"])
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_a_damaged_middle_ends_the_frames_before_it(tmp_path, name, codec, damage):
    path = encode(tmp_path / name, codec=codec, options={"bf": "0", "g": "250", "sc_threshold": "0"})
    content = bytearray(path.read_bytes())
    middle, length = len(content) // 2, 4000
    filling = (
        np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes() if damage == "noise" else bytes(length)
    )
    content[middle : middle + length] = filling
    path.write_bytes(content)
    frames, source = read(path)
    check_prefix(frames)
    assert len(frames) > 8
    assert source.broken.startswith(f"{name}: breaks after frame {frames[-1].index} (")


@pytest.mark.parametrize("damage", ["noise", "zeros"])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"g": "8", "bf": "0"}),
        ("a.mkv", "libx264", {"g": "8", "bf": "2"}),
        ("a.mov", "mpeg4", {"g": "8"}),
    ],
)
def test_behind_a_damage_it_goes_on_at_the_next_key_frame(tmp_path, name, codec, options, damage):
    path = encode(tmp_path / name, codec=codec, options=options)
    content = bytearray(path.read_bytes())
    middle, length = len(content) // 2, 3000
    filling = (
        np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes() if damage == "noise" else bytes(length)
    )
    content[middle : middle + length] = filling
    path.write_bytes(content)
    frames, source = read(path)
    assert source.broken is None
    assert 0 < len(source.damaged) < 25
    assert len(frames) + len(source.damaged) == 40
    assert frames[-1].index == 39
    for frame in frames:  # each in its place, and none of them smeared
        assert np.abs(frame.image.astype(int) - scene(frame.index)).mean() < 4
        assert frame.time == pytest.approx(frame.index / 25, abs=0.002)


def test_a_stream_that_falls_silent_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "PATIENCE", 1.0)
    with pytest.raises(PolypError, match="nothing came for 1 s: its sender has stopped"):
        open_source("udp://127.0.0.1:45671")


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 50, bytes(5000)])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a"])
def test_other_content_is_one_clear_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PolypError, match=rf"{name}: .*(empty|cannot be opened as a video|text file)") as error:
        open_source(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_mp4_without_its_end_is_one_clear_line(tmp_path):
    content = encode(path := tmp_path / "a.mp4").read_bytes()  # its table of frames stands at the end
    table = content.rindex(b"moov")
    for end in (table, table + 250):  # without the table, and with the first part of it
        path.write_bytes(content[:end])
        with pytest.raises(PolypError, match="An mp4 without its end cannot be read") as error:
            open_source(path)
        assert "\n" not in str(error.value)


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        container.mux(container.add_stream("pcm_s16le", rate=8000).encode(_silence(seconds=1)))
    with pytest.raises(PolypError, match="holds no video, only audio"):
        open_source(tmp_path / "a.wav")


def test_zero_frames(tmp_path):
    path = encode(tmp_path / "a.avi", 1, "mjpeg")
    content = path.read_bytes()
    start = content.index(b"movi")
    path.write_bytes(content[: start + 4])
    with pytest.raises(PolypError, match=r"a\.avi: (holds no frames|no frame can be read|cannot be opened)"):
        open_source(path)


def test_an_unknown_codec(tmp_path):
    path = encode(tmp_path / "a.avi", 3, "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"zzzz"))
    with pytest.raises(PolypError, match=r"a\.avi: its codec is unknown"):
        open_source(path)


def test_nothing_of_ffmpeg_reaches_stderr(tmp_path):
    path = encode(tmp_path / "a.mp4", muxing={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = bytes(500)
    path.write_bytes(content)
    code = f"from polyp_monai.video.address import open_source; print(len(list(open_source({str(path)!r}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert int(done.stdout) > 5
    assert done.stderr == ""


def test_without_pyav_the_line_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [0])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PolypError, match=re.escape("pip install 'polyp_monai[video]'")):
        open_source(path)
    with pytest.raises(PolypError, match=re.escape("pip install 'polyp_monai[video]'")):
        VideoSink(tmp_path / "b.mp4", SIZE, 25)
