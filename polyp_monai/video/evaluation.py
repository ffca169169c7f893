"""`polyp score-video`: the frames.csv of a video, or of several, held against the truth.

The truth is a table of boxes or a folder of masks. Both count in pixels of the source's frames, and number the frames
as frames.csv does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.errors import PolypError, counted, shortened
from polyp_monai.evaluation.scoring import plain
from polyp_monai.metrics.video import RULES, ScoredFrame, Video, hits, pooled, scores
from polyp_monai.video.tables import PredictedVideo, read_prediction
from polyp_monai.video.truth import TrueFrame, boxes, masks

ALL = "all videos"


def evaluate(pred: Path, truth: Path, rate: float | None = None, keep_inverted: bool = False) -> dict[str, Any]:
    """Score a video, or each of several and all together.

    Args:
        pred: a frames.csv as `polyp video` writes it: a row a frame and polyp (its time, number and box are used), and
            a row with only frame and time for a frame without. Or a folder of them, NAME.csv or NAME/frames.csv.
        truth: a CSV with the columns frame, x0, y0, x1, y1 and perhaps polyp; frames that it does not list, or lists
            without a box, show none. Or a folder of masks, one a frame; frames without a mask are not scored. If `pred`
            is a folder: a folder with NAME.csv or NAME of each.
        rate: frames a second, instead of the times in frames.csv.
        keep_inverted: whether true masks may pass in which the polyp seems to be black.

    A mask belongs to the frame of the last number in its name; if masks and frames are as many, both without a gap, but
    begin at different numbers, they are paired in order. Polyps that the truth does not name are followed from a frame
    to the next by overlap: a polyp that leaves the picture and returns counts as two.

    Returns:
        videos (name -> `metrics.video.scores`), all (the same over all videos), notes (what to know of the data, a
        line each). Plain, as JSON has it: NaN is None.

    Raises:
        PolypError: a file that cannot be read or makes no sense, or no frame in common.
    """
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise PolypError(f"--fps {rate}: expected frames a second, above 0")
    notes: list[str] = []
    pairs = _pairs(pred, truth, notes)
    videos = {name: _video(*pair, rate, notes, keep_inverted) for name, pair in pairs.items()}
    each = {name: scores(video) for name, video in videos.items()}
    together = pooled(videos) if len(videos) > 1 else next(iter(each.values()))
    return plain({"videos": each, "all": together, "notes": notes})


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result of `evaluate` for a terminal."""
    parts = dict(result["videos"]) | ({ALL: result["all"]} if len(result["videos"]) > 1 else {})
    tables = [line for name, found in parts.items() for line in ("", *_table(name, found))]
    return [*tables[1:], *(f"note: {note}" for note in result["notes"])]


def _table(name: str, found: Mapping[str, Any]) -> list[str]:
    negatives, alarmed = found["frames_without_polyp"], found["frames_falsely_alarmed"]
    size = f"{counted(found['frames'], 'frame')}, {found['seconds']:.1f} s"
    header = f"{'rule':<8}{'sensitivity':>12}{'polyps found':>14}{'median delay':>14}{'false alarms/min':>18}"
    lines = [
        f"{name}: {size}; {found['frames_with_polyp']} show a polyp",
        f"specificity {_cell(found['specificity'])}: an alarm in {alarmed} of {negatives} frames without a polyp",
        f"{header}{'>= 0.5 s':>10}",
    ]
    for rule in RULES:
        row = found["rules"][rule]
        delay = "-" if row["median_delay"] is None else f"{row['median_delay']:.2f} s"
        polyps = f"{row['polyps_found']} of {row['polyps']}"
        alarms, longer = (_cell(row[f"{kind}_alarms_per_minute"], 2) for kind in ("false", "longer_false"))
        lines.append(f"{rule:<8}{_cell(row['sensitivity']):>12}{polyps:>14}{delay:>14}{alarms:>18}{longer:>10}")
    return lines


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _pairs(pred: Path, truth: Path, notes: list[str]) -> dict[str, tuple[Path, Path]]:
    """Name of each video -> its frames.csv and its truth."""
    if not pred.is_dir():
        return {str(pred): (pred, truth)}
    tables = {path.stem: path for path in sorted(pred.glob("*.csv"))}
    tables |= {path.parent.name: path for path in sorted(pred.glob("*/frames.csv"))}
    places = {name: [p for p in (truth / f"{name}.csv", truth / name) if p.exists()] for name in tables}
    pairs = {name: (tables[name], found[0]) for name, found in places.items() if found}
    if not pairs:
        what = f"as {next(iter(tables))}" if tables else "and no NAME.csv or NAME/frames.csv either"
        raise PolypError(f"{pred} and {truth}: no truth NAME.csv or NAME {what}; a truth is named as its video")
    if without := sorted(tables.keys() - pairs.keys()):
        notes.append(f"{counted(len(without), 'video')} without a truth, not scored: {shortened(without)}")
    return pairs


def _video(pred: Path, truth: Path, rate: float | None, notes: list[str], keep_inverted: bool) -> Video:
    prediction = read_prediction(pred, rate)
    said: list[str] = []
    true = masks(truth, prediction, said, keep_inverted) if truth.is_dir() else boxes(truth, prediction)
    video = _meet(prediction, true, truth, said)
    notes += [f"{truth}: {note}" for note in said]
    return video


def _meet(prediction: PredictedVideo, true: Iterator[TrueFrame], truth: Path, notes: list[str]) -> Video:
    """PredictedVideo and truth frame by frame."""
    numbers, times = (np.array(list(side), float) for side in (prediction.times, prediction.times.values()))
    lasting = dict(zip(prediction.times, np.append(np.diff(times), prediction.last).tolist(), strict=True))
    begin = min(prediction.times)
    steps = np.diff(numbers)
    if lacking := int((steps - 1).sum()):
        first = int(numbers[int((steps > 1).argmax())]) + 1
        notes.append(
            f"{counted(lacking, 'frame')} without a row in {prediction.path}, not scored, the first is {first}"
        )
    frames: list[ScoredFrame] = []
    appeared: dict[Hashable, tuple[int, float]] = {}
    unseen, beyond = [], 0
    for frame in true:
        for polyp in set(frame.polyps).difference(appeared):
            number = max(frame.number, begin)
            appeared[polyp] = number, float(np.interp(number, numbers, times))
        if frame.number not in prediction.times:
            unseen.append(str(frame.number))
            continue
        alarms = prediction.alarms.get(frame.number, [])
        found_boxes = np.array([box for _, box in alarms], float).reshape(-1, 4)
        if frame.labels is not None:
            beyond += _beyond(found_boxes, frame, prediction.path, truth)
        found = hits(found_boxes, frame.boxes, frame.labels)
        names = tuple(name for name, _ in alarms)
        time = prediction.times[frame.number]
        frames.append(ScoredFrame(frame.number, time, lasting[frame.number], names, tuple(frame.polyps), found))
    if unseen:
        notes.append(f"{counted(len(unseen), 'frame')} not in {prediction.path}, not scored: {shortened(unseen)}")
    if beyond:
        notes.append(f"{beyond} boxes of {prediction.path} reach beyond the masks; are both in pixels of one frame?")
    return Video(frames, appeared)


def _beyond(alarms: np.ndarray, frame: TrueFrame, pred: Path, truth: Path) -> int:
    """How many boxes reach beyond the mask. Raises PolypError when even the centre of one does."""
    assert frame.labels is not None  # the truth is masks
    size = np.array(frame.labels.shape[::-1])
    centres = (alarms[:, :2] + alarms[:, 2:]) / 2
    if ((centres < 0) | (centres > size)).any():
        raise PolypError(
            f"{pred}: a box of frame {frame.number} lies outside of its mask, {size[0]} x {size[1]}, in {truth}; give "
            "boxes and masks in pixels of the same frame"
        )
    return int(((alarms[:, :2] < -1) | (alarms[:, 2:] > size + 1)).any(axis=1).sum())
