"""The frames to look at: which ones, in which order, and their captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape

from polyp_monai.metrics.lesions import size_class
from polyp_monai.report.pictures import Drawer
from polyp_monai.report.run import FrameRow
from polyp_monai.report.tables import label, percent, show

WORST, MIDDLE, BEST = 24, 12, 12  # up to their sum, all frames are shown in one row
MOST = 1000  # misses or false alarms that are shown, the largest first
ALL = 12_000_000  # characters that the pictures of a page may take together
LARGE, SMALL = 60_000, 30_000  # characters at most of a picture among the worst, and of another

Section = tuple[str, Sequence[FrameRow]]


def gallery(frames: Sequence[FrameRow], draw: Drawer) -> str:
    """Sections of figures; every frame stands in the first section that wants it, and answers to all its kinds."""
    kinds = _kinds(frames)
    sections = _sections(kinds)
    shown = [frame for _, members in sections for frame in members]
    large = set(kinds["all"] or kinds["worst"])
    small = min(SMALL, (ALL - LARGE * len(large)) // max(1, len(shown) - len(large)))
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter's lock
        pictures = pool.map(lambda frame: draw(frame, LARGE if frame in large else small), shown)
        figures = {frame: _figure(frame, picture, kinds) for frame, picture in zip(shown, pictures, strict=True)}
    return "".join(
        f'<section class="sheet{" large" if members[0] in large else ""}"><h3>{escape(title)}</h3>'
        f"{''.join(figures[frame] for frame in members)}</section>"
        for title, members in sections
    )


def _kinds(frames: Iterable[FrameRow]) -> dict[str, list[FrameRow]]:
    """The frames of each kind; of two with one Dice, that with the larger polyp is the worse."""
    ranked = sorted((f for f in frames if "dice" in f.figures), key=lambda f: (f.figures["dice"], -f.share, f.name))
    start = max(0, (len(ranked) - MIDDLE) // 2)
    alarms = [frame for frame in frames if not frame.polyp_pixels and frame.predicted_pixels]
    return {
        "all": ranked if len(ranked) <= WORST + MIDDLE + BEST else [],
        "worst": ranked[:WORST],
        "miss": [frame for frame in ranked if frame.figures["dice"] == 0],
        "median": ranked[start : start + MIDDLE],
        "best": ranked[: -BEST - 1 : -1],
        "alarm": sorted(alarms, key=lambda f: (-f.predicted_pixels, f.name)),
    }


def _sections(kinds: dict[str, list[FrameRow]]) -> list[Section]:
    """Title and frames; none stands in two sections."""
    titles = {
        "all": "All {} frames with a polyp, worst first",
        "worst": "{} worst by Dice",
        "miss": "{} further missed polyps",
        "median": "{} in the middle",
        "best": "{} best by Dice",
        "alarm": "{} false alarms: frames without a polyp, prediction not empty",
    }
    sections: list[Section] = []
    seen: set[FrameRow] = set()
    for kind, title in titles.items():
        members = [frame for frame in kinds[kind] if frame not in seen]
        cut = f" (here the {MOST} largest)" if len(members) > MOST else ""
        seen.update(members[:MOST])
        if members:
            sections.append((title.format(len(members)) + cut, members[:MOST]))
    return sections


def _figure(frame: FrameRow, picture: str, kinds: dict[str, list[FrameRow]]) -> str:
    name, dice = escape(frame.name), frame.figures.get("dice")
    mine = " ".join(kind for kind, members in kinds.items() if frame in members and kind != "all")
    size = size_class(frame.polyp_pixels) if frame.polyp_pixels else "none"
    verdict = "false alarm" if dice is None else "missed" if dice == 0 else f"Dice {show(dice)}"
    area = f"polyp {percent(frame.share, 1)}, {size}" if frame.polyp_pixels else "no polyp"
    more = [f"{label(key)} {show(value)}" for key, value in frame.figures.items()]
    more += [f"{frame.size[0]} x {frame.size[1]} pixels, {frame.predicted_pixels} predicted as polyp"]
    more += [f"group {frame.group}"] if frame.group else []
    more += [f"tags: {frame.tags}"] if frame.tags else []
    return (
        f'<figure class="shot" data-kinds="{mine}" data-size="{size}" data-dice="{"" if dice is None else dice}">'
        f'<button type="button" class="picture" aria-label="Enlarge {name}">{picture}</button>'
        f"<figcaption><b>{verdict}</b> {name}<br>{area}"
        f'<span class="more">{escape("; ".join(more))}</span></figcaption></figure>'
    )
