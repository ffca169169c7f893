from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyp_monai.errors import PolypError
from polyp_monai.metrics.regions import Polyp, find_polyps
from polyp_monai.video.tracking import Tracker


def _found(x: float, y: float = 0, side: float = 10) -> Polyp:
    box = (x, y, x + side, y + side)
    return Polyp(box, side * side, 0.9, np.zeros((0, 2), np.int32))


def _disc(x: float, y: float, radius: float, side: int = 352) -> np.ndarray:
    """A soft disc: 0.5 at its edge."""
    rows, columns = np.mgrid[:side, :side]
    return (1 / (1 + np.exp(np.hypot(columns - x, rows - y) - radius))).astype(np.float32)


def _numbers(tracker: Tracker, frames: list[list[Polyp]], rate: float = 25) -> list[list[int]]:
    return [[polyp.number for polyp in tracker.update(found, i / rate)] for i, found in enumerate(frames)]


def test_a_region_by_hand():
    probability = np.zeros((10, 20), np.float32)
    probability[2:4, 5:9] = [[0.6, 0.8, 0.8, 0.6], [0.6, 0.8, 0.8, 0.6]]
    (found,) = find_polyps(probability, 0.5, (100, 50, 200, 90))  # 5 by 4 pixels each
    assert found.box == (125, 58, 145, 66)
    assert (found.area, found.confidence) == (8 * 20, pytest.approx(0.7))
    assert found.outline.dtype == np.int32
    assert find_polyps(probability, 0.9, (100, 50, 200, 90)) == []
    assert find_polyps(probability, 0.5, (0, 0, 20, 10), min_area_share=9 / 200) == []


def test_regions_come_largest_first_and_none_takes_part_of_another():
    ring = _disc(170, 170, 90) * (_disc(170, 170, 60) < 0.5)
    inner = _disc(170, 170, 30)
    outer, middle = find_polyps(np.maximum(ring, inner), 0.5, (0, 0, 352, 352))
    assert outer.area > middle.area == pytest.approx(np.pi * 30**2, rel=0.02)
    assert cv2.contourArea(middle.outline) == pytest.approx(middle.area, rel=0.05)
    assert cv2.contourArea(outer.outline) == pytest.approx(np.pi * 90**2, rel=0.02)  # its hole is not outlined


@pytest.mark.parametrize("view", [(0, 0, 1280, 1024), (200, 30, 1500, 1040), (0, 0, 352, 352), (5, 5, 181, 181)])
def test_outlines_lie_where_the_probability_crosses_the_threshold(view):
    (found,) = find_polyps(_disc(120.5, 200.5, 40), 0.5, view)
    scale = np.array([(view[2] - view[0]) / 352, (view[3] - view[1]) / 352])
    inwards = (found.outline + 0.5 - view[:2]) / scale - (121, 201)
    off = (np.hypot(*inwards.T) - 40) * scale.mean()  # in pixels of the source
    assert np.abs(off).max() < 2
    low, high = found.outline.min(axis=0), found.outline.max(axis=0)
    np.testing.assert_allclose([*low, *high], found.box, atol=scale.max() + 1)
    assert found.area == pytest.approx(np.pi * 40**2 * scale.prod(), rel=0.01)


def test_regions_at_the_edges_and_of_one_pixel():
    (whole,) = find_polyps(np.ones((30, 40), np.float32), 0.5, (0, 0, 400, 300))
    assert (whole.box, whole.outline.min(), *whole.outline.max(axis=0)) == ((0, 0, 400, 300), 0, 399, 299)
    speck = np.zeros((40, 40), np.float32)
    speck[1::4, 1::4] = 0.6
    found = find_polyps(speck, 0.5, (0, 0, 10, 10), min_area_share=0)
    assert len(found) == 100
    assert all(len(f.outline) >= 1 for f in found)
    assert find_polyps(np.full((4, 4), np.nan, np.float32), 0.5, (0, 0, 4, 4)) == []


def test_a_polyp_is_shown_after_k_of_n_frames():
    a = [_found(0)]
    assert _numbers(Tracker((3, 5)), [a, a, a, a]) == [[], [], [1], [1]]
    assert _numbers(Tracker((3, 5)), [a, [], a, [], a]) == [[], [], [], [], [1]]
    assert _numbers(Tracker((3, 5)), [a, [], [], a, [], [], a, [], []]) == [[]] * 9


def test_a_missed_frame_does_not_flicker():
    tracker, a = Tracker((1, 1), hold=0.1), [_found(0)]
    tracker.update(a, 0.0)
    (held,) = tracker.update([], 0.08)
    assert (held.number, held.seen, held.box) == (1, False, a[0].box)
    assert tracker.update([], 0.12) == []
    (back,) = tracker.update(a, 0.16)
    assert (back.number, back.seen) == (1, True)


def test_a_polyp_returns_under_a_new_number_when_patience_is_over():
    a = [_found(0)]
    frames = [a, *[[]] * 12, a]  # at 25 a second
    assert _numbers(Tracker((1, 1), patience=0.5), frames)[-1] == [1]
    assert _numbers(Tracker((1, 1), patience=0.4), frames)[-1] == [2]
    assert _numbers(Tracker((1, 1), patience=0.4), [a, a], rate=0.1) == [[1], [1]]  # no frame missed it


def test_patience_is_a_time_at_any_rate():
    for rate in (10, 25, 60):
        shown = _numbers(Tracker((1, 1), patience=1, hold=0.5), [[_found(0)], *[[]] * 2 * rate], rate)
        assert sum(map(bool, shown)) == rate / 2 + 1 - (rate % 2) / 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=4, unique=True), max_size=12))
def test_every_detection_is_shown_at_once_without_hysteresis(frames):
    tracker = Tracker((1, 1), patience=0)
    for i, places in enumerate(frames):
        shown = tracker.update([_found(11 * place) for place in places], i / 25)
        assert sorted(polyp.box[0] for polyp in shown) == [11 * place for place in sorted(places)]
        assert all(polyp.seen for polyp in shown)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(5, 15)), max_size=4), max_size=10),
    st.randoms(use_true_random=False),
    st.floats(0, 1000),
)
def test_neither_order_nor_a_shift_in_time_changes_the_numbers(frames, random, start):
    one, other = Tracker((2, 3)), Tracker((2, 3))
    for i, places in enumerate(frames):
        found = [_found(x, side=side) for x, side in places]
        shown = [(p.number, p.box) for p in one.update(found, i / 8)]
        random.shuffle(found)
        assert shown == [(p.number, p.box) for p in other.update(found, round(start) + i / 8)]


def test_polyps_that_pass_each_other_keep_their_numbers():
    numbers = {}
    tracker = Tracker((1, 1))
    for step in range(12):
        found = [_found(4 * step, 0, 20), _found(44 - 4 * step, 12, 20)]
        for polyp in tracker.update(found, step / 25):
            numbers.setdefault(polyp.number, []).append(polyp.box[1])
    assert sorted(map(set, numbers.values()), key=min) == [{0}, {12}]
    assert sorted(numbers) == [1, 2]


def test_time_that_goes_back_starts_anew():
    tracker = Tracker((1, 1))
    assert [polyp.number for polyp in tracker.update([_found(0)], 5.0)] == [1]
    assert [polyp.number for polyp in tracker.update([_found(0)], 1.0)] == [2]


@pytest.mark.parametrize("wrong", [{"on": (0, 3)}, {"on": (4, 3)}, {"iou": 0}, {"iou": 2}, {"patience": -1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(PolypError, match="expected"):
        Tracker(**wrong)
