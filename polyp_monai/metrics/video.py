"""A video's alarms held against its polyps: which frames and polyps are found, how soon, and the false alarms a minute.

By frame as devices are compared (ENDOTEST, doi 10.1080/00365521.2022.2085059), by polyp and with a latency as in the
MICCAI 2015 and GIANA challenges (doi 10.1109/TMI.2017.2664042). What an alarm has to do to find a polyp is a rule:

any: be there, in a frame that shows the polyp; centre: have the centre of its box in the polyp; iou_30: overlap the
polyp's box with an IoU of 0.3 or more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.metrics.statistics import bootstrap_interval

RULES = ("any", "centre", "iou_30")
SHORT = 0.5  # seconds; many alarms are shorter, and hardly seen


class ScoredFrame(NamedTuple):
    """One frame of a video, prediction beside truth.

    number, time (seconds), seconds (until the next frame); alarms, polyps: who is in it, by names that last over the
    video; hits: for each of `RULES` bool (alarms, polyps), see `hits`.
    """

    number: int
    time: float
    seconds: float
    alarms: tuple[Hashable, ...]
    polyps: tuple[Hashable, ...]
    hits: dict[str, np.ndarray]


class Video(NamedTuple):
    """The frames of one video in order, and (number, time) at which each polyp came into sight.

    A polyp that `appeared` lacks came with the first of `frames` that shows it.
    """

    frames: Sequence[ScoredFrame]
    appeared: Mapping[Hashable, tuple[int, float]]


def is_short(seconds: float) -> bool:
    """Whether an alarm is below `SHORT`. A millisecond is nothing: times were rounded, and 15 frames of 30 a second."""
    return seconds < SHORT - 1e-3


def common_areas(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area (n, m) that boxes (n, 4), x0, y0, x1, y1, share with boxes (m, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def box_ious(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU (n, m) of boxes (n, 4), x0, y0, x1, y1, with boxes (m, 4); 0 where both are empty."""
    common = common_areas(one, other).astype(float)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def hits(alarms: np.ndarray, polyps: np.ndarray, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Which alarm of a frame finds which of its polyps, by each of `RULES`: bool (n, m).

    Args:
        alarms, polyps: boxes (n, 4) and (m, 4), x0, y0, x1, y1, where x1 and y1 are the first pixels beyond.
        labels: int (H, W), i + 1 where polyp i is: then the centre must lie in the polyp itself, not in its box.
    """
    if not (len(alarms) and len(polyps)):  # most frames of an hour
        return dict.fromkeys(RULES, np.zeros((len(alarms), len(polyps)), bool))
    centres = (alarms[:, None, :2] + alarms[:, None, 2:]) / 2
    if labels is None:
        centred = ((centres >= polyps[None, :, :2]) & (centres < polyps[None, :, 2:])).all(axis=2)
    else:
        height, width = labels.shape
        x, y = np.floor(centres[:, 0]).astype(int).T
        within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        owner = np.where(within, labels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0)
        centred = owner[:, None] == np.arange(1, len(polyps) + 1)
    any_at_all = np.ones((len(alarms), len(polyps)), bool)
    return dict(zip(RULES, (any_at_all, centred, box_ious(alarms, polyps) >= 0.3), strict=True))


def scores(video: Video, groups: Mapping[Hashable, Hashable] | None = None) -> dict[str, Any]:
    """All scores of a video; NaN where there is nothing to divide by.

    A frame is positive when it shows a polyp. It is found when an alarm finds one of its polyps, by the rule. A polyp
    is found when an alarm finds it in any frame; its delay runs from when it came into sight to then. An alarm that
    never finds a polyp is false, once, however long it is shown.

    Args:
        video: with each alarm and polyp under one name from first to last.
        groups: of each polyp, for the interval of the recall (bootstrap over groups); by default each is its own.

    Returns:
        frames, seconds, frames_with_polyp, frames_without_polyp, frames_falsely_alarmed (of those without), specificity
        (by frame: without an alarm), alarms; rules: for each of `RULES` see `_by_rule`; polyps: one each, with polyp,
        first_frame, first_time, frames and for each rule None (missed) or the first hit's frame, time, delay (seconds)
        and latency (frames).
    """
    negatives = [f for f in video.frames if not f.polyps]
    alarmed = sum(bool(f.alarms) for f in negatives)
    durations = _durations(video.frames)
    seconds = float(sum(f.seconds for f in video.frames))
    polyps = _polyps(video)
    return {
        "frames": len(video.frames),
        "seconds": seconds,
        "frames_with_polyp": len(video.frames) - len(negatives),
        "frames_without_polyp": len(negatives),
        "frames_falsely_alarmed": alarmed,
        "specificity": _ratio(len(negatives) - alarmed, len(negatives)),
        "alarms": len(durations),
        "rules": {rule: _by_rule(video.frames, rule, polyps, durations, seconds, groups or {}) for rule in RULES},
        "polyps": polyps,
    }


def pooled(videos: Mapping[str, Video]) -> dict[str, Any]:
    """`scores` of all videos together: every frame and every polyp counts the same. Names become (video, name).

    Intervals are over videos, as polyps of one are not independent.
    """
    frames: list[ScoredFrame] = []
    appeared: dict[Hashable, tuple[int, float]] = {}
    for name, video in videos.items():
        for f in video.frames:
            alarms, polyps = (tuple((name, who) for who in side) for side in (f.alarms, f.polyps))
            frames.append(f._replace(alarms=alarms, polyps=polyps))
        appeared |= {(name, polyp): place for polyp, place in video.appeared.items()}
    members = {(name, who): name for name, video in videos.items() for f in video.frames for who in f.polyps}
    groups: dict[Hashable, Hashable] | None = dict(members) if len(videos) > 1 else None
    return scores(Video(frames, appeared), groups)


def _durations(frames: Sequence[ScoredFrame]) -> dict[Hashable, float]:
    """Seconds that each alarm is shown."""
    durations: dict[Hashable, float] = {}
    for f in frames:
        for alarm in set(f.alarms):
            durations[alarm] = durations.get(alarm, 0.0) + f.seconds
    return durations


def _polyps(video: Video) -> list[dict[str, Any]]:
    """One row a polyp, in order of appearance; see `scores`."""
    rows: dict[Hashable, dict[str, Any]] = {}
    for f in video.frames:
        for polyp in dict.fromkeys(f.polyps):
            if polyp not in rows:
                number, time = video.appeared.get(polyp, (f.number, f.time))
                place = {"first_frame": number, "first_time": time, "frames": 0}
                rows[polyp] = {"polyp": polyp} | place | dict.fromkeys(RULES)
            row = rows[polyp]
            row["frames"] += 1
            columns = [i for i, name in enumerate(f.polyps) if name == polyp]  # two parts of one polyp
            for rule in RULES:
                if row[rule] is None and f.hits[rule][:, columns].any():
                    late = {"delay": f.time - row["first_time"], "latency": f.number - row["first_frame"]}
                    row[rule] = {"frame": f.number, "time": f.time} | late
    return list(rows.values())


def _by_rule(
    frames: Sequence[ScoredFrame],
    rule: str,
    polyps: list[dict[str, Any]],
    durations: dict[Hashable, float],
    seconds: float,
    groups: Mapping[Hashable, Hashable],
) -> dict[str, Any]:
    """
    Returns:
        frames_found, sensitivity (by frame); polyps, polyps_found, recall, recall_interval (95 %); false_alarms and
        false_alarms_per_minute; short_false_alarms (below `SHORT`) and longer_false_alarms_per_minute, without these;
        median_delay (seconds) and median_latency (frames) of the polyps that were found, None when none was.
    """
    positive = [f for f in frames if f.polyps]
    found = sum(bool(f.hits[rule].any()) for f in positive)
    right = {alarm for f in positive for alarm, row in zip(f.alarms, f.hits[rule], strict=True) if row.any()}
    wrong = [duration for alarm, duration in durations.items() if alarm not in right]
    short = sum(map(is_short, wrong))
    first = [row[rule] for row in polyps if row[rule] is not None]
    members = [groups.get(row["polyp"], row["polyp"]) for row in polyps]
    numbered = {name: i for i, name in enumerate(dict.fromkeys(members))}  # numpy would take names of pairs apart
    recall = bootstrap_interval([float(row[rule] is not None) for row in polyps], [numbered[name] for name in members])
    return {
        "frames_found": found,
        "sensitivity": _ratio(found, len(positive)),
        "polyps": len(polyps),
        "polyps_found": len(first),
        "recall": _ratio(len(first), len(polyps)),
        "recall_interval": [recall["low"], recall["high"]],
        "false_alarms": len(wrong),
        "false_alarms_per_minute": _ratio(60 * len(wrong), seconds),
        "short_false_alarms": short,
        "longer_false_alarms_per_minute": _ratio(60 * (len(wrong) - short), seconds),
        "median_delay": float(np.median([hit["delay"] for hit in first])) if first else None,
        "median_latency": float(np.median([hit["latency"] for hit in first])) if first else None,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
