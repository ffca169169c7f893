from __future__ import annotations

import re

import pytest

from polyp_monai.report.charts import Axis, dice_by_share, dice_histogram, line


def test_ticks_are_evenly_spaced():
    axis = Axis("share", (0, 2.5, 5, 15, 30, 100))
    assert [axis.place(v) for v in (0, 2.5, 10, 100)] == pytest.approx([0, 0.2, 0.5, 1])
    assert axis.place(-1) == 0
    assert axis.place(200) == 1


def test_line_passes_over_what_was_not_measured():
    assert line(Axis(""), Axis(""), (0, 0.5, 1), (0, None, 1)).count("L") == 1
    assert line(Axis(""), Axis(""), (None,), (0.5,)) == ""


def test_histogram_counts_every_frame():
    svg = dice_histogram([0, 0.04, 0.05, 0.5, 1])
    assert re.findall(r": (\d+) frames</title>", svg) == ["2", "1", "1", "1"]
    assert "mean 0.318, median 0.050, 3 below 0.5" in svg


@pytest.mark.parametrize("dice", [[0.5], [0.5, 0.7], [0.0] * 5])
def test_one_class_alone(dice):
    assert dice_by_share([0.1] * len(dice), dice).count('class="box"') == 1
