"""report.html: what a run reached, to look at. One self-contained file, no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.errors import summary as in_short
from polyp_monai.metrics import registry
from polyp_monai.report import charts, pictures, summary
from polyp_monai.report.classes import classes
from polyp_monai.report.curves import curves
from polyp_monai.report.detection import detection, tiles
from polyp_monai.report.folder import FrameRow, read
from polyp_monai.report.gallery import gallery
from polyp_monai.report.members import members
from polyp_monai.report.parts import Fact, FramePicture, Page, Part, Section
from polyp_monai.report.render import render


def write(run: str | Path) -> Path:
    """Write RUN/report.html out of RUN/summary.json, RUN/frames.csv and the pictures that it names; return its path.

    Metrics that were not measured are left out; where a picture cannot be read the gallery says so.

    Raises:
        PolypError: the folder is no run, or a file of it is broken.
    """
    run = Path(run)
    content, frames = read(run)
    try:
        page = _page(content, _spread(frames))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolypError(f"{run / 'summary.json'}: not as a run's summary is ({in_short(error)})") from error
    shots = gallery(frames, drawer(content))
    page = replace(page, sections=[*page.sections, Section("Gallery", [shots] if shots.sheets else [])])
    files.write_text(run / "report.html", render(page))
    return run / "report.html"


def drawer(content: Mapping[str, Any]) -> Callable[[FrameRow, int], FramePicture]:
    """Draws a frame as the run of this summary saw it: a function of the frame and of the characters it may take."""
    about = content.get("run") or {}
    threshold, normalize = about.get("threshold") or 0.5, bool(about.get("normalize"))

    def draw(frame: FrameRow, characters: int) -> FramePicture:
        return pictures.draw(frame.paths, characters, threshold, normalize)

    return draw


def _page(content: dict[str, Any], spread: Sequence[Part]) -> Page:
    """All but the gallery."""
    about = content.get("run") or {}
    name = _name(about)
    lead = (
        f"{content['frames']} frames" if "frames" in content else "",
        about.get("split"),
        about.get("created"),
        f"polyp {__version__}",
    )
    leaked = bool((content.get("leakage") or {}).get("leaked"))
    sections: dict[str, Sequence[Part]] = {
        "Metrics": [*summary.all_means(content), *summary.pranet(content)],
        "Runs merged": members(content),
        "Three means of one name": summary.families(content),
        "Polyps": summary.lesions(content),
        "Detection": detection(content),
        "Classes": classes(content),
        "Subsets, leakage and promises": [
            *summary.subsets(content),
            *summary.leakage(content),
            *summary.promises(content),
        ],
        "Curves": [*spread, *curves(content)],
        "What was run": summary.what_was_run(content),
    }
    return Page(
        title=f"Report: {name}",
        heading=name,
        lead=", ".join(str(word) for word in lead if word),
        sections=[Section(title, parts) for title, parts in sections.items()],
        flag="leaked" if leaked else "",
        alarm=Fact("Leaked.", summary.leak(content)) if leaked else None,
        tiles=[*summary.headline(content), *tiles(content)],
        basis=summary.basis(content),
    )


def _name(about: dict[str, Any]) -> str:
    """Which bundle on which set, or whose maps against which truth."""
    for first, word, second in (("bundle", "on", "dataset"), ("predictions", "against", "truth")):
        if about.get(first) and about.get(second):
            return f"{Path(str(about[first])).name} {word} {Path(str(about[second])).name}"
    return "a run"


def _spread(frames: Sequence[FrameRow]) -> list[Part]:
    """How the main score is spread over the frames."""
    main = registry.get(registry.MAIN)
    scored = [frame for frame in frames if main.name in frame.scores]
    if not scored:
        return []
    scores = [frame.scores[main.name] for frame in scored]
    shares = [frame.share for frame in scored]
    return [charts.score_histogram(main.label, scores), charts.score_by_share(main.label, shares, scores)]
