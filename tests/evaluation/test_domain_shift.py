"""Differences of two sets that are drawn into them are the ones that are named."""

from __future__ import annotations

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.evaluation import domain_shift

RED, BLUE = (200, 40, 40), (40, 40, 200)


@pytest.fixture
def make(tmp_path):
    def sample(name: str, color=RED, side: int = 100, border: int = 0, polyp: float = 0.25) -> dict:
        image = np.zeros((side, side, 3), np.uint8)
        image[:, border:] = color
        mask = np.zeros((side, side), np.uint8)
        mask[: round(side * polyp)] = 1
        files.write_png(tmp_path / f"{name}.png", image)
        files.write_mask(tmp_path / f"{name}-mask.png", mask)
        return {"image": str(tmp_path / f"{name}.png"), "label": str(tmp_path / f"{name}-mask.png")}

    return sample


def test_a_set_is_described_by_its_medians(make):
    samples = [make("a"), make("b", border=20), make("c", border=20, polyp=0.5)]
    assert domain_shift.describe(samples) == {
        "brightness": pytest.approx(0.299 * 200 + 0.701 * 40, abs=1),
        "hue": 0,
        "polyp_area": 0.25,
        "black_border": pytest.approx(0.2),
        "megapixels": 0.01,
    }


def test_red_is_one_hue_from_both_ends(make):
    samples = [make("orange", (200, 60, 40)), make("pink", (200, 40, 60))]
    assert abs(domain_shift.describe(samples)["hue"]) < 1


def test_a_black_frame_has_no_light(make):
    found = domain_shift.describe([make("black", color=(0, 0, 0))])
    assert (found["brightness"], found["hue"], found["black_border"]) == (0, 0, 1)


def test_only_so_many_frames_are_read(make, monkeypatch):
    monkeypatch.setattr(domain_shift, "SAMPLE", 2)
    samples = [make("first"), {"image": "not there", "label": "not there"}, make("last")]
    assert domain_shift.describe(samples)["polyp_area"] == 0.25


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({}, "much like it"),
        ({"color": BLUE}, "hue -120 degrees instead of 0"),
        ({"border": 30}, "black border 0.3 instead of 0"),
        ({"polyp": 0.5}, "polyp area 0.5 instead of 0.25"),
        ({"side": 200}, "megapixels 0.04 instead of 0.01"),
        ({"color": (250, 160, 160)}, "brightness 187 instead of 88"),
    ],
)
def test_what_differs_is_said(make, other, text):
    one, two = domain_shift.describe([make("one")]), domain_shift.describe([make("two", **other)])
    assert text in domain_shift.note(one, two)
    assert domain_shift.note(one, one) == "much like it"
