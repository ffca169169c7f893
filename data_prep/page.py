"""audit.html: the audit to look at. One self-contained file, no network; the layout is page.html."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from statistics import median
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from data_prep.findings import Finding
from data_prep.progress import in_parallel
from data_prep.splits import SPLITS
from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.errors import shortened

if TYPE_CHECKING:
    from data_prep.audit import Record
    from data_prep.prepare import Prepared

SHEET = 60  # thumbnails of the contact sheet
SUSPECTS = 60  # thumbnails beside the findings
WIDTH = 220  # of a thumbnail, pixels
OUTLINE = (80, 255, 120)


def render(prepared: Prepared) -> str:
    """The page as HTML."""
    chosen = _evenly(prepared.records, SHEET)
    suspects = _suspects(prepared)
    shown = list({record.name: record for record in [*chosen, *suspects]}.values())
    pictures = dict(zip((r.name for r in shown), in_parallel(_thumbnail, shown, "contact sheet"), strict=True))

    def figures(records: Iterable[Record]) -> str:
        return "".join(_figure(record, prepared.split_of[record.name], pictures[record.name]) for record in records)

    settings = ", ".join(f"{k} {_words(v)}" for k, v in prepared.split.items() if k not in ("name", "warning"))
    leak = prepared.warning
    alarm = f'<div class="card alarm"><b>This split leaks.</b> {escape(leak)}.</div>' if leak else ""
    template = Template(resources.files("data_prep").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(prepared.name),
        lead=f"{len(prepared.records)} images, split {prepared.plan.name} ({escape(settings)}), polyp {__version__}",
        alarm=alarm,
        split=_split_table(prepared),
        findings=_findings_table(prepared.findings),
        charts=_charts(prepared.records),
        suspects=f'<h2>Images of the findings</h2><div class="sheet">{figures(suspects)}</div>' if suspects else "",
        sheet_lead=f"{len(chosen)} of {len(prepared.records)} images, chosen evenly; the line is the mask's outline.",
        sheet=figures(chosen),
    )


def _words(value: object) -> str:
    return " / ".join(f"{item:g}" for item in value) if isinstance(value, list) else f"{value}"


def _evenly(records: Sequence[Record], count: int) -> list[Record]:
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in places]


def _suspects(prepared: Prepared) -> list[Record]:
    """Images of warnings and duplicates, pair by pair, up to `SUSPECTS`; not of a torn group, which is a whole part."""
    by_name = {record.name: record for record in prepared.records}
    telling = [f for f in prepared.findings if f.severity == "warning" and f.code != "torn-group"]
    telling += [f for f in prepared.findings if f.code == "near-duplicate" and len(f.names) == 2]
    names = dict.fromkeys(name for finding in telling for name in finding.names if name in by_name)
    return [by_name[name] for name in list(names)[:SUSPECTS]]


def _thumbnail(record: Record) -> str:
    """A small JPEG of the image with the mask's outline, as a data URI."""
    import cv2

    image, mask = files.read_rgb(record.pair.image, upright=record.turned), files.read_mask(record.pair.mask)
    scale = WIDTH / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    polyp = (cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 95).astype(np.uint8)
    outline, _ = cv2.findContours(polyp, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(small, outline, -1, OUTLINE, 2)
    encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _figure(record: Record, split: str, picture: str) -> str:
    name, (width, height) = escape(record.name), record.size
    caption = f"{name}<br>{split}, {width} x {height}, polyp {record.polyp_area:.1%}"
    return f'<figure><img src="{picture}" alt="{name}" loading="lazy"><figcaption>{caption}</figcaption></figure>'


def _split_table(prepared: Prepared) -> str:
    rows = []
    for split in SPLITS:
        records = prepared.in_split(split)
        figures = ["0", "0", "", "", ""]
        if records:
            figures = [
                str(len(records)),
                str(len({record.pair.group for record in records})),
                f"{median(r.polyp_area for r in records):.1%}",
                f"{median(r.brightness for r in records):.0f}",
                f"{sum(r.polyp_area == 0 for r in records)}",
            ]
        share = f"{len(records) / len(prepared.records):.1%}"
        cells = "".join(f'<td class="n">{cell}</td>' for cell in [figures[0], share, *figures[1:]])
        rows.append(f"<tr><td>{split}</td>{cells}</tr>")
    heads = ("images", "share", "groups", "median polyp area", "median brightness", "without polyp")
    head = "".join(f'<th class="n">{text}</th>' for text in heads)
    return f"<table><tr><th>split</th>{head}</tr>{''.join(rows)}</table>"


def _findings_table(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>Nothing amiss.</p>"
    rows = "".join(
        f'<tr><td class="tag {f.severity}">{f.severity}</td><td class="tag">{escape(f.code)}</td>'
        f"<td>{escape(f.message)}{_files(f)}</td><td>{escape(f.action)}</td></tr>"
        for f in findings
    )
    head = "<tr><th>severity</th><th>code</th><th>what</th><th>done about it</th></tr>"
    return f'<table class="findings">{head}{rows}</table>'


def _files(finding: Finding) -> str:
    if all(file in finding.message for file in finding.files):
        return ""
    return f'<div class="files">{escape(shortened(finding.files, 6))}</div>'


def _charts(records: Sequence[Record]) -> str:
    return "".join(
        (
            _histogram([100 * r.polyp_area for r in records], "polyp area, % of the image"),
            _histogram([min(r.size) for r in records], "shorter side, pixels"),
            _histogram([max(r.size) / min(r.size) for r in records], "longer side / shorter side"),
            _histogram([r.brightness for r in records], "brightness, mean grey of 0 to 255"),
        )
    )


def _histogram(values: Sequence[float], title: str, bins: int = 24) -> str:
    """An inline SVG; the caption gives range and median, so that it can be read without the picture."""
    low, high = min(values), max(values)
    counts, _ = np.histogram(values, bins, range=(low, high) if high > low else (low - 0.5, high + 0.5))
    width, height, base = 300, 120, 100
    step = width / bins
    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{base - 90 * n / counts.max():.1f}" '
        f'width="{step - 1:.1f}" height="{90 * n / counts.max():.1f}"><title>{n}</title></rect>'
        for i, n in enumerate(counts)
        if n
    )
    foot = height - 4
    ends = f'<text x="0" y="{foot}">{low:.4g}</text><text x="{width}" y="{foot}" text-anchor="end">{high:.4g}</text>'
    label = f"{title}: {low:.4g} to {high:.4g}, median {median(values):.4g}"
    return (
        f'<figure class="card"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{bars}'
        f'<line x1="0" y1="{base}" x2="{width}" y2="{base}"/>{ends}</svg>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )
