"""Run folders as `polyp evaluate` writes them, small and made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.metrics.pixel import pixel_scores

NAME = '<b>&"ü $x'


def disc(x: int, y: int, radius: int, size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """(H, W) mask of {0, 1}; size is (W, H), a radius of 0 makes it empty."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    return ((columns - x) ** 2 + (rows - y) ** 2 < radius**2).astype(np.uint8)


def summary(count: int, **more: Any) -> dict[str, Any]:
    """Every part of the contract."""
    values = {"dice": 0.8, "iou": 0.7, "sensitivity": 0.9, "precision": 0.75, "hd95": 12.5}
    baselines = {"dice": 0.8, "dice_all_background": 0.456, "dice_all_foreground": 0.123}
    rule = {"polyps": 9, "found": 7, "recall": 0.78, "precision": 0.7, "f1": 0.74, "false_positives": 3}
    recalls = {"polyps": 2, "iou_50": 0.5, "iou_30": 0.5, "centre": None}
    leak = {
        "test": 9,
        "similar_in_training": 3,
        "share": 0.333,
        "limit": 0.05,
        "leaked": False,
        "by_group": 1,
        "by_similarity": 2,
    }
    ramp = [i / 4 for i in range(5)]
    return {
        "run": {"bundle": "unet", "dataset": "/data/<set>", "weights_sha256": "9f86d0",
                "command": "polyp evaluate unet", "packages": {"monai": "1.6.1"}, "threshold": 0.5, "normalize": False},
        "frames": count,
        "frames_with_polyp": {"count": count, "missed": 2, "without_hd95": 2, "mean": values,
                              "interval": {"dice": [0.711, 0.877], "iou": None}, "level": 0.95, "groups": 5},
        "frames_without_polyp": {"frames": 3, "left_empty": 2, "specificity": 0.667, "false_positive_area": None},
        "families": dict.fromkeys(("mean_over_images", "pooled_over_pixels", "macro_with_background"), baselines),
        "pranet": {"mean_dice": 0.61, "s_measure": 0.62},
        "lesions": {"images": 9, "iou_50": rule, "iou_30": rule, "centre": rule, "average_precision": {"mean": 0.44},
                    "by_size": {"small": recalls}, "by_share": {"< 2.5 %": recalls}},
        "subsets": {NAME: {"count": 2, "dice": 0.5}},
        "calibration": {"expected_calibration_error": 0.033, "confidence": [0.1, None, 0.9],
                        "accuracy": [0.2, None, 0.8], "count": [9, 0, 5]},
        "curves": {"threshold": ramp, "dice": ramp, "iou": ramp, "sensitivity": ramp, "precision": ramp,
                   "pr_precision": ramp, "pr_recall": ramp, "average_precision": 0.913},
        "leakage": {**leak, "copy_mask_dice": 0.41, "copy_mask_iou": 0.3},
        "promises": {"missed": {"alpha": 0.1, "threshold": 0.3, "on_calibration": 0.08, "here": 0.09}},
        **more,
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """`make_run(masks, **summary)`: a run of (truth, prediction) masks; name and tag of the first frame are NAME."""

    def make(masks: list[tuple[np.ndarray, np.ndarray]], noise: bool = False, **more: Any) -> Path:
        rng, rows = np.random.default_rng(0), []
        for i, (truth, prediction) in enumerate(masks):
            paths = {kind: tmp_path / kind / f"{i}.png" for kind in ("image", "truth", "prediction")}
            shape = (*truth.shape, 3)
            files.write_png(
                paths["image"], rng.integers(0, 256, shape, np.uint8) if noise else np.full(shape, 90, np.uint8)
            )
            files.write_mask(paths["truth"], truth)
            files.write_mask(paths["prediction"], prediction)
            pixels = {"polyp_pixels": int(truth.sum()), "predicted_pixels": int(prediction.sum())}
            size = {"width": truth.shape[1], "height": truth.shape[0]}
            name = f"f{i}" if i else NAME
            rows.append(
                {
                    "name": name,
                    "group": "g",
                    "tags": "" if i else NAME,
                    **size,
                    **paths,
                    **pixels,
                    **pixel_scores(prediction, truth),
                }
            )
        files.write_csv(tmp_path / "frames.csv", rows)
        files.write_json(tmp_path / "summary.json", summary(len(masks), **more))
        return tmp_path

    return make


@pytest.fixture
def few(make_run) -> Path:
    """Six frames: hit, shifted, missed, small polyp, empty and rightly so, false alarm."""
    polyp, small, nothing = disc(40, 40, 20), disc(20, 20, 5), disc(0, 0, 0)
    pairs = [(polyp, polyp), (polyp, disc(46, 40, 20)), (polyp, nothing), (small, disc(22, 20, 5))]
    return make_run([*pairs, (nothing, nothing), (nothing, small)])
