"""The page of runs held against each other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import comparison
from polyp_monai.report import comparison as page

from .conftest import NAME, disc
from .test_page import rows, words


@pytest.fixture
def runs(make_run, tmp_path) -> list[str]:
    """Three runs on the same seven frames: one good, one shifted that misses a polyp, one like the first."""
    polyp = disc(40, 40, 20)
    good = make_run([(polyp, disc(40 + i % 3, 40, 20)) for i in range(7)])
    for name in ("shifted", "alike"):
        shutil.copytree(good, tmp_path.parent / f"{tmp_path.name}-{name}")
    folders = [str(tmp_path.parent / f"{tmp_path.name}{end}") for end in ("", "-shifted", "-alike")]

    def worse(text: str) -> str:
        head, *lines = text.splitlines()
        place = head.split(",").index("dice")
        cells = [re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", line) for line in lines]
        for i, row in enumerate(cells):
            row[place] = "0" if i == 0 else str(float(row[place]) - 0.1)
        return "\n".join([head, *(",".join(row) for row in cells)]) + "\n"

    rows(Path(folders[1]), worse)
    return folders


def test_says_what_differs(runs, tmp_path):
    result = comparison.compare(runs)
    path = page.write(result, tmp_path / "all.html")
    text = path.read_text(encoding="utf-8")
    seen = words(text)
    assert "Comparison of 3 runs 7 frames in common" in seen
    for number, run in enumerate(runs, 1):
        assert f"{number}: {run} {result['means'][run]['dice']:.3f} (" in seen
    for pair in ("1 against run 2", "1 against run 3", "2 against run 3"):
        assert f"Run {pair}" in seen
    assert "7 frames: run 1 is better on 7, run 2 on 0" in seen
    assert "More than noise: nothing." in seen  # of the third pair, which differs in nothing
    assert text.count('class="shot"') == 7 * 3  # a picture a run
    assert "run 2: missed" in seen
    assert NAME not in text
    assert str(escape(NAME)) in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!#)|@import|https?://', text)


def test_runs_without_a_difference_have_no_gallery(runs, tmp_path):
    text = page.write(comparison.compare([runs[0], runs[2]]), tmp_path / "all.html").read_text(encoding="utf-8")
    assert 'class="shot"' not in text
    assert "<script" not in text


def test_groups_that_are_too_few_have_no_interval(runs, tmp_path):
    """All frames are of one group: nothing is known of the spread."""
    result = comparison.compare(runs[:2])
    assert all(np.isnan(pair["low"]) for pair in result["pairs"])
    assert "(- to -)" in words(page.write(result, tmp_path / "all.html").read_text(encoding="utf-8"))


def test_a_run_that_has_gone(runs, tmp_path):
    result = comparison.compare(runs[:2])
    (Path(runs[1]) / "summary.json").unlink()
    with pytest.raises(PolypError, match=r"summary\.json is missing"):
        page.write(result, tmp_path / "all.html")
    assert not (tmp_path / "all.html").exists()


def test_a_score_that_is_no_number(tmp_path):
    for run in ("a", "b"):
        files.write_csv(tmp_path / run / "frames.csv", [{"name": "x", "group": "", "dice": "abc"}])
    with pytest.raises(PolypError, match=r"frames\.csv: line 2: dice is 'abc'; expected 0 to 1"):
        comparison.compare([str(tmp_path / "a"), str(tmp_path / "b")])
