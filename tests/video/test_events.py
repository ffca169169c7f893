from __future__ import annotations

import json

import numpy as np
import pytest

from polyp_monai.video.events import COLUMNS, POINTS, Events
from polyp_monai.video.tracking import TrackedPolyp


def _polyp(number: int, confidence: float = 0.9, area: float = 400) -> TrackedPolyp:
    return TrackedPolyp((1, 2, 21.26, 22), area, confidence, np.zeros((0, 2), np.int32), number=number)


def _events(shown: list[list[TrackedPolyp]], rate: float = 25) -> dict:
    events = Events()
    for i, polyps in enumerate(shown):
        events.update(i, i / rate, polyps)
    return events.summary(len(shown), len(shown) / rate)


def test_rows_of_a_frame():
    rows = Events.rows(7, 0.28, [_polyp(1, 0.98765), _polyp(3)])
    assert [list(row) for row in rows] == [list(COLUMNS)] * 2
    assert list(rows[0].values()) == [7, 0.28, 1, 0.9877, 1, 2, 21.3, 22, 400]
    assert [list(row.values()) for row in Events.rows(8, 1 / 3, [])] == [[8, 0.3333, *[""] * 7]]


def test_events_by_hand():
    shown = [[]] * 10 + [[_polyp(1, 0.6, 100)]] * 5 + [[_polyp(1, 0.8, 50), _polyp(2)]] * 20 + [[]] * 15
    summary = _events(shown)
    first, second = summary.pop("events")
    assert summary == {
        "frames": 50,
        "seconds": 2.0,
        "alarms": 2,
        "alarms_per_minute": 60,
        "alarms_shorter_than_0.5_s": 0,
        "longer_alarms_per_minute": 60,
    }
    assert (first["first_frame"], first["last_frame"], first["frames"]) == (10, 34, 25)
    assert (first["first_time"], first["last_time"], first["seconds"]) == (0.4, 1.36, 1.0)
    assert (first["max_confidence"], first["max_area"]) == (0.8, 100)
    assert first["area_over_time"][:2] == [[0.4, 100], [0.44, 100]]
    assert (second["polyp"], second["seconds"]) == (2, 0.8)


@pytest.mark.parametrize(("frames", "short"), [(14, 1), (15, 0)])
def test_an_alarm_of_half_a_second_is_not_short(frames, short):
    summary = _events([[]] * 7 + [[_polyp(1)]] * frames + [[]], rate=30)
    assert summary["alarms_shorter_than_0.5_s"] == short
    assert bool(summary["longer_alarms_per_minute"]) == (not short)


def test_a_frame_is_shown_until_the_next_and_the_last_for_the_mean():
    events = Events()
    for i, time in enumerate([0.0, 0.1, 0.7]):  # frames were dropped
        events.update(i, time, [_polyp(1)])
    assert events.summary(3, 0.9)["events"][0]["seconds"] == pytest.approx(0.7 + 0.3)
    assert events.summary(3, 0.9) == events.summary(3, 0.9)


def test_the_time_off_screen_does_not_count():
    assert _events([[_polyp(1)]] * 5 + [[]] * 5 + [[_polyp(1)]] * 5)["events"][0]["seconds"] == 0.4


def test_a_long_event_is_thinned():
    event = _events([[_polyp(1, area=i)] for i in range(5000)])["events"][0]
    times, areas = zip(*event["area_over_time"], strict=True)
    assert POINTS / 2 <= len(areas) <= POINTS
    assert len(set(np.diff(areas))) == 1
    assert (times[0], areas[0], event["max_area"]) == (0, 0, 4999)
    assert areas[-1] > 4900


def test_a_video_without_polyps_or_without_frames():
    assert _events([[]] * 3)["alarms_per_minute"] == 0
    assert _events([])["alarms_per_minute"] is None
    json.dumps(_events([[_polyp(1)]]), allow_nan=False)
