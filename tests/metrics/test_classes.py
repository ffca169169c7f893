"""Which class a polyp is, and the scores of that, against cases that can be counted by hand and against scikit-learn's
formulas."""

from __future__ import annotations

import numpy as np
import pytest

from polyp_monai.metrics.classes import (
    Classes,
    ClassMatch,
    JudgedPolyp,
    auc,
    calibration_error,
    class_map,
    conformal_certainty,
    dice,
    match,
    of_polyp,
    sensitivity_at,
    summary,
)
from polyp_monai.metrics.pixel import Counts
from polyp_monai.metrics.regions import find_polyps
from polyp_monai.metrics.statistics import bootstrap_interval

NAMES = Classes(("adenoma", "hyperplastic"), 0.7)


def frame(*regions) -> np.ndarray:
    """(2, 60, 80) probabilities: `regions` are (rows, columns, of the first class, of the second)."""
    made = np.full((2, 60, 80), 0.01, np.float32)
    for rows, columns, first, second in regions:
        made[:, rows, columns] = np.array([first, second], np.float32)[:, None, None]
    return made


ONE, TWO, THREE = ((slice(2, 22), slice(2, 22)), (slice(30, 50), slice(5, 25)), (slice(10, 30), slice(50, 70)))


def test_the_class_of_a_polyp_is_that_of_its_highest_mean():
    probability = frame((*ONE, 0.9, 0.05), (*TWO, 0.4, 0.5))
    # a third of the second polyp sees the other class: the polyp has one class all the same
    probability[:, 30:36, 5:25] = np.array([0.8, 0.1])[:, None, None]
    polyps = find_polyps(probability, 0.5, (0, 0, 80, 60), classes=NAMES)
    assert [(p.class_name, round(p.class_probability, 2)) for p in polyps] == [("adenoma", 0.95), ("uncertain", 0.58)]
    numbers = class_map(probability, 0.5)
    assert (numbers[ONE] == 1).all()
    assert len(np.unique(numbers[TWO])) == 1
    assert set(np.unique(numbers)) == {0, 1}


def test_a_polyp_of_doubtful_class_is_a_polyp():
    assert of_polyp(frame((*ONE, 0.48, 0.47)))[ONE].min() == pytest.approx(0.95)
    assert of_polyp(frame((*ONE, 0.9, 0.8))).max() == 1
    assert len(find_polyps(frame((*ONE, 0.45, 0.4)), 0.5, (0, 0, 80, 60), classes=NAMES)) == 1


def test_one_class_is_what_it_was():
    probability = frame((*ONE, 0.9, 0))[:1]
    assert of_polyp(probability) is not None
    assert np.shares_memory(of_polyp(probability), probability)
    (plain,), (stacked,) = (find_polyps(p, 0.5, (0, 0, 80, 60)) for p in (probability[0], probability))
    assert (plain.box, plain.area, plain.confidence) == (stacked.box, stacked.area, stacked.confidence)
    assert stacked.class_name == "polyp"
    assert stacked.means == ()


def test_polyps_are_matched_whatever_their_class():
    truth = np.zeros((2, 60, 80), bool)
    truth[0][ONE], truth[1][TWO], truth[1][THREE] = True, True, True
    found = match(frame((*ONE, 0.1, 0.8), (*TWO, 0.05, 0.9), (slice(52, 58), slice(60, 70), 0.9, 0)), 0.5, truth)
    assert sorted((p.truth, tuple(np.round(p.means, 2))) for p in found.polyps if p.truth is not None) == [
        (0, (0.1, 0.8)),
        (1, ()),
        (1, (0.05, 0.9)),
    ]
    assert sum(p.truth is None for p in found.polyps) == 1
    table = summary([found], ["g"], NAMES, 0.95)["confusion"]
    assert table["adenoma"] == {"adenoma": 0, "hyperplastic": 1, "uncertain": 0, "missed": 0}
    assert table["hyperplastic"] == {"adenoma": 0, "hyperplastic": 1, "uncertain": 0, "missed": 1}
    assert table["false alarm"] == {"adenoma": 1, "hyperplastic": 0, "uncertain": 0}


def test_two_true_polyps_that_touch_are_two():
    truth = np.zeros((2, 60, 80), bool)
    truth[0, 10:30, 10:30], truth[1, 10:30, 30:50] = True, True
    found = match(frame((slice(10, 30), slice(10, 30), 0.9, 0.05)), 0.5, truth)
    assert sorted((p.truth, bool(p.means)) for p in found.polyps) == [(0, True), (1, False)]


def test_dice_a_class():
    right, none, false = Counts(50, 0, 0, 50), Counts(0, 0, 0, 100), Counts(0, 10, 0, 90)
    matches = [ClassMatch([right, none], []), ClassMatch([right, false], [])]
    told = summary(matches, ["a", "b"], NAMES, 0.95)["dice"]
    assert told["adenoma"]["mean"]["value"] == 1
    assert told["hyperplastic"]["mean"]["value"] == 0
    assert told["hyperplastic"]["challenge"]["value"] == 0.5
    assert told["hyperplastic"]["frames"] == 0
    assert told["all"]["challenge"]["value"] == 0.75
    assert np.isnan(dice(none))


def test_auc_and_sensitivity_of_a_case_counted_by_hand():
    score, own = np.array([0.9, 0.8, 0.6, 0.6, 0.3, 0.1]), np.array([1, 1, 0, 1, 0, 0], bool)
    # of the 9 pairs 8 are in order and one ties
    assert auc(score, own) == pytest.approx(8.5 / 9)
    assert sensitivity_at(score, own, 0.9) == pytest.approx(2 / 3)  # the cut lies at the highest of the others, .6
    assert sensitivity_at(score, own, 0.6) == 1
    assert np.isnan(auc(score, np.ones(6, bool)))
    assert np.isnan(sensitivity_at(score, np.zeros(6, bool)))


def test_a_class_that_means_what_it_says_has_no_calibration_error():
    score = np.repeat([0.25, 0.75], 400)
    own = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert calibration_error(score, own) == pytest.approx(0)
    assert calibration_error(score, ~own) == pytest.approx(0.5)


def test_intervals_pass_over_draws_without_one_of_the_classes():
    polyps = [JudgedPolyp(i % 2, (0.9 - 0.1 * (i % 3), 0.2)) for i in range(6)]
    matches = [ClassMatch([Counts(1, 0, 0, 0)] * 2, [polyp]) for polyp in polyps]
    told = summary(matches, list("abcdef"), NAMES, 0.95)["polyps"]
    low, high = told["adenoma"]["auc"]["interval"]
    assert 0 <= low <= told["adenoma"]["auc"]["value"] <= high <= 1
    assert told["adenoma"]["auc"]["value"] == pytest.approx(told["hyperplastic"]["auc"]["value"])
    drawn = bootstrap_interval([1.0, 2.0, 3.0], ["a", "b", "c"], statistic=lambda v: np.nan if v[0] == 1 else v.mean())
    assert np.isfinite(drawn["low"])


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_the_promised_share_of_wrong_classes_is_kept(alpha):
    """In the mean over many draws; in a single one it may be more."""
    rng = np.random.default_rng(0)

    def polyps(n):
        share = rng.uniform(0.5, 1, n)
        return share, rng.random(n) < share

    wrong = []
    for _ in range(300):
        certainty = conformal_certainty(*polyps(80), alpha)["certainty"]
        share, right = polyps(400)
        wrong.append(np.mean((share >= certainty) & ~right))
    assert np.mean(wrong) <= alpha + 0.003
    assert np.mean(wrong) > 0.5 * alpha if alpha < 0.25 else True
    with pytest.raises(ValueError, match="5 polyps are too few"):
        conformal_certainty([0.9] * 5, [True] * 5, 0.05)


def test_nothing_is_uncertain_where_nothing_is_wrong():
    found = conformal_certainty([0.6, 0.9] * 10, [True] * 20, 0.1)
    assert found["certainty"] == found["uncertain"] == found["wrong"] == 0
