from __future__ import annotations

import math

import pytest

from polyp_monai.report.charts import (
    Axis,
    Bar,
    Stroke,
    differences,
    histogram,
    line,
    round_ticks,
    score_by_share,
    score_histogram,
)


def test_ticks_are_evenly_spaced():
    axis = Axis("share", (0, 2.5, 5, 15, 30, 100))
    assert [axis.place(v) for v in (0, 2.5, 10, 100)] == pytest.approx([0, 0.2, 0.5, 1])
    assert [axis.at(place) for place in (0, 0.2, 0.5, 1)] == pytest.approx([0, 2.5, 10, 100])
    assert axis.place(-1) == 0
    assert axis.place(200) == 1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 70.3, [0, 20, 40, 60, 80]),
        (1.004, 1.467, [1, 1.1, 1.2, 1.3, 1.4, 1.5]),
        (-0.12, 0, [-0.15, -0.1, -0.05, 0]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_hold_all_values(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("value", [288, 1, -3.5, 1e-6])
def test_an_axis_over_one_value_holds_it(value):
    axis = Axis.over("one", [value, value])
    assert axis.ticks[0] <= value <= axis.ticks[-1]
    assert len(axis.ticks) >= 2


def test_counts_have_whole_ticks():
    assert all(tick == int(tick) for count in range(1, 40) for tick in round_ticks(0, count, whole=True))


def test_line_passes_over_what_was_not_measured():
    (mark,) = line(Axis(""), Axis(""), (0, 0.5, 1), (0, None, 1))
    assert mark.d.count("L") == 1
    assert line(Axis(""), Axis(""), (None,), (0.5,)) == []


def bars(chart) -> list[str]:
    return [mark.title for mark in chart.marks if isinstance(mark, Bar)]


def test_histogram_counts_every_frame():
    chart = score_histogram("Dice", [0, 0.04, 0.05, 0.35, 0.5, 1])
    assert bars(chart) == [
        "0 to 0.05: 2 frames",
        "0.05 to 0.1: 1 frame",
        "0.35 to 0.4: 1 frame",  # a value on an edge belongs to the bar above
        "0.5 to 0.55: 1 frame",
        "0.95 to 1: 1 frame",
    ]
    assert "mean 0.323, median 0.200, 4 below 0.5" in chart.note


def test_histogram_of_any_range():
    values = [332, 530, 530, 1070]
    chart = histogram("Size", values, Axis.over("pixels", values))
    assert [int(title.split(": ")[1].split()[0]) for title in bars(chart)] == [1, 2, 1]
    assert chart.note == "332 to 1070, median 530."


@pytest.mark.parametrize("dice", [[0.5], [0.5, 0.7], [0.0] * 5])
def test_one_class_alone(dice):
    marks = score_by_share("Dice", [0.1] * len(dice), dice).marks
    assert sum(isinstance(mark, Stroke) and mark.style == "box" for mark in marks) == 1


def test_differences_without_an_interval_are_points():
    chart = differences("D", "", "a - b", [("Dice", 0.1, 0.05, 0.15), ("IoU", 0.2, math.nan, math.nan)])
    styles = [mark.style for mark in chart.marks if isinstance(mark, Stroke)]
    assert styles.count("line s0") == 1
    assert styles.count("knots") == 2
