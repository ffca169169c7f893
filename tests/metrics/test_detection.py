"""Boxes: average precision is that of pycocotools, FROC that of a small set worked out by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyp_monai.metrics import detection
from polyp_monai.metrics.detection import Detections, detection_summary

COCO_KEYS = ("ap_50_95", "ap_50", "ap_75")


def detections(truth=(), boxes=(), scores=(), truth_labels=None, labels=None) -> Detections:
    """One frame, its boxes as x0, y0, x1, y1."""
    truth, boxes = (np.array(side, dtype=float).reshape(-1, 4) for side in (truth, boxes))
    truth_labels, labels = (
        np.zeros(len(side), int) if given is None else np.array(given, int)
        for side, given in ((truth, truth_labels), (boxes, labels))
    )
    return Detections(truth, truth_labels, boxes, labels, np.array(scores, dtype=float))


def summary(frames, **about):
    return detection_summary(frames, [str(i) for i in range(len(frames))], **about)


def pycocotools(frames: list[Detections], classes: int, thresholds=None) -> np.ndarray:
    """Average precision of each IoU threshold, mean over the classes; NaN without truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, found = [], []
    for image, frame in enumerate(frames, 1):
        for box, label in zip(frame.truth, frame.truth_labels, strict=True):
            x, y, w, h = *box[:2], *(box[2:] - box[:2])
            entry = {"image_id": image, "category_id": int(label) + 1, "bbox": [x, y, w, h]}
            truths.append({**entry, "id": len(truths) + 1, "area": w * h, "iscrowd": 0})
        for box, label, score in zip(frame.boxes, frame.labels, frame.scores, strict=True):
            entry = {"image_id": image, "category_id": int(label) + 1, "bbox": [*box[:2], *(box[2:] - box[:2])]}
            found.append({**entry, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(frames))],
            "categories": [{"id": i + 1} for i in range(classes)],
            "annotations": truths,
        }
        coco.createIndex()
        other = coco.loadRes(found) if found else COCO()
        if not found:
            other.dataset = {**coco.dataset, "annotations": []}
            other.createIndex()
        measured = COCOeval(coco, other, "bbox")
        if thresholds is not None:
            measured.params.iouThrs = thresholds
        measured.evaluate()
        measured.accumulate()
    precision = measured.eval["precision"][:, :, :, 0, -1]  # (T, R, K): all areas, 100 boxes a frame
    return np.array([p[p > -1].mean() if (p > -1).any() else np.nan for p in precision])


@st.composite
def sets(draw, classes: int = 1) -> list[Detections]:
    """Frames with boxes on a coarse grid, so that IoUs lie on the thresholds, and with few scores, so that many tie."""
    seed, frames = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 25))
    rng = np.random.default_rng(seed)
    grid, levels = draw(st.sampled_from([3, 6, 20])), draw(st.sampled_from([1, 3, 1000]))

    def boxes(n):
        corner = rng.integers(0, grid, (n, 2))
        return np.concatenate([corner, corner + rng.integers(1, grid, (n, 2))], axis=1).astype(float)

    found = []
    for _ in range(frames):
        truth = boxes(rng.integers(0, 4))
        near = truth[rng.random(len(truth)) < 0.8]
        near[:, 2:] += rng.integers(0, 3, near[:, 2:].shape)
        every = np.concatenate([near, boxes(rng.integers(0, 3))])
        of_truth, of_all = (rng.integers(0, classes, len(side)) for side in (truth, every))
        found.append(Detections(truth, of_truth, every, of_all, rng.integers(1, levels + 1, len(every)) / levels))
    return found


@pytest.mark.parametrize("classes", [1, 3])
@settings(max_examples=40)
@given(data=st.data())
def test_average_precision_is_that_of_pycocotools(classes, data):
    pytest.importorskip("pycocotools")
    frames = data.draw(sets(classes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection.statistics, "samples", lambda groups: iter(()))  # no intervals: quicker
        result = summary(frames, classes=[f"class {i}" for i in range(classes)])
    expected = pycocotools(frames, classes)
    values = [result["value"][key] for key in COCO_KEYS]
    np.testing.assert_allclose(values, [expected.mean(), expected[0], expected[5]], atol=1e-9)
    polyps = pycocotools(frames, classes, detection.IOUS[:11])
    np.testing.assert_allclose(result["value"]["ap_25_75"], polyps.mean(), atol=1e-9)


def test_frames_of_more_than_100_boxes_count_their_surest():
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 30, (150, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 30, (150, 2))], axis=1)
    frames = [detections(boxes[:40], boxes, rng.random(150)), detections(boxes[:2])]
    np.testing.assert_allclose(summary(frames)["value"]["ap_50_95"], pycocotools(frames, 1).mean(), atol=1e-9)


A, B = (0, 0, 10, 10), (20, 20, 40, 40)
BY_HAND = [  # four frames, three polyps
    detections([A, B], [A, (2, 2, 9, 9), (24, 20, 44, 40)], [0.9, 0.8, 0.5]),  # found; again, at IoU .49; IoU .67
    detections([A], [(5, 5, 25, 25)], [0.7]),  # beside it
    detections([], [B], [0.6]),  # of a frame without a polyp
    detections([], []),
]


def test_froc_of_a_set_worked_out_by_hand():
    result = summary(BY_HAND)
    froc = result["froc"]
    # in order of score: .9 right, .8 a second box on A (wrong by IoU, nothing by its centre), .7 wrong, .6 wrong,
    # .5 right; so after them 0, 1, 2, 3, 3 of 4 frames are false positives, and 1, 1, 1, 1, 2 of 3 polyps are found
    by_iou = froc["iou_50"]
    assert by_iou["curve"]["false_positives"].tolist() == [0, 0, 0.25, 0.5, 0.75, 0.75]
    np.testing.assert_allclose(by_iou["curve"]["sensitivity"], np.array([0, 1, 1, 1, 1, 2]) / 3)
    assert froc["rates"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    np.testing.assert_allclose(by_iou["sensitivity"], np.array([1, 1, 1, 2, 2, 2, 2]) / 3)
    assert (by_iou["false_positives"], by_iou["recall"]) == (0.75, pytest.approx(2 / 3))
    by_centre = froc["centre"]
    assert by_centre["curve"]["false_positives"].tolist() == [0, 0, 0, 0.25, 0.5, 0.5]
    np.testing.assert_allclose(by_centre["sensitivity"], np.array([1, 1, 2, 2, 2, 2, 2]) / 3)
    assert result["value"]["froc_iou_50"] == pytest.approx(11 / 21)
    assert result["value"]["froc_centre"] == pytest.approx(12 / 21)


@settings(max_examples=40)
@given(frames=sets())
def test_froc_is_that_of_monai_when_it_is_told_of_a_miss(frames):
    from monai.metrics.froc import compute_froc_curve_data, compute_froc_score

    polyps = sum(len(frame.truth) for frame in frames)
    if not polyps:
        return
    ranking = detection._hits(frames)
    scores = np.empty(len(ranking.frame))
    scores[:] = np.sort(np.concatenate([frame.scores for frame in frames]))[::-1]
    for row in (0, 1):
        right, wrong = (scores[side[row] > 0] for side in (ranking.right, ranking.wrong))
        # MONAI leaves out the lowest score, which is that of a missed polyp if there is one: -inf stands for it
        false, found = compute_froc_curve_data(wrong, np.append(right, -np.inf), polyps, len(frames))
        ours = tuple(side[0, row] for side in detection.froc(ranking, ranking.once))
        assert {*zip(false, found, strict=True)} <= {*zip(*ours, strict=True)}
        mine = detection.sensitivities(*(side[None, None] for side in ours))[0, 0, 1:].mean()
        assert mine == pytest.approx(compute_froc_score(false, found, detection.RATES[1:]))


def test_nothing_to_find_and_nothing_found():
    empty = summary([detections([], [A], [0.5]), detections()])
    assert np.isnan([*empty["value"].values()]).all()
    assert empty["froc"]["iou_50"]["false_positives"] == 0.5
    missed = summary([detections([A]), detections([B])])
    assert set(missed["value"].values()) == {0}
    assert missed["interval"]["ap_50"].tolist() == [0, 0]
    assert np.isnan(summary([detections([A])])["interval"]["ap_50"]).all()  # one group tells nothing of the spread


def test_intervals_draw_whole_groups():
    frames = [detections([A], [A], [0.9]), detections([A])] * 10
    apart = detection_summary(frames, [str(i) for i in range(20)])["interval"]["ap_50"]
    paired = detection_summary(frames, [str(i // 2) for i in range(20)])["interval"]["ap_50"]
    np.testing.assert_allclose(paired, summary(frames)["value"]["ap_50"])
    assert apart[0] < 0.45 < 0.55 < apart[1]


def test_a_class_of_its_own_and_one_that_the_truth_does_not_have():
    frames = [detections([A, B], [A, B, A], [0.9, 0.8, 0.7], [0, 1], [0, 0, 2])]
    result = summary(frames, classes=["one", "two", "three"])
    assert result["value"]["ap_50"] == pytest.approx(0.5)  # 1 of the first, 0 of the second, the third has no truth
    assert [entry["polyps"] for entry in result["classes"].values()] == [1, 1, 0]
    assert result["classes"]["one"]["ap_50"] == pytest.approx(1)
    assert result["froc"]["iou_50"]["recall"] == 1  # found, whatever it was called
