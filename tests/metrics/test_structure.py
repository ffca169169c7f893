from __future__ import annotations

import cv2
import numpy as np
import py_sod_metrics as sod
import pytest

from polyp_monai.metrics.pixel import pixel_scores
from polyp_monai.metrics.structure import FAR, WIDE, pranet_summary, structure_scores


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """8-bit maps and masks: soft discs, one map of a narrow range, one of one value, one truth without a polyp."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :60]
    made = []
    for i in range(6):
        cy, cx, radius = rng.uniform(15, 35, 2).tolist() + [rng.uniform(6, 14)]
        distance = np.hypot(y - cy - rng.normal(0, 3), x - cx) / radius
        probability = 1 / (1 + np.exp(6 * (distance - 1))) * (0.6 if i == 1 else 1) + (0.2 if i == 1 else 0)
        made.append(((probability * 255).astype(np.uint8), np.hypot(y - cy, x - cx) < radius))
    return made + [(np.full((48, 60), 77, np.uint8), made[0][1]), (made[0][0], np.zeros((48, 60), bool))]


def _pysodmetrics(pairs, normalize: bool) -> dict[str, float]:
    handlers = {"dice": sod.DICEHandler(True, False), "iou": sod.IOUHandler(True, False)}
    metrics = [sod.FmeasureV2(handlers), sod.WeightedFmeasure(), sod.Smeasure(), sod.Emeasure(), sod.MAE()]
    for levels, truth in pairs:
        arguments = (levels, truth * np.uint8(255)) if normalize else (levels / 255, truth)
        for metric in metrics:
            metric.step(*arguments, normalize=normalize)
    overlap, *others = (metric.get_results() for metric in metrics)
    curves = {name: overlap[name]["dynamic"] for name in handlers} | {"e": others[2]["em"]["curve"]}
    summary = {"weighted_f": others[0]["wfm"], "s_measure": others[1]["sm"], "mae": others[3]["mae"]}
    return summary | {f"{f.__name__}_{n}": f(c) for n, c in curves.items() for f in (np.mean, max)}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_pysodmetrics_over_the_set(pairs, normalize, dtype):
    ours = pranet_summary([structure_scores(v.astype(dtype) / 255, truth, normalize) for v, truth in pairs])
    assert ours == pytest.approx(_pysodmetrics(pairs, normalize), abs=1e-6)


def test_order_changes_nothing(pairs):
    scored = [structure_scores(levels / 255, truth) for levels, truth in pairs]
    assert pranet_summary(scored[::-1]) == pytest.approx(pranet_summary(scored))


def test_curves_run_over_the_levels_upwards(pairs):
    levels, truth = pairs[0]
    scores = structure_scores(levels / 255, truth)
    assert scores["dice_curve"][128] == pytest.approx(pixel_scores(levels >= 128, truth)["dice"])
    adaptive, measure = np.ceil(255 * min(2 * (levels / 255).mean(), 1)).astype(int), scores["e_curve"]
    assert scores["e_measure"] == pytest.approx(measure[adaptive])  # their threshold lies between two levels


def test_a_perfect_map_and_no_polyp(pairs):
    truth = pairs[0][1]
    perfect = structure_scores(truth.astype(float), truth)
    assert [perfect[name] for name in ("weighted_f", "s_measure", "mae")] == pytest.approx([1, 1, 0], abs=1e-6)
    empty = structure_scores(np.zeros(truth.shape), truth & False)
    assert (empty["s_measure"], empty["mae"], empty["weighted_f"]) == (1, 0, 0)
    assert not empty["dice_curve"].any()


@pytest.mark.parametrize("seed", range(12))
def test_each_figure_equals_pysodmetrics_to_the_last_digit(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(30, 420, 2)
    truth = np.zeros((height, width), np.uint8)
    for _ in range(seed % 4):  # none at first
        centre, axes = rng.integers(0, (width, height)).tolist(), rng.integers(2, (width // 4, height // 4)).tolist()
        cv2.ellipse(truth, centre, axes, float(rng.integers(90)), 0, 360, 1, -1)
    probability = cv2.GaussianBlur(np.roll(truth, 5, axis=1).astype(np.float32), (0, 0), float(rng.uniform(1, 9)))
    truth, probability = truth.astype(bool), np.clip(probability, 0, 1)
    if seed % 3 == 0:
        probability = (probability * 255).astype(np.uint8) / 255  # float64
    if seed % 2:  # as MONAI's (C, W, H) arrays lie
        probability, truth = np.asfortranarray(probability), np.asfortranarray(truth)
    _assert_equal(probability, truth)


def test_weights_of_wide_images_are_exact():
    """Beyond what OpenCV's float32 distances resolve."""
    truth = np.zeros((40, WIDE + 100), bool)
    truth[10:20, 30:50] = truth[10:20, -60:-40] = True
    _assert_equal(np.random.default_rng(0).random(truth.shape, dtype=np.float32), truth)


def test_far_pixels_weigh_twice():
    truth = np.zeros((20, 2 * FAR + 100), bool)
    truth[5:15, 20:40] = True
    _assert_equal(np.random.default_rng(0).random(truth.shape, dtype=np.float32), truth)


def test_a_truth_of_polyp_alone():
    probability = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    _assert_equal(probability, np.ones((20, 30), bool))


def _assert_equal(probability: np.ndarray, truth: np.ndarray) -> None:
    metrics = [sod.WeightedFmeasure(), sod.Smeasure(), sod.Emeasure(), sod.MAE()]
    for metric in metrics:
        metric.step(probability, truth, normalize=False)
    weighted, s, e, mae = (metric.get_results() for metric in metrics)
    ours = structure_scores(probability, truth)
    assert ours["weighted_f"] == weighted["wfm"]
    assert ours["s_measure"] == s["sm"]
    assert (ours["e_measure"], ours["mae"]) == (e["em"]["adp"], mae["mae"])
    assert np.array_equal(ours["e_curve"], e["em"]["curve"][::-1])


@pytest.mark.parametrize("truth", [0, 1])
def test_a_frame_of_one_pixel(truth):
    scores = structure_scores(np.full((1, 1), 0.4, np.float32), np.full((1, 1), truth, bool))
    assert np.all((scores["e_curve"] >= 0) & (scores["e_curve"] <= 1))
