"""Scores of a whole set, taken while the network works: the evaluator's Ignite handler."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from polyp_monai import provenance
from polyp_monai.data import datalist, files, outputs
from polyp_monai.data.classes import POLYP
from polyp_monai.data.transforms import channels
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import POLYPS, RUN_FILES, conformal, leakage
from polyp_monai.evaluation.pool import Pool
from polyp_monai.evaluation.run_folder import headline, write_run
from polyp_monai.evaluation.scoring import Scored, score
from polyp_monai.metrics.classes import Classes, of_polyp
from polyp_monai.training import malloc

logger = logging.getLogger(__name__)

TRIM_EVERY = 16  # frames


class EvaluationTable:
    """Scores every frame at native size and writes the folder of a run; see `write_run`.

    Frames are scored in processes beside the network; memory does not grow with their number. The masks, which are
    written to `.partial-masks` meanwhile, move to `masks` when all is done, so that the folder never holds masks of one
    run and scores of another.

    Args:
        output_dir: the folder.
        bundle_root, weights, dataset_dir, split: what is evaluated.
        threshold: probability from which a pixel counts as polyp.
        settings: what else the summary repeats.
        fold: K/N of the training, if it was one of a cross-validation.
        overwrite: whether an earlier evaluation in the folder may be replaced.
        classes: of the bundle.
        class_certainty: probability of a class below which it is uncertain.

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
        fold: str | None = None,
        classes: Sequence[str] = POLYP,
        class_certainty: float = 0.0,
    ) -> None:
        self.output_dir, self.partial = Path(output_dir).resolve(), Path(output_dir).resolve() / ".partial-masks"
        self.dataset_dir, self.split, self.threshold, self.fold = dataset_dir, split, threshold, fold
        self.about = provenance.of_bundle(bundle_root, weights, dataset_dir)
        self.about |= {"split": split, "threshold": threshold, "fold": fold} | settings
        self.classes = Classes(tuple(classes), class_certainty)
        if self.classes.several:
            self.about |= {"classes": list(classes), "class_certainty": class_certainty}
        self.scored: list[Future[Scored]] = []
        self.ledger = outputs.Ledger(self.output_dir, "evaluate")
        samples = datalist.labelled_frames(dataset_dir, split, fold=fold)
        masks = [f"masks/{name}" for sample in samples for name in datalist.targets(sample, overlay=True)]
        self.files = [*RUN_FILES, *[POLYPS] * self.classes.several]
        self.ledger.check([*self.files, *masks], overwrite)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._give_up)

    def _start(self, engine: Engine) -> None:
        self.scored.clear()
        self.pool = Pool(engine.state.epoch_length)
        shutil.rmtree(self.partial, ignore_errors=True)  # of a run that was killed

    def _give_up(self, error: BaseException) -> None:
        self.pool.close()
        shutil.rmtree(self.partial, ignore_errors=True)
        raise error

    def _score(self, engine: Engine) -> None:
        if engine.state.iteration % TRIM_EVERY == 0:
            malloc.return_freed()
        for sample, output in zip(engine.state.batch, engine.state.output, strict=False):
            probability, truth = (channels(output[key]) for key in ("probability", "label"))
            truth = truth > 0.5
            _check_listed(sample, truth.any(0))
            mask = (
                self.output_dir
                / "masks"
                / f"{sample['output']}{files.mask_suffix(sample['image'].meta['filename_or_obj'])}"
            )
            about = {name: sample[name] for name in ("name", "group", "tags")}
            paths = {key: sample[key].meta["filename_or_obj"] for key in ("image", "label")}
            about |= {"image": paths["image"], "truth": paths["label"], "prediction": str(mask)}
            probability = np.clip(probability, 0, 1)
            frame = (about, of_polyp(probability), truth.any(0), self.threshold)
            of_classes = (self.classes, probability, truth) if self.classes.several else None
            self.scored.append(self.pool.submit(score, *frame, of_classes=of_classes))

    def _write(self) -> None:
        scored = [future.result() for future in self.scored]
        self.pool.close()
        masks = {f"masks/{p.relative_to(self.partial).as_posix()}": p for p in self.partial.rglob("*") if p.is_file()}
        extra: dict[str, Any] = {
            "leakage": _leakage(self.dataset_dir, self.split, self.about["weights"], self.fold),
            "promises": conformal.reached(self.about, *zip(*(s.histograms for s in scored), strict=True)),
        }
        if self.classes.several:
            judged = [one.classes for one in scored if one.classes]
            extra["promises"] |= conformal.reached_class(self.about, judged, self.classes)
        self.ledger.claim([*masks, *self.files])
        for name, path in masks.items():
            (self.output_dir / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(self.output_dir / name)
        shutil.rmtree(self.partial, ignore_errors=True)
        summary = write_run(self.output_dir, scored, self.about, extra, self.classes)
        for line in [*headline(summary), f"look at {self.output_dir / 'report.html'}; a row a frame: frames.csv there"]:
            logger.info(line)
        self.ledger.keep([*masks, *self.files])


def _check_listed(sample: dict[str, Any], truth: Any) -> None:
    """Raises PolypError where a mask, (W, H), shows a polyp and the data list knows of none, or the other way round."""
    without = sample["negative"] or "negative" in sample["tags"].split()
    if (sample["positive"] and not truth.any()) or (without and round(float(truth.mean()), 6)):
        shows, says = ("a polyp", "none") if truth.any() else ("no polyp", "one")
        path = sample["label"].meta["filename_or_obj"]
        raise PolypError(f"{path}: shows {shows}, and the data list says {says}; prepare the set again")


def _leakage(dataset_dir: str, split: str, weights: str, fold: str | None) -> dict[str, Any] | None:
    """The audit of a split against the list's training split and against what the weights were trained on; None where
    neither is known."""
    content = datalist.read(dataset_dir)
    trained_on = leakage.load_fingerprints(weights, content.get("name", ""))
    beside = split in ("test", "validation") and content.get("training")
    if not beside and trained_on is None:
        return None
    training = datalist.labelled_frames(dataset_dir, "training", fold=fold) if beside else []
    return leakage.audit(datalist.labelled_frames(dataset_dir, split, fold=fold), training, trained_on)
