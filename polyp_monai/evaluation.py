"""Scores of a whole set: an Ignite handler of the evaluator, and the summary over its rows."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from polyp_monai import io
from polyp_monai.metrics.boundary import hd95
from polyp_monai.metrics.pixel import pixel_scores

logger = logging.getLogger(__name__)


class EvaluationTable:
    """Scores every frame at native size; writes `frames.csv` (a row a frame) and `summary.json` (means over frames).

    Frames without a polyp stand apart: they have no Dice, and count as correct when the prediction is empty. A polyp
    that was missed wholly has Dice 0 and no HD95; how many there are is said beside the mean.

    The masks, which are written to `.partial-masks` meanwhile, move to `masks` when all is done, so that the folder
    never holds masks of one run and figures of another.

    Args:
        output_dir: folder of both files.
        about: what was evaluated, repeated in the summary.
    """

    def __init__(self, output_dir: str, about: dict[str, Any]) -> None:
        self.output_dir, self.about = Path(output_dir), about
        self.partial = self.output_dir / ".partial-masks"
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._give_up)

    def _start(self) -> None:
        self.rows.clear()
        shutil.rmtree(self.partial, ignore_errors=True)  # of a run that was killed

    def _give_up(self, error: BaseException) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
        raise error

    def _score(self, engine: Engine) -> None:
        for sample, output in zip(engine.state.batch, engine.state.output, strict=False):
            prediction, truth = (output[key][0].cpu().numpy().T > 0.5 for key in ("pred", "label"))
            scores = pixel_scores(prediction, truth) | {"hd95": hd95(prediction, truth)}
            areas = {"polyp_pixels": int(truth.sum()), "predicted_pixels": int(prediction.sum())}
            size = {"width": truth.shape[1], "height": truth.shape[0]}
            self.rows.append({"name": sample["name"], "group": sample["group"], **size, **areas, **scores})

    def _write(self) -> None:
        for path in [p for p in self.partial.rglob("*") if p.is_file()]:
            target = self.output_dir / "masks" / path.relative_to(self.partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        shutil.rmtree(self.partial, ignore_errors=True)
        io.write_csv(self.output_dir / "frames.csv", self.rows)
        summary = self.about | summarise(self.rows)
        io.write_json(self.output_dir / "summary.json", summary)
        polyps = summary["frames_with_polyp"]
        if polyps["count"]:
            means = "  ".join(f"{name} {value:.4f}" for name, value in polyps["mean"].items() if value is not None)
            logger.info(f"{polyps['count']} frames with a polyp: {means} px; {polyps['missed']} missed wholly")
        else:
            logger.info("no frame here has a polyp, so there is no Dice")
        healthy = summary["frames_without_polyp"]
        if healthy["count"]:
            logger.info(f"{healthy['count']} frames without a polyp: {healthy['left_empty']} left empty")
        logger.info(f"a row a frame: {self.output_dir / 'frames.csv'}, in all: {self.output_dir / 'summary.json'}")


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over frames with a polyp; frames without one are counted apart. A mean over nothing is None."""
    polyps = [r for r in rows if r["polyp_pixels"]]
    healthy = [r for r in rows if not r["polyp_pixels"]]

    def mean(name: str) -> float | None:
        values = [r[name] for r in polyps if not math.isnan(r[name])]
        return float(np.mean(values)) if values else None

    return {
        "frames": len(rows),
        "frames_with_polyp": {
            "count": len(polyps),
            "missed": sum(not r["dice"] for r in polyps),
            "without_hd95": sum(math.isnan(r["hd95"]) for r in polyps),
            "mean": {name: mean(name) for name in ("dice", "iou", "sensitivity", "precision", "hd95")},
        },
        "frames_without_polyp": {
            "count": len(healthy),
            "left_empty": sum(not r["predicted_pixels"] for r in healthy),
        },
    }
