"""audit.html: a prepared data set, to look at: split, findings, what the images are like, and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from polyp_monai import __version__
from polyp_monai.data import files
from polyp_monai.errors import PolypError, summary
from polyp_monai.report import charts, pictures
from polyp_monai.report.parts import (
    Card,
    Fact,
    Filter,
    Findings,
    Gallery,
    Page,
    Remark,
    Section,
    Sheet,
    Shot,
    Table,
    Tile,
    percent,
)
from polyp_monai.report.render import render

SHEET = 60  # pictures of the contact sheet
SUSPECTS = 60  # pictures of the findings
NAMED = 6  # files that a finding names
CHARACTERS = 16_000  # at most of a picture

Image = Mapping[str, Any]  # an entry of "images" in audit.json


def write(folder: str | Path) -> Path:
    """Write FOLDER/audit.html out of FOLDER/audit.json and the images and masks that it names; return its path.

    Raises:
        PolypError: the folder holds no audit of `polyp prepare`, or a broken one.
    """
    path = Path(folder) / "audit.json"
    if not path.is_file():
        raise PolypError(f"{path}: no such file; FOLDER is one that `polyp prepare` wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        page = _page(content, Path(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PolypError(f"{path}: not an audit of this version ({summary(error)}); prepare the set again") from error
    files.write_text(path.with_suffix(".html"), render(page))
    return path.with_suffix(".html")


def _page(content: Mapping[str, Any], folder: Path) -> Page:
    images, findings, protocol = content["images"], content["findings"], content["protocol"]
    settings = ", ".join(f"{key} {_words(value)}" for key, value in protocol.items() if key not in ("name", "warning"))
    warning = protocol.get("warning")
    sheet = f"{min(SHEET, len(images))} of {len(images)} frames, chosen evenly"
    return Page(
        title=f"Audit of {content['name']}",
        heading=f"Audit of {content['name']}",
        lead=f"{len(images)} frames, protocol {protocol['name']} ({settings}), polyp {__version__}",
        flag="leaks" if warning else "",
        alarm=Fact("This protocol leaks.", f"{warning}.") if warning else None,
        tiles=_tiles(images, findings),
        sections=[
            Section("Split", [Card(table=_split(images, list(content["counts"])))]),
            Section("Classes", _classes(images, content.get("classes") or [], list(content["counts"]))),
            Section("Findings", [_findings(findings)]),
            Section("What the frames are like", _charts(images)),
            Section("Gallery", [_gallery(images, findings, sheet, folder)], "The line is the outline of the mask."),
        ],
    )


def _words(value: object) -> str:
    return " / ".join(f"{item:g}" for item in value) if isinstance(value, list) else f"{value}"


def _tiles(images: Sequence[Image], findings: Sequence[Mapping[str, Any]]) -> list[Tile]:
    negatives = sum(not image["polyp_area"] for image in images)
    groups = len({image["group"] for image in images})
    left_out = {file for finding in findings if finding["severity"] == "error" for file in finding["files"]}
    warned = {name for finding in findings if finding["severity"] == "warning" for name in finding["names"]}
    tiles = [
        Tile("frames", str(len(images)), f"of {groups} groups"),
        Tile("with a polyp", str(len(images) - negatives), f"{negatives} negative"),
        Tile("frames with a warning", str(len(warned)), "see the findings"),
    ]
    return tiles + ([Tile("files left out", str(len(left_out)), "they cannot be used")] if left_out else [])


def _split(images: Sequence[Image], splits: Sequence[str]) -> Table:
    rows = []
    for split in splits:
        members = [image for image in images if image["split"] == split]
        row = [split, len(members), percent(len(members) / len(images), 1), len({image["group"] for image in members})]
        if members:
            row += [percent(median(image["polyp_area"] for image in members), 1)]
            row += [f"{median(image['brightness'] for image in members):.0f}"]
        else:
            row += ["", ""]
        rows.append([*row, sum(not image["polyp_area"] for image in members)])
    heads = ("split", "frames", "share", "groups", "median polyp area", "median brightness", "without a polyp")
    return Table(heads, rows)


def _classes(images: Sequence[Image], classes: Sequence[str], splits: Sequence[str]) -> list[Card]:
    """Frames and polyps of each class in each split; of a set without classes nothing."""
    rows = []
    for name in classes:
        shown = [image for image in images if name in image["classes"]]
        areas = [image["classes"][name]["area"] for image in shown]
        polyps = sum(image["classes"][name]["polyps"] for image in shown)
        row = [name, len(shown), polyps, percent(median(areas), 1) if areas else ""]
        rows.append([*row, *(sum(image["split"] == split for image in shown) for split in splits)])
    heads = ("class", "frames", "polyps", "median area", *(f"frames in {split}" for split in splits))
    return [Card(table=Table(heads, rows))] if rows else []


def _findings(findings: Sequence[Mapping[str, Any]]) -> Findings:
    return Findings(
        [Remark(f["severity"], f["code"].replace("-", " "), f["message"], _files(f), f["action"]) for f in findings]
    )


def _files(finding: Mapping[str, Any]) -> str:
    """The first files of a finding, but for those that its message names."""
    paths = finding["files"]
    if all(file in finding["message"] for file in paths):
        return ""
    rest = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + rest


def _charts(images: Sequence[Image]) -> list[charts.Chart]:
    measured = {
        "Polyp area": ("% of the frame", [100 * image["polyp_area"] for image in images]),
        "Size": ("shorter side, pixels", [min(image["size"]) for image in images]),
        "Shape": ("longer side / shorter side", [max(image["size"]) / min(image["size"]) for image in images]),
        "Brightness": ("mean grey of 0 to 255", [image["brightness"] for image in images]),
    }
    return [
        charts.histogram(title, values, charts.Axis.over(label, values)) for title, (label, values) in measured.items()
    ]


def _gallery(images: Sequence[Image], findings: Sequence[Mapping[str, Any]], title: str, folder: Path) -> Gallery:
    """The frames of the findings, and beside them frames of the whole set, chosen evenly."""
    codes = _codes(findings)
    suspects = [image for image in images if image["name"] in codes]
    suspects.sort(key=lambda image: list(codes).index(image["name"]))
    suspects = suspects[:SUSPECTS]
    chosen = _evenly(images, SHEET)
    shown = list({image["name"]: image for image in [*suspects, *chosen]}.values())
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter's lock
        drawn = list(pool.map(lambda image: _shot(image, codes.get(image["name"], []), folder), shown))
    shots = {image["name"]: shot for image, shot in zip(shown, drawn, strict=True)}
    sheets = [Sheet(f"{len(suspects)} frames of the findings", [shots[image["name"]] for image in suspects])]
    sheets += [Sheet(title, [shots[image["name"]] for image in chosen])]
    splits = dict.fromkeys(image["split"] for image in images)
    found = dict.fromkeys(code for names in codes.values() for code in names)
    filters = [Filter("split", "split", {"": "all"} | {split: split for split in splits})]
    if found:
        filters.append(Filter("finding", "finding", {"": "any or none"} | {c: c.replace("-", " ") for c in found}))
    return Gallery([sheet for sheet in sheets if sheet.shots], ("truth",), filters)


def _codes(findings: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Name -> codes of what is worth a look, in the order of the findings: warnings and pairs of look-alikes; but for
    torn groups, which are a whole split."""
    worth = [f for f in findings if f["severity"] == "warning" and f["code"] not in ("torn-group", "no-polyp")]
    worth += [f for f in findings if f["code"] == "near-duplicate" and len(f["names"]) == 2 and f not in worth]
    codes: dict[str, list[str]] = {}
    for finding in worth:
        for name in finding["names"]:
            codes.setdefault(name, [])
            if finding["code"] not in codes[name]:
                codes[name].append(finding["code"])
    return codes


def _evenly(images: Sequence[Image], count: int) -> list[Image]:
    if len(images) <= count:
        return list(images)
    return [images[round(i * (len(images) - 1) / (count - 1))] for i in range(count)]


def _shot(image: Image, codes: Sequence[str], folder: Path) -> Shot:
    paths = {"image": folder / image["image"], "truth": folder / image["label"]}
    width, height = image["size"]
    area = image["polyp_area"]
    more = [f"group {image['group']}", f"brightness {image['brightness']:.0f}", *(c.replace("-", " ") for c in codes)]
    return Shot(
        pictures.draw(paths, CHARACTERS, wanted=("image", "truth")),
        image["name"],
        verdict=image["split"],
        about=f"{width} x {height}, " + (f"polyp {percent(area, 1)}" if area else "no polyp"),
        more="; ".join(more),
        facts={"split": image["split"], "finding": " ".join(codes)},
    )
