"""What `polyp train`, `evaluate` and `predict` run: MONAI's workflow of a bundle, with errors that a user can read."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.bundle import launch, locate, model_file
from polyp_monai.bundle.launch import World
from polyp_monai.bundle.options import read_settings
from polyp_monai.bundle.read import check_hashes, check_root, clear_errors, scripts_of
from polyp_monai.data import datalist, files, lock, predicted
from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints

if TYPE_CHECKING:
    from polyp_monai.bundle.workflow import Workflow

logger = logging.getLogger(__name__)

TRACKING = Path(__file__).parent / "tracking"
WAIT = 120.0  # seconds for the first machine to make the bundle's folder


def run(root: Path, config: str, overrides: dict[str, Any], log: bool = True) -> Workflow:
    """`python -m monai.bundle run --config_file configs/<config>.yaml` of the bundle in `root`, with `overrides`.

    Args:
        root: folder of the bundle.
        config: "train", "evaluate" or "inference".
        overrides: key -> value; relative paths in them are looked up from the bundle's folder.
        log: whether the bundle's logging.conf sets up the logging of the process, as on the command line.

    Returns:
        The workflow, whose `parser` holds what was built.

    Raises:
        PolypError: another run is at work in the output folder; or what a user's mistake raised inside the run, without
            MONAI's wrapping.
    """
    root = check_root(root)
    check_hashes({"bundle": str(root), **overrides})
    # MONAI passes over an override that is None; an expression that gives None it takes
    given = {key: "$None" if value is None else value for key, value in _tracked(overrides, config).items()}
    out = overrides.get("output_dir")
    # a training holds the whole folder of its bundle
    held: Any = lock.held(out) if out and config != "train" else nullcontext()
    if out and overrides.get("part"):
        held = lock.held_part(out, predicted.tag(overrides["part"]))
    with held, scripts_of(root), clear_errors():
        from polyp_monai.bundle.workflow import Workflow

        workflow = Workflow(root, config, given, log)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        return workflow


def train(
    bundle: str,
    data: Sequence[str | Path],
    out: str | None,
    given: Mapping[str, Any],
    log: bool = True,
    world: World | None = None,
) -> Path:
    """Train a bundle; returns the folder in which it was trained.

    Args:
        bundle: a name, which is copied to `out` (runs/NAME) and trained there; or a path.
        data: prepared sets.
        out: folder of the run.
        given: overrides of configs/train.yaml, as `overrides.check` gives them.
        log: as of `run`.
        world: the processes that train together; None for this one alone.

    Raises:
        PolypError: no such data, an earlier training in the way, or a training that writes no weights.
    """
    for folder in data:
        datalist.read(folder)
    settings = _tracked({"dataset_dir": _sets(data), **given}, "train")
    if world and world.node_rank:
        return _join(bundle, out, settings, world)
    with locate.working_copy(bundle, out) as root:
        logger.info(f"training in {root}")
        weights = Path(given.get("ckpt_dir", root / "models"))
        if not given.get("resume") and not given.get("overwrite"):
            checkpoints.check_free(weights)
        before = _stamp(weights)
        with model_file.kept(root, given):
            if world:
                launch.run(root, world, settings)
            else:
                run(root, "train", settings, log)
            if _stamp(weights) == before and not given.get("resume"):
                raise PolypError(f"{weights}: the training wrote no weights; an override keeps it from that")
    return root


def torchrun_line(
    bundle: str, data: Sequence[str | Path], out: str | None, given: Mapping[str, Any], world: World
) -> str:
    """The line that starts the training by torchrun, whose bundle's folder is made, and holds what `given` changes.

    Raises:
        PolypError: as `train`, before it starts.
    """
    settings = _tracked({"dataset_dir": _sets(data), **given}, "train")
    with locate.working_copy(bundle, out) as root:
        weights, path = Path(given.get("ckpt_dir", root / "models")), root / "configs/model.yaml"
        if not given.get("resume") and not given.get("overwrite"):
            checkpoints.check_free(weights)
        if not (weights / "model.pt").exists():  # of a bundle with weights model.yaml is what they were trained with
            written = path.read_text(encoding="utf-8")
            files.write_text(path, model_file.changed(written, given, str(path)))
            kept = read_settings(path)
            settings = {key: value for key, value in settings.items() if key.split("::")[0] not in kept}
    return launch.torchrun_line(root, world, settings)


def _tracked(given: Mapping[str, Any], config: str) -> dict[str, Any]:
    """`given` with our settings for MLflow in place of MONAI's, which know neither reports nor resumed runs."""
    ours = TRACKING / f"{config}.json"
    return {**given, "tracking": str(ours)} if given.get("tracking") == "mlflow" else dict(given)


def _sets(data: Sequence[str | Path]) -> str | list[str]:
    sets = [str(Path(folder).resolve()) for folder in data]
    return sets if len(sets) > 1 else sets[0]


def _join(bundle: str, out: str | None, settings: Mapping[str, Any], world: World) -> Path:
    """Take part, on a machine but the first, in the training of a bundle that the first machine prepares."""
    root, until = locate.place(locate.template(bundle, out), out), time.monotonic() + WAIT
    while not (root / "configs").is_dir():
        if time.monotonic() > until:
            raise PolypError(f"{root}: is not there; the machines must share the folder that the first one trains in")
        time.sleep(0.2)
    launch.run(root, world, settings)
    return root


def _stamp(folder: Path) -> int | None:
    last = folder / "last.pt"
    return last.stat().st_mtime_ns if last.exists() else None


@contextmanager
def random_state_kept() -> Iterator[None]:
    """The process's random generators, and how cuDNN and OpenCV work, are afterwards as they were: configs set them."""
    import cv2
    import numpy as np
    import torch

    threads, flags = cv2.getNumThreads(), (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags
            cv2.setNumThreads(threads)
