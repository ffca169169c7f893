"""The pipeline of `polyp prepare`: pairs -> audit -> split -> images, masks, audit pages, data list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from data_prep import audit, splits
from data_prep.findings import SEVERITIES, Finding
from data_prep.output import OutputFolder, place
from data_prep.pair import Pair
from data_prep.progress import in_parallel
from polyp_monai import __version__
from polyp_monai.data import SPLITS, files
from polyp_monai.errors import PolypError, shortened

LISTED = 50  # findings that a refusal prints


class RefusedError(PolypError):
    """Pairs that cannot be used. `findings` are all of them; the text is one line."""

    def __init__(self, message: str, findings: Sequence[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


@dataclass(frozen=True)
class Prepared:
    """What one data set became: all that the list, the audit and the summary say."""

    name: str
    plan: splits.Plan
    records: list[audit.Record]  # in the order of the data set
    split_of: dict[str, str]  # name -> split
    findings: list[Finding]  # errors first
    sources: dict[str, str]  # name -> the image's path as the source names it

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the masks tell apart; none of plain masks."""
        return next((record.pair.coding.names for record in self.records if record.pair.coding), ())

    def in_split(self, split: str) -> list[audit.Record]:
        return [record for record in self.records if self.split_of[record.name] == split]

    @property
    def warning(self) -> str | None:
        """What is wrong with the split itself."""
        return next((finding.message for finding in self.findings if finding.code == "torn-group"), None)

    @property
    def protocol(self) -> dict[str, Any]:
        return self.plan.described() | ({"warning": self.warning} if self.warning else {})


def examine(
    name: str,
    pairs: Sequence[Pair],
    findings: Sequence[Finding],
    plan: splits.Plan,
    published: dict[str, str] | None = None,
    skip_bad: bool = False,
    keep_inverted: bool = False,
) -> Prepared:
    """Read every pair, find what is wrong and split what is good. Writes nothing.

    Raises:
        RefusedError: a pair cannot be used and `skip_bad` is false; a mask that seems inverted can, if `keep_inverted`.
        PolypError: nothing is left, or it cannot be split as planned.
    """
    base = _common_folder(pairs, findings)

    def relative(path: str | Path) -> str:
        return Path(path).relative_to(base).as_posix() if Path(path).is_relative_to(base) else str(path)

    seen = in_parallel(partial(audit.inspect, keep_inverted=keep_inverted), pairs, "reading")
    records = [item for item in seen if isinstance(item, audit.Record)]
    findings = [*findings, *(item for item in seen if isinstance(item, Finding))]
    findings = [replace(finding, files=tuple(map(relative, finding.files))) for finding in findings]
    bad = [finding for finding in findings if finding.severity == "error"]
    if bad and not skip_bad:
        raise RefusedError(_refusal(bad), bad)
    if not records:
        raise PolypError(f"{name}: no usable pair of image and mask is left")
    alike = audit.bonds(records)
    audit.check_negatives(records, alike, relative)
    groups = {record.name: record.pair.group for record in records}
    shown = {record.name: record.classes for record in records}
    split_of = splits.assign(plan, groups, [(bond.first, bond.second) for bond in alike], published, shown)
    findings += audit.findings_of(records, relative)
    findings += audit.findings_of_split(records, alike, split_of, fixed=published is not None)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Prepared(name, plan, records, split_of, findings, {r.name: relative(r.pair.image) for r in records})


def _refusal(bad: Sequence[Finding]) -> str:
    kinds = Counter(finding.code for finding in bad)
    kinds_text = ", ".join(f"{code} {count}" for code, count in sorted(kinds.items()))
    paths = shortened([", ".join(finding.files) for finding in bad], 3)
    return f"{len(bad)} bad files or pairs ({kinds_text}): {paths}; mend them, or leave them out with --skip-bad"


def _common_folder(pairs: Sequence[Pair], findings: Sequence[Finding]) -> Path:
    """The folder that holds all images and masks; files are named relative to it."""
    paths = [path for pair in pairs for path in pair.paths]
    paths += [Path(file) for finding in findings for file in finding.files if os.path.isabs(file)]
    return Path(os.path.commonpath({file.parent.absolute() for file in paths})) if paths else Path()


def entry(prepared: Prepared, record: audit.Record) -> dict[str, Any]:
    """One sample of the data list."""
    pair = record.pair
    tags = [*pair.tags, *record.classes]
    suffix = ".png" if _needs_png(record) else files.suffix_of(pair.image)
    return {
        "image": f"images/{pair.name}{suffix}",
        "label": f"masks/{pair.name}{'.nii.gz' if suffix in files.NIFTI_SUFFIXES and not pair.coding else '.png'}",
        "name": pair.name,
        "group": pair.group,
        "size": list(record.size),
        "polyp_area": record.polyp_area,
        "source": prepared.sources[pair.name],
        "tags": tags,
    }


def _needs_png(record: audit.Record) -> bool:
    """MONAI's readers fail on WebP, on HEIC and on what Pillow refuses, as the publisher's images of CVC-ClinicDB.

    DICOM would bring its patient along.

    An EXIF orientation, which some programs apply and others do not, would part the image from its mask.
    """
    rare = files.suffix_of(record.pair.image) in (".webp", *files.HEIF_SUFFIXES)
    return rare or record.mode in (audit.REFUSED_BY_PILLOW, audit.DICOM) or record.orientation != 1


def data_list(prepared: Prepared) -> dict[str, Any]:
    """MONAI's data list with its provenance; the same for the same input, byte by byte."""
    head = {"name": prepared.name, "protocol": prepared.protocol, "created_by": {"polyp_monai": __version__}}
    head |= {"classes": list(prepared.classes)} if prepared.classes else {}
    return head | {split: [entry(prepared, record) for record in prepared.in_split(split)] for split in SPLITS}


def report(prepared: Prepared) -> dict[str, Any]:
    """audit.json: counts, findings, and of every image its files here and what was measured."""
    paths = {sample["name"]: sample for split in SPLITS for sample in data_list(prepared)[split]}
    return {
        "name": prepared.name,
        "created_by": {"polyp_monai": __version__},
        "protocol": prepared.protocol,
        **({"classes": list(prepared.classes)} if prepared.classes else {}),
        "counts": {split: len(prepared.in_split(split)) for split in SPLITS},
        "severities": {s: sum(f.severity == s for f in prepared.findings) for s in SEVERITIES},
        "findings": [asdict(finding) for finding in prepared.findings],
        "images": [
            {
                "name": record.name,
                "image": paths[record.name]["image"],
                "label": paths[record.name]["label"],
                "split": prepared.split_of[record.name],
                "group": record.pair.group,
                "size": list(record.size),
                "mode": record.mode,
                "brightness": record.brightness,
                "polyp_area": record.polyp_area,
                "mask_other_pixels": record.mask_other,
                "mask_other_share": round(record.mask_other / (record.size[0] * record.size[1]), 6),
                **_classes(record),
            }
            for record in prepared.records
        ],
    }


def _classes(record: audit.Record) -> dict[str, Any]:
    """What of each class a coded mask shows; nothing of a plain one."""
    if not record.pair.coding:
        return {}
    return {"classes": {name: seen._asdict() for name, seen in record.classes.items()}}


def write(prepared: Prepared, output: OutputFolder, draw: Callable[[Path], object]) -> bool:
    """Write images, masks, audit.json, audit.html and, last, datalist.json; False when just these are there already.

    `draw` writes a folder's audit.html out of its audit.json, images and masks.

    Raises:
        PolypError: something else is there, which may not be replaced.
    """
    listed = data_list(prepared)
    entries = {sample["name"]: sample for split in SPLITS for sample in listed[split]}
    paths = {sample[key] for sample in entries.values() for key in ("image", "label")} | {"audit.json", "audit.html"}

    def is_whole(record: audit.Record) -> bool:  # a mask may have been corrected by hand, and not emptied
        image, label = (output.path / entries[record.name][key] for key in ("image", "label"))
        try:
            mask = files.read_indices(label) if record.pair.coding else files.read_mask(label)
            files.read_rgb(image)
        except PolypError:
            return False
        return bool(mask.any()) or not record.polyp_area

    if output.holds(paths, listed, lambda: all(in_parallel(is_whole, prepared.records, "checking"))):
        return False

    with output.writing(paths, listed) as folder:

        def write_pair(record: audit.Record) -> None:
            image, label = (folder / entries[record.name][key] for key in ("image", "label"))
            if _needs_png(record):
                files.write_png(image, files.read_rgb(record.pair.image, upright=record.turned))
            else:
                place(record.pair.image, image)
            like = files.read_picture(record.pair.image) if files.suffix_of(label) in files.NIFTI_SUFFIXES else None
            mask = record.pair.read_mask()
            files.write_indices(label, mask) if record.pair.coding else files.write_mask(label, mask, like)

        in_parallel(write_pair, prepared.records, "writing")
        files.write_json(folder / "audit.json", report(prepared))
        draw(folder)
    return True
