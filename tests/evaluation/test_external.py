"""Maps that anybody wrote: read as what they are, matched by name, refused when they do not fit."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import external, pool


@pytest.fixture
def folders(tmp_path):
    truth, maps = tmp_path / "truth", tmp_path / "maps"
    for folder in (truth, maps):
        folder.mkdir()
    for number in range(3):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 10 + number : 40] = 255
        Image.fromarray(mask).save(truth / f"{number}.png")
        Image.fromarray(mask).save(maps / f"{number}.png")
    return truth, maps


def run(maps, truth, out, *more) -> int:
    return main(["score", "--pred", str(maps), "--truth", str(truth), "--out", str(out), *map(str, more)])


def test_perfect_maps_score_one(folders, tmp_path, capsys):
    truth, maps = folders
    assert run(maps, truth, tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames_with_polyp"]["mean"]["dice"] == 1
    assert summary["pranet"]["mae"] == 0
    assert "Dice 1.0000" in capsys.readouterr().out
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("pixels", "suffix"),
    [
        (np.array([[0, 255], [51, 0]], np.uint8), ".png"),
        (np.array([[0, 65535], [13107, 0]], np.uint16), ".png"),
        (np.array([[0, 1], [0.2, 0]], np.float32), ".tif"),
        (np.array([[0, 255], [51, 0]], np.float32), ".tif"),
        (np.array([[0, 1], [0.2, 0]], np.float32), ".nii.gz"),
    ],
)
def test_maps_of_any_type_read_alike(pixels, suffix, tmp_path):
    path = tmp_path / f"map{suffix}"
    if suffix == ".nii.gz":
        files.write_nifti(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    assert np.allclose(files.read_map(path), [[0, 1], [0.2, 0]])


def test_a_mask_of_0_and_1_is_taken_as_it_is(tmp_path):
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "mask.png")
    assert np.array_equal(files.read_map(tmp_path / "mask.png"), np.eye(4))


def test_another_size_is_refused_with_both_names_unless_resized(folders, tmp_path, capsys):
    truth, maps = folders
    with Image.open(maps / "1.png") as image:
        image.resize((30, 20)).save(maps / "1.png")
    assert run(maps, truth, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert str(maps / "1.png") in error
    assert str(truth / "1.png") in error
    assert not (tmp_path / "out").exists()
    assert run(maps, truth, tmp_path / "out", "--resize") == 0


def test_missing_partners_are_said(folders, tmp_path, capsys):
    truth, maps = folders
    (maps / "2.png").unlink()
    Image.new("L", (60, 40)).save(maps / "other.png")
    assert run(maps, truth, tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "1 truth without a prediction, not scored: 2" in error
    assert "1 prediction without a truth, not scored: other" in error
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["unmatched"] == {"without_prediction": ["2"], "without_truth": ["other"]}


def test_a_noisy_truth_is_cut_in_the_middle_and_counted(folders, tmp_path, capsys):
    truth, maps = folders
    with Image.open(truth / "1.png") as image:
        pixels = np.array(image)
    pixels[0, :2] = (3, 100)
    Image.fromarray(pixels).save(truth / "1.png")
    assert run(maps, truth, tmp_path / "out") == 0
    assert "1 true mask with values between" in capsys.readouterr().err
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["run"]["truths_of_other_values"] == 1
    assert summary["frames_with_polyp"]["mean"]["dice"] == 1


def test_bad_input(folders, tmp_path, capsys):
    truth, maps = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    for words in ((empty, truth), (maps, empty), (tmp_path / "nowhere", truth)):
        assert run(*words, tmp_path / "out") == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    Image.new("L", (4, 4)).save(strangers / "x.png")
    assert run(strangers, truth, tmp_path / "out") == 1
    assert "no file name in common" in capsys.readouterr().err
    Image.fromarray(np.full((40, 60), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(PolypError, match="NaN"):
        files.read_map(tmp_path / "nan.tif")
    Image.fromarray(np.full((40, 60), -3, np.float32)).save(tmp_path / "logits.tif")
    with pytest.raises(PolypError, match="logits"):
        files.read_map(tmp_path / "logits.tif")


@pytest.mark.parametrize("level", [2, 38, 100, 127])
def test_dim_truths_are_refused_and_not_taken_as_empty(level, folders, tmp_path, capsys):
    truth, maps = folders
    mask = files.read_mask(truth / "1.png")
    Image.fromarray(mask * np.uint8(level)).save(truth / "1.png")
    assert run(maps, truth, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"{truth / '1.png'}: the mask's largest value is {level} (uint8), too dark for a polyp" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("level", [2, 38, 127])
def test_dim_predictions_are_refused_and_not_taken_as_doubts(level, folders, tmp_path, capsys):
    truth, maps = folders
    mask = files.read_mask(maps / "1.png")
    Image.fromarray(mask * np.uint8(level)).save(maps / "1.png")
    assert run(maps, truth, tmp_path / "out") == 1
    assert f"{maps / '1.png'}: holds 0 and {level} alone" in capsys.readouterr().err
    assert run(maps, truth, tmp_path / "out", "--normalize", "minmax") == 0


def test_a_map_of_faint_doubts_among_others_is_no_mask_of_ones(folders, tmp_path):
    """8-bit maps, as `polyp predict --probability` writes them: 1 is 1/255 where another map has many levels."""
    truth, maps = folders
    Image.fromarray((np.arange(2400).reshape(40, 60) % 256).astype(np.uint8)).save(maps / "1.png")
    faint = np.zeros((40, 60), np.uint8)
    faint[3, 4:9] = 1
    Image.fromarray(faint).save(maps / "0.png")
    assert run(maps, truth, tmp_path / "out") == 0
    row = (tmp_path / "out/frames.csv").read_text().splitlines()
    assert dict(zip(row[0].split(","), row[1].split(","), strict=True))["predicted_pixels"] == "0"


def test_names_that_are_no_utf_8_are_one_line(folders, tmp_path, capsys):
    truth, maps = folders
    for folder in folders:
        (folder / "1.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    assert run(maps, truth, tmp_path / "out") == 1
    assert r"caf\xe9.png: its name is no UTF-8; rename it" in capsys.readouterr().err


def test_a_run_replaces_its_own_files_when_told_to_and_no_others(folders, tmp_path, capsys):
    truth, maps = folders
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    for more in ([], ["--overwrite"]):
        assert run(maps, truth, out, *more) == 1
        assert "report.html: is there already, and `polyp score` did not write it" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["report.html"]
    assert main(["report", str(out)]) == 1
    assert (out / "report.html").read_text() == "mine"
    (out / "report.html").unlink()
    assert run(maps, truth, out) == 0
    before = (out / "frames.csv").read_bytes()
    assert run(maps, truth, out, "--threshold", "0.9") == 1
    assert "exists already; give another --out, or --overwrite" in capsys.readouterr().err
    assert (out / "frames.csv").read_bytes() == before
    assert run(maps, truth, out, "--overwrite") == 0
    assert main(["report", str(out)]) == 0


def test_processes_change_nothing(folders, monkeypatch):
    monkeypatch.setattr(pool, "FEW", 1)
    matches = external.match(*folders)[0]
    alone, together = (list(external.score_all(matches, external.ScoreOptions(), processes)) for processes in (1, 2))
    assert [s.row["name"] for s in together] == ["0", "1", "2"]
    for one, other in zip(alone, together, strict=True):
        assert (one.row, one.structure, one.lesions) == (other.row, other.structure, other.lesions)
        assert np.array_equal(one.histograms, other.histograms)


def test_a_damaged_map_among_many_is_named(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pool, "FEW", 1)
    truth, maps = folders
    (maps / "1.png").write_bytes((maps / "1.png").read_bytes()[:60])
    assert run(maps, truth, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert str(maps / "1.png") in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "suffix", "said"),
    [
        (np.array([0, 1, 2], np.uint8), ".png", "holds 0, 1 and 2 alone"),
        (np.array([0, 0, 4095], np.uint16), ".png", "holds 0 and 4095 alone"),
        (np.array([0, 0, 2], np.float32), ".nii.gz", "holds 0 and 2 alone"),
    ],
)
def test_masks_in_a_code_of_their_own_are_refused_at_any_depth(values, suffix, said, folders, tmp_path, capsys):
    truth, maps = folders
    pixels = values[np.arange(2400).reshape(40, 60) % 3]
    (maps / "1.png").unlink()
    if suffix == ".nii.gz":
        files.write_nifti(maps / f"1{suffix}", pixels)
    else:
        Image.fromarray(pixels).save(maps / f"1{suffix}")
    assert run(maps, truth, tmp_path / "out") == 1
    assert said in capsys.readouterr().err
    assert run(maps, truth, tmp_path / "out", "--normalize", "minmax") == 0


@pytest.mark.parametrize(("kind", "highest"), [(np.uint8, 100), (np.uint16, 4095)])
def test_maps_of_another_scale_are_said(kind, highest, folders, tmp_path, capsys):
    truth, maps = folders
    for path in maps.iterdir():
        Image.fromarray(np.linspace(0, highest, 2400).reshape(40, 60).astype(kind)).save(path)
    assert run(maps, truth, tmp_path / "out") == 0
    assert "no prediction reaches 0.5: the highest value was read as" in capsys.readouterr().err


def test_an_inverted_prediction_is_refused_unless_told_otherwise(folders, tmp_path, capsys):
    truth, maps = folders
    Image.fromarray(255 - files.read_mask(truth / "1.png") * np.uint8(255)).save(maps / "1.png")
    assert run(maps, truth, tmp_path / "out") == 1
    assert "1 prediction with the polyp in black: 1; invert them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(maps, truth, tmp_path / "out", "--keep-inverted") == 0


def test_photographs_are_no_maps_and_colored_masks_are(folders, tmp_path, capsys):
    truth, maps = folders
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = np.asarray(Image.open(truth / "0.png"))
    Image.fromarray(red).save(maps / "0.png")
    assert run(maps, truth, tmp_path / "red") == 0
    light = np.random.default_rng(0).integers(60, 230, (40, 60, 1))
    Image.fromarray((light * [1, 0.6, 0.5]).astype(np.uint8)).save(maps / "1.png")
    assert run(maps, truth, tmp_path / "out") == 1
    assert f"{maps / '1.png'}: a picture in color" in capsys.readouterr().err


def test_a_folder_scored_against_itself_is_said(folders, tmp_path, capsys):
    truth, _ = folders
    (tmp_path / "link").symlink_to(truth)
    assert run(tmp_path / "link", truth, tmp_path / "out") == 0
    assert "it is scored against itself" in capsys.readouterr().err


def test_a_data_list_that_is_not_of_these_frames(folders, tmp_path, capsys):
    truth, maps = folders

    def listed(**splits: tuple[str, ...]) -> list:
        entries = {
            split: [{"image": f"{name}.jpg", "group": group} for name, group in own] for split, own in splits.items()
        }
        (tmp_path / "datalist.json").write_text(json.dumps(entries))
        return ["--data", tmp_path, "--overwrite"]

    assert run(maps, truth, tmp_path / "out", *listed(test=["xa"])) == 1
    assert "knows none of the frames, such as 0; is it the list of another set?" in capsys.readouterr().err
    assert run(maps, truth, tmp_path / "out", *listed(test=["0a", "1b"])) == 0
    assert f"--data {tmp_path}: does not know 1 frame of 3" in capsys.readouterr().err
    assert run(maps, truth, tmp_path / "out", *listed(training=["0a"], test=["1a", "2c"])) == 0
    assert "LEAKED: 2 of 3 frames or their sequence are in the training split" in capsys.readouterr().err
