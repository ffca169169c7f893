"""`polyp video` as a user runs it: a clip with a red square that comes and goes, and a network that sees red."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from polyp_monai.cli.main import main

av = pytest.importorskip("av")

SIZE, RATE = (192, 160), 25
SHOWN = range(10, 30)  # frames that show the square
RAW = ("--smooth", "none", "--confirm", "1/1")


def picture(index: int, shown: range = SHOWN) -> np.ndarray:
    """Grey, with a red square that wanders to the right."""
    image = np.full((*SIZE[::-1], 3), 110, np.uint8)
    if index in shown:
        left = 40 + index
        image[60:100, left : left + 40] = (230, 20, 20)
    return image


def write_clip(path, count: int = 50, shown: range = SHOWN) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, shown), "rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def clip(tmp_path):
    write_clip(tmp_path / "clip.mp4")
    return tmp_path / "clip.mp4"


def video(*words, bundle) -> int:
    return main(["video", *map(str, words), "--bundle", str(bundle), "--runtime", "torch", "--no-crop"])


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_overlay_table_and_events_tell_of_the_same_polyp(clip, sees_red, tmp_path, capsys):
    out, table, events = (tmp_path / name for name in ("overlay.mp4", "frames.csv", "events.json"))
    words = ("--out", out, "--csv", table, "--events", events, *RAW)
    assert video(clip, *words, bundle=sees_red) == 0
    printed = capsys.readouterr().out
    assert "50 frames, 2.0 s; polyps shown: 1" in printed
    assert "network" in printed

    rows = list(csv.DictReader(table.open()))
    assert [int(row["frame"]) for row in rows if row["polyp"]][: len(SHOWN)] == list(SHOWN)
    first = next(row for row in rows if row["polyp"])
    truth = (50, 60, 90, 100)
    assert [float(first[k]) for k in ("x0", "y0", "x1", "y1")] == pytest.approx(
        truth, abs=3
    )  # a window pixel is 2 wide
    assert float(first["area"]) == pytest.approx(1600, rel=0.1)

    summary = json.loads(events.read_text())
    assert not summary["interrupted"]
    assert summary["settings"]["image_size"] == 96
    (event,) = summary["events"]
    assert event["first_frame"] == SHOWN.start
    assert 0 <= event["last_frame"] - SHOWN[-1] <= 0.2 * RATE + 1  # it is held for 0.2 s
    assert event["max_confidence"] > 0.9
    assert summary["latency_ms"].keys() >= {"decode", "preprocess", "network", "postprocess", "draw", "encode"}

    overlay, yellow = frames_of(out), (255, 221, 0)
    assert len(overlay) == 50
    near = [(np.abs(image.astype(int) - yellow).sum(axis=2) < 90).any() for image in overlay]
    assert near[SHOWN.start : SHOWN.stop] == [True] * len(SHOWN)
    assert not any(near[: SHOWN.start]) and not any(near[40:])  # noqa: PT018


def test_a_flicker_is_not_shown(sees_red, tmp_path):
    write_clip(tmp_path / "flicker.mp4", shown=range(20, 21))
    assert video(tmp_path / "flicker.mp4", "--events", tmp_path / "e.json", "--smooth", "none", bundle=sees_red) == 0
    assert json.loads((tmp_path / "e.json").read_text())["events"] == []


def test_a_folder_of_frames_gives_what_its_video_gives(sees_red, tmp_path):
    from polyp_monai.data import files

    for index in range(50):
        files.write_png(tmp_path / "frames" / f"{index}.png", picture(index))
    assert video(tmp_path / "frames", "--events", tmp_path / "e.json", *RAW, bundle=sees_red) == 0
    summary = json.loads((tmp_path / "e.json").read_text())
    assert summary["events"][0]["first_frame"] == SHOWN.start
    assert summary["seconds"] == 2.0


def test_one_frame_has_the_mask_that_predict_writes(sees_red, tmp_path):
    from polyp_monai.data import files

    files.write_png(tmp_path / "frames/15.png", picture(15))
    assert main(["predict", str(sees_red), str(tmp_path / "frames"), "--out", str(tmp_path / "masks")]) == 0
    words = ("--csv", tmp_path / "t.csv", *RAW)
    assert video(tmp_path / "frames", *words, bundle=sees_red) == 0
    mask = files.read_mask(tmp_path / "masks/15.png")
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == pytest.approx(box, abs=2)
    assert float(row["area"]) == pytest.approx(mask.sum(), rel=0.05)


def test_cropped_and_with_its_aspect_a_frame_has_the_mask_that_predict_writes(sees_red, tmp_path):
    from polyp_monai.data import files

    frame = np.full((300, 400, 3), 30, np.uint8)  # a dark border, in which a red light is no polyp
    frame[50:210, 120:312] = picture(15)
    frame[260:280, 20:60] = (230, 20, 20)
    files.write_png(tmp_path / "frames/0.png", frame)
    fit = ("--fit", "area")
    words = ["predict", str(sees_red), str(tmp_path / "frames"), "--out", str(tmp_path / "masks"), *fit]
    assert main([*words, "--crop", "true"]) == 0
    words = ["video", str(tmp_path / "frames"), "--csv", str(tmp_path / "t.csv"), *RAW, *fit]
    assert main([*words, "--bundle", str(sees_red), "--runtime", "torch"]) == 0
    ys, xs = np.nonzero(files.read_mask(tmp_path / "masks/0.png"))
    box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert box == pytest.approx((175, 110, 215, 150), abs=3)
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == pytest.approx(box, abs=2)


def test_scored_against_its_truth_it_is_perfect(clip, sees_red, tmp_path, capsys):
    lines = [f"{i},1,{40 + i},60,{80 + i},100" for i in SHOWN]
    (tmp_path / "truth.csv").write_text("\n".join(["frame,polyp,x0,y0,x1,y1", *lines]) + "\n")
    words = ("--csv", tmp_path / "t.csv", *RAW)
    assert video(clip, *words, bundle=sees_red) == 0
    out = tmp_path / "scores.json"
    words = ["--pred", tmp_path / "t.csv", "--truth", tmp_path / "truth.csv", "--out", out]
    assert main(["score-video", *map(str, words)]) == 0
    assert out.is_file()
    assert "1.000" in capsys.readouterr().out
    assert main(["score-video", *map(str, words)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_json_is_one_document_on_stdout(clip, sees_red, tmp_path, capsys):
    table = tmp_path / "frames.csv"
    capsys.readouterr()
    assert video(clip, "--csv", table, "--json", *RAW, bundle=sees_red) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] > 0
    assert found["files"] == [str(table)]


def test_an_old_way_of_naming_the_events_is_refused(clip, sees_red, tmp_path, capsys):
    words = ["video", clip, "--bundle", sees_red, "--csv", tmp_path / "f.csv", "--json", tmp_path / "events.json"]
    assert main([*map(str, words)]) == 2
    assert "--json is a flag; --events FILE writes the events" in capsys.readouterr().err
    assert not (tmp_path / "f.csv").exists()


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        (["--confirm", "5/3"], "expected K/N", 1),
        (["--batch_size", "4"], "has no meaning for `polyp video`", 2),
        (["--half-life", "-1"], "expected 0 to 60", 1),
        (["--bundle", "nothing"], "no such bundle", 1),
        (["--output_dir", "x"], "is set by --out", 2),
        (["--rank", "3"], "no such option", 2),
        (["--weights", "x.onnx", "--runtime", "torch"], "does not read it", 1),
        (["--csv", "."], "is a folder", 1),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(words, message, expected, clip, sees_red, tmp_path, capsys):
    words = [*words, *([] if "--bundle" in words else ["--bundle", str(sees_red)])]
    status = main(["video", str(clip), "--out", str(tmp_path / "o.mp4"), *words])
    assert status == expected
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "o.mp4").exists()


def test_without_a_file_to_write_it_wants_a_screen(clip, sees_red, monkeypatch, capsys):
    pytest.importorskip("tkinter")
    monkeypatch.setenv("DISPLAY", "")
    if sys.platform != "linux":
        pytest.skip("only X11 can be hidden")
    assert video(clip, bundle=sees_red) == 1
    assert "no screen" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(clip, sees_red, tmp_path, capsys):
    (tmp_path / "frames.csv").write_text("mine")
    assert video(clip, "--csv", tmp_path / "frames.csv", bundle=sees_red) == 1
    assert video(clip, "--csv", tmp_path / "frames.csv", "--overwrite", bundle=sees_red) == 1
    assert capsys.readouterr().err.count("frames.csv: is there already, and `polyp video` did not write it") == 2
    assert (tmp_path / "frames.csv").read_text() == "mine"
    (tmp_path / "frames.csv").unlink()
    assert video(clip, "--csv", tmp_path / "frames.csv", bundle=sees_red) == 0
    assert video(clip, "--csv", tmp_path / "frames.csv", bundle=sees_red) == 1
    assert "or --overwrite" in capsys.readouterr().err
    assert video(clip, "--csv", tmp_path / "frames.csv", "--overwrite", bundle=sees_red) == 0


def test_frames_that_cannot_be_read_are_counted_and_the_status_is_1(sees_red, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(picture(index)).save(folder / f"{index}.png")
    (folder / "2.png").write_bytes(b"damaged")
    assert video(folder, "--csv", tmp_path / "frames.csv", "--json", bundle=sees_red) == 1
    shown = capsys.readouterr()
    assert "polyp: error: 1 of 4 frames left out, which cannot be read; the first: frame 2" in shown.err
    assert json.loads(shown.out)["frames_damaged"] == 1
    assert len((tmp_path / "frames.csv").read_text().splitlines()) == 4


def test_the_video_itself_is_never_overwritten(clip, sees_red, capsys):
    before = clip.read_bytes()
    assert video(clip, "--out", clip, "--overwrite", bundle=sees_red) == 1
    assert "is the video itself" in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_an_error_while_writing_ends_in_one_line(clip, sees_red, tmp_path, monkeypatch, capsys):
    from polyp_monai.video.sink import VideoSink

    def full(self, image, time):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    monkeypatch.setattr(VideoSink, "write", full)
    threads = threading.active_count()
    assert video(clip, "--out", tmp_path / "o.mp4", bundle=sees_red) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert threading.active_count() == threads  # a thread inside a codec would abort the process when it ends


def test_a_broken_clip_is_done_up_to_the_break(clip, sees_red, tmp_path, capsys):
    with av.open(str(clip)) as old, av.open(str(tmp_path / "clip.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    whole = (tmp_path / "clip.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    out, table = tmp_path / "o.mp4", tmp_path / "t.csv"
    assert video(tmp_path / "cut.mkv", "--out", out, "--csv", table, bundle=sees_red) == 1
    assert "cut.mkv" in capsys.readouterr().err
    assert 0 < len(frames_of(out)) < 50
    assert len({row["frame"] for row in csv.DictReader(table.open())}) == len(frames_of(out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_closes_every_file(number, sees_red, tmp_path):
    write_clip(tmp_path / "long.mp4", count=400)
    out, table, events = (tmp_path / name for name in ("o.mp4", "t.csv", "e.json"))
    words = ["--out", out, "--csv", table, "--events", events, "--realtime", "--runtime", "torch", "--bundle", sees_red]
    process = subprocess.Popen(
        [sys.executable, "-m", "polyp_monai", "video", tmp_path / "long.mp4", *words], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial-*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    process.send_signal(number)
    assert process.wait(30) == 130
    done = len(frames_of(out))
    assert 0 < done < 400
    summary = json.loads(events.read_text())
    assert (summary["frames"], summary["interrupted"]) == (done, True)
    assert len({row["frame"] for row in csv.DictReader(table.open())}) == done
    assert not list(tmp_path.glob(".partial-*"))


def test_a_killed_run_leaves_nothing_half_written(sees_red, tmp_path):
    write_clip(tmp_path / "long.mp4", count=400)
    words = ["--out", tmp_path / "o.mp4", "--csv", tmp_path / "t.csv", "--realtime", "--runtime", "torch"]
    process = subprocess.Popen(
        [sys.executable, "-m", "polyp_monai", "video", tmp_path / "long.mp4", *words, "--bundle", sees_red]
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial-*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "o.mp4").exists()
    assert not (tmp_path / "t.csv").exists()
