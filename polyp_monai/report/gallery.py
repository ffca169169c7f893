"""The frames of a run to look at: which ones, in which order, and their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from polyp_monai.metrics import registry
from polyp_monai.metrics.lesions import size_class
from polyp_monai.report import pictures
from polyp_monai.report.folder import FrameRow
from polyp_monai.report.parts import Filter, FramePicture, Gallery, Sheet, Shot, percent

WORST, MIDDLE, BEST = 24, 12, 12  # up to their sum, all frames are shown in one row
MOST = 1000  # misses or false alarms that are shown, the largest first
FILTERS = (
    Filter(
        "kind",
        "show",
        {
            "": "all kinds",
            "worst": "worst",
            "median": "middle",
            "best": "best",
            "miss": "missed polyps",
            "alarm": "false alarms",
        },
    ),
    Filter(
        "size",
        "polyp",
        {
            "": "of any size",
            "small": "up to 100 x 100 px",
            "medium": "up to 200 x 200 px",
            "large": "larger",
            "none": "none",
        },
    ),
)


def gallery(frames: Sequence[FrameRow], draw: Callable[[FrameRow, int], FramePicture]) -> Gallery:
    """Sheets of frames; every frame stands in the first sheet that wants it, and answers to all its kinds.

    `draw`: the picture of a frame, of at most so many characters.
    """
    kinds = _kinds(frames)
    sheets = _sheets(kinds)
    shown = [frame for _, members in sheets for frame in members]
    large = set(kinds["all"] or kinds["worst"])
    small = pictures.budget(len(shown) - len(large), len(large))
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter's lock
        drawn = pool.map(lambda frame: draw(frame, pictures.LARGE if frame in large else small), shown)
        shots = {frame: _shot(frame, picture, kinds) for frame, picture in zip(shown, drawn, strict=True)}
    return Gallery(
        [Sheet(title, [shots[frame] for frame in members], members[0] in large) for title, members in sheets],
        filters=FILTERS,
        score=registry.get(registry.MAIN).label,
    )


def _kinds(frames: Iterable[FrameRow]) -> dict[str, list[FrameRow]]:
    """The frames of each kind; of two with one score, that with the larger polyp is the worse."""
    main = registry.MAIN
    ranked = sorted((f for f in frames if main in f.scores), key=lambda f: (f.scores[main], -f.share, f.name))
    start = max(0, (len(ranked) - MIDDLE) // 2)
    alarms = [frame for frame in frames if not frame.polyp_pixels and frame.predicted_pixels]
    return {
        "all": ranked if len(ranked) <= WORST + MIDDLE + BEST else [],
        "worst": ranked[:WORST],
        "miss": [frame for frame in ranked if frame.scores[main] == 0],
        "median": ranked[start : start + MIDDLE],
        "best": ranked[: -BEST - 1 : -1],
        "alarm": sorted(alarms, key=lambda f: (-f.predicted_pixels, f.name)),
    }


def _sheets(kinds: dict[str, list[FrameRow]]) -> list[tuple[str, list[FrameRow]]]:
    """Title and frames; none stands in two sheets."""
    label = registry.get(registry.MAIN).label
    titles = {
        "all": "All {} frames with a polyp, worst first",
        "worst": f"{{}} worst by {label}",
        "miss": "{} further missed polyps",
        "median": "{} in the middle",
        "best": f"{{}} best by {label}",
        "alarm": "{} false alarms: frames without a polyp, prediction not empty",
    }
    sheets: list[tuple[str, list[FrameRow]]] = []
    seen: set[FrameRow] = set()
    for kind, title in titles.items():
        members = [frame for frame in kinds[kind] if frame not in seen]
        cut = f" (here the {MOST} largest)" if len(members) > MOST else ""
        seen.update(members[:MOST])
        if members:
            sheets.append((title.format(len(members)) + cut, members[:MOST]))
    return sheets


def _shot(frame: FrameRow, picture: FramePicture, kinds: dict[str, list[FrameRow]]) -> Shot:
    score = frame.scores.get(registry.MAIN)
    size = size_class(frame.polyp_pixels) if frame.polyp_pixels else "none"
    mine = " ".join(kind for kind, members in kinds.items() if frame in members and kind != "all")
    return Shot(
        picture,
        frame.name,
        verdict=verdict(frame),
        about=f"polyp {percent(frame.share, 1)}, {size}" if frame.polyp_pixels else "no polyp",
        more=more(frame),
        facts={"kind": mine, "size": size},
        score=score,
    )


def verdict(frame: FrameRow) -> str:
    """What the prediction of a frame is worth, in a word or two."""
    main = registry.get(registry.MAIN)
    score = frame.scores.get(main.name)
    if score is None:
        return "false alarm" if frame.predicted_pixels else "rightly empty"
    return "missed" if score == 0 else f"{main.label} {main.text(score)}"


def more(frame: FrameRow) -> str:
    """All that is known of a frame."""
    metrics = [metric for metric in registry.shown("caption") if metric.name in frame.scores]
    words = [f"{metric.label} {metric.text(frame.scores[metric.name])}" for metric in metrics]
    words += [f"{frame.size[0]} x {frame.size[1]} pixels, {frame.predicted_pixels} predicted as polyp"]
    words += [f"group {frame.group}"] if frame.group else []
    words += [f"tags: {frame.tags}"] if frame.tags else []
    words += [frame.polyps_told] if frame.polyps_told else []
    return "; ".join(words)
