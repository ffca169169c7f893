"""A threshold with a promise: how much of a polyp may be missed, kept on frames that were not tested."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.bundle import locate
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.metrics.calibration import conformal_threshold
from polyp_monai.metrics.curves import at_least

NAME = "calibration.json"


def calibrate(run: str | Path, missed: float, overwrite: bool = False) -> tuple[dict[str, Any], Path]:
    """The threshold that keeps the share of missed polyp pixels below `missed`, from an evaluated calibration split.

    Writes it where `home` says of the weights that were evaluated (or into RUN, when it holds somebody else's maps).

    Returns:
        what `conformal_threshold` gives, with the split and the data it comes from; and the file.

    Raises:
        PolypError: no run, its test split, too few frames, or another threshold is there.
    """
    run = Path(run)
    try:
        about = json.loads((run / "summary.json").read_text(encoding="utf-8"))["run"]
        with np.load(run / "histograms.npz") as content:
            polyp = content["polyp"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PolypError(f"{run}: no complete run of `polyp evaluate` or `polyp score` ({error})") from error
    if about.get("split") == "test":
        raise PolypError(f"{run}: is the test split; calibrate on another, with `polyp evaluate --split validation`")
    try:
        found = conformal_threshold(polyp, missed)
    except ValueError as error:
        raise PolypError(f"{run}: {error}") from error
    found |= {key: about.get(key) for key in ("split", "datalist_sha256", "weights_sha256")}
    path = (home(Path(about["weights"])) if about.get("weights") else run) / NAME
    if path.exists() and not overwrite and _content(path) != json.loads(json.dumps(found)):
        raise PolypError(f"{path}: holds another threshold, which evaluations go by; --overwrite replaces it")
    files.write_json(path, found)
    return found, path


def home(weights: Path) -> Path:
    """The folder in which the threshold of `weights` is kept: theirs, but for a shipped bundle, which is left alone."""
    root = weights.parent.parent
    return Path("results") / root.name if locate.is_shipped(root) else weights.parent


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def reached(weights: str | Path, weights_sha256: str, histograms: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """What the threshold that was found for the weights misses here: mean share of polyp pixels; None without one.

    Args:
        histograms: levels of the probability inside the polyp, (256,) a frame; frames without a polyp do not count.
    """
    path = home(Path(weights)) / NAME
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    kept = at_least(np.stack(histograms))
    kept = kept[kept[:, 0] > 0]
    if found.get("weights_sha256") != weights_sha256 or not len(kept):
        return None
    here = float((1 - kept[:, found["level"]] / kept[:, 0]).mean())
    return {
        "alpha": found["alpha"],
        "threshold": found["threshold"],
        "missed_on_calibration": found["missed"],
        "missed_here": here,
    }
