"""audit.html, drawn out of the folder that `polyp prepare` writes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.report import audit

from .conftest import NAME, disc
from .test_page import words


@pytest.fixture
def prepared(tmp_path) -> Path:
    """Twelve frames: two have a name that no page should hold as it is, two are negative, three look inverted."""
    rng = np.random.default_rng(0)
    for i in range(12):
        name = f"{NAME}{i}" if i < 2 else f"f{i}"
        files.write_png(tmp_path / f"raw/images/{name}.png", rng.integers(0, 256, (80, 96, 3), np.uint8))
        polyp = disc(48, 40, 12 + i)
        files.write_mask(
            tmp_path / f"raw/masks/{name}.png", 0 * polyp if i in (2, 3) else 1 - polyp if i > 8 else polyp
        )
    out = tmp_path / "out"
    assert main(["prepare", "folder", "--source", str(tmp_path / "raw"), "--out", str(out), "--keep-inverted"]) == 0
    return out


def page(folder: Path) -> str:
    return (folder / "audit.html").read_text(encoding="utf-8")


def test_says_what_is_in_the_set(prepared):
    seen = words(page(prepared))
    for expected in (
        "Audit of raw 12 frames, protocol ratio (seed 0, ratios 0.8 / 0.1 / 0.1)",
        "frames 12 of 12 groups",
        "with a polyp 10 2 negative",
        "frames with a warning 5",
        "training 10 83.3 %",
        "warning inverted mask polyp on more than half of the image and along its edge",
        "warning empty mask no polyp in 2 masks",
        "5 frames of the findings",
        "12 of 12 frames, chosen evenly",
    ):
        assert expected in seen
    assert page(prepared).count('class="shot"') == 5 + 12
    assert page(prepared).count('class="truth"') == 3 + 10


def test_shots_answer_to_split_and_finding(prepared):
    found = re.findall(r'data-split="(\w+)" data-finding="([^"]*)"', page(prepared))
    assert {finding for _, finding in found} == {"", "inverted-mask", "empty-mask"}
    assert {split for split, _ in found} == {"training", "validation", "test"}


def test_names_are_escaped(prepared):
    assert NAME not in page(prepared)
    assert str(escape(NAME)) in page(prepared)


def test_refers_to_nothing_outside(prepared):
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!#)|@import|https?://', page(prepared))


def test_drawn_again_it_is_the_same(prepared):
    before = page(prepared)
    assert audit.write(prepared) == prepared / "audit.html"
    assert page(prepared) == before


def test_a_split_that_leaks_says_so_first(prepared):
    content = json.loads((prepared / "audit.json").read_text())
    content["protocol"]["warning"] = "3 of the 4 groups are torn"
    files.write_json(prepared / "audit.json", content)
    audit.write(prepared)
    assert "Audit of raw leaks" in words(page(prepared))
    assert "This protocol leaks. 3 of the 4 groups are torn." in words(page(prepared))


def test_a_set_without_findings(tmp_path, dataset):
    folder = shutil.copytree(dataset, tmp_path / "set")
    content = json.loads((folder / "audit.json").read_text())
    files.write_json(folder / "audit.json", content | {"findings": []})
    audit.write(folder)
    assert "Nothing is wrong." in words(page(folder))
    assert "frames of the findings" not in page(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), ("{", "not an audit"), ('{"name": "old", "images": [{}]}', "not an audit")],
)
def test_no_audit(tmp_path, content, said):
    if content:
        (tmp_path / "audit.json").write_text(content)
    with pytest.raises(PolypError, match=said):
        audit.write(tmp_path)
    assert not (tmp_path / "audit.html").exists()
