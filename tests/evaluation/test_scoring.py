"""Figures of a set: frames with and without a polyp apart, whatever their order."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from polyp_monai.evaluation.scoring import plain, score, summarize


def frame(name: str, polyp: slice | None, found: slice | None, probability: float = 0.9, tags: str = ""):
    truth, map_ = np.zeros((40, 50), bool), np.zeros((40, 50), np.float32)
    if polyp:
        truth[polyp, 10:20] = True
    if found:
        map_[found, 10:20] = probability
    about = {"name": name, "group": "", "tags": tags, "image": "", "truth": "", "prediction": ""}
    return score(about, map_, truth)


@pytest.fixture
def scored():
    return [
        frame("good", slice(10, 20), slice(10, 20)),
        frame("half", slice(10, 20), slice(15, 20), tags="flat"),
        frame("missed", slice(10, 20), None),
        frame("negative", None, None),
        frame("alarm", None, slice(0, 4)),
    ]


def test_frames_with_and_without_a_polyp_stand_apart(scored):
    summary = summarize(scored)
    polyps, negatives = summary["frames_with_polyp"], summary["frames_without_polyp"]
    assert (polyps["count"], polyps["missed"], polyps["without_hd95"]) == (3, 1, 1)
    assert polyps["mean"]["dice"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    low, high = polyps["interval"]["dice"]
    assert low < polyps["mean"]["dice"] < high
    assert (negatives["frames"], negatives["left_empty"]) == (2, 1)
    assert negatives["false_positive_area"] == pytest.approx(40 / 2000)
    assert summary["subsets"] == {"flat": {"count": 1, "dice": pytest.approx(2 / 3), "iou": 0.5, "sensitivity": 0.5}}
    assert summary["lesions"]["iou_50"]["false_positives_per_image"] == pytest.approx(1 / 5)


def test_the_order_of_frames_changes_nothing(scored):
    one, other = (json.dumps(summarize(order)) for order in (scored, scored[::-1]))
    assert one == other


def test_the_threshold_curve_passes_through_the_mean_at_the_threshold(scored):
    summary = summarize(scored)
    level = math.ceil(0.5 * 255)
    assert summary["curves"]["dice"][level] == pytest.approx(summary["frames_with_polyp"]["mean"]["dice"])


def test_a_set_without_a_polyp_has_no_dice():
    summary = summarize([frame("negative", None, None)])
    assert summary["frames_with_polyp"]["count"] == 0
    assert "pranet" not in summary
    json.dumps(summary, allow_nan=False)


def test_normalizing_stretches_the_map():
    weak = frame("weak", slice(10, 20), slice(10, 20), probability=0.3)
    assert weak.row["dice"] == 0
    truth, map_ = np.zeros((40, 50), bool), np.zeros((40, 50), np.float32)
    truth[10:20, 10:20] = True
    map_[10:20, 10:20] = 0.3
    assert score({"name": "weak"}, map_, truth, normalize=True).row["dice"] == 1


def test_plain_is_json():
    assert plain({"a": np.float32(1), "b": np.array([1, np.nan]), "c": (np.int64(2),)}) == {
        "a": 1,
        "b": [1, None],
        "c": [2],
    }
