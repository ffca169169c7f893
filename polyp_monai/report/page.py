"""report.html: what a run reached, to look at. One self-contained file, no network; the layout is page.html."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.errors import PolypError, summary
from polyp_monai.report import charts, tables
from polyp_monai.report.curves import curves
from polyp_monai.report.gallery import gallery
from polyp_monai.report.pictures import Drawer
from polyp_monai.report.run import FrameRow, read


def write(run: str | Path) -> Path:
    """Write RUN/report.html out of RUN/summary.json, RUN/frames.csv and the pictures that it names; return its path.

    Figures that were not measured are left out; where a picture cannot be read the gallery says so.

    Raises:
        PolypError: the folder is no run, or a file of it is broken.
    """
    run = Path(run)
    content, frames = read(run)
    try:
        figures = _figures(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolypError(f"{run / 'summary.json'}: not as a run's summary is ({summary(error)})") from error
    about = content.get("run") or {}
    draw = Drawer(about.get("threshold") or 0.5, bool(about.get("normalize")))
    template = Template(resources.files("polyp_monai.report").joinpath("page.html").read_text(encoding="utf-8"))
    page = template.substitute(figures, spread=_spread(frames), gallery=gallery(frames, draw))
    files.write_text(run / "report.html", page)
    return run / "report.html"


def _figures(content: dict[str, Any]) -> dict[str, str]:
    """All that the template wants of summary.json."""
    about = content.get("run") or {}
    name = " on ".join(Path(str(about[key])).name for key in ("bundle", "dataset") if about.get(key)) or "a run"
    lead = (
        f"{content['frames']} frames" if "frames" in content else "",
        about.get("split"),
        about.get("created"),
        f"polyp {__version__}",
    )
    leaked = bool((content.get("leakage") or {}).get("leaked"))
    sections = {
        "What was run": tables.what_was_run(content),
        "Figures": tables.all_means(content) + tables.pranet(content),
        "Three figures of one name": tables.families(content),
        "Polyps": tables.lesions(content),
        "Subsets, leakage and risk": tables.subsets(content) + tables.leakage(content) + tables.risk(content),
    }
    return {
        "name": escape(name),
        "lead": escape(", ".join(str(word) for word in lead if word)),
        "leaked": '<mark class="leaked">leaked</mark>' if leaked else "",
        "alarm": f'<div class="card alarm"><b>Leaked.</b> {escape(tables.leak(content))}</div>' if leaked else "",
        "headline": tables.headline(content),
        "basis": escape(tables.basis(content)),
        "sections": "".join(
            f'<h2>{title}</h2><div class="cards">{body}</div>' for title, body in sections.items() if body
        ),
        "curves": curves(content),
    }


def _spread(frames: Sequence[FrameRow]) -> str:
    """How Dice is spread over the frames."""
    scored = [frame for frame in frames if "dice" in frame.figures]
    if not scored:
        return ""
    dice = [frame.figures["dice"] for frame in scored]
    return charts.dice_histogram(dice) + charts.dice_by_share([frame.share for frame in scored], dice)
