from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from skimage.measure import label, regionprops

from polyp_monai.metrics.lesions import (
    LesionMatch,
    PredictedPolyp,
    assign,
    average_precision,
    components,
    lesion_summary,
    match,
    share_class,
    size_class,
)


def _boxes(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    """A mask with rectangles (top, left, bottom, right)."""
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def _match(predicted: np.ndarray, truth: np.ndarray) -> LesionMatch:
    return match(predicted.astype(float), predicted, truth)


def test_components_agree_with_skimage():
    mask = np.random.default_rng(0).random((40, 50)) > 0.7
    found, regions = components(mask), regionprops(label(mask, connectivity=2))
    assert sorted(found.areas) == sorted(r.area for r in regions)
    np.testing.assert_allclose(sorted(map(tuple, found.centres)), sorted(r.centroid for r in regions))
    assert len(components(np.eye(3)).areas) == 1  # corners touch
    assert len(components(np.zeros((3, 3))).areas) == 0


def test_one_image_by_hand():
    truth = _boxes((10, 10, 30, 30), (60, 60, 80, 80))
    prediction = _boxes((10, 10, 30, 22), (90, 0, 95, 5))  # 240 of 400 pixels of the first; an alarm
    probability = np.where(truth, 0.8, 0.6)
    result = match(probability, prediction, truth)
    assert [p.area for p in result.polyps] == [400, 400]
    assert result.polyps[0].share == 0.04
    assert result.polyps[0][2:] == (True, True, True)
    assert result.polyps[1][2:] == (False, False, False)
    hit, alarm = result.findings
    assert (hit.area, hit.best_iou, hit.polyp, hit.centre_in) == (240, pytest.approx(0.6), 0, 0)
    assert hit.confidence == pytest.approx(0.8)
    assert (alarm.best_iou, alarm.polyp, alarm.centre_in) == (0, None, None)
    assert alarm.confidence == pytest.approx(0.6)
    assert pickle.loads(pickle.dumps(result)) == result


def test_between_the_two_iou_limits():
    summary = lesion_summary([_match(_boxes((0, 0, 20, 8)), _boxes((0, 0, 20, 20)))])  # IoU .4
    assert [summary[rule]["found"] for rule in ("iou_50", "iou_30", "centre")] == [0, 1, 1]
    assert (summary["iou_50"]["false_positives"], summary["iou_30"]["false_positives"]) == (1, 0)


def test_several_hits_on_one_polyp_count_once_by_the_centre_rule():
    truth = _boxes((10, 10, 50, 50))
    prediction = _boxes((10, 10, 45, 28), (10, 32, 50, 50), (70, 70, 75, 75))
    summary = lesion_summary([_match(prediction, truth)])
    assert (summary["centre"]["found"], summary["centre"]["false_positives"]) == (1, 1)
    assert (summary["iou_30"]["found"], summary["iou_30"]["false_positives"]) == (1, 2)
    assert summary["centre"]["precision"] == 0.5


def test_a_centre_outside_its_own_component_hits_nothing():
    ring = _boxes((10, 10, 50, 50)) & ~_boxes((20, 20, 40, 40))
    assert _match(_boxes((0, 0, 60, 60)), ring).findings[0].centre_in is None
    assert _match(ring, _boxes((25, 25, 35, 35))).polyps[0].centre


def test_the_surest_finding_chooses_first_and_takes_its_best_free_polyp():
    findings = [
        PredictedPolyp(0.5, 1, (0.6, 0.3), None),
        PredictedPolyp(0.9, 1, (0.4, 0.35), None),
        PredictedPolyp(0.1, 1, (0.9, 0), None),
    ]
    assert assign(findings, 0.3) == [1, 0, None]
    assert assign(findings, 0.36) == [None, 0, None]
    assert assign([], 0.3) == []


def test_the_summary_of_a_set_by_hand():
    found, missed = _boxes((10, 10, 30, 30)), _boxes((0, 0, 90, 90))
    negatives = np.zeros((100, 100), bool)
    matches = [_match(found, found), _match(negatives, missed), _match(found, negatives), _match(negatives, negatives)]
    summary = lesion_summary(matches)
    assert summary["images"] == 4
    assert summary["iou_50"] == {
        "polyps": 2,
        "found": 1,
        "recall": 0.5,
        "precision": 0.5,
        "f1": 0.5,
        "false_positives": 1,
        "false_positives_per_image": 0.25,
    }
    assert summary["by_size"]["small"] == {"polyps": 2, "iou_50": 0.5, "iou_30": 0.5, "centre": 0.5}
    assert summary["by_size"]["large"]["polyps"] == 0
    assert math.isnan(summary["by_size"]["large"]["centre"])
    assert summary["by_share"]["2.5-5 %"]["iou_50"] == 1
    assert summary["by_share"]["> 30 %"]["iou_50"] == 0
    # both findings have confidence 1: recall 0 .. .5, which are 51 of 101 points, at precision .5
    assert summary["average_precision"]["mean"] == pytest.approx(51 / 101 / 2)
    other = lesion_summary(matches[::-1])
    assert repr(other) == repr(summary)  # repr: NaN differs from itself


def test_without_polyps_or_without_findings():
    negatives, polyp = np.zeros((9, 9), bool), _boxes((2, 2, 5, 5), shape=(9, 9))
    nothing = lesion_summary([_match(polyp, negatives)])
    assert math.isnan(nothing["iou_50"]["recall"])
    assert math.isnan(nothing["average_precision"]["mean"])
    assert nothing["iou_50"]["false_positives_per_image"] == 1
    missed = lesion_summary([_match(negatives, polyp)])
    assert missed["average_precision"]["mean"] == missed["centre"]["recall"] == missed["centre"]["precision"] == 0


def _random_image(rng: np.random.Generator) -> tuple[list, list, np.ndarray]:
    """Boxes of the truth, one to a quadrant, moved boxes of the prediction, and the confidence of each."""
    quadrants = [(5, 5), (5, 55), (55, 5), (55, 55)]
    size = [rng.integers(12, 30, 2) for _ in quadrants]
    truth = [(y, x, y + h, x + w) for (y, x), (h, w) in zip(quadrants, size, strict=True)]
    predicted = [tuple(np.array(box) + np.tile(rng.integers(0, 9, 2), 2)) for box in truth]
    keep, show = rng.random(4) < 0.6, rng.random(4) < 0.7
    truth = [box for box, kept in zip(truth, keep, strict=True) if kept]
    predicted = [box for box, shown in zip(predicted, show, strict=True) if shown]
    return truth, predicted, rng.random(len(predicted))


def test_average_precision_agrees_with_monais_coco_metric():
    """Rectangles: the IoU of masks is that of boxes."""
    from monai.apps.detection.metrics.coco import COCOMetric
    from monai.apps.detection.metrics.matching import matching_batch
    from monai.data.box_utils import box_iou

    rng = np.random.default_rng(5)
    images = [_random_image(rng) for _ in range(30)]
    matches = []
    for truth, predicted, confidence in images:
        probability = np.zeros((100, 100))
        for box, value in zip(predicted, confidence, strict=True):
            probability[_boxes(box)] = value
        matches.append(match(probability, probability > 0, _boxes(*truth)))
    coco = COCOMetric(["polyp"], iou_list=(0.25, 0.5, 0.75), iou_range=(0.25, 0.75, 0.05), verbose=False)
    results = matching_batch(
        lambda a, b: box_iou(a.astype(np.float64), b.astype(np.float64)),
        coco.get_iou_thresholds(),
        pred_boxes=[np.array(p).reshape(-1, 4) for _, p, _ in images],
        pred_classes=[np.zeros(len(p), int) for _, p, _ in images],
        pred_scores=[c for _, _, c in images],
        gt_boxes=[np.array(t).reshape(-1, 4) for t, _, _ in images],
        gt_classes=[np.zeros(len(t), int) for t, _, _ in images],
    )
    theirs = coco(results)[0]
    assert theirs["AP_IoU_0.75_MaxDet_100"] < theirs["AP_IoU_0.25_MaxDet_100"] < 1
    for iou in (0.25, 0.5, 0.75):
        assert average_precision(matches, iou) == pytest.approx(theirs[f"AP_IoU_{iou:.2f}_MaxDet_100"])
    mean = lesion_summary(matches)["average_precision"]["mean"]
    assert mean == pytest.approx(theirs["mAP_IoU_0.25_0.75_0.05_MaxDet_100"])


def test_classes_at_their_edges():
    assert [size_class(a) for a in (1, 10_000, 10_001, 40_000, 40_001)] == ["small"] * 2 + ["medium"] * 2 + ["large"]
    shares = (0.01, 0.025, 0.05, 0.15, 0.31, 1)
    assert [share_class(s) for s in shares] == ["< 2.5 %", "2.5-5 %", "5-15 %", "15-30 %", "> 30 %", "> 30 %"]
