from __future__ import annotations

import math

import pytest

from polyp_monai.metrics.frames import negative_summary


def test_by_hand():
    expected = {"frames": 4, "left_empty": 2, "specificity": 0.5, "false_positive_area": 0.15}
    assert negative_summary([0, 0.1, 0.2, 0]) == pytest.approx(expected)
    assert negative_summary([0.2, 0, 0, 0.1]) == pytest.approx(expected)


def test_nothing_to_average():
    assert math.isnan(negative_summary([])["specificity"])
    assert math.isnan(negative_summary([0.0])["false_positive_area"])
