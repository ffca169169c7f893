"""Any images and masks: two folders, or one folder where the masks carry a suffix; and images without a polyp."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from data_prep.coding import of_table
from data_prep.findings import KEPT, Finding
from data_prep.matching import images_of, keyed, match, twin_folders
from data_prep.pair import NEGATIVE, Pair
from polyp_monai.data import files
from polyp_monai.errors import PolypError, say, shortened

PROTOCOLS = ("ratio", "kfold")
OPTIONS = ("images", "masks", "mask_suffix", "missing_mask", "negatives", "group_regex", "group_csv", "name", "classes")


def pairs(
    source: Path | None,
    findings: list[Finding],
    images: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str = "",
    missing_mask: str = "error",
    negatives: Path | None = None,
    group_regex: str | None = None,
    group_csv: Path | None = None,
    classes: Path | None = None,
) -> list[Pair]:
    """The pairs of `images` and `masks`, or of images/ and masks/ below `source`, or of `source` with `mask_suffix`;
    and every image of `negatives`, which show no polyp and need no mask.

    Folders are searched with all that is below them; image and mask have the same relative path up to the suffix. An
    image is a group of its own unless `group_regex` (first capture group of the relative path without suffix) or
    `group_csv` (columns name, group) says otherwise.

    An image without a mask is an error, unless `missing_mask` is "empty": then it shows no polyp. `classes`: a table of
    what the colors or numbers in masks mean, see `coding.of_table`.

    Raises:
        PolypError: the folders are not there, no pair is found, or a name has no group.
    """
    named = source or images
    if mask_suffix and not named:
        raise PolypError(f"--mask-suffix {mask_suffix}: there are no masks; give --source, or --images and --masks")
    coding = of_table(classes) if classes else None
    empty = missing_mask == "empty"
    matched = match(*_found(source, images, masks, mask_suffix, findings), findings, empty) if named else []
    matched += _negatives(negatives, {key for key, _, _ in matched}, findings) if negatives else []
    names = _names([key for key, _, _ in matched], findings)
    group_of = _groups({key: names[key] for key, _, _ in matched}, group_regex, group_csv)
    return [
        Pair(names[key], image, mask, group_of(key), () if mask else (NEGATIVE,), coding)
        for key, image, mask in matched
    ]


def _negatives(folder: Path, taken: set[str], findings: list[Finding]) -> list[tuple[str, Path, None]]:
    """(key, image, None) of every image below `folder`; a key that a pair has too gets `negative/` before it."""
    found = _images(folder, findings)
    paths = {path: (path.relative_to(folder).parent / files.stem_of(path)).as_posix() for path in found}
    return [(f"{NEGATIVE}/{key}" if key in taken else key, path, None) for path, key in paths.items()]


def _found(
    source: Path | None, images: Path | None, masks: Path | None, mask_suffix: str, findings: list[Finding]
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Images and masks by key."""

    def masks_of(folder: Path) -> dict[str, list[Path]]:
        found = _images(folder, findings)
        if not any(files.stem_of(path).endswith(mask_suffix) for path in found):
            raise PolypError(f"--mask-suffix {mask_suffix}: no mask in {folder} has a name that ends like this")
        return keyed(found, folder, mask_suffix)

    if images is not None and masks is not None:
        return keyed(_images(images, findings), images), masks_of(masks)
    if source is not None and (twins := twin_folders(source, "images", "masks")):
        if len(twins) > 1:
            places = shortened([twin[0].parent.relative_to(source).as_posix() or "." for twin in twins])
            raise PolypError(f"{source}: images/ and masks/ in {len(twins)} places ({places}); name one with --source")
        images, masks = twins[0]
        return keyed(_images(images, findings), images), masks_of(masks)
    if source is not None and mask_suffix:
        everything = _images(source, findings)
        is_mask = {path: files.stem_of(path).endswith(mask_suffix) for path in everything}
        return (
            keyed((path for path in everything if not is_mask[path]), source),
            keyed((path for path in everything if is_mask[path]), source, mask_suffix),
        )
    raise PolypError(
        f"{source}: no images/ and masks/ folders below it; name them with --images and --masks, say how masks are "
        "named with --mask-suffix, or that no image shows a polyp with --negatives"
    )


def _images(folder: Path, findings: list[Finding]) -> list[Path]:
    before = len(findings)
    found = images_of(folder, findings)
    if not found:
        if bad := [finding for finding in findings[before:] if finding.severity == "error"]:
            raise PolypError(f"{bad[0].files[0]}: {bad[0].message}")
        raise PolypError(f"{folder}: holds no image ({', '.join(files.SUFFIXES)})")
    return found


def _names(keys: list[str], findings: list[Finding]) -> dict[str, str]:
    """A file name for every key: "sub/a" becomes "sub__a"; what would clash, on any file system, gets a number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        name = plain = key.replace("/", "__")
        number = 2
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        if name != plain:
            message = f"{key}: another name differs from it only by case or folder; it becomes {name}"
            findings.append(Finding("name-clash", "warning", (key,), message, KEPT, (name,)))
        taken.add(name.casefold())
        names[key] = name
    return names


def _groups(names: dict[str, str], pattern: str | None, table: Path | None) -> Callable[[str], str]:
    """The group of a key."""
    if pattern is not None and table is not None:
        raise PolypError("--group-regex and --group-csv: give one of them")
    if pattern is not None:
        groups = _groups_by_pattern(list(names), pattern)
    elif table is not None:
        groups = _groups_by_table(names, table)
    else:
        groups = names
    return groups.__getitem__


def _groups_by_pattern(keys: list[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise PolypError(f"--group-regex {pattern!r}: not a regular expression ({error})") from error
    if expression.groups < 1:
        raise PolypError(f"--group-regex {pattern!r}: has no capture group; put the group's part in parentheses")
    found = {key: expression.search(key) for key in keys}
    missed = [key for key, hit in found.items() if not (hit and hit.group(1))]
    if missed:
        raise PolypError(f"--group-regex {pattern!r}: does not match {len(missed)} names: {shortened(missed)}")
    return {key: hit.group(1) for key, hit in found.items() if hit}


def _groups_by_table(names: dict[str, str], table: Path) -> dict[str, str]:
    if not table.is_file():
        raise PolypError(f"{table}: no such file (--group-csv)")
    with table.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = list(reader.fieldnames or [])
            if not {"name", "group"} <= set(columns):
                raise PolypError(f"{table}: needs columns name and group; has {', '.join(columns) or 'none'}")
            if twice := next((name for name in ("name", "group") if columns.count(name) > 1), None):
                raise PolypError(f"{table}: has two columns {twice}; leave one of them")
            rows = [(row["name"] or "", row["group"] or "") for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise PolypError(f"{table}: not a CSV file in UTF-8 ({error})") from error
    known: dict[str, str] = {}
    for name, group in rows:
        key = name if files.suffix_of(name) not in files.SUFFIXES else name[: -len(files.suffix_of(name))]
        if known.setdefault(key, group) != group:
            raise PolypError(f"{table}: {name} is in two groups, {known[key]} and {group}")
    groups = {key: known.get(key) or known.get(name, "") for key, name in names.items()}
    missed = [key for key, group in groups.items() if not group]
    if missed:
        raise PolypError(f"{table}: gives no group for {len(missed)} names: {shortened(missed)}")
    if spare := sorted(known.keys() - names.keys() - set(names.values())):
        say(f"polyp: {table}: gives groups of {len(spare)} names that no frame has: {shortened(spare)}")
    return groups
