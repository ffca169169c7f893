from __future__ import annotations

import numpy as np
import py_sod_metrics as sod
import pytest

from polyp_monai.metrics.pixel import pixel_scores
from polyp_monai.metrics.structure import pranet_summary, structure_scores


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
