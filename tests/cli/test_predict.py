"""`polyp predict` as a user sees it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyp_monai.bundle import predictions
from polyp_monai.cli.main import main
from polyp_monai.data import lock, predicted
from tests.cli.conftest import fails


def test_predict_keeps_the_tree_and_writes_what_is_asked(trained, dataset, tmp_path):
    for name in ("one/a", "two/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(next((dataset / "images").iterdir()), tmp_path / f"{name}.jpg")
    words = ["predict", trained, tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--overlay", "--probability"]) == 0
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert made == [f"{d}/a{s}.png" for d in ("one", "two") for s in ("", "_overlay", "_probability")]
    mask, map_ = (np.asarray(Image.open(tmp_path / f"out/one/a{s}.png")) for s in ("", "_probability"))
    assert (mask > 0).mean() == pytest.approx((map_ >= 128).mean(), abs=0.02)


def test_a_frames_mask_does_not_depend_on_its_batch(trained, dataset, tmp_path):
    images = sorted((dataset / "images").iterdir())[:5]
    assert main(["predict", str(trained), *map(str, images), "--out", str(tmp_path / "many")]) == 0
    assert main(["predict", str(trained), str(images[3]), "--out", str(tmp_path / "one")]) == 0
    name = f"{images[3].stem}.png"
    one, many = (np.asarray(Image.open(tmp_path / d / name)) for d in ("one", "many"))
    assert (one != many).mean() < 1e-3


def test_a_damaged_frame_is_named_and_the_others_are_predicted(trained, dataset, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, image in enumerate(sorted((dataset / "images").iterdir())[:3]):
        shutil.copy(image, frames / f"{i}.jpg")
    (frames / "1.jpg").write_bytes((frames / "1.jpg").read_bytes()[:3000])
    words = ["predict", trained, frames, "--out", tmp_path / "out"]
    assert "1 of 3 frames got no mask" in fails(capsys, *words)
    made = sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    assert made == ["0.png", "2.png", "predictions.csv"]


def test_a_set_with_only_damaged_frames(trained, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert "1 of 1 frame got no mask" in fails(
        capsys, "predict", trained, tmp_path / "a.png", "--out", tmp_path / "out"
    )


def test_what_is_passed_over_is_named_and_strict_refuses_it(trained, dataset, tmp_path, capfd):
    frames = tmp_path / "frames"
    frames.mkdir()
    image = next((dataset / "images").iterdir())
    shutil.copy(image, frames / "a.jpg")
    shutil.copy(image, frames / f"{'n' * 248}.jpg")
    Image.open(image).save(frames / "b.webp")
    Image.open(image).save(frames / "c.gif")
    (frames / "d.jpg").symlink_to("../annex/none")
    words = ["predict", trained, frames, "--out", tmp_path / "out", "--overlay"]
    assert main([*map(str, words)]) == 1
    error = capfd.readouterr().err
    assert f"1 file is passed over, no picture of a known format: {frames}/c.gif" in error
    assert f"{frames}/d.jpg: a link to ../annex/none, which is not there" in error
    assert "its name is too long for a file" in error
    assert "2 of 4 frames got no mask" in error
    made = sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    assert made == ["a.png", "a_overlay.png", "b.png", "b_overlay.png", "predictions.csv"]
    words[4] = tmp_path / "strict"
    assert "c.gif" in fails(capfd, *words, "--strict")
    assert not (tmp_path / "strict").exists()


def test_the_mask_of_a_photo_lies_on_it_as_viewers_show_it(trained, dataset, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(next((dataset / "images").iterdir()))
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    words = ["predict", trained, tmp_path / "upright.png", tmp_path / "turned.png", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--overlay", "--probability"]) == 0
    for end in ("", "_overlay", "_probability"):
        one, other = (np.asarray(Image.open(tmp_path / f"out/{name}{end}.png")) for name in ("upright", "turned"))
        assert np.array_equal(one, other)


def test_a_network_among_the_frames_and_a_bundle_beside_an_ensemble(trained, dataset, tmp_path, capsys):
    image = next((dataset / "images").iterdir())
    weights = tmp_path / "tiny.onnx"
    weights.touch()
    words = ["--out", tmp_path / "out"]
    expected = f"{weights}: holds a network, no frame; give it as --weights {weights}"
    assert expected in fails(capsys, "predict", weights, image, *words)
    assert expected in fails(capsys, "predict", trained, image, weights, *words)
    words += ["--ensemble", trained, "--ensemble", trained]
    line = f"--ensemble: stands in place of the bundle {trained}; give one of them"
    assert line in fails(capsys, "predict", image, "--bundle", trained, *words, status=2)
    assert line in fails(capsys, "predict", trained, image, *words, status=2)
    assert not (tmp_path / "out").exists()


def test_two_runs_into_one_folder_do_not_meet(trained, dataset, tmp_path, capsys):
    image = next((dataset / "images").iterdir())
    with lock.held(tmp_path / "out"):
        for words in (["predict", trained, image], ["evaluate", trained, "--data", dataset]):
            assert "another run is writing there" in fails(capsys, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_untrained_bundle_and_foreign_weights(bundle, trained, dataset, tmp_path, capsys):
    assert "no such weights" in fails(capsys, "evaluate", bundle, "--data", dataset)
    model = trained / "models/model.pt"
    words = ["predict", bundle, dataset / "images", "--out", tmp_path / "out", "--weights"]
    assert "another network" in fails(capsys, *words, model)
    (tmp_path / "cut.pt").write_bytes(model.read_bytes()[:5000])
    assert "not a readable checkpoint" in fails(capsys, *words, tmp_path / "cut.pt")
    (tmp_path / "text.pt").write_text("no weights")
    assert "not a readable checkpoint" in fails(capsys, *words, tmp_path / "text.pt")
    assert not (tmp_path / "out").exists()


def test_png_and_nifti_frames_share_a_batch(trained, tmp_path):
    import nibabel

    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    nibabel.save(nibabel.Nifti1Image(pixels[..., :1], np.eye(4)), tmp_path / "b.nii.gz")
    nibabel.save(nibabel.Nifti1Image(pixels[..., 0], np.eye(4)), tmp_path / "c.nii")
    words = [f"{tmp_path}/a.png", f"{tmp_path}/b.nii.gz", f"{tmp_path}/c.nii", "--out", f"{tmp_path}/out"]
    assert main(["predict", str(trained), *words]) == 0
    assert Image.open(tmp_path / "out/a.png").size == (40, 50)
    assert nibabel.load(tmp_path / "out/b.nii.gz").shape == (50, 40, 1)
    assert nibabel.load(tmp_path / "out/c.nii").shape == (50, 40)


def test_paths_are_looked_up_from_where_the_user_is(trained, bundle, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "models/model.pt", "w.pt")
    shutil.copy(trained / "configs/model.yaml", bundle / "configs")
    image = next((dataset / "images").iterdir())
    assert main(["predict", str(bundle), str(image), "--out", "out", "--weights", "w.pt"]) == 0


def test_a_hash_in_a_path_is_refused(trained, dataset, tmp_path, capsys):
    image = next((dataset / "images").iterdir())
    assert "'#'" in fails(capsys, "predict", trained, image, "--out", tmp_path / "out#1")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written(trained, dataset, tmp_path, capsys):
    (tmp_path / "file").touch()
    image = next((dataset / "images").iterdir())
    assert "file" in fails(capsys, "predict", trained, image, "--out", tmp_path / "file")


def test_a_name_is_the_shipped_bundle_and_a_run_is_named_by_its_path(trained, dataset, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained, tmp_path / "runs/unet")
    shutil.copytree(trained, tmp_path / "runs/mine")
    monkeypatch.chdir(tmp_path)
    image = os.path.relpath(next((dataset / "images").iterdir()))
    assert "for those that you trained, give runs/unet" in fails(capsys, "predict", "unet", image, "--out", "masks")
    assert "a run is named by its path, runs/mine" in fails(capsys, "predict", "mine", image, "--out", "masks")
    assert "no such bundle" in fails(capsys, "predict", "efficientunet", image, "--out", "masks")
    assert "`polyp train resunet --data DIR`" in fails(capsys, "predict", "resunet", image, "--out", "masks")
    assert not Path("masks").exists()
    assert main(["predict", "runs/unet", image, "--out", "masks"]) == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 1


def test_it_says_which_weights_were_taken(trained, dataset, tmp_path):
    image, weights = next((dataset / "images").iterdir()), trained / "models/model.pt"
    words = ["predict", trained, image, "--out", tmp_path / "out"]
    run = subprocess.run([sys.executable, "-m", "polyp_monai", *map(str, words)], capture_output=True, text=True)
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("weights: ")]
    assert line.startswith(f"weights: {weights}, trained on synthetic (16 frames), of 20")
    assert line.endswith(f"sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}")


def test_a_line_and_a_row_a_photo(trained, dataset, tmp_path, capsys):
    images = sorted((dataset / "images").iterdir())[:3]
    words = ["predict", str(trained), *map(str, images), "--out", str(tmp_path / "out"), "--threshold", "0.3"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert [row["image"] for row in rows] == [str(image) for image in images]
    for image, row in zip(images, rows, strict=True):
        mask = np.asarray(Image.open(tmp_path / "out" / row["mask"])) > 0
        assert (int(row["height"]), int(row["width"])) == mask.shape
        assert float(row["polyp_share"]) == pytest.approx(mask.mean(), abs=0.002)  # specks are in the mask alone
        assert (row["confidence"] == "") == (row["polyps"] == "0")
        line = next(line for line in lines if line.startswith(f"{image.name}: "))
        assert ("no polyp" in line) == (row["polyps"] == "0")


@pytest.mark.parametrize(
    ("polyps", "share", "confidence", "text"),
    [
        (1, 0.0412, 0.914, "IMG_3.jpg: 1 polyp, 4 % of the frame, confidence 91 %"),
        (2, 0.0041, 0.5, "IMG_3.jpg: 2 polyps, 0.4 % of the frame, confidence 50 %"),
        (0, 0.0, None, "IMG_3.jpg: no polyp"),
    ],
)
def test_the_line_of_a_photo(polyps, share, confidence, text):
    row = {"image": "a/IMG_3.jpg", "polyps": polyps, "polyp_share": share, "confidence": confidence}
    assert predictions.line(row) == text


def test_the_boxes_of_a_photo_hold_its_polyps(trained, dataset, tmp_path, capfd):
    image = sorted((dataset / "images").iterdir())[2]
    capfd.readouterr()
    words = ["predict", str(trained), str(image), "--out", str(tmp_path), "--threshold", "0.3", "--json"]
    assert main(words) == 0
    (row,) = json.loads(capfd.readouterr().out)["frames"]
    mask = np.asarray(Image.open(tmp_path / row["mask"])) > 0
    inside = np.zeros_like(mask)
    for x0, y0, x1, y1 in row["boxes"]:
        assert mask[y0:y1, x0].any()  # boxes are tight, and x comes before y
        assert mask[y0, x0:x1].any()
        inside[y0:y1, x0:x1] = True
    assert len(row["boxes"]) == row["polyps"] > 0
    assert (mask & ~inside).mean() < 0.002


def test_without_a_bundle_the_shipped_weights_look(dataset, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    image = sorted((dataset / "images").iterdir())[0]
    capfd.readouterr()
    assert main(["predict", str(image)]) == 0
    shown = capfd.readouterr()
    assert (tmp_path / "masks" / f"{image.stem}.png").is_file()
    assert "1 frame predicted" in shown.err
    assert "INFO" not in shown.err + shown.out


def test_json_and_what_was_left_out(trained, dataset, tmp_path, capfd):
    images = sorted((dataset / "images").iterdir())
    (tmp_path / "bad.png").write_bytes(b"nothing")
    words = ["predict", trained, images[0], tmp_path / "bad.png", "--out", tmp_path / "out", "--json"]
    capfd.readouterr()
    assert main([*map(str, words)]) == 1
    found = json.loads(capfd.readouterr().out)
    assert [row["image"] for row in found["frames"]] == [str(images[0])]
    assert found["left_out"] == [str(tmp_path / "bad.png")]


def test_skip_existing_goes_on_where_a_run_stopped(trained, dataset, tmp_path, capsys):
    images, out = sorted((dataset / "images").iterdir())[:3], tmp_path / "out"
    words = ["predict", trained, "--out", out, "--threshold", "0.3"]
    assert main([*map(str, [*words, *images[:2]])]) == 0
    with open(out / "predictions.csv", "a") as file:
        file.write("torn,in the mid")  # as by a run that was killed
    assert "or --overwrite" in fails(capsys, *words, *images)
    before = [(out / f"{image.stem}.png").stat().st_mtime_ns for image in images[:2]]
    assert main([*map(str, [*words, *images]), "--skip-existing"]) == 0
    assert [(out / f"{image.stem}.png").stat().st_mtime_ns for image in images[:2]] == before
    rows = {r["mask"]: r for r in predicted.rows(predicted.table(out))}
    assert list(rows) == [f"{image.stem}.png" for image in images]
    capsys.readouterr()
    assert main([*map(str, [*words, *images]), "--skip-existing"]) == 0
    assert "every frame has its mask" in capsys.readouterr().out


def test_skip_existing_does_not_mix_settings(trained, dataset, tmp_path, capsys):
    images, out = sorted((dataset / "images").iterdir())[:2], tmp_path / "out"
    words = ["predict", trained, "--out", out]
    assert main([*map(str, [*words, images[0], "--threshold", "0.3"])]) == 0
    other = tmp_path / "other.pt"
    state = torch.load(trained / "models/model.pt", weights_only=True)
    torch.save({key: value + 1 if value.is_floating_point() else value for key, value in state.items()}, other)
    for option, value in (("threshold", 0.9), ("weights", other), ("image_size", 96)):
        more = ["--skip-existing", *(["--threshold", "0.3"] if option != "threshold" else []), f"--{option}", value]
        assert f"holds masks of {option}" in fails(capsys, *words, *images, *more)
        assert [path.name for path in out.glob("*.png")] == [f"{images[0].stem}.png"]
    assert main([*map(str, [*words, *images, "--threshold", "0.3", "--skip-existing"])]) == 0


def test_a_table_of_somebody_else_is_not_replaced(trained, dataset, tmp_path, capsys):
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    image = next((dataset / "images").iterdir())
    assert "did not write it" in fails(capsys, "predict", trained, image, "--out", tmp_path, "--overwrite")
    assert (tmp_path / "predictions.csv").read_text() == "a,b\n1,2\n"


def test_a_bundle_without_an_input(capsys):
    assert "INPUT is missing" in fails(capsys, "predict", "unet")


def test_an_input_with_the_name_of_a_bundle(trained, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unet").mkdir()
    shutil.copy(sorted((dataset / "images").iterdir())[0], tmp_path / "unet/a.jpg")
    assert main(["predict", "--bundle", str(trained), "unet"]) == 0
    assert (tmp_path / "masks/a.png").is_file()


def test_a_frame_whose_overlay_would_have_an_over_long_name(trained, dataset, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    images = sorted((dataset / "images").iterdir())
    shutil.copy(images[0], frames / "a.jpg")
    shutil.copy(images[1], frames / f"{'x' * 250}.jpg")
    error = fails(capsys, "predict", trained, frames, "--out", tmp_path / "out", "--overlay", "--strict")
    assert "name is too long" in error
    assert not (tmp_path / "out").exists()
    assert main(["predict", str(trained), str(frames), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_a_terminal_gets_a_bar_over_frames(trained, dataset, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    images = sorted((dataset / "images").iterdir())[:5]  # two batches
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # else it has no column
    words = [sys.executable, "-m", "polyp_monai", "predict", trained, *images, "--out", tmp_path / "out"]
    shown = subprocess.run(words, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    bar = os.read(mine, 100_000).decode()
    os.close(mine)
    assert shown.returncode == 0
    assert "5/5" in bar
    assert "frame" in bar
    assert "5/5" not in shown.stdout


def test_every_name_has_its_row(trained, dataset, tmp_path, capfd):
    frame = next((dataset / "images").iterdir())
    names = ["a\rb.jpg", "a\nb.jpg", 'a"b.jpg', "a,b.jpg", "a\x1b[2J.jpg", " .jpg", "a\u2028b.jpg"]
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(frame, tmp_path / "in" / name)
    capfd.readouterr()
    assert main(["predict", str(trained), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]) == 0
    shown = capfd.readouterr()
    assert {Path(row["image"]).name for row in json.loads(shown.out)["frames"]} == set(names)
    assert not set(shown.out + shown.err) & set("\x1b\u2028")


def test_a_damaged_mask_is_done_again_and_a_whole_one_is_not(trained, dataset, tmp_path):
    images, out = sorted((dataset / "images").iterdir())[:3], tmp_path / "out"
    words = ["predict", str(trained), *map(str, images), "--out", str(out), "--skip-existing"]
    assert main(words) == 0
    masks = [out / f"{image.stem}.png" for image in images]
    whole = [mask.read_bytes() for mask in masks]
    masks[0].write_bytes(whole[0][:-20])  # cut
    masks[1].write_bytes(whole[1][:50] + bytes([whole[1][50] ^ 255]) + whole[1][51:])  # a flipped byte
    before = masks[2].stat().st_mtime_ns
    assert main(words) == 0
    assert [mask.read_bytes() for mask in masks] == whole
    assert masks[2].stat().st_mtime_ns == before


def test_parts_share_the_frames_and_a_last_run_joins_them(trained, dataset, tmp_path, capsys):
    images, out = sorted((dataset / "images").iterdir())[:7], tmp_path / "out"
    words = ["predict", str(trained), *map(str, images), "--threshold", "0.3"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    words += ["--out", str(out), "--skip-existing"]
    with lock.held_part(out, "2-of-3"):  # another part is at work
        assert "another run" in fails(capsys, *words)
        assert main([*words, "--part", "1/3"]) == 0
    with lock.held(out):
        assert "another run" in fails(capsys, *words, "--part", "3/3")
    assert main([*words, "--part", "3/3"]) == 0
    assert sorted(path.name for path in out.glob("*.csv")) == ["predictions-1-of-3.csv", "predictions-3-of-3.csv"]
    assert len(list(out.glob("*.png"))) == 5
    assert main(words) == 0  # part 2 never ran
    names = [f"{image.stem}.png" for image in images]
    assert sorted(row["mask"] for row in predicted.rows(out / predicted.NAME)) == names
    for name in names:
        ours, theirs = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("out", "one"))
        assert (ours != theirs).mean() < 1e-3  # of another batch
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".png") == [
        ".polyp-predict.json",
        predicted.NAME,
    ]
    words = ["predict", trained, images[0], "--out", tmp_path / "new", "--part"]
    assert "expected K/N" in fails(capsys, *words, "4/3")
