"""What `polyp train`, `evaluate` and `predict` run: MONAI's workflow of a bundle, with errors that a user can read."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from polyp_monai.bundle import locate, model_file
from polyp_monai.bundle.read import check_hashes, check_root, clear_errors, scripts_of
from polyp_monai.data import datalist, lock, predicted
from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints

logger = logging.getLogger(__name__)


def run(root: Path, config: str, overrides: dict[str, Any], log: bool = True) -> None:
    """`python -m monai.bundle run --config_file configs/<config>.yaml` of the bundle in `root`, with `overrides`.

    Args:
        root: folder of the bundle.
        config: "train", "evaluate" or "inference".
        overrides: key -> value; relative paths in them are looked up from the bundle's folder.
        log: whether the bundle's logging.conf sets up the logging of the process, as on the command line.

    Raises:
        PolypError: another run is at work in the output folder; or what a user's mistake raised inside the run, without
            MONAI's wrapping.
    """
    root = check_root(root)
    check_hashes({"bundle": str(root), **overrides})
    # MONAI passes over an override that is None; an expression that gives None it takes
    given = {key: "$None" if value is None else value for key, value in overrides.items()}
    out = overrides.get("output_dir")
    # a training holds the whole folder of its bundle
    held: Any = lock.held(out) if out and config != "train" else nullcontext()
    if overrides.get("part"):
        held = lock.held_part(out, predicted.tag(overrides["part"]))
    with held, scripts_of(root), clear_errors():
        from polyp_monai.bundle.workflow import Workflow

        workflow = Workflow(root, config, given, log)
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def train(bundle: str, data: Sequence[str | Path], out: str | None, given: Mapping[str, Any], log: bool = True) -> Path:
    """Train a bundle; returns the folder in which it was trained.

    Args:
        bundle: a name, which is copied to `out` (runs/NAME) and trained there; or a path.
        data: prepared sets.
        out: folder of the run.
        given: overrides of configs/train.yaml, as `overrides.check` gives them.
        log: as of `run`.

    Raises:
        PolypError: no such data, an earlier training in the way, or a training that writes no weights.
    """
    for folder in data:
        datalist.read(folder)
    sets = [str(Path(folder).resolve()) for folder in data]
    with locate.working_copy(bundle, out) as root:
        logger.info(f"training in {root}")
        weights = Path(given.get("ckpt_dir", root / "models"))
        if not given.get("resume") and not given.get("overwrite"):
            checkpoints.check_free(weights)
        before = _stamp(weights)
        with model_file.kept(root, given):
            run(root, "train", {"dataset_dir": sets if len(sets) > 1 else sets[0], **given}, log)
            if _stamp(weights) == before and not given.get("resume"):
                raise PolypError(f"{weights}: the training wrote no weights; an override keeps it from that")
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
