from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyp_monai.metrics.video import RULES, ScoredFrame, Video, box_ious, hits, is_short, pooled, scores

RATE = 25
POLYP, OFF, HALF = (10.0, 10.0, 30.0, 30.0), (60.0, 60.0, 80.0, 80.0), (22.0, 10.0, 42.0, 30.0)


def _video(*frames: tuple[dict, dict], start: float = 0.0, rate: float = RATE) -> Video:
    """Frames of (alarms, polyps), each name -> box."""
    made = []
    for i, (alarms, polyps) in enumerate(frames):
        found = hits(*(np.array(list(side.values()), float).reshape(-1, 4) for side in (alarms, polyps)))
        made.append(ScoredFrame(i, start + i / rate, 1 / rate, tuple(alarms), tuple(polyps), found))
    return Video(made, {})


def test_ious_agree_with_those_of_masks():
    rng = np.random.default_rng(0)
    boxes = [np.concatenate([low := rng.integers(0, 12, (n, 2)), low + rng.integers(1, 9, (n, 2))], 1) for n in (5, 6)]
    masks = [np.zeros((len(side), 24, 24), bool) for side in boxes]
    for side, drawn in zip(boxes, masks, strict=True):
        for (x0, y0, x1, y1), mask in zip(side, drawn, strict=True):
            mask[y0:y1, x0:x1] = True
    both = [[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]]
    np.testing.assert_allclose(box_ious(*boxes), both)
    assert box_ious(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
    assert box_ious(np.zeros((0, 4)), boxes[0]).shape == (0, 5)


def test_the_rules_by_hand():
    alarms = np.array([POLYP, HALF, OFF])  # IoU of the second: 8 / 32
    found = hits(alarms, np.array([POLYP]))
    assert {rule: found[rule][:, 0].tolist() for rule in RULES} == {
        "any": [True, True, True],
        "centre": [True, False, False],
        "iou_30": [True, False, False],
    }
    nearer = hits(np.array([[19.0, 10, 39, 30]]), np.array([POLYP]))  # IoU 11 / 29, centre at 29
    assert nearer["centre"].all()
    assert nearer["iou_30"].all()
    tiny = hits(np.array([[19.0, 19, 21, 21]]), np.array([POLYP]))
    assert tiny["centre"].all()
    assert not tiny["iou_30"].any()


def test_with_masks_the_centre_must_lie_in_the_polyp_itself():
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 1
    labels[15:25, 15:25] = 2  # within the ring
    alarms = np.array([POLYP, (8, 8, 16, 16), (100, 100, 300, 300)])
    assert hits(alarms, np.array([POLYP, (15, 15, 25, 25)]), labels)["centre"].tolist() == [
        [False, True],
        [True, False],
        [False, False],
    ]


def test_a_video_by_hand():
    polyp, false = {"a": POLYP}, {"f": OFF}
    frames = [({}, {})] * 5 + [({}, polyp)] * 5 + [(false, polyp)] * 2 + [({"t": POLYP}, polyp)] * 8 + [(false, {})] * 5
    result = scores(_video(*frames))
    assert (result["frames"], result["frames_with_polyp"], result["frames_without_polyp"]) == (25, 15, 10)
    assert (result["seconds"], result["alarms"]) == (pytest.approx(1), 2)
    assert (result["frames_falsely_alarmed"], result["specificity"]) == (5, 0.5)
    centre, at_all = result["rules"]["centre"], result["rules"]["any"]
    assert (centre["frames_found"], at_all["frames_found"]) == (8, 10)
    assert (centre["sensitivity"], at_all["sensitivity"]) == (8 / 15, 10 / 15)
    assert (centre["polyps"], centre["polyps_found"], centre["recall"]) == (1, 1, 1)
    assert (centre["median_delay"], centre["median_latency"]) == (pytest.approx(7 / RATE), 7)
    assert (at_all["median_delay"], at_all["median_latency"]) == (pytest.approx(5 / RATE), 5)
    assert (centre["false_alarms"], centre["short_false_alarms"]) == (1, 1)  # 7 frames
    assert centre["false_alarms_per_minute"] == pytest.approx(60)
    assert centre["longer_false_alarms_per_minute"] == 0
    assert at_all["false_alarms"] == 0
    (row,) = result["polyps"]
    assert (row["polyp"], row["first_frame"], row["frames"]) == ("a", 5, 15)
    assert (row["centre"]["frame"], row["centre"]["time"]) == (12, 12 / RATE)


def test_a_missed_polyp_has_no_delay():
    result = scores(_video(({}, {"a": POLYP}), ({"t": OFF}, {"a": POLYP, "b": OFF})))
    assert [row["centre"] and row["centre"]["delay"] for row in result["polyps"]] == [None, 0]
    assert result["rules"]["iou_30"]["recall"] == 0.5
    assert result["rules"]["iou_30"]["median_delay"] == 0
    nothing = scores(_video(({}, {"a": POLYP})))["rules"]["centre"]
    assert (nothing["median_delay"], nothing["median_latency"], nothing["recall"]) == (None, None, 0)


def test_delay_runs_from_when_the_polyp_came_into_sight():
    video = _video(({"t": POLYP}, {"a": POLYP}), start=2.0)
    (row,) = scores(video._replace(appeared={"a": (-10, 1.6)}))["polyps"]
    assert (row["centre"]["delay"], row["centre"]["latency"]) == (pytest.approx(0.4), 10)


def test_two_parts_of_one_polyp_are_one():
    found = hits(np.array([POLYP]), np.array([OFF, POLYP]))
    result = scores(Video([ScoredFrame(0, 0.0, 0.04, ("t",), ("a", "a"), found)], {}))
    assert (result["rules"]["centre"]["polyps"], result["rules"]["centre"]["polyps_found"]) == (1, 1)
    assert result["polyps"][0]["frames"] == 1


@pytest.mark.parametrize(("frames", "longer"), [(12, 0), (13, 1)])
def test_a_false_alarm_of_half_a_second_is_told_from_shorter_ones(frames, longer):
    row = scores(_video(*[({"f": OFF}, {})] * frames, *[({}, {})] * (50 - frames)))["rules"]["centre"]
    assert (row["false_alarms"], row["short_false_alarms"]) == (1, 1 - longer)
    assert row["longer_false_alarms_per_minute"] == pytest.approx(longer * 30)
    assert not is_short(15 / 30)


def test_nothing_to_divide_by():
    negatives = scores(_video(({}, {})))
    assert math.isnan(negatives["rules"]["any"]["sensitivity"])
    assert math.isnan(negatives["rules"]["any"]["recall"])
    assert negatives["specificity"] == 1
    assert math.isnan(scores(_video(({}, {"a": POLYP})))["specificity"])
    empty = scores(Video([], {}))
    assert math.isnan(empty["rules"]["any"]["false_alarms_per_minute"])


def test_pooled_counts_every_frame_and_polyp_once():
    one = _video(({"1": POLYP}, {"1": POLYP}), ({"1": POLYP}, {"1": POLYP}))
    other = _video(({}, {"1": POLYP}), ({"1": OFF}, {}), ({}, {}))
    result = pooled({"x": one, "y": other})
    row = result["rules"]["centre"]
    assert (row["sensitivity"], row["polyps"], row["recall"], row["false_alarms"]) == (2 / 3, 2, 0.5, 1)
    assert (result["frames"], result["alarms"], result["specificity"]) == (5, 2, 0.5)
    assert [row["polyp"] for row in result["polyps"]] == [("x", "1"), ("y", "1")]
    assert row["recall_interval"] == [0, 1]
    alone, together = scores(one), pooled({"x": one})
    assert repr(together["rules"]) == repr(alone["rules"])  # repr: NaN differs from itself


polyps_of_frame = st.dictionaries(st.sampled_from("ab"), st.just(POLYP), max_size=1)
alarms_of_frame = st.dictionaries(st.sampled_from("xy"), st.sampled_from([POLYP, OFF, HALF]), max_size=2)
videos = st.lists(st.tuples(alarms_of_frame, polyps_of_frame), min_size=1, max_size=8)


@settings(max_examples=8, deadline=None)
@given(videos)
def test_a_perfect_prediction(frames):
    result = scores(_video(*[({f"of {name}": box for name, box in polyps.items()}, polyps) for _, polyps in frames]))
    assert result["frames_falsely_alarmed"] == 0
    for rule in RULES:
        row = result["rules"][rule]
        assert row["false_alarms"] == 0
        if result["frames_with_polyp"]:
            assert (row["sensitivity"], row["recall"], row["median_delay"], row["median_latency"]) == (1, 1, 0, 0)


@settings(max_examples=8, deadline=None)
@given(videos, st.integers(0, 1000))
def test_a_shift_in_time_and_other_names_change_nothing(frames, start):
    renamed = [({f"other {name}": box for name, box in alarms.items()}, polyps) for alarms, polyps in frames]
    one, other = scores(_video(*frames, rate=8)), scores(_video(*renamed, start=start, rate=8))
    assert repr(one["rules"]) == repr(other["rules"])
    assert repr(one["specificity"]) == repr(other["specificity"])


@settings(max_examples=8, deadline=None)
@given(videos)
def test_any_alarm_at_all_finds_most_and_is_never_later(frames):
    result = scores(_video(*frames))
    for rule in ("centre", "iou_30"):
        assert result["rules"][rule]["frames_found"] <= result["rules"]["any"]["frames_found"]
        assert result["rules"][rule]["false_alarms"] >= result["rules"]["any"]["false_alarms"]
        for row in result["polyps"]:
            assert row[rule] is None or row["any"]["delay"] <= row[rule]["delay"]
