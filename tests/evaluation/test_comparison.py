"""Runs against each other: a difference that is there is found, one that is not is called noise."""

from __future__ import annotations

import numpy as np
import pytest

from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import comparison


def write(folder, dice: np.ndarray, first: int = 0) -> str:
    rows = [
        {"name": f"frame{first + i}", "group": "", "dice": d, "iou": d / (2 - d), "sensitivity": d, "precision": d}
        for i, d in enumerate(dice.tolist())
    ]
    files.write_csv(folder / "frames.csv", rows)
    return str(folder)


@pytest.fixture
def dice():
    return np.random.default_rng(0).uniform(0.5, 0.9, 60)


def test_a_difference_is_found_and_noise_is_called_noise(dice, tmp_path, capsys):
    rng = np.random.default_rng(1)
    runs = [
        write(tmp_path / "a", dice),
        write(tmp_path / "better", dice + 0.05 + rng.normal(0, 0.01, 60)),
        write(tmp_path / "alike", dice + rng.normal(0, 0.01, 60)),
    ]
    found = {(p["first"], p["second"]): p for p in comparison.compare(runs)["pairs"] if p["metric"] == "dice"}
    assert found[runs[0], runs[1]]["verdict"].startswith("lower by 0.0")
    assert found[runs[0], runs[2]]["verdict"].startswith("within noise")
    assert all(pair["corrected_p"] >= pair["p"] for pair in found.values())
    assert main(["compare", *runs, "--out", str(tmp_path / "all.json")]) == 0
    assert "within noise" in capsys.readouterr().out
    assert (tmp_path / "all.json").is_file()


def test_only_common_frames_count(dice, tmp_path):
    result = comparison.compare([write(tmp_path / "a", dice), write(tmp_path / "b", dice, first=20)])
    assert result["frames"] == 40
    assert set(result["left_out"].values()) == {20}


def test_bad_input(dice, tmp_path):
    a, b = write(tmp_path / "a", dice), write(tmp_path / "b", dice, first=100)
    for runs, reason in (([a], "two or more"), ([a, a], "two or more"), ([a, b], "no frame in common")):
        with pytest.raises(PolypError, match=reason):
            comparison.compare(runs)
    with pytest.raises(PolypError, match="no such file"):
        comparison.compare([a, str(tmp_path / "nowhere")])


@pytest.mark.parametrize("column", ["width", "height", "polyp_pixels"])
def test_runs_scored_against_other_truths_are_refused(column, dice, tmp_path):
    runs = [write(tmp_path / name, dice) for name in "ab"]
    for run, value in zip(runs, (400, 401), strict=True):
        rows = [row | {column: value} for row in comparison.read_rows(run).values()]
        files.write_csv(f"{run}/frames.csv", rows)
    with pytest.raises(PolypError, match="other truths; that of frame0 has 400"):
        comparison.compare(runs)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not a CSV file in UTF-8"),
        (b"name,dice,iou,sensitivity,precision\na,abc,1,1,1\n", "line 2: dice is 'abc'; expected 0 to 1"),
        (b"name,dice,iou,sensitivity,precision\na,1,1,1,7\n", "line 2: precision is '7'; expected 0 to 1"),
        (b"name,dice,iou,sensitivity,precision\na,1,nan,1,1\n", "line 2: iou is 'nan'; expected 0 to 1"),
        (b"name,dice,iou,sensitivity,precision\na,1,1\n", "a line of it ends too early"),
        (b"name,dice,iou,sensitivity,precision\na,1,1,1,1\na,1,1,1,1\n", "line 3: the frame 'a' has .* there twice"),
        (b'name,dice,iou,sensitivity,precision\na,"1,1,1,1\n', "not a CSV file"),
    ],
)
def test_an_odd_table_is_one_clear_line(content, reason, dice, tmp_path):
    good = write(tmp_path / "good", dice)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/frames.csv").write_bytes(content)
    with pytest.raises(PolypError, match=reason) as error:
        comparison.compare([good, str(tmp_path / "odd")])
    assert "\n" not in str(error.value)


def test_a_file_that_is_there_is_not_replaced(dice, tmp_path, capsys):
    runs = [write(tmp_path / "a", dice), write(tmp_path / "b", dice)]
    (tmp_path / "notes.json").write_text("mine")
    assert main(["compare", *runs, "--out", str(tmp_path / "notes.json")]) == 1
    assert "notes.json: is there already, and `polyp compare` did not write it" in capsys.readouterr().err
    assert main(["compare", *runs, "--out", str(tmp_path / "notes.json"), "--overwrite"]) == 1
    assert (tmp_path / "notes.json").read_text() == "mine"
