"""Promises, kept on frames that were not tested: how much of a polyp may be missed, how many negatives may alarm."""

from __future__ import annotations

import csv
import json
import logging
import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.bundle import locate
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import POLYPS
from polyp_monai.metrics.calibration import conformal_presence, conformal_threshold
from polyp_monai.metrics.classes import Classes, ClassMatch, conformal_certainty
from polyp_monai.metrics.curves import at_least

logger = logging.getLogger(__name__)

NAME = "calibration.json"
MISSED, ALARMS, WRONG = "missed", "false_alarms", "wrong_class"  # what the file holds: one of them, or more


def calibrate(
    run: str | Path,
    missed: float | None = None,
    alarms: float | None = None,
    overwrite: bool = False,
    wrong: float | None = None,
) -> tuple[dict[str, Any], Path]:
    """From an evaluated calibration split, one or both of:

    - `missed`: the threshold that keeps the share of missed polyp pixels below it, see `conformal_threshold`;
    - `alarms`: the highest probability below which a frame has to stay empty, so that no larger share of negatives gets
      an outline, see `conformal_presence`; and how many of the frames with a polyp that empties;
    - `wrong`: the probability of its class below which a polyp's class is uncertain, so that no larger share of the
      polyps that are found gets a wrong one, see `conformal_certainty`.

    Writes them where `home` says of the weights that were evaluated (or into RUN, when it holds somebody else's maps);
    of the two, the one that is not asked for stays.

    Returns:
        what was found, as the file holds it, with the split and the data it comes from; and the file.

    Raises:
        PolypError: no run, its test split, too few frames, or another promise is there.
    """
    run = Path(run)
    about, polyp, background = _read(run)
    if about.get("split") == "test":
        raise PolypError(f"{run}: is the test split; calibrate on another, with `polyp evaluate --split validation`")
    found: dict[str, Any] = {}
    try:
        if missed is not None:
            found[MISSED] = conformal_threshold(polyp, missed)
        if alarms is not None:
            found[ALARMS] = _alarms(polyp, background, about, alarms)
        if wrong is not None:
            found[WRONG] = conformal_certainty(*_judged(run), wrong)
    except ValueError as error:
        raise PolypError(f"{run}: {error}") from error
    for promise in found.values():
        promise |= {key: about.get(key) for key in ("split", "datalist_sha256", "weights_sha256")}
    path = (home(Path(about["weights"])) if about.get("weights") else run) / NAME
    known = _content(path) if path.exists() else {}
    if not overwrite and any(known.get(kind, new) != json.loads(json.dumps(new)) for kind, new in found.items()):
        raise PolypError(f"{path}: holds another promise, which evaluations go by; --overwrite replaces it")
    of_these = {kind: old for kind, old in known.items() if old.get("weights_sha256") == about.get("weights_sha256")}
    files.write_json(path, of_these | found)
    return found, path


def _read(run: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    try:
        about = json.loads((run / "summary.json").read_text(encoding="utf-8"))["run"]
        with np.load(run / "histograms.npz") as content:
            return about, content["polyp"], content["background"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PolypError(f"{run}: no complete run of `polyp evaluate` or `polyp score` ({error})") from error


def _judged(run: Path) -> tuple[list[float], list[bool]]:
    """Of each polyp that was found the probability of its likeliest class, and whether that is its class."""
    path = run / POLYPS
    if not path.is_file():
        raise ValueError("holds no polyps.csv: its bundle tells no classes apart")
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["truth"] and row["class_probability"]]
    means = [{k.removeprefix("mean_"): float(v) for k, v in row.items() if k.startswith("mean_")} for row in rows]
    right = [max(own, key=own.__getitem__) == row["truth"] for own, row in zip(means, rows, strict=True)]
    return [float(row["class_probability"]) for row in rows], right


def reached_class(about: dict[str, Any], judged: Sequence[ClassMatch], classes: Classes) -> dict[str, dict[str, Any]]:
    """What was promised of the classes, and what an evaluation shows here; without a promise, nothing.

    Args:
        about: of the run: weights, weights_sha256.
        judged: of each frame.
        classes: of the bundle, whose certainty is the promise's here.
    """
    promise = kept(about["weights"], about["weights_sha256"]).get(WRONG)
    polyps = [polyp for one in judged for polyp in one.polyps if polyp.means and polyp.truth is not None]
    if not promise or not polyps:
        return {}
    strict = replace(classes, certainty=promise["certainty"])
    here = {"on_calibration": promise["wrong"], "here": float(np.mean([strict.wrong(polyp) for polyp in polyps]))}
    return {WRONG: {key: promise[key] for key in ("alpha", "certainty")} | here}


def _alarms(polyp: np.ndarray, background: np.ndarray, about: dict[str, Any], alpha: float) -> dict[str, Any]:
    shows = polyp.any(1)
    highest = _highest(polyp + background)
    found: dict[str, Any] = dict(conformal_presence(highest[~shows], alpha))
    found |= {"polyp_frames": int(shows.sum()), "polyp_frames_emptied": int((highest[shows] < found["level"]).sum())}
    return found | {"presence": float(about.get("presence") or 0.0)}


def _highest(histograms: np.ndarray) -> np.ndarray:
    """(N,) the highest level of each frame, from (N, 256)."""
    return histograms.shape[1] - 1 - np.argmax(histograms[:, ::-1] > 0, axis=1)


def home(weights: Path) -> Path:
    """The folder in which promises of `weights` are kept: theirs, but for a shipped bundle, which is left alone."""
    root = weights.parent.parent
    return Path("results") / root.name if locate.is_shipped(root) else weights.parent


def kept(weights: str | Path, weights_sha256: str) -> dict[str, dict[str, Any]]:
    """What was promised of the weights, by the names of the promises; nothing where they have changed since."""
    path = home(Path(weights)) / NAME
    try:
        content = _content(path) if path.is_file() else {}
    except PolypError as error:  # what is asked for does not depend on it
        logger.warning(error)
        content = {}
    return {kind: promise for kind, promise in content.items() if promise.get("weights_sha256") == weights_sha256}


def settings(path: str | Path, weights_sha256: str, threshold: float) -> dict[str, float]:
    """The options of configs/inference.yaml by which what is promised in the file `path` holds.

    Args:
        weights_sha256: digest of the weights that are used.
        threshold: that of the bundle, where the file holds none.

    Raises:
        PolypError: no such file, or one of other weights.
    """
    content = _content(Path(path))
    found: dict[str, float] = {}
    try:
        for promise in content.values():
            if promise["weights_sha256"] != weights_sha256:
                raise PolypError(f"{path}: is about other weights; calibrate these with `polyp calibrate`")
        if MISSED in content:
            found["threshold"] = threshold = float(content[MISSED]["threshold"])
        if WRONG in content:
            found["class_certainty"] = float(content[WRONG]["certainty"])
        if ALARMS in content:
            asked = _logit(float(content[ALARMS]["highest"])) - _logit(threshold)
            found["presence"] = max(0.0, float(content[ALARMS]["presence"]) + asked)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolypError(f"{path}: not as `polyp calibrate` writes it ({error!r})") from error
    if not found:
        raise PolypError(f"{path}: holds no promise of `polyp calibrate`")
    return found


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else math.copysign(20, probability - 0.5)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolypError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(promise, dict) for promise in content.values()):
        raise PolypError(f"{path}: not as `polyp calibrate` writes it")
    return content


def reached(
    about: dict[str, Any], polyp: Sequence[np.ndarray], background: Sequence[np.ndarray]
) -> dict[str, dict[str, Any]]:
    """What was promised of the weights, and what an evaluation of them shows here; without promises, nothing.

    Args:
        about: of the run: weights, weights_sha256, presence.
        polyp, background: levels of the probability inside and outside the polyp, (256,) a frame.
    """
    promises = kept(about["weights"], about["weights_sha256"])
    inside, outside = np.stack(polyp), np.stack(background)
    shows, found = inside.any(1), {}
    if (missed := promises.get(MISSED)) and shows.any():
        above = at_least(inside[shows])
        found[MISSED] = {key: missed[key] for key in ("alpha", "threshold")} | {
            "on_calibration": missed["missed"],
            "here": float((1 - above[:, missed["level"]] / above[:, 0]).mean()),
        }
    if (alarms := promises.get(ALARMS)) and not shows.all():
        asked = _logit(alarms["highest"]) + alarms["presence"] - float(about.get("presence") or 0.0)
        level = 255 / (1 + math.exp(-asked))
        found[ALARMS] = {key: alarms[key] for key in ("alpha", "highest")} | {
            "on_calibration": 1 - alarms["left_empty"],
            "here": float(np.mean(_highest(outside[~shows]) >= level)),
        }
    return found
