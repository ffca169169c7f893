"""`polyp train` as a user sees it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from polyp_monai.cli import train
from polyp_monai.cli.main import main
from tests.cli.conftest import fails
from tests.conftest import small_options


def test_resuming_and_beginning_again_exclude_each_other(dataset, tmp_path, capsys):
    words = ["train", "unet", "--data", dataset, "--out", tmp_path / "run", "--resume", "--overwrite"]
    assert "--resume goes on with a training, --overwrite begins it again" in fails(capsys, *words)


def test_unknown_bundle(dataset, tmp_path, capsys):
    assert "unet" in fails(capsys, "train", "unett", "--data", dataset)
    assert "no bundle" in fails(capsys, "evaluate", tmp_path, "--data", dataset)


def test_data_that_is_not_prepared(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "polyp prepare" in fails(capsys, "train", "unet", "--data", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_training_image_is_named(dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    image = copy / json.loads((copy / "datalist.json").read_text())["training"][0]["image"]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[:2000])
    assert image.name in fails(capsys, "train", "unet", "--data", copy, "--out", tmp_path / "run", *small_options())
    assert not (tmp_path / "run").exists()


def test_weights_without_their_training_are_not_trained_over(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    (root / "models/last.pt").unlink()
    before = (root / "models/model.pt").read_bytes()
    words = ["train", root, "--data", dataset, *small_options(epochs="2")]
    assert "--resume" not in fails(capsys, *words)
    assert "last.pt" in fails(capsys, *words, "--resume")
    assert (root / "models/model.pt").read_bytes() == before


def test_other_weights_for_the_encoder_want_their_own_digest(dataset, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    words = ["--pretrained", file, "--device", "cpu", "--image_size", "64"]
    error = fails(capsys, "train", "efficient_unet", "--data", dataset, "--out", tmp_path / "run", *words)
    assert f"--pretrained_sha256 HEX; this file's is {hashlib.sha256(b'weights').hexdigest()}" in error


@pytest.mark.parametrize("words", [["--loss", "dice"], ["--set", "loss={'_target_': 'DiceLoss', 'sigmoid': True}"]])
def test_a_loss_by_name_or_definition_goes_into_the_bundle(words, dataset, tmp_path):
    out = tmp_path / "run"
    options = small_options(epochs="1")
    assert main(["train", "unet", "--data", str(dataset), "--out", str(out), *options, *words]) == 0
    written = yaml.safe_load((out / "configs/model.yaml").read_text())["loss"]
    assert written == {"_target_": "DiceLoss", "sigmoid": True}


def test_json_and_the_log_of_a_training(dataset, tmp_path, capfd):
    """One document on stdout; the learning rate of an epoch is one that it used, not where the schedule ended."""
    words = ["train", "unet", "--data", dataset, "--out", tmp_path / "run", *small_options(epochs="1"), "--json"]
    capfd.readouterr()
    assert main([*map(str, words)]) == 0
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert Path(found["weights"]).is_file()
    assert (found["epochs"], found["best"]["epoch"]) == (1, 1)
    assert "--- input summary" not in shown.err
    rows = list(csv.DictReader(Path(found["log"]).read_text().splitlines()))
    assert float(rows[-1]["learning_rate"]) > 0


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


@pytest.mark.parametrize(
    ("root", "weights", "command"),
    [
        ("runs/a", "runs/a/models/model.pt", "polyp evaluate runs/a --data DATA"),
        ("runs/a", "w/model.pt", "polyp evaluate runs/a --weights w/model.pt --data DATA"),
        ("unet", "unet/models/model.pt", "polyp evaluate ./unet --data DATA"),  # the name alone is the shipped bundle
    ],
)
def test_the_command_that_is_named_takes_the_new_weights(root, weights, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.csv").write_text("epoch,validation\n1,0.5\n")
    found = train._outcome(tmp_path / root, tmp_path / weights, tmp_path / "training.csv")
    assert found.lines[0].endswith(command)
