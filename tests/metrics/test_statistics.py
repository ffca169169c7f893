from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyp_monai.metrics.statistics import bootstrap_interval, holm, paired, verdict


def test_the_interval_of_a_mean_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).beta(5, 1, 100)
    ours = bootstrap_interval(values)
    theirs = bootstrap((values,), np.mean, n_resamples=2000, method="percentile").confidence_interval
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert (ours["value"], ours["n"], ours["groups"]) == (pytest.approx(values.mean()), 100, 100)


def test_the_mean_takes_the_short_way_to_the_same_result():
    values, groups = np.random.default_rng(2).random(60), np.arange(60) // 7
    slow = bootstrap_interval(values, groups, statistic=lambda v: float(v.mean()))
    assert bootstrap_interval(values, groups) == pytest.approx(slow)
    assert bootstrap_interval(values, groups, statistic=np.median)["value"] == np.median(values)


def test_95_per_cent_of_the_intervals_hold_the_true_mean():
    """Groups of 10 frames with one common error: drawing groups covers it, drawing frames does not."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 10)
    covered = {"groups": 0, "frames": 0}
    for seed in range(150):
        values = rng.normal(size=40)[groups] + 0.3 * rng.normal(size=400)
        for name, by in (("groups", groups), ("frames", None)):
            interval = bootstrap_interval(values, by, repeats=300, seed=seed)
            covered[name] += interval["low"] <= 0 <= interval["high"]
    assert covered["groups"] / 150 > 0.88
    assert covered["frames"] / 150 < 0.6


def test_nan_is_left_out_and_one_group_has_no_interval():
    with_nan = bootstrap_interval([0.1, math.nan, 0.9, 0.5], ["a", "b", "c", "c"])
    assert with_nan == bootstrap_interval([0.1, 0.9, 0.5], ["a", "c", "c"])
    assert (with_nan["n"], with_nan["groups"]) == (3, 2)
    assert math.isnan(bootstrap_interval([0.1, 0.2], ["a", "a"])["low"])
    assert bootstrap_interval([math.nan])["n"] == 0


@given(st.permutations(range(12)))
def test_the_order_of_images_changes_nothing(order):
    values, groups = np.linspace(0, 1, 12) ** 2, np.arange(12) % 4
    shuffled = bootstrap_interval(values[order], groups[order], repeats=50)
    assert shuffled == pytest.approx(bootstrap_interval(values, groups, repeats=50))
    assert bootstrap_interval(values[order], repeats=50) == bootstrap_interval(values, repeats=50)


def test_a_pair_agrees_with_scipy():
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(4)
    a, b = rng.random(50), rng.random(50)
    result = paired(a, b)
    assert result["p"] == wilcoxon(a, b).pvalue
    assert result["difference"] == pytest.approx(a.mean() - b.mean())
    assert result["low"] < result["difference"] < result["high"]
    assert paired(b, a)["difference"] == -result["difference"]


def test_frames_of_one_group_are_no_evidence_of_their_own():
    groups = np.repeat(np.arange(5), 20)
    a = np.repeat([0.1, 0.2, 0.3, -0.05, 0.15], 20)
    assert paired(a, a * 0)["p"] < 0.001
    assert paired(a, a * 0, groups)["p"] == 2 / 2**5 * 2  # ranks 1..5, of which only the lowest is negative


def test_pairs_without_a_difference_or_without_a_value():
    assert paired([0.5, 0.7], [0.5, 0.7])["p"] == 1
    assert paired([0.5, math.nan, 0.9], [math.nan, 0.1, 0.8])["n"] == 1
    nothing = paired([math.nan], [0.1])
    assert nothing["n"] == 0
    assert math.isnan(nothing["p"])
    assert verdict(nothing, math.nan).startswith("not comparable")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_plain_and_the_bonferroni_p(p_values):
    corrected = holm(p_values)
    assert all(p <= c <= min(1, p * len(p_values)) for p, c in zip(p_values, corrected, strict=True))
    assert holm(p_values[::-1]) == corrected[::-1]


def test_the_verdict_needs_interval_and_p():
    clear = paired(np.linspace(0.5, 0.9, 40), np.linspace(0.4, 0.85, 40))
    assert verdict(clear, clear["p"]).startswith("higher by 0.0750, more than noise (95 % interval +0.0")
    assert verdict(clear, 0.2).startswith("within noise: +0.0750")
    assert verdict(clear | {"low": -0.01}, 0.001).startswith("within noise")
    assert verdict(paired([0.1] * 20, [0.3] * 20), 0.001).startswith("lower by 0.2000")
