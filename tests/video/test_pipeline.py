"""Stages in threads: order, bounded memory, dropped frames, failures and interrupts."""

from __future__ import annotations

import time

import numpy as np
import pytest

from polyp_monai.video.latency import Latency
from polyp_monai.video.pipeline import WAITING, Pipeline
from polyp_monai.video.source import Frame


class Frames:
    """A source of `count` empty frames, 100 a second."""

    live = False

    def __init__(self, count: int) -> None:
        self.count, self.given = count, 0

    def __iter__(self):
        for index in range(self.count):
            self.given += 1
            yield Frame(index, index / 100, np.zeros((4, 4, 3), np.uint8))


def test_items_come_in_order_and_every_stage_has_seen_them():
    def first(item):
        item.frame.image[0, 0] = item.frame.index

    def second(item):
        item.frame.image[1, 1] = item.frame.image[0, 0] + 1

    latency = Latency()
    items = list(Pipeline(Frames(50), [first, second], latency))
    assert [item.frame.index for item in items] == list(range(50))
    assert all(item.frame.image[1, 1, 0] == item.frame.index + 1 for item in items)
    assert latency.summary().keys() == {"decode", "end to end"}


def test_a_slow_reader_holds_the_source_back():
    source = Frames(100)
    pipeline = iter(Pipeline(source, [lambda item: None], Latency()))
    next(pipeline)
    time.sleep(0.2)
    assert source.given <= 2 * WAITING + 4  # two queues, one frame in each thread, and the one that was taken


def test_in_real_time_frames_are_dropped_instead_of_delayed():
    source, shown = Frames(60), []
    pipeline = Pipeline(source, [lambda item: time.sleep(0.03)], Latency(), realtime=True)
    began = time.perf_counter()
    shown = [item.frame.index for item in pipeline]
    assert shown == sorted(shown)
    assert pipeline.dropped == 60 - len(shown) > 20
    assert time.perf_counter() - began < 60 * 0.03  # all of them, one after the other, would take longer


def test_a_stop_lets_the_frames_under_way_come_out():
    source = Frames(10_000)
    pipeline = Pipeline(source, [lambda item: None], Latency())
    seen = []
    for item in pipeline:
        seen.append(item.frame.index)
        if len(seen) == 20:
            pipeline.stop()
    assert seen == list(range(len(seen)))
    assert len(seen) == source.given < 100


def test_what_a_stage_raises_comes_out_after_the_frames_before_it():
    def fails(item):
        if item.frame.index == 7:
            raise ValueError("seven")

    items = iter(Pipeline(Frames(100), [fails, lambda item: None], Latency()))
    assert [next(items).frame.index for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="seven"):
        next(items)


def test_percentiles_are_those_of_the_durations():
    latency, durations = Latency(), np.random.default_rng(0).lognormal(-4, 1, 5000)
    for seconds in durations:
        latency.add("stage", seconds)
    for percent in (50, 95, 99):
        assert latency.percentile("stage", percent) == pytest.approx(np.percentile(durations, percent) * 1e3, rel=0.03)
    assert np.isnan(latency.percentile("another", 50))
