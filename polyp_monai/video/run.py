"""The whole way of `polyp video`: from a source to an overlay, a table of frames and a list of events."""

from __future__ import annotations

import csv
import math
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from polyp_monai import provenance
from polyp_monai.bundle import dicom_out
from polyp_monai.bundle.predictor import Predictor
from polyp_monai.data import dicom, files, lock, outputs, remote
from polyp_monai.errors import PolypError, counted
from polyp_monai.video import overlay, pace
from polyp_monai.video.address import open_source
from polyp_monai.video.events import CLASS_COLUMNS, COLUMNS, Events
from polyp_monai.video.finder import Finder
from polyp_monai.video.latency import Latency
from polyp_monai.video.pipeline import Item, Pipeline
from polyp_monai.video.sink import VideoSink
from polyp_monai.video.source import Source
from polyp_monai.video.tracking import TrackedPolyp

LISTED = 12  # events that are printed
APART = 1.0  # seconds from one region of a polyp to its next in a report


@dataclass(frozen=True)
class Options:
    """What the user chose. Without `out`, `csv`, `json` and `sr` the overlay is shown in a window."""

    source: str
    out: Path | None = None
    csv: Path | None = None
    json: Path | None = None
    sr: Path | None = None
    overwrite: bool = False
    realtime: bool = False
    heat: bool = False
    crop: bool = True
    smooth: str = "exponential"
    half_life: float = 0.1  # seconds
    on: tuple[int, int] = (3, 5)
    rate: float | None = None

    @property
    def files(self) -> list[Path]:
        """What will be written."""
        return [path for path in (self.out, self.csv, self.json, self.sr) if path]


@dataclass(frozen=True)
class Result:
    """What came of a video: `summary` as events.json holds it, a table of latencies, and what cut the run short."""

    summary: dict[str, Any]
    latency: str
    broken: str | None
    interrupted: bool


def run(root: Path, given: dict[str, Any], options: Options) -> Result:
    """Follow the polyps of a video with the bundle in the folder `root`.

    Args:
        root: folder of the bundle.
        given: checked overrides of its configs/inference.yaml.
        options: the user's.

    Raises:
        PolypError: the source cannot be read at all, an output is there already, or the bundle does not fit.
    """
    latency = Latency()
    with ExitStack() as stack:
        _check(options)
        for path in options.files:
            stack.enter_context(lock.held(path.parent, path.name))
        _check(options)  # the run that held one of them may have just ended
        stack.enter_context(_one_thread())
        place = stack.enter_context(remote.here(options.source))
        about = dicom_out.source(Path(place)) if options.sr else None
        source = stack.enter_context(open_source(place, options.rate))
        choose = (options.realtime or source.live) and not any(given.get(k, "auto") != "auto" for k in pace.CHOICES)
        predictor = pace.keeping_up(root, given, source.rate) if choose else Predictor.of_bundle(root, given)
        finder = Finder.of(predictor, options.smooth, options.half_life, options.on, options.crop, latency)
        events = Events()
        for path in options.files:
            outputs.claim_file(path, "video")
        regions = Regions(APART)
        write_rows = stack.enter_context(_table(options.csv, predictor.classes.several))
        show = stack.enter_context(_screen(source, options))

        def draw(item: Item) -> None:
            with latency.timed("draw"):
                if options.heat and item.probability is not None:
                    overlay.heat(item.frame.image, item.probability, item.view)
                overlay.draw(item.frame.image, item.polyps)

        stages: list[Callable[[Item], Any]] = [finder, draw] if show else [finder]
        watched = show is not None and options.out is None
        pipeline = Pipeline(source, stages, latency, options.realtime or source.live or watched)
        began, frames, seconds = time.perf_counter(), 0, 0.0
        with _stopping(pipeline):
            for item in tqdm(pipeline, "video", source.count, unit="frame", disable=None):
                index, seconds = item.frame.index, item.frame.time
                write_rows(events.rows(index, seconds, item.polyps))
                events.update(index, seconds, item.polyps)
                if options.sr:
                    regions.update(index, seconds, item.polyps)
                if show:
                    with latency.timed("encode"):
                        closed = show(item.frame.image, seconds) is False
                    if closed:
                        pipeline.stop()
                frames += 1
        took = time.perf_counter() - began
        summary = _about(source, predictor.description) | {
            "settings": _settings(options, finder) | given,
            "frames": frames,
            "frames_dropped": pipeline.dropped,
            "frames_damaged": len(source.damaged),
            "frames_rescaled": source.rescaled,
            "broken": source.broken,
            "interrupted": pipeline.interrupted,
            "damage": [f"frame {index}: {why}" for index, why in list(source.damaged.items())[:LISTED]],
            **events.summary(frames, seconds + 1 / source.rate),
            "frames_per_second": round(frames / took, 2),
            "latency_ms": latency.summary(),
        }
        if options.json:
            files.write_json(options.json, summary)
        if options.sr and about:
            algorithm = dicom_out.Algorithm.of(root, predictor.weights.sha256, finder.threshold)
            made = dicom_out.report(about, regions.kept, algorithm, dicom_out.Series().next(about))
            dicom_out.write(options.sr, made)
    return Result(summary, latency.table(), source.broken, pipeline.interrupted)


def lines(result: Result) -> list[str]:
    """What the user sees at the end: polyps, alarms, latencies, and what went wrong on the way."""
    found = result.summary
    told = [f"{counted(found['frames'], 'frame')}, {found['seconds']:.1f} s; polyps shown: {found['alarms']}"]
    if found["alarms"]:
        longer = found["alarms"] - found["alarms_shorter_than_0.5_s"]
        told[0] += f", {longer} for half a second or more"
    for event in found["events"][:LISTED]:
        told.append(
            f"  polyp {event['polyp']}: {event['first_time']:.2f} to {event['last_time']:.2f} s, "
            f"confidence up to {event['max_confidence']:.0%}"
            + (f", {event['class']} {event['class_probability']:.0%}" if "class" in event else "")
        )
    if len(found["events"]) > LISTED:
        told.append(f"  and {len(found['events']) - LISTED} more")
    told += result.latency.split("\n")
    told.append(f"{found['frames_per_second']} frames/s with {found['network']}, {found['machine']}")
    if found["frames_dropped"]:
        told.append(f"dropped to keep up: {counted(found['frames_dropped'], 'frame')}")
    if found["frames_rescaled"]:
        told.append(f"of another size than the first, and fitted into it: {counted(found['frames_rescaled'], 'frame')}")
    return told


def mistakes(result: Result) -> list[str]:
    """What was given and has no result: frames that cannot be read, and what a break cut off. A line each."""
    found, told = result.summary, []
    if number := found["frames_damaged"]:
        of = f"{number} of {counted(number + found['frames'], 'frame')}"
        told.append(f"{of} left out, which cannot be read; the first: {found['damage'][0]}")
    if result.broken:
        told.append(f"{result.broken}; what came before is complete")
    return told


class Regions:
    """Where the polyps of a video were, for a report: each at its first frame, and then again when `apart` seconds have
    gone by. A detection that is only held counts for none."""

    def __init__(self, apart: float) -> None:
        self.kept: list[dicom_out.Region] = []
        self._apart = apart
        self._latest: dict[int, float] = {}

    def update(self, index: int, seconds: float, polyps: Sequence[TrackedPolyp]) -> None:
        """Take in a frame; `index` from 0, which is frame 1 of DICOM."""
        for polyp in polyps:
            if polyp.seen and seconds - self._latest.get(polyp.number, -math.inf) >= self._apart:
                self._latest[polyp.number] = seconds
                self.kept.append(dicom_out.Region(polyp, polyp.number, index + 1))


def _check(options: Options) -> None:
    source = Path(options.source).resolve()
    if options.sr:
        dicom_out.import_highdicom()
        if not dicom.holds(source):
            raise PolypError(f"{options.source}: is no DICOM file, and a DICOM report (--sr) belongs to one")
    taken = {source}
    for path, suffix in ((options.csv, ".csv"), (options.json, ".json"), (options.sr, ".dcm")):
        if path and path.suffix.lower() != suffix and not path.is_dir():
            raise PolypError(f"{path}: expected a name that ends in {suffix}")
    for path in options.files:
        if path.resolve() in taken:
            raise PolypError(f"{path}: is the video itself, or named twice; give each file a name of its own")
        if source.is_dir() and path.resolve().is_relative_to(source):
            raise PolypError(f"{path}: lies among the frames of the video; write it elsewhere")
        taken.add(path.resolve())
        outputs.check_file(path, "video", options.overwrite)


@contextmanager
def _table(path: Path | None, classes: bool) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """What appends rows to the CSV at `path`, which is there when the block has ended."""
    if path is None:
        yield lambda rows: None
        return
    with files.atomic(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS + CLASS_COLUMNS * classes, lineterminator="\n")
        writer.writeheader()
        yield writer.writerows


@contextmanager
def _screen(source: Source, options: Options) -> Iterator[Callable[..., Any] | None]:
    """What takes the drawn frames: a file, a window, or nothing when only tables are wanted."""
    if options.out:
        with VideoSink(options.out, source.size, source.rate, options.overwrite) as sink:
            yield sink.write
    elif options.files:
        yield None
    else:
        from polyp_monai.video.window import Window

        with Window(source.name, source.size) as window:
            yield window.write


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread: the stages run beside each other already, and its pool would wait for their cores."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _stopping(pipeline: Pipeline) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the video here instead of tearing it; a second Ctrl-C tears."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield
        return

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipeline.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings(options: Options, finder: Finder) -> dict[str, Any]:
    names = ("crop", "smooth", "half_life", "on", "realtime")
    chosen = {name: getattr(options, name) for name in names}
    return chosen | {"threshold": finder.threshold, "image_size": finder.fit.image_size, "fit": finder.fit.fit}


def _about(source: Source, network: str) -> dict[str, Any]:
    return provenance.of_run() | {
        "source": source.name,
        "size": list(source.size),
        "rate": source.rate,
        "network": network,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
    }
