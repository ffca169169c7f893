"""Folds and seeds as one result."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path

import pytest
import torch

from polyp_monai.cli.main import main
from polyp_monai.data import datalist
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import merge as merging
from tests.cli.conftest import fails
from tests.conftest import small_options


def train(out: Path, dataset: Path, **options: str) -> Path:
    words = ["train", "unet", "--data", dataset, "--out", out, *small_options(epochs="1", **options)]
    assert main([*map(str, words)]) == 0
    return out


@pytest.fixture(scope="module")
def fold_runs(tmp_path_factory, dataset) -> list[Path]:
    folder = tmp_path_factory.mktemp("folds")
    return [train(folder / f"fold{place}", dataset, fold=f"{place}/2") for place in (1, 2)]


def words(*runs: Path, data: Path, out: Path) -> list[str]:
    return ["merge", *map(str, runs), "--data", str(data), "--out", str(out), "--device", "cpu"]


def test_every_frame_is_scored_by_the_run_that_did_not_see_it(fold_runs, dataset, tmp_path, capsys):
    out = tmp_path / "merged"
    assert main(words(*fold_runs, data=dataset, out=out)) == 0
    assert "mean ± sd" in capsys.readouterr().out
    content = json.loads((out / "summary.json").read_text())
    rows = list(csv.DictReader((out / "frames.csv").open()))
    expected = {s["name"] for split in ("training", "validation") for s in datalist.labelled_frames(dataset, split)}
    assert sorted(row["name"] for row in rows) == sorted(expected)
    for run, fold in zip(fold_runs, ("1/2", "2/2"), strict=True):
        held_out = {s["name"] for s in datalist.labelled_frames(dataset, "validation", fold=fold)}
        assert {row["name"] for row in rows if str(run) in row["prediction"]} == held_out
    dice = [float(row["dice"]) for row in rows if int(row["polyp_pixels"])]
    assert content["frames_with_polyp"]["mean"]["dice"] == pytest.approx(statistics.mean(dice), abs=1e-4)
    assert [row["fold"] for row in content["members"]] == ["1/2", "2/2"]
    assert "Runs merged" in (out / "report.html").read_text()
    assert "exists already" in fails(capsys, *words(*fold_runs, data=dataset, out=out))
    missing = fails(capsys, *words(fold_runs[0], fold_runs[0], data=dataset, out=tmp_path / "other"))
    assert "and 2/2 is missing" in missing


def test_the_same_weights_do_not_scatter(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "_member", lambda root, data: merging.Member(root, None))
    roots = [tmp_path / "a", tmp_path / "copy"]
    for root in roots:
        (root / "models").mkdir(parents=True)
        (root / "models/model.pt").write_bytes(b"weights")
    for runs in (roots, [roots[0], roots[0]]):
        with pytest.raises(PolypError, match="have the same weights; merge different runs"):
            merging.members(runs, tmp_path)


def test_a_run_without_weights_is_told_to_be_trained(tmp_path):
    with pytest.raises(PolypError, match="unet: comes without weights; train it first"):
        merging.members([tmp_path / "unet", tmp_path / "other"], tmp_path)


@pytest.mark.slow
def test_seeds_are_summed_up(trained, fold_runs, dataset, tmp_path, capsys):
    seed = train(tmp_path / "seed1", dataset, seed="1")
    again = train(tmp_path / "seed2", dataset, seed="2")
    assert main(words(seed, again, data=dataset, out=tmp_path / "seeds")) == 0
    content = json.loads((tmp_path / "seeds/summary.json").read_text())
    scores = [row["dice"] for row in content["members"]]
    assert content["spread"]["dice"]["mean"] == pytest.approx(statistics.mean(scores))
    assert content["spread"]["dice"]["sd"] == pytest.approx(statistics.stdev(scores))
    assert "2 runs of one recipe" in (tmp_path / "seeds/report.html").read_text()
    mixed = fails(capsys, *words(seed, fold_runs[0], data=dataset, out=tmp_path / "mixed"))
    assert "was trained without --fold" in mixed
    assert not (tmp_path / "mixed").exists()


def test_an_evaluation_of_a_run_is_in_the_way(trained, dataset, tmp_path, capsys):
    runs = [shutil.copytree(trained, tmp_path / name) for name in ("a", "b")]
    weights = torch.load(runs[1] / "models/model.pt", weights_only=True)
    torch.save({name: value * 2 for name, value in weights.items()}, runs[1] / "models/model.pt")
    (runs[1] / "eval/validation").mkdir()
    (runs[1] / "eval/validation/report.html").write_text("mine")
    said = fails(capsys, *words(*runs, data=dataset, out=tmp_path / "seeds"))
    assert "b/eval/validation/report.html: is there already" in said
    assert "; move it away" in said
    assert not (runs[0] / "eval/validation").exists()
