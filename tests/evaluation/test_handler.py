"""The evaluator's scores do not depend on the processes that take them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from polyp_monai.cli.main import main
from polyp_monai.evaluation import pool


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(pool, "FEW", 1)
    monkeypatch.setattr(pool, "cores", lambda: 2)


def evaluate(bundle, data, out) -> int:
    return main(
        [
            "evaluate",
            *map(str, (bundle, "--data", data, "--split", "all", "--out", out, "--overwrite", "--device", "cpu")),
        ]
    )


def test_scores_are_those_of_one_process(trained, dataset, tmp_path, request):
    out = tmp_path / "out"
    found = []
    for processes in (1, 2):
        if processes == 2:
            request.getfixturevalue("two_processes")
        assert evaluate(trained, dataset, out) == 0
        summary = json.loads((out / "summary.json").read_text())
        del summary["run"]
        with np.load(out / "histograms.npz") as histograms:
            found.append((summary, (out / "frames.csv").read_text(), {key: histograms[key] for key in histograms}))
    (one, one_table, one_histograms), (other, other_table, other_histograms) = found
    assert one_table == other_table
    assert one == other
    np.testing.assert_equal(one_histograms, other_histograms)


def test_a_damaged_frame_in_the_middle_is_one_line(trained, dataset, tmp_path, capsys, two_processes):
    copy = shutil.copytree(dataset, tmp_path / "data")
    content = json.loads((copy / "datalist.json").read_text())
    image = copy / content["training"][5]["image"]
    damaged = image.read_bytes()[:2000]
    image.unlink()  # it may be a hard link
    image.write_bytes(damaged)
    assert evaluate(trained, copy, tmp_path / "out") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("polyp: error: ")
    assert image.name in error
    assert not (tmp_path / "out/summary.json").exists()
    assert not list((tmp_path / "out").glob(".partial*"))
