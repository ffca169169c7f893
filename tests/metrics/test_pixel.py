from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polyp_monai.metrics.pixel import Counts, confusion, families, pixel_scores

OVERLAP = ("dice", "iou", "sensitivity", "precision", "f2")
masks = arrays(np.uint8, (6, 7), elements=st.integers(0, 1))
set_of_counts = st.lists(st.builds(Counts, *[st.integers(1, 50)] * 4), min_size=1, max_size=5)


def test_by_hand():
    truth = np.array([[1, 1, 1, 0, 0]])
    prediction = np.array([[0, 1, 1, 1, 0]])
    assert confusion(prediction, truth) == Counts(tp=2, fp=1, fn=1, tn=1)
    overlap = {"dice": 4 / 6, "iou": 2 / 4, "sensitivity": 2 / 3, "precision": 2 / 3, "f2": 10 / 15}
    assert pixel_scores(prediction, truth) == pytest.approx(overlap | {"specificity": 1 / 2, "accuracy": 3 / 5})


def test_a_missed_polyp_scores_zero_and_no_polyp_has_no_overlap():
    polyp, empty = np.eye(3), np.zeros((3, 3))
    missed, alarm = pixel_scores(empty, polyp), pixel_scores(polyp, empty)
    assert {missed[name] for name in OVERLAP} == {0.0}
    assert missed["specificity"] == 1
    assert all(math.isnan(alarm[name]) for name in OVERLAP)
    assert (alarm["specificity"], alarm["accuracy"]) == pytest.approx((6 / 9, 6 / 9))
    assert pixel_scores(empty, empty)["specificity"] == pixel_scores(empty, empty)["accuracy"] == 1
    assert math.isnan(pixel_scores(np.ones((3, 3)), np.ones((3, 3)))["specificity"])


def test_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        pixel_scores(np.zeros((3, 4)), np.zeros((4, 3)))


@given(masks, masks)
def test_identities(prediction, truth):
    scores, swapped = pixel_scores(prediction, truth), pixel_scores(truth, prediction)
    if not truth.any() or not prediction.any():
        return
    assert scores["iou"] <= scores["dice"] <= 1
    assert scores["iou"] == pytest.approx(scores["dice"] / (2 - scores["dice"]))
    assert scores["sensitivity"] == swapped["precision"]
    assert scores["dice"] == swapped["dice"]
    assert {pixel_scores(truth, truth)[name] for name in OVERLAP} == {1.0}


@given(masks, masks)
def test_agrees_with_monai_and_scikit_learn(prediction, truth):
    import torch
    from monai.metrics import compute_dice
    from sklearn import metrics

    scores, pair = pixel_scores(prediction, truth), (truth.ravel(), prediction.ravel())
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(*pair))
    if not truth.all():
        assert scores["specificity"] == pytest.approx(metrics.recall_score(*pair, pos_label=0))
    if truth.any():
        monai = compute_dice(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
        assert scores["dice"] == pytest.approx(monai.item())
        assert scores["iou"] == pytest.approx(metrics.jaccard_score(*pair))
        assert scores["f2"] == pytest.approx(metrics.fbeta_score(*pair, beta=2, zero_division=0))


def test_the_families_by_hand():
    half, missed, negatives = Counts(tp=50, fp=0, fn=50, tn=900), Counts(0, 0, 10, 990), Counts(0, 0, 0, 1000)
    result = families([half, missed, negatives])
    assert result["mean_over_images"]["iou"] == pytest.approx((0.5 + 0) / 2)
    assert result["mean_over_images"]["dice"] == pytest.approx((2 / 3 + 0) / 2)
    assert result["pooled_over_pixels"]["iou"] == pytest.approx(50 / 110)
    assert result["pooled_over_pixels"]["precision"] == 1
    assert result["macro_with_background"]["iou"] == pytest.approx((50 / 110 + 2890 / 2950) / 2)
    assert result["macro_with_background"]["iou_both_channels"] == pytest.approx(2940 / 3060)
    assert result["macro_with_background"]["dice_both_channels"] == pytest.approx(2940 / 3000)
    assert result["mean_over_images"]["dice_all_background"] == 0
    assert result["mean_over_images"]["iou_all_foreground"] == pytest.approx((0.1 + 0.01) / 2)


def test_what_nothing_scores_in_the_family_of_98_per_cent():
    clinicdb = families([Counts(tp=917, fp=0, fn=0, tn=9083)])["macro_with_background"]  # 9.17 % polyp
    assert clinicdb["iou_both_channels_all_background"] == pytest.approx(0.832, abs=5e-4)
    assert clinicdb["iou_all_background"] == pytest.approx(0.9083 / 2)
    assert families([Counts(871, 45, 46, 9038)])["macro_with_background"]["iou_both_channels"] == pytest.approx(
        0.982, abs=5e-4
    )


@given(set_of_counts)
def test_pooled_figures_obey_their_identity_and_order_changes_nothing(counts):
    result, other = families(counts), families(counts[::-1])
    dice, iou = (result["pooled_over_pixels"][name] for name in ("dice", "iou"))
    assert iou == pytest.approx(dice / (2 - dice))
    assert result["mean_over_images"]["iou"] <= result["mean_over_images"]["dice"]
    for family, scores in result.items():
        assert other[family] == pytest.approx(scores)


@given(arrays(np.uint8, (3, 20), elements=st.integers(0, 1)), arrays(np.uint8, (3, 20), elements=st.integers(0, 1)))
def test_macro_agrees_with_scikit_learn(predictions, truths):
    from sklearn.metrics import f1_score, jaccard_score

    if truths.any() and not truths.all():
        macro = families([confusion(*pair) for pair in zip(predictions, truths, strict=True)])["macro_with_background"]
        pair = truths.ravel(), predictions.ravel()
        assert macro["iou"] == pytest.approx(jaccard_score(*pair, average="macro"))
        assert macro["dice"] == pytest.approx(f1_score(*pair, average="macro"))
        assert macro["iou_both_channels"] == pytest.approx(jaccard_score(*pair, labels=[0, 1], average="micro"))


def test_counts_add_up():
    assert Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40) == Counts(11, 22, 33, 44)
    assert math.isnan(families([Counts(0, 5, 0, 5)])["mean_over_images"]["dice"])
