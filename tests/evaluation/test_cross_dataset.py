"""Several sets in one table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import cross_dataset


def write_run(folder: Path, dice: float | None, leaked: float | None) -> Path:
    mean = {} if dice is None else {"dice": dice, "iou": dice / 2, "sensitivity": 0.5, "precision": 0.75}
    interval = {} if dice is None else {"dice": [dice - 0.1, dice + 0.1]}
    summary = {
        "frames": 2,
        "frames_with_polyp": {"count": 2, "mean": mean, "interval": interval, "missed": 1},
        "frames_without_polyp": {"specificity": None if leaked is None else 0.75},
        "leakage": None if leaked is None else {"share": leaked},
    }
    files.write_json(folder / "summary.json", summary)
    return folder


def test_a_line_a_set_and_what_differs(dataset, tmp_path):
    other = tmp_path / "brighter"
    shutil.copytree(dataset, other)
    for path in (other / "images").iterdir():
        files.write_png(path, (files.read_rgb(path) * 0.3).astype("uint8"))
    sets = [str(dataset), str(other)]
    runs = cross_dataset.folders(tmp_path / "results", sets)
    assert runs == [tmp_path / "results/synthetic", tmp_path / "results/brighter"]
    write_run(runs[0], 0.8, 0.06)
    write_run(runs[1], None, None)
    header, one, two, note = cross_dataset.table(sets, runs, "test")
    assert header.split()[:3] == ["set", "frames", "Dice"]
    assert one.split() == [
        "synthetic",
        "2",
        "0.8000",
        "0.7000",
        "0.9000",
        "0.4000",
        "0.5000",
        "0.7500",
        "1",
        "75%",
        "6%",
    ]
    assert two.split() == ["brighter", "2", "-", "-", "-", "-", "-", "-", "1", "-", "-"]
    assert note.startswith("brighter against synthetic: brightness ")


def test_sets_of_one_name_would_meet(tmp_path):
    with pytest.raises(PolypError, match="two of the folders are called kvasir"):
        cross_dataset.folders(tmp_path, ["data/kvasir", "old/kvasir", "data/other"])
