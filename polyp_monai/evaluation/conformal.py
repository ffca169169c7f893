"""Promises, kept on frames that were not tested: how much of a polyp may be missed, how many negatives may alarm."""

from __future__ import annotations

import csv
import json
import logging
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai import provenance
from polyp_monai.bundle import locate
from polyp_monai.data import files, texts
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import POLYPS
from polyp_monai.metrics.calibration import conformal_presence, conformal_threshold
from polyp_monai.metrics.classes import Classes, ClassMatch, conformal_certainty
from polyp_monai.metrics.curves import LEVELS, at_least
from polyp_monai.report import folder

logger = logging.getLogger(__name__)

NAME = "calibration.json"
MISSED, ALARMS, WRONG = "missed", "false_alarms", "wrong_class"  # what the file holds: one of them, or more
SETTINGS = ("image_size", "fit", "crop", "tta", "presence")  # which change the probabilities, and so the promise


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
        PolypError: no run, its test or training split, too few frames, no threshold above 0, or another promise is
            there.
    """
    run = Path(run)
    about, polyp, background = _read(run)
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
    if MISSED in found and not found[MISSED]["level"]:
        raise PolypError(
            f"{run}: only threshold 0, a polyp everywhere, misses so few pixels; are these masks, of which no lower "
            "threshold finds more?"
        )
    for promise in found.values():
        promise |= {key: about.get(key) for key in ("split", "datalist_sha256", "weights_sha256")}
        promise["settings"] = {key: about[key] for key in SETTINGS if key in about}
    path = (home(_weights(run, about)) if about.get("weights") else run) / NAME
    if about.get("weights") and not _is_evaluated(_weights(run, about), about):
        logger.warning(
            f"{run}: its weights have changed since, or are gone; what is found here is not for the new ones"
        )
    known = _content(path) if path.exists() else {}
    if not overwrite and any(known.get(kind, new) != json.loads(json.dumps(new)) for kind, new in found.items()):
        raise PolypError(f"{path}: holds another promise, which evaluations go by; --overwrite replaces it")
    of_these = {kind: old for kind, old in known.items() if old.get("weights_sha256") == about.get("weights_sha256")}
    files.write_json(path, of_these | found)
    return found, path


def _read(run: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What a run says of itself, and its histograms inside and outside the polyp, (n, 256) each."""
    summary, frames = folder.read(run)
    about, leaks = summary.get("run"), summary.get("leakage")
    if not isinstance(about, dict):
        raise PolypError(f"{run / 'summary.json'}: does not say what was evaluated; make the run again")
    _check_split(run, about, leaks if isinstance(leaks, dict) else {})
    path = run / "histograms.npz"
    try:
        with np.load(path) as content:
            polyp, background = content["polyp"], content["background"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise PolypError(f"{path}: cannot be read ({error}); make the run again") from error
    sizes = [(row.polyp_pixels, row.size[0] * row.size[1] - row.polyp_pixels) for row in frames]
    if any(part.shape != (len(frames), LEVELS) or part.dtype.kind not in "iu" for part in (polyp, background)) or (
        [*zip(polyp.sum(1).tolist(), background.sum(1).tolist(), strict=True)] != sizes
    ):
        raise PolypError(f"{path}: does not count the pixels of the frames in frames.csv; make the run again")
    return about, polyp, background


def _check_split(run: Path, about: Mapping[str, Any], leaks: Mapping[str, Any]) -> None:
    """Raises PolypError for frames that the weights were trained on or will be tested on; warns of ones like those."""
    if (split := about.get("split")) in ("test", "training"):
        raise PolypError(f"{run}: is the {split} split; calibrate on another, with `polyp evaluate --split validation`")
    if leaks.get("leaked"):
        line = f"{run}: {leaks.get('similar_in_training')} of {leaks.get('test')} frames are like frames of training"
        if split != "validation":
            raise PolypError(f"{line}; calibrate on frames that the weights have not seen")
        logger.warning(f"{line}, so what is found here promises too much for others")


def _weights(run: Path, about: Mapping[str, Any]) -> Path:
    """The weights that were evaluated: in the bundle around the run, which may be a copy, or where they lay."""
    named = Path(about["weights"])
    around = (place / "models" / named.name for place in run.resolve().parents)
    return next((path for path in around if _is_evaluated(path, about)), named)


def _is_evaluated(weights: Path, about: Mapping[str, Any]) -> bool:
    return weights.is_file() and provenance.digest(weights) == about.get("weights_sha256")


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


def settings(
    path: str | Path, weights_sha256: str, threshold: float, used: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """The options of configs/inference.yaml by which what is promised in the file `path` holds.

    Args:
        weights_sha256: digest of the weights that are used.
        threshold: that of the bundle, where the file holds none.
        used: of `SETTINGS`, those that are known by now; see `check_settings`.

    Raises:
        PolypError: no such file, one of other weights, or of other settings.
    """
    content = _content(Path(path))
    found: dict[str, float] = {}
    try:
        for promise in content.values():
            if promise["weights_sha256"] != weights_sha256:
                raise PolypError(f"{path}: is about other weights; calibrate these with `polyp calibrate`")
        if MISSED in content:
            found["threshold"] = threshold = _number(content[MISSED], "threshold", 1)
            if abs(threshold - content[MISSED].get("level", 255 * threshold) / 255) > 1e-6:
                raise ValueError(f"threshold {threshold:g} is not that of level {content[MISSED]['level']}")
        if WRONG in content:
            found["class_certainty"] = _number(content[WRONG], "certainty", 1)
        if ALARMS in content:
            asked = _logit(_number(content[ALARMS], "highest", 1)) - _logit(threshold)
            found["presence"] = max(0.0, _number(content[ALARMS], "presence", math.inf) + asked)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else repr(error)
        raise PolypError(f"{path}: not as `polyp calibrate` writes it ({reason})") from error
    if not found:
        raise PolypError(f"{path}: holds no promise of `polyp calibrate`")
    if used is not None:
        check_settings(path, used)
    return found


def _number(promise: Mapping[str, Any], key: str, high: float) -> float:
    value = promise[key]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= high or math.isinf(value):
        raise ValueError(f"{key} {value!r}: expected 0 {'to 1' if high == 1 else 'or more'}")
    return float(value)


def check_settings(path: str | Path, used: Mapping[str, Any]) -> None:
    """Raises PolypError where a promise in the file `path` was found with another value of a setting than is `used`;
    warns of a file that was written before settings were kept."""
    content = _content(Path(path))
    for promise in content.values():
        if other := _other(promise, used, given=ALARMS in content):
            raise PolypError(f"{path}: was found with {other}; calibrate again, or use the same")
    if not all(promise.get("settings") for promise in content.values()):
        logger.warning(
            f"{path}: does not name the {', '.join(SETTINGS)} that it was found with, and holds for no other"
        )


def _other(promise: Mapping[str, Any], used: Mapping[str, Any], given: bool = False) -> str:
    """The first setting of a promise that is another one now, in words. `given`: the promises set the presence."""
    for key, value in promise.get("settings", {}).items():
        if key in used and used[key] != value and not (given and key == "presence"):
            return f"{key} {value}, not {used[key]}"
    return ""


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else math.copysign(20, probability - 0.5)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = texts.parse_json(path.read_bytes())
    except OSError as error:
        raise PolypError(f"{path}: {error.strerror}; `polyp calibrate` writes it") from error
    except (ValueError, RecursionError) as error:
        raise PolypError(f"{path}: cannot be read as JSON ({error})") from error
    promises = list(content.values()) if isinstance(content, dict) else [None]
    if not all(isinstance(one, dict) and isinstance(one.get("settings", {}), dict) for one in promises):
        raise PolypError(f"{path}: not as `polyp calibrate` writes it")
    return content


def reached(
    about: dict[str, Any], polyp: Sequence[np.ndarray], background: Sequence[np.ndarray]
) -> dict[str, dict[str, Any]]:
    """What was promised of the weights, and what an evaluation of them shows here; without promises, nothing.

    Args:
        about: of the run: weights, weights_sha256, and `SETTINGS`; what was promised with others is left out.
        polyp, background: levels of the probability inside and outside the polyp, (256,) a frame.
    """
    promises = kept(about["weights"], about["weights_sha256"])
    promises = {kind: one for kind, one in promises.items() if not _other(one, about, given=ALARMS in promises)}
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
