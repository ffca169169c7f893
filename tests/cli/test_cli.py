"""The command line: what a user types, sees, and gets wrong."""

from __future__ import annotations

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
import yaml
from PIL import Image

from polyp_monai.bundle import overrides
from polyp_monai.cli.main import main
from polyp_monai.data import lock
from polyp_monai.errors import PolypError
from tests.conftest import small_options


def fails(capsys, *words: str) -> str:
    """The one line that a mistake gets."""
    assert main([str(w) for w in words]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyp: error:")]
    assert len(lines) == 1
    return lines[0]


def test_help_is_quick_and_light():
    code = (
        "import sys; from polyp_monai.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'monai', 'numpy', 'cv2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "predict"])
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"polyp {command} " in capsys.readouterr().out.split("example")[1]


def test_python_m_is_the_same():
    words = [sys.executable, "-m", "polyp_monai", "--version"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith("polyp_monai ")


def test_evaluate_writes_tables_and_masks(trained, dataset, tmp_path):
    assert (
        main(["evaluate", str(trained), "--data", str(dataset), "--out", str(tmp_path / "e"), "--overlay", "true"]) == 0
    )
    summary = json.loads((tmp_path / "e/summary.json").read_text())
    assert summary["frames"] == 2
    rows = (tmp_path / "e/frames.csv").read_text().splitlines()
    assert rows[0].startswith("name,group,tags,image,truth,prediction,width,height,polyp_pixels,predicted_pixels,dice")
    assert summary["run"]["weights_sha256"] == hashlib.sha256((trained / "models/model.pt").read_bytes()).hexdigest()
    assert summary["leakage"]["test"] == 2
    assert (tmp_path / "e/report.html").is_file()
    assert len(rows) == 3
    for sample in json.loads((dataset / "datalist.json").read_text())["test"]:
        mask = np.asarray(Image.open(tmp_path / "e/masks" / f"{Path(sample['image']).stem}.png"))
        assert mask.shape == tuple(sample["size"][::-1])
        assert set(np.unique(mask)) <= {0, 255}


def test_predict_keeps_the_tree_and_writes_what_is_asked(trained, dataset, tmp_path):
    for name in ("one/a", "two/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(next((dataset / "images").iterdir()), tmp_path / f"{name}.jpg")
    words = ["predict", trained, tmp_path / "one", tmp_path / "two", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--overlay", "true", "--probability", "true"]) == 0
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
    assert "1 of 3 frames" in fails(capsys, *words)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["0.png", "2.png"]


def test_a_set_with_only_damaged_frames(trained, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert "1 of 1 frames" in fails(capsys, "predict", trained, tmp_path / "a.png", "--out", tmp_path / "out")


def test_what_is_passed_over_is_named_and_strict_refuses_it(trained, dataset, tmp_path, capfd):
    frames = tmp_path / "frames"
    frames.mkdir()
    image = next((dataset / "images").iterdir())
    shutil.copy(image, frames / "a.jpg")
    shutil.copy(image, frames / f"{'n' * 248}.jpg")
    Image.open(image).save(frames / "b.webp")
    Image.open(image).save(frames / "c.gif")
    (frames / "d.jpg").symlink_to("../annex/none")
    words = ["predict", trained, frames, "--out", tmp_path / "out", "--overlay", "true"]
    assert main([*map(str, words)]) == 1
    error = capfd.readouterr().err
    assert f"1 file is passed over, no picture of a known format: {frames}/c.gif" in error
    assert f"{frames}/d.jpg: a link to ../annex/none, which is not there" in error
    assert "its name is too long for a file" in error
    assert "2 of 4 frames could not be read" in error
    made = sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("."))
    assert made == ["a.png", "a_overlay.png", "b.png", "b_overlay.png"]
    words[4] = tmp_path / "strict"
    assert "c.gif" in fails(capfd, *words, "--strict", "true")
    assert not (tmp_path / "strict").exists()


def test_the_mask_of_a_photo_lies_on_it_as_viewers_show_it(trained, dataset, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(next((dataset / "images").iterdir()))
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    words = ["predict", trained, tmp_path / "upright.png", tmp_path / "turned.png", "--out", tmp_path / "out"]
    assert main([*map(str, words), "--overlay", "true", "--probability", "true"]) == 0
    for end in ("", "_overlay", "_probability"):
        one, other = (np.asarray(Image.open(tmp_path / f"out/{name}{end}.png")) for name in ("upright", "turned"))
        assert np.array_equal(one, other)


def test_two_runs_into_one_folder_do_not_meet(trained, dataset, tmp_path, capsys):
    image = next((dataset / "images").iterdir())
    with lock.held(tmp_path / "out"):
        for words in (["predict", trained, image], ["evaluate", trained, "--data", dataset]):
            assert "another run is writing there" in fails(capsys, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_evaluation_replaces_its_own_files_alone(trained, dataset, tmp_path, capsys):
    out = tmp_path / "e"
    out.mkdir()
    (out / "report.html").write_text("mine")
    words = ["evaluate", trained, "--data", dataset, "--out", out]
    for more in ([], ["--overwrite", "true"]):
        assert "report.html: is there already, and `polyp evaluate` did not write it" in fails(capsys, *words, *more)
    assert [p.name for p in out.iterdir()] == ["report.html"]


def test_unknown_bundle(dataset, tmp_path, capsys):
    assert "unet" in fails(capsys, "train", "unett", "--data", dataset)
    assert "no bundle" in fails(capsys, "evaluate", tmp_path, "--data", dataset)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--train::trainer::max_epoch", "3"], "did you mean --train::trainer::max_epochs?"),
        (["--epochs", "many"], "expected a whole number"),
        (["--learning_rate", "fast"], "expected a number"),
        (["--resume", "7"], "expected true or false"),
        (["--epochs"], "a value is missing"),
        (["epochs", "3"], "expected --KEY VALUE"),
        (["--epochs", "0"], "expected 1 or more"),
        (["--threshold", "7"], "expected 0 to 1"),
        (["--image_size", "0"], "expected 32 to"),
        (["--val_interval", "5", "--epochs", "3"], "no weights would be kept"),
        (["--dataset_dir", "x"], "is set by --data"),
        (["--device", "cuda"], "no CUDA device"),
        (["--device", "abacus"], "no such device"),
        (["--network_def::body::channel", "[4, 8]"], "did you mean --network_def::body::channels?"),
    ],
)
def test_a_wrong_override_is_refused_and_nothing_is_written(dataset, tmp_path, capsys, monkeypatch, words, text):
    if words[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    monkeypatch.chdir(tmp_path)
    assert text in fails(capsys, "train", "unet", "--data", dataset, *words)
    assert list(tmp_path.iterdir()) == []


def test_changes_are_printed(trained, dataset, tmp_path, capsys):
    main(["evaluate", str(trained), "--data", str(dataset), "--out", str(tmp_path / "e"), "--threshold", "0.4"])
    assert "threshold: 0.5 -> 0.4" in capsys.readouterr().out


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


def test_data_that_is_not_prepared(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "polyp prepare" in fails(capsys, "train", "unet", "--data", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_frame_stops_the_evaluation(trained, dataset, tmp_path, capsys):
    """Figures over some of the frames would look like figures over all."""
    copy = shutil.copytree(dataset, tmp_path / "data")
    image = copy / json.loads((copy / "datalist.json").read_text())["test"][1]["image"]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[:2000])
    assert image.name in fails(capsys, "evaluate", trained, "--data", copy, "--out", tmp_path / "e")
    assert not (tmp_path / "e/summary.json").exists()


def test_an_evaluation_does_not_overwrite_the_truth(trained, dataset, capsys):
    assert "is an input" in fails(capsys, "evaluate", trained, "--data", dataset, "--out", dataset)


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


def test_a_nested_key_below_a_macro_can_be_set(trained, dataset, tmp_path, capsys):
    words = [
        "evaluate",
        trained,
        "--data",
        dataset,
        "--out",
        tmp_path / "e",
        "--validate::inferer::inferer::overlap",
        "0.5",
    ]
    assert main([*map(str, words)]) == 0
    assert "validate::inferer::inferer::overlap: 0.25 -> 0.5" in capsys.readouterr().out


def test_a_truncated_training_image_is_named(dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    image = copy / json.loads((copy / "datalist.json").read_text())["training"][0]["image"]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[:2000])
    assert image.name in fails(capsys, "train", "unet", "--data", copy, "--out", tmp_path / "run", *small_options())
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_size_is_named(trained, dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    sample = json.loads((copy / "datalist.json").read_text())["test"][0]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    assert sample["name"] in fails(capsys, "evaluate", trained, "--data", copy, "--out", tmp_path / "e")
    sample = json.loads((copy / "datalist.json").read_text())["training"][0]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    error = fails(capsys, "train", "unet", "--data", copy, "--out", tmp_path / "run", *small_options())
    assert sample["name"] in error
    assert "40 x 30" in error


def test_an_evaluation_that_fails_leaves_the_earlier_one(trained, dataset, tmp_path, capsys):
    copy, out = shutil.copytree(dataset, tmp_path / "data"), tmp_path / "e"
    assert main(["evaluate", str(trained), "--data", str(copy), "--out", str(out)]) == 0
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    sample = json.loads((copy / "datalist.json").read_text())["test"][-1]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    words = ["evaluate", trained, "--data", copy, "--out", out, "--threshold", "0.01"]
    assert "exists already" in fails(capsys, *words)
    assert sample["name"] in fails(capsys, *words, "--overwrite", "true")
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--output_dir", "elsewhere"], "is set by --out"),
        (["--tracking", "nope"], "expected mlflow"),
    ],
)
def test_options_that_would_be_passed_over(words, reason, trained, dataset, tmp_path, capsys):
    assert reason in fails(capsys, "evaluate", trained, "--data", dataset, "--out", tmp_path / "e", *words)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("models/model.pt", "", "not a readable checkpoint"),
        ("configs/model.yaml", "", "holds no settings"),
        ("configs/model.yaml", "image_size: 64\n", "'network_def' is missing"),
    ],
)
def test_a_damaged_bundle_is_named(file, content, reason, trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    (root / file).write_text(content)
    error = fails(capsys, "evaluate", root, "--data", dataset, "--out", tmp_path / "e")
    assert reason in error
    assert str(root / file) in error


def test_weights_that_are_not_finite_are_refused(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    state = torch.load(root / "models/model.pt", weights_only=True)
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, root / "models/model.pt")
    assert "not finite" in fails(capsys, "evaluate", root, "--data", dataset, "--out", tmp_path / "e")


def test_weights_without_their_training_are_not_trained_over(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    (root / "models/last.pt").unlink()
    before = (root / "models/model.pt").read_bytes()
    words = ["train", root, "--data", dataset, *small_options(epochs="2")]
    assert "--resume" not in fails(capsys, *words)
    assert "last.pt" in fails(capsys, *words, "--resume", "true")
    assert (root / "models/model.pt").read_bytes() == before


def test_other_weights_for_the_encoder_want_their_own_digest(dataset, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    words = ["--pretrained", file, "--device", "cpu", "--image_size", "64"]
    error = fails(capsys, "train", "efficient_unet", "--data", dataset, "--out", tmp_path / "run", *words)
    assert f"--pretrained_sha256 HEX; this file's is {hashlib.sha256(b'weights').hexdigest()}" in error


def test_output_that_cannot_be_written(trained, dataset, tmp_path, capsys):
    (tmp_path / "file").touch()
    image = next((dataset / "images").iterdir())
    assert "file" in fails(capsys, "predict", trained, image, "--out", tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(capsys):
    from polyp_monai.errors import exit_status

    def write():
        with open("/dev/full", "w") as file:
            file.write("x")

    assert exit_status(write) == 1
    assert "disk is full" in capsys.readouterr().err


def test_override_words():
    assert overrides.parse(["--a", "1", "--b::c=x y", "--d#e", "-3"]) == {"a": "1", "b::c": "x y", "d::e": "-3"}
    with pytest.raises(PolypError, match="expected --KEY VALUE"):
        overrides.parse(["--"])


def test_a_bundle_by_name_is_found_from_anywhere(trained, dataset, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copytree(trained, runs / "unet")
    monkeypatch.chdir(tmp_path)
    image = os.path.relpath(next((dataset / "images").iterdir()))
    assert main(["predict", "unet", image, "--out", "masks"]) == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 1


def test_bundles_lists_every_bundle(capsys):
    from polyp_monai.bundle.locate import shipped

    assert main(["bundles"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in listed for name in shipped())


@pytest.mark.parametrize("loss", ["dice", "%configs/losses.yaml::dice", "{'_target_': 'DiceLoss', 'sigmoid': True}"])
def test_a_loss_by_name_key_or_definition_goes_into_the_bundle(loss, dataset, tmp_path):
    out = tmp_path / "run"
    words = small_options(epochs="1", loss=loss)
    assert main(["train", "unet", "--data", str(dataset), "--out", str(out), *words]) == 0
    written = yaml.safe_load((out / "configs/model.yaml").read_text())["loss"]
    assert written == {"_target_": "DiceLoss", "sigmoid": True}


def test_an_unknown_loss_names_the_nearest(dataset, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "unet", "--data", str(dataset), "--out", str(out), "--loss", "focal_tverski"]) == 1
    assert "did you mean focal_tversky?" in capsys.readouterr().err
    assert not out.exists()


def test_weights_that_are_not_there_are_named(dataset, tmp_path, capfd):
    out = tmp_path / "run"
    words = ["--pretrained", "nowhere.pth", "--device", "cpu", "--image_size", "64"]
    assert main(["train", "efficient_unet", "--data", str(dataset), "--out", str(out), *words]) == 1
    error = capfd.readouterr().err
    assert "nowhere.pth: no such weights" in error
    assert "Traceback" not in error
    assert not out.exists()


def test_several_sets_make_one_table(trained, dataset, tmp_path, capsys):
    other = shutil.copytree(dataset, tmp_path / "other")
    words = ["evaluate", trained, "--data", dataset, "--data", other, "--out", tmp_path / "e"]
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "other against synthetic: much like it" in shown
    assert {path.name for path in (tmp_path / "e").iterdir()} == {"synthetic", "other"}
    assert "would meet" in fails(capsys, "evaluate", trained, "--data", other, "--data", other)


def test_a_calibrated_threshold_is_reported_on(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    for part in ("training", "test"):  # of so small a set only training has enough frames
        assert main(["evaluate", str(root), "--data", str(dataset), "--split", part]) == 0
    assert "is the test split" in fails(capsys, "calibrate", root / "eval/test")
    assert "too few" in fails(capsys, "calibrate", root / "eval/training", "--missed", "0.001")
    assert main(["calibrate", str(root / "eval/training"), "--missed", "0.3"]) == 0
    assert main(["calibrate", str(root / "eval/training"), "--missed", "0.3"]) == 0  # the same again
    assert "holds another threshold" in fails(capsys, "calibrate", root / "eval/training", "--missed", "0.4")
    again = ["evaluate", str(root), "--data", str(dataset), "--split", "training", "--overwrite", "true"]
    assert main(again) == 0
    risk = json.loads((root / "eval/training/summary.json").read_text())["risk"]
    assert risk["missed_here"] == pytest.approx(risk["missed_on_calibration"])
    assert risk["missed_here"] <= 0.3
