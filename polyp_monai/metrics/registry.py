"""The metrics that the project knows: key, name in words, unit, which way is better, and where each is shown.

The only list of them. A new metric of a frame is a function of this folder, which `scoring.score` calls, and a line
here: tables, the comparison of runs and all pages then show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Place = Literal["headline", "sets", "comparison", "curve", "subset", "caption"]
MAIN = "dice"  # by which frames are ranked, and runs compared first


@dataclass(frozen=True)
class Metric:
    """One metric.

    `name`: its column in frames.csv and its key in summary.json. `label`: its name in words. `unit`: "" for a score of
    0..1, else what follows the number. `better`: which way. `decimals`: digits after the point; None leaves them to
    whoever shows it. `of`: "frame" (measured on each frame, and averaged) or "set". `shown`: where, beside the tables
    that hold all metrics:

    - headline: what `polyp evaluate` and `polyp score` print, and the tiles of a report
    - sets: the columns of the table of several data sets
    - comparison: what `polyp compare` compares
    - curve: the sweep over 256 thresholds; only what `pixel.scores` gives can be swept
    - subset: the table of tagged subsets
    - caption: below a picture of a report
    """

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    decimals: int | None = None
    of: Literal["frame", "set"] = "frame"
    shown: frozenset[Place] = frozenset()

    def text(self, value: float | None, digits: int = 3) -> str:
        """A value with its unit; "-" for None and NaN. `digits` after the point where the metric names no number."""
        if value is None or value != value:
            return "-"
        return f"{value:.{digits if self.decimals is None else self.decimals}f}" + f" {self.unit}" * bool(self.unit)

    @property
    def arrow(self) -> str:
        """The way that is better, as a sign."""
        return "↑" if self.better == "higher" else "↓"


_EVERYWHERE: frozenset[Place] = frozenset({"headline", "sets", "comparison", "curve", "caption"})

# in the order of columns and rows
METRICS: tuple[Metric, ...] = (
    Metric("dice", "Dice", shown=_EVERYWHERE | {"subset"}),
    Metric("iou", "IoU", shown=_EVERYWHERE | {"subset"}),
    Metric("sensitivity", "sensitivity", shown=_EVERYWHERE | {"subset"}),
    Metric("precision", "precision", shown=_EVERYWHERE),
    Metric("f2", "F2"),
    Metric("specificity", "specificity"),
    Metric("accuracy", "accuracy"),
    Metric("hd95", "HD95", unit="px", better="lower", decimals=1, shown=frozenset({"headline", "caption"})),
    Metric("surface_dice", "surface Dice (NSD)", shown=frozenset({"caption"})),
    Metric("weighted_f", "weighted F-measure"),
    Metric("s_measure", "S-measure"),
    Metric("e_measure", "E-measure"),
    Metric("mae", "MAE", better="lower"),
    Metric("mean_dice", "mean Dice over 256 thresholds", of="set"),
    Metric("max_dice", "maximum Dice", of="set"),
    Metric("mean_iou", "mean IoU over 256 thresholds", of="set"),
    Metric("max_iou", "maximum IoU", of="set"),
    Metric("mean_e", "mean E-measure", of="set"),
    Metric("max_e", "maximum E-measure", of="set"),
    Metric("dice_both_channels", "Dice, both channels", of="set"),
    Metric("iou_both_channels", "IoU, both channels", of="set"),
    Metric("recall", "recall", of="set"),
    Metric("f1", "F1", of="set"),
    Metric("average_precision", "average precision", of="set"),
    Metric("false_positives", "false positives", better="lower", decimals=0, of="set"),
    Metric("false_positives_per_image", "false positives / image", better="lower", of="set"),
    Metric("false_positive_area", "area of false alarms", better="lower", of="set"),
    Metric("ap_25_75", "AP .25:.05:.75", of="set"),
    Metric("ap_50_95", "COCO AP", of="set"),
    Metric("ap_50", "AP50", of="set"),
    Metric("ap_75", "AP75", of="set"),
    Metric("froc_iou_50", "FROC by IoU", of="set"),
    Metric("froc_centre", "FROC by centre", of="set"),
    Metric("expected_calibration_error", "expected calibration error", better="lower", of="set"),
)


def of_frames() -> tuple[Metric, ...]:
    """The metrics of a frame, in the order of columns."""
    return tuple(metric for metric in METRICS if metric.of == "frame")


def shown(place: Place) -> tuple[Metric, ...]:
    """The metrics that are shown at `place`, in the order of columns."""
    return tuple(metric for metric in METRICS if place in metric.shown)


def get(name: str) -> Metric:
    """The metric of a key; of one that is not registered, what its key says."""
    return next((metric for metric in METRICS if metric.name == name), Metric(name, name.replace("_", " ")))
