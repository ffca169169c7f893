"""Scores of a whole set: the evaluator's Ignite handler, and the folder of a run that it and `polyp score` write."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from polyp_monai import provenance
from polyp_monai.data import datalist, files, outputs
from polyp_monai.evaluation import conformal, leakage
from polyp_monai.evaluation.scoring import Scored, plain, score, summarize

logger = logging.getLogger(__name__)
RUN_FILES = ("frames.csv", "histograms.npz", "summary.json", "report.html")


class EvaluationTable:
    """Scores every frame at native size and writes the folder of a run; see `write_run`.

    The masks, which are written to `.partial-masks` meanwhile, move to `masks` when all is done, so that the folder
    never holds masks of one run and figures of another.

    Args:
        output_dir: the folder.
        bundle_root, weights, dataset_dir, part: what is evaluated.
        threshold: probability from which a pixel counts as polyp.
        settings: what else the summary repeats.
        overwrite: whether an earlier evaluation in the folder may be replaced.

    Raises:
        PolypError: the folder holds a file that may not be replaced.
    """

    def __init__(
        self,
        output_dir: str,
        bundle_root: str,
        weights: str,
        dataset_dir: str,
        split: str,
        threshold: float,
        settings: dict[str, Any],
        overwrite: bool = False,
    ) -> None:
        self.output_dir, self.partial = Path(output_dir).resolve(), Path(output_dir).resolve() / ".partial-masks"
        self.dataset_dir, self.split, self.threshold = dataset_dir, split, threshold
        self.about = provenance.of_bundle(bundle_root, weights, dataset_dir)
        self.about |= {"split": split, "threshold": threshold} | settings
        self.scored: list[Scored] = []
        self.ledger = outputs.Ledger(self.output_dir, "evaluate")
        samples = datalist.labelled_frames(dataset_dir, split)
        masks = [f"masks/{name}" for sample in samples for name in datalist.targets(sample, overlay=True)]
        self.ledger.check([*RUN_FILES, *masks], overwrite)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._give_up)

    def _start(self) -> None:
        self.scored.clear()
        shutil.rmtree(self.partial, ignore_errors=True)  # of a run that was killed

    def _give_up(self, error: BaseException) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
        raise error

    def _score(self, engine: Engine) -> None:
        for sample, output in zip(engine.state.batch, engine.state.output, strict=False):
            probability, truth = (output[key][0].cpu().numpy().T for key in ("probability", "label"))
            mask = (
                self.output_dir
                / "masks"
                / f"{sample['output']}{files.mask_suffix(sample['image'].meta['filename_or_obj'])}"
            )
            about = {name: sample[name] for name in ("name", "group", "tags")}
            paths = {key: sample[key].meta["filename_or_obj"] for key in ("image", "label")}
            about |= {"image": paths["image"], "truth": paths["label"], "prediction": str(mask)}
            self.scored.append(score(about, np.clip(probability, 0, 1), truth > 0.5, self.threshold))

    def _write(self) -> None:
        masks = {f"masks/{p.relative_to(self.partial).as_posix()}": p for p in self.partial.rglob("*") if p.is_file()}
        self.ledger.claim([*masks, *RUN_FILES])
        for name, path in masks.items():
            (self.output_dir / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(self.output_dir / name)
        shutil.rmtree(self.partial, ignore_errors=True)
        inside = [s.histograms[0] for s in self.scored]
        extra = {
            "leakage": _leakage(self.dataset_dir, self.split, self.about["weights"]),
            "risk": conformal.reached(self.about["weights"], self.about["weights_sha256"], inside),
        }
        write_run(self.output_dir, self.scored, self.about, extra)
        self.ledger.keep([*masks, *RUN_FILES])


def _leakage(dataset_dir: str, split: str, weights: str) -> dict[str, Any] | None:
    """The audit of a part against the list's training split and against what the weights were trained on; None where
    neither is known."""
    content = datalist.read(dataset_dir)
    trained_on = leakage.load_fingerprints(weights, content.get("name", ""))
    beside = split in ("test", "validation") and content.get("training")
    if not beside and trained_on is None:
        return None
    training = datalist.labelled_frames(dataset_dir, "training") if beside else []
    return leakage.audit(datalist.labelled_frames(dataset_dir, split), training, trained_on)


def write_run(
    output_dir: Path, scored: Sequence[Scored], about: dict[str, Any], extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write `frames.csv` (a row a frame), `summary.json` (all figures of the set), `histograms.npz` (of which every
    curve is made: levels of the probability inside and outside the polyp, a row a frame) and `report.html`.

    Returns the summary.
    """
    from polyp_monai import report

    summary = plain({"run": about | provenance.of_run()} | summarize(scored) | (extra or {}))
    files.write_csv(output_dir / "frames.csv", [s.row for s in scored])
    with files.atomic(output_dir / "histograms.npz") as partial:
        polyp, background = (np.stack([s.histograms[side] for s in scored]).astype(np.int32) for side in (0, 1))
        names = np.array([s.row["name"] for s in scored])
        np.savez_compressed(partial, name=names, polyp=polyp, background=background)
    files.write_json(output_dir / "summary.json", summary)
    for line in headline(summary):
        logger.info(line)
    logger.info(f"look at {report.write(output_dir)}; a row a frame: {output_dir / 'frames.csv'}")
    return summary


def headline(summary: dict[str, Any]) -> list[str]:
    """The figures to see first, a line each."""
    polyps, negatives = (summary[key] for key in ("frames_with_polyp", "frames_without_polyp"))
    lines = ["no frame here has a polyp, so there is no Dice"]
    if polyps["count"]:
        shown = ("dice", "iou", "sensitivity", "precision", "hd95")
        means = "  ".join(
            f"{name} {polyps['mean'][name]:.4f}" for name in shown if polyps["mean"].get(name) is not None
        )
        unit = " px" * (polyps["mean"].get("hd95") is not None)
        lines = [f"{polyps['count']} frames with a polyp: {means}{unit}; {polyps['missed']} missed wholly"]
        low, high = polyps["interval"]["dice"]
        if low is not None:
            lines.append(f"95 % interval of the mean Dice, over {polyps['groups']} groups: {low:.4f} to {high:.4f}")
    if negatives["frames"]:
        lines.append(f"{negatives['frames']} frames without a polyp: {negatives['left_empty']} left empty")
    if (promise := summary.get("risk")) is not None:
        lines.append(
            f"at the calibrated threshold {promise['threshold']:.3f}: {promise['missed_here']:.1%} of a polyp's pixels "
            f"are missed; promised was at most {promise['alpha']:.1%}"
        )
    if (leaks := summary.get("leakage")) and leaks["similar_in_training"]:
        word = "LEAKED: " if leaks["leaked"] else ""
        near = f"{leaks['similar_in_training']} of {leaks['test']}"
        line = f"{word}{near} frames have a look-alike or their sequence in training"
        if leaks["copy_mask_dice"] is not None:
            line += f"; copying the mask of the most similar training frame scores Dice {leaks['copy_mask_dice']:.3f}"
        lines.append(line)
    return lines
