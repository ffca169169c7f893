"""A study that several workers share: who tries what, what becomes of the trial of a dead worker, when it is done."""

from __future__ import annotations

import logging
import os
import platform
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.errors import PolypError
from polyp_monai.sweep.space import Space, described
from polyp_monai.sweep.training import Training, TrainingFailedError

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # at a trial whose worker died
FAILURES = 3  # of one worker in a row, after which it stops
WAIT = 1.0  # seconds between two looks at what the other workers do
JOURNAL = "journal:"


@dataclass(frozen=True)
class Sweep:
    """What is searched.

    Args:
        words: of `polyp train` that all trials share: the bundle, --data and options.
        about: what a worker must have in common with the one that made the study.
        space: what a trial draws.
        folds: of a cross-validation in each trial; 0 trains once on the training split.
        out: folder of the trials.
    """

    words: Sequence[str]
    about: Mapping[str, Any]
    space: Space
    folds: int
    out: Path


def open_study(storage: str, name: str, sweep: Sweep, heartbeat: int) -> optuna.Study:
    """The study `name`, made where it is not there yet.

    Args:
        storage: address of a database (sqlite:///FILE, postgresql://...), or journal:FILE.
        heartbeat: seconds between signs of life of a worker, in a database.

    Raises:
        PolypError: the storage cannot be reached; or the study is about something else.
    """
    optuna = _optuna()
    pruner = optuna.pruners.WilcoxonPruner() if sweep.folds else optuna.pruners.MedianPruner(n_warmup_steps=2)
    try:
        study = optuna.create_study(
            study_name=name,
            storage=_storage(storage, heartbeat),
            sampler=optuna.samplers.TPESampler(),  # drawn freely: workers of one seed would try the same
            pruner=pruner,
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:  # of any database driver
        where = storage.rpartition("@")[2]  # without a password
        raise PolypError(f"--storage {where}: cannot be used ({str(error).splitlines()[0][:200]})") from error
    about = {**sweep.about, "space": described(sweep.space), "number of folds": sweep.folds}
    kept = study.user_attrs.get("about")
    if kept is None:
        study.set_user_attr("about", about)
    elif other := [key for key in about if kept.get(key) != about[key]]:
        raise PolypError(f"the study {name!r} was made with another {' and '.join(other)}; name another with --study")
    return study


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise PolypError("a sweep needs Optuna; pip install 'polyp_monai[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _storage(address: str, heartbeat: int) -> Any:
    optuna = _optuna()
    if address.startswith(JOURNAL):
        path = Path(address.removeprefix(JOURNAL)).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    if address.startswith("sqlite:///"):
        Path(address.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.RDBStorage(
        address, heartbeat_interval=heartbeat, grace_period=3 * heartbeat, heartbeat_stale_trial_callback=_again
    )


def _again(study: optuna.Study, trial: Any) -> None:
    """Put the trial of a worker that died back into the queue; who takes it goes on in its folder."""
    attempt = trial.user_attrs.get("attempt", 1)
    if attempt < ATTEMPTS and trial.params:
        about = {"folder": folder(trial), "attempt": attempt + 1}
        study.enqueue_trial(trial.params, user_attrs=about)
        logger.info(f"trial {trial.number}: its worker has gone; it is tried again from its last epoch")


def folder(trial: Any) -> str:
    """Of a trial, below the sweep's; one that goes on has that of its first attempt."""
    return trial.user_attrs.get("folder", f"trial-{trial.number:04d}")


def work(study: optuna.Study, sweep: Sweep, trials: int) -> None:
    """Try until the study has `trials` finished trials, those of other workers among them.

    Raises:
        PolypError: several trainings in a row failed.
    """
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    failures = 0
    while True:
        fail_stale_trials(study)
        _release_dead(study)
        states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
        done = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
        if done >= trials:
            return
        if done + states[TrialState.RUNNING] >= trials:  # the others may finish, or die
            time.sleep(WAIT)
            continue
        study.optimize(lambda trial: _objective(study, trial, sweep), n_trials=1, catch=(TrainingFailedError,))
        mine = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("worker") == _worker()][-1:]
        failures = failures + 1 if mine and mine[0].state == TrialState.FAIL else 0
        if failures == FAILURES:
            raise PolypError(f"{failures} trainings in a row failed, the last with: {mine[0].user_attrs.get('error')}")


def _worker() -> list[Any]:
    """This machine since its start, and this process on it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return [f"{platform.node()} {boot.read_text().strip() if boot.exists() else ''}".strip(), os.getpid()]


def _release_dead(study: optuna.Study) -> None:
    """Of this machine's workers, those that have gone are found by their process; a journal knows no signs of life."""
    from optuna.trial import TrialState

    machine, own = _worker()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, process = trial.user_attrs.get("worker", (None, None))
        if host == machine and process != own and not _alive(process):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except ValueError:  # another worker was faster
                continue
            _again(study, trial)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _objective(study: optuna.Study, trial: optuna.Trial, sweep: Sweep) -> float:
    """The best validation score of a training, or the mean of those of the folds."""
    import optuna

    trial.set_user_attr("worker", _worker())
    drawn = [f"--{key}={parameter.draw(trial, key)}" for key, parameter in sweep.space.items()]
    place = sweep.out / folder(trial)
    logger.info(f"trial {trial.number}: {' '.join(drawn)}")
    try:
        if sweep.folds:
            score = _folds(trial, sweep, drawn, place)
        else:
            score = _train(trial, [*sweep.words, *drawn], place, report=True)
    except TrainingFailedError as error:
        trial.set_user_attr("error", str(error))
        logger.warning(f"trial {trial.number}: failed: {error}")
        raise
    except KeyboardInterrupt:
        _again(study, study.get_trials(deepcopy=False)[trial.number])
        raise
    except optuna.TrialPruned:
        logger.info(f"trial {trial.number}: is no match for the others, and stopped")
        raise
    logger.info(f"trial {trial.number}: {score:.4f}")
    return score


def _train(trial: optuna.Trial, words: Sequence[str], place: Path, report: bool) -> float:
    import optuna

    best = float("-inf")
    with Training(words, place) as training:
        for epoch, score in training.epochs():
            best = max(best, score)
            if report:
                trial.report(score, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
    if best == float("-inf"):
        raise TrainingFailedError("the training validated nothing")
    return best


def _folds(trial: optuna.Trial, sweep: Sweep, drawn: Sequence[str], place: Path) -> float:
    import optuna

    scores: list[float] = []
    for fold in range(1, sweep.folds + 1):
        words = [*sweep.words, *drawn, f"--fold={fold}/{sweep.folds}"]
        scores.append(_train(trial, words, place / f"fold-{fold}", report=False))
        trial.report(scores[-1], fold)
        if trial.should_prune():
            raise optuna.TrialPruned
    return statistics.mean(scores)


def results(study: optuna.Study) -> dict[str, Any]:
    """The study as JSON has it: a row a trial, the best, and how much each option mattered."""
    import optuna

    rows: list[dict[str, Any]] = []
    for trial in study.get_trials(deepcopy=False):
        start, end = trial.datetime_start, trial.datetime_complete
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "score": trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
                "steps": len(trial.intermediate_values),
                "latest": list(trial.intermediate_values.values())[-1] if trial.intermediate_values else None,
                "seconds": (end - start).total_seconds() if start and end else None,
                "folder": folder(trial),
                "options": trial.params,
                "error": trial.user_attrs.get("error"),
            }
        )
    complete = [row for row in rows if row["score"] is not None]
    found: dict[str, Any] = {"study": study.study_name, "about": study.user_attrs.get("about"), "trials": rows}
    found["best"] = max(complete, key=lambda row: row["score"], default=None)
    found["importances"] = _importances(study) if len(complete) > 3 else {}
    return found


def _importances(study: optuna.Study) -> dict[str, float]:
    import optuna

    try:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (ValueError, RuntimeError):  # of options that did not vary
        return {}
