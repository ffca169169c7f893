"""Which class a polyp is, and how well that is told: Dice a class, and of single polyps confusion, AUC and calibration.

Shapes: probability (C, H, W) in 0..1, a channel a class; classes exclude each other, so that the probability of a polyp
is the sum of theirs. A mask of classes holds 0 and k for the k-th class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics import statistics
from polyp_monai.metrics.lesions import PredictedPolyp, assign, components
from polyp_monai.metrics.pixel import Counts, confusion

UNCERTAIN = "uncertain"
IOU = 0.3  # from which a predicted polyp is said to be a true one; its class is judged, not its outline
SPECIFICITY = 0.9  # at which sensitivity is stated
BINS = 10  # of the calibration


@dataclass(frozen=True)
class Classes:
    """The classes of a bundle. `names`: in the order of the channels; `certainty`: least probability of a class, 0..1,
    below which a polyp's class is uncertain."""

    names: tuple[str, ...] = ("polyp",)
    certainty: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))  # configs give lists

    @property
    def several(self) -> bool:
        return len(self.names) > 1

    def of(self, means: Sequence[float]) -> tuple[str, float]:
        """Name, or `UNCERTAIN`, and probability of a polyp's class, out of the mean probability of each within it.

        Without means, of a bundle with one class, that class for sure.
        """
        if len(means) < 2:
            return self.names[0], 1.0
        best, share = int(np.argmax(means)), probability_of(means)
        return self.names[best] if share >= self.certainty else UNCERTAIN, share

    def told(self, polyp: JudgedPolyp) -> str:
        """A polyp in words: "neoplastic as uncertain 0.55", "neoplastic missed", "false alarm as neoplastic 0.91"."""
        truth = "false alarm" if polyp.truth is None else self.names[polyp.truth]
        name, probability = self.of(polyp.means) if polyp.means else ("", 0.0)
        return f"{truth} as {name} {probability:.2f}" if name else f"{truth} missed"

    def wrong(self, polyp: JudgedPolyp) -> bool:
        """Whether a polyp that was found got a class that is not its own."""
        named = self.of(polyp.means)[0] if polyp.means else UNCERTAIN
        return polyp.truth is not None and named not in (UNCERTAIN, self.names[polyp.truth])


def probability_of(means: Sequence[float]) -> float:
    """The largest of the means as a share of all; 1 of a single class."""
    total = sum(means)
    return float(max(means) / total) if total else 1 / len(means)


def of_polyp(probability: np.ndarray) -> np.ndarray:
    """(H, W) the probability of a polyp of any class, at most 1."""
    return probability[0] if len(probability) == 1 else np.minimum(probability.sum(0), np.float32(1))


def means(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(n, C) mean probability of each class in each of the n components of `labels`, (H, W) as of `components`."""
    flat = labels.ravel()
    areas = np.bincount(flat)
    sums = [np.bincount(flat, weights=channel.ravel(), minlength=len(areas)) for channel in probability]
    return (np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None])[1:]


def class_map(probability: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) uint8: each connected region where the probability of a polyp reaches `threshold` has the number of its
    class, 1 and up, that with the highest mean probability inside it."""
    regions = components(of_polyp(probability) >= threshold)
    number = np.zeros(len(regions.areas) + 1, np.uint8)
    if len(regions.areas):
        number[1:] = means(regions.labels, probability).argmax(1) + 1
    return number[regions.labels]


class JudgedPolyp(NamedTuple):
    """A true polyp, a false alarm, or both matched. `truth`: number of its class from 0, None of a false alarm;
    `means`: of the predicted one, () of a missed polyp."""

    truth: int | None
    means: tuple[float, ...]


class ClassMatch(NamedTuple):
    """One frame. `counts`: pixels of each class."""

    counts: list[Counts]
    polyps: list[JudgedPolyp]


def match(probability: np.ndarray, threshold: float, truth: np.ndarray) -> ClassMatch:
    """Compare a frame's classes with `truth`, bool (C, H, W).

    A polyp of the truth is a connected region of one class: two that touch and differ are two. Predicted polyps are
    matched with them one to one by IoU, `IOU` or more, whatever their class.
    """
    found = class_map(probability, threshold)
    counts = [confusion(found == number, own) for number, own in enumerate(truth, 1)]
    predicted, numbers = components(found > 0), np.zeros(found.shape, np.int32)
    of_class: list[int] = []
    for number, own in enumerate(truth):
        regions = components(own)
        numbers[own] = regions.labels[own] + len(of_class)
        of_class += [number] * len(regions.areas)
    rows, columns = len(predicted.areas) + 1, len(of_class) + 1
    pairs = np.bincount((predicted.labels * columns + numbers).ravel(), minlength=rows * columns).reshape(rows, columns)
    overlap, areas = pairs[1:, 1:], pairs.sum(0)[1:]
    ious = overlap / np.maximum(predicted.areas[:, None] + areas - overlap, 1)
    within = means(predicted.labels, probability)
    findings = [
        PredictedPolyp(float(own.sum()), int(area), tuple(row.tolist()), None)
        for own, area, row in zip(within, predicted.areas, ious, strict=True)
    ]
    partners = assign(findings, IOU)
    polyps = [
        JudgedPolyp(None if partner is None else of_class[partner], tuple(own.tolist()))
        for own, partner in zip(within, partners, strict=True)
    ]
    missed = set(range(len(of_class))) - set(partners)
    return ClassMatch(counts, polyps + [JudgedPolyp(of_class[polyp], ()) for polyp in sorted(missed)])


def dice(counts: Counts) -> float:
    """Of one class in one frame: 0 where it is found and is not there; NaN where it is neither."""
    total = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / total if total else float("nan")


def summary(matches: Sequence[ClassMatch], groups: Sequence[str], classes: Classes, level: float) -> dict[str, Any]:
    """What a set says of the classes; intervals of `level` by bootstrap over groups of frames.

    Returns:
        dice: of each class `frames` (that show it), `mean` (over the frames where it is or was found), `challenge`
            (over all frames, 1 where it is neither there nor found: the rule of BKAI-IGH NeoPolyp's leaderboard),
            `pooled` (over all pixels); `all`: the mean of each over the classes.
        confusion: rows of true classes and "false alarm", by columns of classes, "uncertain" and "missed".
        polyps: over the polyps that were found: of each class, against the others, `auc`, `sensitivity` at a
            specificity of at least `specificity`, and the `expected_calibration_error` of its probability; `accuracy`
            of all.
        certainty: the least probability of a class.
    """
    found: dict[str, Any] = {"names": list(classes.names), "certainty": classes.certainty, "iou": IOU, "level": level}
    return found | {
        "dice": _dices(matches, groups, classes, level),
        "confusion": _confusion(matches, classes),
        "polyps": _polyps(matches, groups, classes, level),
    }


def _measured(
    values: Sequence[float], groups: Sequence[str], level: float, statistic: Callable = np.mean
) -> dict[str, Any]:
    interval = statistics.bootstrap_interval(values, groups, level, statistic=statistic)
    return {"value": interval["value"], "interval": [interval["low"], interval["high"]]}


def _dices(matches: Sequence[ClassMatch], groups: Sequence[str], classes: Classes, level: float) -> dict[str, Any]:
    table = np.array([[dice(counts) for counts in m.counts] for m in matches]).reshape(len(matches), len(classes.names))
    result: dict[str, Any] = {}
    for number, name in enumerate(classes.names):
        pooled = sum((m.counts[number] for m in matches), Counts(0, 0, 0, 0))
        result[name] = {
            "frames": sum(m.counts[number].tp + m.counts[number].fn > 0 for m in matches),
            "mean": _measured(table[:, number].tolist(), groups, level),
            "challenge": _measured(np.nan_to_num(table[:, number], nan=1.0).tolist(), groups, level),
            "pooled": dice(pooled),
        }
    frames = np.nan_to_num(table, nan=1.0).mean(1).tolist()
    means = [result[name]["mean"]["value"] for name in classes.names]
    return result | {"all": {"mean": float(np.mean(means)), "challenge": _measured(frames, groups, level)}}


def _confusion(matches: Sequence[ClassMatch], classes: Classes) -> dict[str, dict[str, int]]:
    columns, rows = [*classes.names, UNCERTAIN, "missed"], [*classes.names, "false alarm"]
    table = {row: dict.fromkeys(columns, 0) for row in rows}
    for polyp in (polyp for m in matches for polyp in m.polyps):
        row = "false alarm" if polyp.truth is None else classes.names[polyp.truth]
        table[row][classes.of(polyp.means)[0] if polyp.means else "missed"] += 1
    del table["false alarm"]["missed"]
    return table


def _polyps(matches: Sequence[ClassMatch], groups: Sequence[str], classes: Classes, level: float) -> dict[str, Any]:
    """Of the true polyps that were found."""
    judged = [
        (polyp.truth, polyp.means, group)
        for m, group in zip(matches, groups, strict=True)
        for polyp in m.polyps
        if polyp.truth is not None and polyp.means
    ]
    result: dict[str, Any] = {"found": len(judged), "specificity": SPECIFICITY}
    if not judged:
        return result
    truth, of_group = np.array([one[0] for one in judged]), [one[2] for one in judged]
    within = np.array([one[1] for one in judged])
    share = within / np.maximum(within.sum(1, keepdims=True), 1e-12)
    named = np.array([classes.of(one[1])[0] != UNCERTAIN for one in judged])
    right = (share.argmax(1) == truth).astype(float)
    result |= {"accuracy": _measured(right.tolist(), of_group, level), "named": int(named.sum())}
    result["accuracy_of_named"] = _measured(np.where(named, right, np.nan).tolist(), of_group, level)
    places = np.arange(len(judged)).tolist()
    for number, name in enumerate(classes.names):
        own, score = truth == number, share[:, number]

        def of(statistic: Callable, own: np.ndarray = own, score: np.ndarray = score) -> dict[str, Any]:
            def drawn(index: np.ndarray) -> float:
                return statistic(score[index.astype(int)], own[index.astype(int)])

            return _measured(places, of_group, level, drawn)

        result[name] = {
            "polyps": int(own.sum()),
            "auc": of(auc),
            "sensitivity": of(sensitivity_at),
            "expected_calibration_error": of(calibration_error),
            "calibration": calibration(score, own),
        }
    return result


def auc(score: np.ndarray, own: np.ndarray) -> float:
    """Area under the ROC curve: the chance that one of the class scores higher than one of the others; ties half.

    NaN where either is absent.
    """
    from scipy.stats import rankdata

    positives, negatives = int(own.sum()), int((~own).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(score)[own].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def sensitivity_at(score: np.ndarray, own: np.ndarray, specificity: float = SPECIFICITY) -> float:
    """The highest share of the class above a cut that no more than 1 - `specificity` of the others reach.

    NaN where either is absent.
    """
    others = np.sort(score[~own])
    if not own.any() or not len(others):
        return float("nan")
    kept = int(np.ceil(specificity * len(others) - 1e-9))  # others that must stay below, or at, the cut
    return float(np.mean(score[own] > others[kept - 1])) if kept else 1.0


def calibration(score: np.ndarray, own: np.ndarray) -> dict[str, list[float]]:
    """In each of `BINS` equal bins of the probability of a class: its mean, the share that is of the class, and the
    count of polyps; NaN in empty bins."""
    index = np.minimum((score * BINS).astype(int), BINS - 1)
    count = np.bincount(index, minlength=BINS)
    filled = np.where(count > 0, count, np.nan)
    confidence, accuracy = (np.bincount(index, weights, BINS) / filled for weights in (score, own.astype(float)))
    return {"confidence": confidence.tolist(), "accuracy": accuracy.tolist(), "count": count.tolist()}


def calibration_error(score: np.ndarray, own: np.ndarray) -> float:
    """The mean distance between confidence and accuracy of the bins, weighted by their counts."""
    found = calibration(score, own)
    count = np.array(found["count"])
    apart = np.abs(np.array(found["confidence"]) - np.array(found["accuracy"]))
    return float(np.nansum(count * apart) / count.sum())


def conformal_certainty(probability: Sequence[float], right: Sequence[bool], alpha: float) -> dict[str, float]:
    """The least probability of a class from which at most a share `alpha` of the polyps is given a wrong class.

    Conformal risk control (A. Angelopoulos et al., arXiv 2208.02814, equation 4), where the loss of a polyp is 1 when
    it gets a class and that is wrong, and 0 when its class is right or called uncertain: it falls as the certainty
    rises. It holds in the mean over polyps exchangeable with these.

    Args:
        probability: of the likeliest class, of each polyp that was found.
        right: whether that is its class.
        alpha: share in 0..1, both excluded.

    Returns:
        certainty, wrong (share of the polyps that get a wrong class here), uncertain (share that gets none), bound,
        polyps, alpha.

    ValueError when the polyps are below 1 / alpha - 1: nothing can promise that.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a share above 0 and below 1, not {alpha}")
    values, wrong = np.asarray(probability, dtype=float), ~np.asarray(right, dtype=bool)
    n = len(values)
    allowed = int(np.floor((n + 1) * alpha - 1 + 1e-9))  # wrong ones: n / (n + 1) R + 1 / (n + 1) <= alpha
    if allowed < 0:
        raise ValueError(
            f"{n} polyps are too few to keep wrong classes at {alpha}: it takes at least {int(np.ceil(1 / alpha - 1))}"
        )
    mistakes = np.sort(values[wrong])[::-1]  # surest first
    certainty = 0.0 if len(mistakes) <= allowed else float(np.nextafter(mistakes[allowed], 2))
    named = values >= certainty
    return {
        "certainty": certainty,
        "wrong": float(np.mean(named & wrong)),
        "uncertain": float(np.mean(~named)),
        "bound": float(((named & wrong).sum() + 1) / (n + 1)),
        "polyps": n,
        "alpha": alpha,
    }
