"""Ignite handlers of the training loop."""

from __future__ import annotations

import csv
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from ignite.metrics.metric import sync_all_reduce
from monai.engines import Evaluator, Trainer
from monai.engines.utils import IterationEvents
from monai.handlers import from_engine
from monai.transforms import Randomizable
from torch import nn

from polyp_monai.data.classes import COLORS, POLYP
from polyp_monai.data.files import write_csv
from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints, ranks

logger = logging.getLogger(__name__)


class EpochSeed:
    """Seeds every epoch by itself, so that a resumed run draws what an unbroken one would have drawn.

    Args:
        seed: seed of the run.
        transform: random transforms of the training data; those that run in this process are seeded too (loader
            workers are seeded from torch's generator when they start, which is once an epoch).
    """

    def __init__(self, seed: int, transform: Randomizable) -> None:
        self.seed = seed
        self.transform = transform

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        rank = dist.get_rank() if dist.is_initialized() else 0
        seed = int(np.random.SeedSequence([self.seed, engine.state.epoch, rank]).generate_state(1)[0])
        torch.manual_seed(seed)
        self.transform.set_random_state(seed)


class GradientClip:
    """Scales the gradient to a norm of at most `max_norm` before each step; AMP's loss scale is taken out first."""

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Trainer) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class SyncBuffers:
    """Gives every rank the batch-norm statistics of rank 0 after each epoch, so that all validate one network."""

    def __init__(self, networks: list[nn.Module]) -> None:
        self.networks = networks

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for network in self.networks:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)


class EarlyStop:
    """Stops when the validator's key metric has not risen for `patience` epochs.

    MONAI's `EarlyStopHandler` keeps a counter of its own, which a resumed run would start again; this one reads the
    validator's best epoch. Attach after the `ValidationHandler`.
    """

    def __init__(self, validator: Evaluator, patience: int) -> None:
        self.validator = validator
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        best = self.validator.state.best_metric_epoch
        if 0 < best <= engine.state.epoch - self.patience:
            logger.info(f"no better validation since epoch {best}: training stops")
            engine.terminate()


class Checkpointer:
    """Keeps `model.pt` (best weights, a plain state dict) and `last.pt` (all that `resume` needs), each atomically.

    Of weights that validate alike, the latest are kept, whose learning rate has fallen furthest: the best of many
    validations on some dozen frames is best by chance (the one-standard-error rule of L. Breiman et al., Classification
    and Regression Trees, 1984, section 3.4.3).

    MONAI's `CheckpointSaver` writes in place, so that a run killed meanwhile leaves a broken file.

    Args:
        ckpt_dir: folder of both files.
        model: network whose weights are shipped (the averaged one).
        state: name -> object with `state_dict` and `load_state_dict`: network, optimizer, schedule ...
        validator: its key metric decides what is best; attach after the `ValidationHandler`.
        recipe: settings that a resumed run must share with the run that it continues.
        resume: continue from `last.pt` after the last finished epoch; from the start when there is none yet.
        overwrite: train again over what an earlier run left in `ckpt_dir`.
        save: False on ranks that only load.
        tolerance: how far below the best a validation counts as alike; the standard error of a mean Dice over a
            hundred frames, which scatter by a tenth.

    Raises:
        PolypError: `ckpt_dir` holds an earlier run and neither `resume` nor `overwrite` is set, or its state does not
            fit this run.
    """

    def __init__(
        self,
        ckpt_dir: str,
        model: nn.Module,
        state: dict[str, Any],
        validator: Evaluator,
        recipe: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        save: bool = True,
        tolerance: float = 0.01,
    ) -> None:
        self.tolerance = tolerance
        self.best_path, self.last_path = Path(ckpt_dir) / "model.pt", Path(ckpt_dir) / "last.pt"
        self.model, self.state, self.validator = model, state, validator
        self.recipe, self.resume, self.save = recipe, resume, save
        if save and not resume and not overwrite:
            checkpoints.check_free(ckpt_dir)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.prepare)
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self.remove)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)

    def store(self, engine: Engine) -> None:
        """Write `last.pt`, and `model.pt` when this epoch was validated and is as good as the best so far."""
        if not self.save:
            return
        validated = self.validator.state.epoch == engine.state.epoch
        metric = self.validator.state.metrics.get(self.validator.state.key_metric_name, 0.0)
        if validated and metric >= self.validator.state.best_metric - self.tolerance:
            checkpoints.save(self.best_path, self.model.state_dict())
        state = {name: thing.state_dict() for name, thing in self.state.items()}
        progress = {
            "epoch": engine.state.epoch,
            "epoch_length": engine.state.epoch_length,
            "best_metric": float(self.validator.state.best_metric),
            "best_metric_epoch": self.validator.state.best_metric_epoch,
            "recipe": self.recipe,
        }
        checkpoints.save(self.last_path, {**state, "progress": progress})

    def prepare(self) -> None:
        """Clear the folder of what a killed run left half-written."""
        for leftover in self.last_path.parent.glob(".partial-*") if self.save else ():
            leftover.unlink()

    def remove(self) -> None:
        """Clear the folder of the run that this one overwrites, after a step that went well."""
        for path in () if self.resume or not self.save else (self.last_path, self.best_path):
            if path.exists():  # an earlier run must not be taken for this one
                logger.info(f"{path}: of the earlier training, is removed")
                path.unlink()

    def load(self, engine: Engine) -> None:
        """Restore `last.pt` and the engine's counters, when asked to resume; changes no file."""
        if self.resume:
            self._restore(engine)
            ranks.check_resumed(engine.state.epoch, self.last_path)

    def _restore(self, engine: Engine) -> None:
        if checkpoints.last_state(self.last_path.parent) is None:
            logger.info(f"{self.last_path}: not there yet, so training starts from the beginning")
            return
        content = checkpoints.read(self.last_path, engine.state.device)
        progress = content.pop("progress", {})
        checkpoints.check_recipe(self.last_path, progress.get("recipe", {}), self.recipe)
        if content.keys() != self.state.keys() or progress.get("epoch_length") != engine.state.epoch_length:
            raise PolypError(
                f"{self.last_path}: is of another run ({progress.get('epoch_length')} iterations an epoch, here "
                f"{engine.state.epoch_length}); resume with the same data, batch size and bundle"
            )
        try:
            for name, thing in self.state.items():
                thing.load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise PolypError(f"{self.last_path}: is of another network or recipe ({str(error)[:120]!r})") from error
        engine.state.epoch = progress["epoch"]
        engine.state.iteration = progress["epoch"] * engine.state.epoch_length
        self.validator.state.best_metric = progress["best_metric"]
        self.validator.state.best_metric_epoch = progress["best_metric_epoch"]
        logger.info(f"{self.last_path}: resumed after epoch {engine.state.epoch} of {engine.state.max_epochs}")


class FrameProgress:
    """A progress bar over frames while stderr is a terminal.

    Args:
        what: is done with them.
        total: how many there are.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _start(self) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=self.total, desc=self.what, unit="frame", disable=None)

    def _update(self, engine: Engine) -> None:
        self.bar.update(len(engine.state.batch))

    def _close(self) -> None:
        self.bar.close()


class FrameMetric(Metric):
    """Counts of validated frames with and without a polyp; `pred` and `label` are (C, W, H) of {0, 1}.

    In a frame with a polyp, each class counts that is there or was found there; one that was found and is not there has
    a Dice of 0.
    """

    def __init__(self) -> None:
        super().__init__(output_transform=from_engine(["pred", "label"]))

    def reset(self) -> None:
        # in double: the shares of several processes add up to what one process finds
        self.left_empty, self.negatives = torch.zeros(2, dtype=torch.float64)
        self.dice, self.positives = torch.zeros(2, len(COLORS), dtype=torch.float64)  # a class

    def update(self, output: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]) -> None:
        for pred, label in zip(*output, strict=True):
            if not label.any():
                self.left_empty += not pred.any()
                self.negatives += 1
                continue
            for number in range(len(label)):
                found, area = float(pred[number].sum()), float(label[number].sum())
                if found or area:
                    self.dice[number] += 2 * float((pred[number] * label[number]).sum()) / (found + area)
                    self.positives[number] += 1


class Specificity(FrameMetric):
    """Share of the frames without a polyp that stay empty; NaN where there are none."""

    @sync_all_reduce("left_empty", "negatives")
    def compute(self) -> float:
        return float(self.left_empty / self.negatives)


class ValidationScore(FrameMetric):
    """(mean Dice of the frames with a polyp + share of the others left empty) / 2, or the one of the two there is.

    Of several classes the mean over them of each one's mean Dice.
    """

    @sync_all_reduce("dice", "positives", "left_empty", "negatives")
    def compute(self) -> float:
        dice = (self.dice / self.positives).nanmean()
        return float(torch.stack([dice, self.left_empty / self.negatives]).nanmean())


class ClassDice(FrameMetric):
    """`val_dice_CLASS`, the mean Dice of each class; of a single class nothing, which val_mean_dice tells."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = classes

    @sync_all_reduce("dice", "positives")
    def compute(self) -> dict[str, float]:
        means = (self.dice / self.positives).tolist()
        return {class_dice(name): mean for name, mean in zip(self.classes, means, strict=False)}

    def completed(self, engine: Engine, name: str) -> None:
        if len(self.classes) > 1:  # the values alone, not the dictionary
            engine.state.metrics |= self.compute()


def class_dice(name: str) -> str:
    """The metric's name of a class."""
    return f"val_dice_{name}"


class TrainingProgress:
    """A progress bar with loss, Dice and remaining time in a terminal; one line an epoch elsewhere.

    The lines are also kept in `log`, a CSV of epoch, loss, validation score, Dice, specificity, of several classes the
    Dice of each, learning rate and seconds, from which the curves are drawn.
    """

    def __init__(
        self, validator: Evaluator, optimizer: torch.optim.Optimizer, log: str, classes: Sequence[str] = POLYP
    ) -> None:
        self.validator, self.optimizer, self.log = validator, optimizer, Path(log)
        self.classes = classes if len(classes) > 1 else ()
        self.bar: Any = None
        self.losses: list[float] = []
        self.rate = 0.0
        self.started = self.epoch_started = 0.0
        self.first_epoch = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_STARTED, self._note_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._exception)

    def _start(self, engine: Engine) -> None:
        from tqdm import tqdm

        self.started, self.first_epoch = time.monotonic(), engine.state.epoch - 1
        total = engine.state.max_epochs * engine.state.epoch_length
        if sys.stderr.isatty():
            self.bar = tqdm(total=total, initial=engine.state.iteration, unit="batch", dynamic_ncols=True)

    def _start_epoch(self, engine: Engine) -> None:
        if not self.started:  # by now a resumed run has its counters
            self._start(engine)
        self.losses, self.epoch_started = [], time.monotonic()

    def _note_rate(self) -> None:
        """Before the step: after the last one of a training the schedule stands at its end, which was never used."""
        self.rate = self.optimizer.param_groups[0]["lr"]

    def _iteration(self, engine: Engine) -> None:
        output = engine.state.output
        self.losses.append(float((output[0] if isinstance(output, list) else output)["loss"]))
        if self.bar is not None:
            self.bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)
            self.bar.set_postfix_str(f"loss {np.mean(self.losses):.3f} {self._dice()}", refresh=False)
            self.bar.update()

    def _dice(self) -> str:
        state = self.validator.state
        if state.best_metric_epoch < 0:
            return "Dice -"
        dice, specificity = (self._validated(name) for name in ("val_mean_dice", "val_specificity"))
        text = f"Dice {dice:.3f}" if dice is not None else ""
        for name in self.classes:
            value = self._validated(class_dice(name))
            text += "" if value is None else f" {name} {value:.3f}"
        if specificity is not None:
            text += f" specificity {specificity:.3f}"
        return f"{text} (best {state.best_metric:.3f} in epoch {state.best_metric_epoch})".strip()

    def _validated(self, name: str | None) -> float | None:
        """The latest value of a metric; None before the first validation, or where there was nothing to measure."""
        value = self.validator.state.metrics.get(name)
        return None if value is None or math.isnan(value) else float(value)

    def _end_epoch(self, engine: Engine) -> None:
        state, seconds = engine.state, time.monotonic() - self.epoch_started
        done = state.epoch - self.first_epoch
        remaining = (time.monotonic() - self.started) / done * (state.max_epochs - state.epoch)
        names = {
            "validation": self.validator.state.key_metric_name,
            "dice": "val_mean_dice",
            "specificity": "val_specificity",
            **{f"dice_{name}": class_dice(name) for name in self.classes},
        }
        validated = {column: self._validated(name) for column, name in names.items()}
        row = {
            "epoch": state.epoch,
            "loss": f"{np.mean(self.losses):.5f}",
            **{column: "" if value is None else f"{value:.5f}" for column, value in validated.items()},
            "learning_rate": f"{self.rate:.3e}",
            "seconds": f"{seconds:.2f}",
        }
        self._write(row)
        line = f"epoch {state.epoch}/{state.max_epochs}  loss {row['loss']}  {self._dice()}  {seconds:.0f} s"
        if self.bar is None:
            logger.info(f"{line}, {remaining / 60:.0f} min left")

    def _write(self, row: dict[str, Any]) -> None:
        """Rows of epochs that are trained again after a resume replace the earlier ones."""
        rows = []
        if row["epoch"] > 1 and self.log.exists():
            with open(self.log, newline="", encoding="utf-8") as file:
                rows = [r for r in csv.DictReader(file) if int(r["epoch"]) < row["epoch"]]
        write_csv(self.log, [*rows, row])

    def _close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
        logger.info(f"trained {engine.state.epoch} epochs: {self._dice()}")

    def _exception(self, engine: Engine, error: Exception) -> None:
        if self.bar is not None:
            self.bar.close()
        raise error
