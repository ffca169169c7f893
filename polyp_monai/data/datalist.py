"""Which samples: the splits of a prepared data list, and the frames a prediction is asked for."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, reduce
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from polyp_monai.data import ALL, SPLITS, classes, dicom, files, folds, outputs, predicted, remote, search, texts
from polyp_monai.data.listing import DiskSet, Listed, Listing
from polyp_monai.errors import PolypError, counted

LIST = "datalist.json"
PNG = "png"  # of --dicom-out: the mask alone
LONGEST_NAME = 255  # bytes, on every usual file system
KINDS: dict[str, tuple[Any, str]] = {  # of what an entry may say of a frame
    "name": ((str, int), "a text"),
    "group": ((str, int), "a text"),
    "tags": (list, "a list of texts"),
    "polyp_area": ((int, float, type(None)), "a number"),
}


def local(dataset_dir: str | Path) -> Path:
    """A data set's folder, absolute, also by its data list; one at an address as a copy in the cache, up to date.

    Raises:
        PolypError: another file, or an address that cannot be read.
    """
    if remote.is_address(dataset_dir):
        return remote.mirror(str(dataset_dir))
    place = Path(remote.path(str(dataset_dir))).resolve()
    if place.name == LIST and place.is_file():
        return place.parent
    if place.is_file():
        raise PolypError(f"{dataset_dir}: is a file; give the folder of a {LIST}")
    return place


def read(dataset_dir: str | Path) -> dict:
    """The content of `dataset_dir`/datalist.json. Raises PolypError when it is absent or no data list."""
    path = Path(dataset_dir) / LIST
    if Path(dataset_dir).suffix == ".json" and not Path(dataset_dir).exists():
        raise PolypError(f"{dataset_dir}: no such file")
    if not path.is_file():
        raise PolypError(f"{path}: no such file; make it with `polyp prepare SET --source PATH --out {dataset_dir}`")
    return read_list(path)


def read_list(path: str | Path) -> dict:
    """The content of one data list, whatever its name. Raises PolypError as `read`."""
    path = str(path)
    try:
        text = remote.read_bytes(path) if remote.is_address(path) else Path(path).read_bytes()
        content = texts.parse_json(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PolypError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or not any(isinstance(content.get(split), list) for split in SPLITS):
        raise PolypError(f"{path}: not a data list; it has none of the splits {', '.join(SPLITS)}")
    for name in content.keys() - set(SPLITS):
        entries = content[name]
        if isinstance(entries, list) and any(isinstance(entry, dict) and "image" in entry for entry in entries):
            raise PolypError(f"{path}: has a split {name!r}; known are {', '.join(SPLITS)}")
    for name in SPLITS:
        entries = content.get(name) or []
        if not isinstance(entries, list):
            raise PolypError(f"{path}: {name!r} is no list")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                raise PolypError(f"{path}: entry {number} of {name!r} names no image")
            _check_kinds(entry, f"{path}: {entry['image']} in {name!r}")
    _check_kinds({"name": content["name"]} if content.get("name") is not None else {}, str(path))
    classes.of_list(content, path)
    return content


def _check_kinds(entry: dict[str, Any], where: str) -> None:
    for key in entry.keys() & KINDS.keys():
        value, (kind, expected) = entry[key], KINDS[key]
        if not isinstance(value, kind) or (key == "tags" and not all(isinstance(tag, str) for tag in value)):
            raise PolypError(f"{where}: {key} is {value!r}; expected {expected}")


def check_outside(out: str | Path, folders: Iterable[str | Path]) -> None:
    """Raises PolypError where results would be written into a data set."""
    for folder in folders:
        if Path(out).resolve().is_relative_to(Path(folder).resolve()):
            raise PolypError(f"{out}: --out lies in the data set {folder}; give another --out")


def read_split(dataset_dir: str | Path, name: str, fold: str | None = None) -> list[dict]:
    """The samples of one split, or of all, with `image` and `label` as absolute paths that exist, and their `split`.

    With `fold`, "K/N", "validation" is the Kth fold of training and validation together and "training" the others.

    Raises:
        PolypError: no such list, no such split, an empty split, too few groups to fold, or a file that has gone.
    """
    root = Path(dataset_dir).resolve()
    content = read(dataset_dir)
    if name not in (*SPLITS, ALL):
        raise PolypError(f"split {name!r} is unknown; known are {', '.join((*SPLITS, ALL))}")
    if fold is not None:
        entries = [*(content.get("training") or []), *(content.get("validation") or [])]
        content = content | folds.split(entries, fold, str(root / LIST))
    entries = [entry | {"split": p} for p in SPLITS if name in (p, ALL) for entry in content.get(p) or []]
    if not entries:
        filled = ", ".join(p for p in SPLITS if content.get(p)) or "none"
        raise PolypError(f"{root / LIST}: the split {name!r} is empty; filled are: {filled}")
    samples = []
    for entry in entries:
        if not isinstance(entry.get("label"), str):
            raise PolypError(f"{root / LIST}: {entry['image']} in {name!r} has no label")
        sample = {
            **entry,
            "relative": entry["image"],
            "image": str(root / entry["image"]),
            "label": str(root / entry["label"]),
        }
        for key in ("image", "label"):
            if not Path(sample[key]).is_file():
                raise PolypError(f"{sample[key]}: named in {root / LIST} but not there; prepare the set again")
        samples.append(sample)
    return samples


def labelled_frames(
    dataset_dir: str | Path | Sequence[str | Path],
    name: str,
    output_dir: str | Path | None = None,
    fold: str | None = None,
    wanted: Sequence[str] = classes.POLYP,
) -> list[dict]:
    """`read_split` reduced to what engines need: `image`, `label`, `name`, `group`, `tags`, `negative` (no polyp),
    `positive`, `large` (shows one on more than half of it, as its data list says) and `output` (of the written mask).

    Of several folders (for training) the splits follow each other. `fold`: as of `read_split`, of each folder.
    `wanted`: the classes of the model that takes them.

    Raises:
        PolypError: as `read_split`; a folder is given twice; or a frame is listed twice, or would replace a file of the
            data set, whose mask is to be written to `output_dir`; or masks do not know the classes.
    """
    folders = [dataset_dir] if isinstance(dataset_dir, (str, Path)) else dataset_dir
    check_distinct(folders)
    _check_listed_once(folders, name, fold)
    for folder in folders if len(wanted) > 1 else ():
        path = str(Path(folder) / "datalist.json")
        classes.check_known(classes.of_list(read(folder), path), wanted, path)
    samples = [
        {
            "image": s["image"],
            "label": s["label"],
            "name": s.get("name", files.stem_of(s["image"])),
            "group": s.get("group", ""),
            "tags": " ".join(s.get("tags", ())),
            "negative": s.get("polyp_area") == 0,
            "positive": float(s.get("polyp_area") or 0) > 0,
            "large": float(s.get("polyp_area") or 0) > files.INVERTED[0],
            "output": _without_suffix(_below(Path(s["relative"]))).removeprefix("images/"),
        }
        for folder in folders
        for s in read_split(folder, name, fold)
    ]
    if output_dir is not None:
        sources = {os.path.realpath(s[key]) for s in samples for key in ("image", "label")}
        _check_targets(samples, output_dir, sources, set(), otherwise="rename one of them and prepare the set again")
    return samples


def check_distinct(folders: Sequence[str | Path]) -> None:
    """Raises PolypError where one data set is given twice: its frames would count twice."""
    seen: set[str] = set()
    for folder in folders:
        if (place := os.path.realpath(folder)) in seen:
            raise PolypError(f"{folder}: is given twice; name each data set once")
        seen.add(place)


def _check_listed_once(folders: Sequence[str | Path], name: str, fold: str | None) -> None:
    for folder in folders:
        seen: dict[str, str] = {}
        names: dict[str, str] = {}
        for sample in read_split(folder, name, fold):
            image, split = sample["relative"], sample["split"]
            if image in seen:
                where = f"twice in {split!r}" if seen[image] == split else f"in {seen[image]!r} and in {split!r}"
                raise PolypError(f"{Path(folder) / LIST}: {image} is listed {where}; a frame counts once")
            seen[image] = split
            if (called := sample.get("name")) is not None and (other := names.setdefault(called, image)) != image:
                raise PolypError(
                    f"{Path(folder) / LIST}: {other} and {image} have one name, {called}; give each its own"
                )


def check_polyps(samples: Sequence[dict]) -> None:
    """Raises PolypError where no mask of these frames, which shall train, shows a polyp."""
    if not any(files.read_mask(sample["label"]).any() for sample in sorted(samples, key=lambda s: s["negative"])):
        raise PolypError(
            f"none of the {counted(len(samples), 'training frame')} shows a polyp, such as {samples[0]['label']}; a "
            "network learns from frames with one"
        )


def digest(*splits: Sequence[dict]) -> str:
    """sha256, hex, of which frames the splits of `labelled_frames` hold, wherever their folder lies."""
    about = [[[s[key] for key in ("output", "name", "group", "negative")] for s in samples] for samples in splits]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


class Frames:
    """Samples to predict: `image` (absolute path, or address) and `output` (relative path without suffix, one a frame).

    A sample that cannot be predicted says why in `problem`. `passed_over` are files that are no pictures of a format
    that is read here. The three together, with the frames of other parts and those that are done, are all that the
    inputs name. They lie on disk, however many they are. `burned_in`: DICOM files with text in them.
    """

    def __init__(self, listing: Listing, passed_over: Sequence[str] = (), burned_in: Sequence[Path] = ()) -> None:
        self._listing, self.passed_over, self.burned_in = listing, passed_over, burned_in

    def __len__(self) -> int:
        return len(self._listing)

    def __iter__(self) -> Iterator[dict]:
        for frame in self._listing:
            sample = {"image": frame.path, "output": frame.output}
            yield {**sample, "problem": f"{frame.path}: {frame.problem}"} if frame.problem else sample


def frames(
    inputs: str | Iterable[str],
    output_dir: str | Path,
    overwrite: bool = False,
    probability: bool = False,
    overlay: bool = False,
    skip_existing: bool = False,
    strict: bool = False,
    dicom_out: str = PNG,
    part: str | None = None,
) -> Frames:
    """The frames that a prediction is asked for.

    Args:
        inputs: a file, folder, glob or data list (JSON), or several; addresses too. Folders are searched in depth and
            keep their tree in `output`; names that would meet get as much of their path as tells them apart.
        output_dir: where the masks will go; nothing there is overwritten unless `overwrite`, and then only what an
            earlier prediction wrote; an input never is.
        probability, overlay: whether these files will be written too.
        skip_existing: leave out frames that are done: their mask is in `output_dir`, whole, and one that
            `polyp predict` wrote has its row in the table. `overwrite` does them again.
        strict: whether a file that would be passed over, or a frame with a problem, is an error.
        dicom_out: "seg" or "sr": a DICOM object of this kind will be written too, of each frame that came as DICOM.
        part: "K/N", the K-th of N parts: frame K, K + N, K + 2 N ... of all.

    Raises:
        PolypError: an input that is not there, holds no frame, or whose mask would overwrite a file, or would be taken
            for a frame the next time.
    """
    out = Path(os.path.abspath(output_dir))
    inputs = [str(item) for item in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
    listing, passed_over, burned_in = _gather(inputs, str(out))
    if passed_over and strict:
        raise PolypError(search.passed_over_line(passed_over))
    _tell_apart(listing)
    _mark_problems(listing, probability, overlay, dicom_out)
    every = Frames(listing, passed_over, burned_in)
    if strict and (bad := [sample["problem"] for sample in every if "problem" in sample]):
        raise PolypError(bad[0] + (f"; and {len(bad) - 1} more" if len(bad) > 1 else ""))
    fresh = not out.is_dir() or not any(out.iterdir())
    sources: DiskSet | tuple[()] = () if fresh else _real_paths(listing)
    _check_targets(every, out, sources, DiskSet(), probability, overlay, dicom_out)
    _check_not_found_again(every, out, inputs, probability, overlay, dicom_out)
    if part is not None:
        number, parts = predicted.part_of(part)
        listing.keep(lambda frame: (frame.position - number) % parts == 0)
    if not fresh:
        ledger = outputs.Ledger(out, "predict", joined=True)
        resumed = skip_existing and not overwrite
        if resumed:
            done = predicted.Done(ledger)
            listing.keep(lambda frame: bool(frame.problem) or not done.holds(*_results(frame, dicom_out)))
        for sample in every:
            if "problem" not in sample:  # what a run left that was interrupted may go
                ledger.check(targets(sample, probability, overlay, dicom_out), overwrite or resumed)
    return every


def _mark_problems(listing: Listing, probability: bool, overlay: bool, dicom_out: str) -> None:
    """Raises PolypError when there is no frame that a DICOM object can be written of, and one is asked for."""
    any_dicom = False
    for frame in listing:
        problem = frame.problem or _too_long(frame, probability, overlay, dicom_out)
        if dicom_out != PNG and dicom.holds(frame.path):
            any_dicom = True
            problem = problem or dicom.no_object(frame.path) or ""
        if problem and not frame.problem:
            listing.mark(frame, problem)
    if dicom_out != PNG and not any_dicom:
        raise PolypError(f"--dicom-out {dicom_out}: none of the {counted(len(listing), 'frame')} is DICOM")


def _results(frame: Listed, dicom_out: str) -> list[str]:
    """The mask of a frame, and its DICOM object."""
    return targets({"image": frame.path, "output": frame.output}, dicom_out=dicom_out)


def _real_paths(listing: Listing) -> DiskSet:
    """The files of this machine that the frames are, links followed."""
    real, found = cache(os.path.realpath), DiskSet()
    for frame in listing:
        if remote.is_address(frame.path):
            continue
        folder, name = os.path.split(frame.path)
        found.add(os.path.realpath(frame.path) if os.path.islink(frame.path) else os.path.join(real(folder), name))
    return found


def claim(
    samples: Iterable[dict],
    output_dir: str | Path,
    probability: bool = False,
    overlay: bool = False,
    dicom_out: str = PNG,
    part: str | None = None,
) -> None:
    """Note in the folder's ledger what a prediction is about to write there; each part has a ledger of its own."""
    names = [name for s in samples if "problem" not in s for name in targets(s, probability, overlay, dicom_out)]
    if names:
        outputs.Ledger(output_dir, "predict", predicted.tag(part), joined=not part).claim(names)


def join(output_dir: str | Path) -> None:
    """Put tables and ledgers of all parts into one each."""
    if (ledger := outputs.Ledger(output_dir, "predict", joined=True)).parts:
        predicted.tidy(output_dir)
        ledger.claim(())


def mask_name(image: str, output: str) -> str:
    """The mask of a frame, relative to its folder."""
    return f"{output}{files.mask_suffix(image)}"


def targets(sample: dict, probability: bool = False, overlay: bool = False, dicom_out: str = PNG) -> list[str]:
    """What is written for a sample, relative to its folder; the mask first, a DICOM object last."""
    suffix = files.mask_suffix(sample["image"])
    ends = [suffix, *[f"_probability{suffix}"] * probability, *["_overlay.png"] * overlay]
    if dicom_out != PNG and dicom.holds(sample["image"]):
        ends += [f".{dicom_out}.dcm", *[f"_probability.{dicom_out}.dcm"] * (probability and dicom_out == "seg")]
    return [f"{sample['output']}{end}" for end in ends]


def _gather(inputs: Iterable[str], out: str) -> tuple[Listing, list[str], list[Path]]:
    """Frames, with what to keep of their paths for a name and the problems of those that cannot be read; what is
    passed over; and DICOM files with text in their pixels."""
    listing = Listing()
    passed_over: dict[str, None] = {}
    burned_in: dict[str, None] = {}
    for item in inputs:
        if not item:
            raise PolypError("the name of an input is empty; give a file, a folder or a glob")
        item = remote.absolute(item)
        above = out.startswith(os.path.join(item, ""))  # masks of an earlier run, written below the input folder
        empty, others = True, []
        for entry, below in named(item):
            if above and entry.path.startswith(os.path.join(out, "")):
                continue
            if entry.picture:
                listing.add(entry.path, "" if entry.reason else _without_suffix(below), entry.reason)
                empty = False
            else:
                others.append(entry.path)
            if entry.burned_in:
                burned_in[entry.burned_in] = None
        if empty:
            other = f"; {search.passed_over_line(others)}" if others else ""
            raise PolypError(f"{item}: no frames there; known formats are {', '.join(files.SUFFIXES)}{other}")
        passed_over |= dict.fromkeys(others)
    return listing, list(passed_over), list(map(Path, burned_in))


def _too_long(frame: Listed, probability: bool, overlay: bool, dicom_out: str) -> str:
    for name in targets({"image": frame.path, "output": frame.output}, probability, overlay, dicom_out):
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in name.split("/")):
            last = name.rpartition("/")[2]
            return f"its name is too long for a file {last[:20]}...{last[-20:]}; shorten it"
    return ""


def _check_targets(
    samples: Iterable[dict],
    output_dir: str | Path,
    sources: DiskSet | set[str] | tuple[()],
    claimed: DiskSet | set[str],
    probability: bool = False,
    overlay: bool = False,
    dicom_out: str = PNG,
    otherwise: str = "predict them into two folders",
) -> None:
    """Raises PolypError, with what to do `otherwise`, when what will be written replaces one of `sources` or another
    frame's file.

    `claimed`: empty; the names are put there.
    """
    for sample in samples:
        if "problem" in sample:
            continue
        for name in targets(sample, probability, overlay, dicom_out):
            target = os.path.join(output_dir, name)
            inside = sources and os.path.isfile(os.path.dirname(target))  # of a frame the file that it is in
            if inside or (sources and os.path.realpath(target) in sources):
                raise PolypError(f"{target}: is an input and would be overwritten; give another output folder")
            if name.casefold() in claimed:
                reads = (other for other in samples if _writes(other, name, probability, overlay, dicom_out))
                two = f"{next(reads)['image']} and {sample['image']}"
                raise PolypError(f"{target}: two frames would be written there, {two}; {otherwise}")
            claimed.add(name.casefold())


def _writes(sample: dict, name: str, *kinds: Any) -> bool:
    return "problem" not in sample and name.casefold() in (target.casefold() for target in targets(sample, *kinds))


def _check_not_found_again(
    samples: Iterable[dict], out: Path, inputs: Iterable[str], probability: bool, overlay: bool, dicom_out: str
) -> None:
    """Raises PolypError when an input would find what is written; below a folder of its own it is not looked for."""
    place, risky = out.resolve(), []
    for item in (remote.absolute(item) for item in inputs if not remote.is_address(item)):
        folder = os.path.isdir(item)
        named = Path(item) if folder else Path(*_fixed_parts(Path(item)))
        root, pattern = named.resolve(), ("**",) if folder else Path(item).relative_to(named).parts
        near = root.is_relative_to(place) or (place.is_relative_to(root) and not folder)
        if near and (folder or not os.path.lexists(item)):
            risky.append((item, root, pattern))
    if not risky:
        return
    names = (targets(s, probability, overlay, dicom_out) for s in samples if "problem" not in s)
    for name in chain.from_iterable(names):
        for item, root, pattern in risky:
            target = place / name
            if target.is_relative_to(root) and _matches(target.relative_to(root).parts, pattern):
                raise PolypError(f"{target}: the next run on {item} would take it for a frame; give another --out")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a glob finds a path, both as their pieces."""
    if not pattern or not parts:
        return not parts and all(piece == "**" for piece in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _below(path: Path) -> Path:
    """What an output keeps of a path in a data list: all of it, or the name alone when it leads out of the folder."""
    return Path(path.name) if path.is_absolute() or ".." in path.parts else path


class Matches(NamedTuple):
    """What one input names.

    `frames`: (path, path to keep below an output folder) of each, absolute. `passed_over`: files of no known format.
    `problems`: path -> reason, of those frames that cannot be read; a folder that cannot be listed counts as a frame.
    `burned_in`: DICOM files that say that text is burned into their pixels.
    """

    frames: list[tuple[str, Path]]
    passed_over: list[str]
    problems: dict[str, str]
    burned_in: list[Path]


def find_frames(item: str) -> Matches:
    """`named` as lists."""
    found = Matches([], [], {}, [])
    burned_in: dict[str, None] = {}
    for entry, below in named(item):
        found.frames.append((entry.path, below)) if entry.picture else found.passed_over.append(entry.path)
        if entry.reason:
            found.problems[entry.path] = entry.reason
        if entry.burned_in:
            burned_in[entry.burned_in] = None
    found.burned_in.extend(map(Path, burned_in))
    return found


def named(item: str) -> Iterator[tuple[search.Entry, Path]]:
    """Every file that one input names, sorted, and what an output keeps of its path.

    Args:
        item: a file, folder, glob or data list (JSON), or an address of one, but for a glob; or scan.dcm/3, a frame of
            a DICOM file.

    Raises:
        PolypError: nothing there, or a broken data list.
    """
    item = remote.absolute(item)
    away = remote.is_address(item)
    if remote.is_folder(item) if away else os.path.isdir(item):
        for entry in search.walk(item):
            yield entry, Path(remote.relative(entry.path, item))
    elif item.lower().endswith(".json") and (away or os.path.isfile(item)):
        content, folder = read_list(item), os.path.dirname(item)
        for split in SPLITS:
            for entry in content.get(split) or []:
                path = entry["image"]
                yield search.Entry(remote.absolute(remote.join(folder, path)), True), _below(Path(path))
    elif not away and dicom.holds(item):
        yield from _frames_of_dicom(item)
    elif away or os.path.lexists(item):
        yield search.Entry(item, True), Path(Path(item).name)
    elif glob.has_magic(item):
        root, deep = str(Path(*_fixed_parts(Path(item)))), "**" in item
        for name in sorted(glob.iglob(item, recursive=True), key=lambda name: Path(name).parts):
            if not (deep and os.path.isdir(name)):  # what is in a folder below ** matches by itself
                for entry in search.entries_of(name):
                    yield entry, Path(remote.relative(entry.path, root))
    else:
        raise PolypError(f"{item}: no such file, folder or data list")


def _frames_of_dicom(item: str) -> Iterator[tuple[search.Entry, Path]]:
    """Every frame of a file, or the one of it that `item` names; a file without any says so when it is read."""
    file, number = dicom.source_of(item)
    frames = [entry for entry in search.entries_of(str(file)) if entry.picture] or [search.Entry(str(file), True)]
    for entry in [frames[0]._replace(path=item)] if number is not None else frames:
        yield entry, Path(remote.relative(entry.path, str(file.parent)))


def _fixed_parts(pattern: Path) -> list[str]:
    """The leading folders of a glob that hold no magic."""
    split_of = []
    for piece in pattern.parts[:-1]:
        if glob.has_magic(piece):
            break
        split_of.append(piece)
    return split_of


def _tell_apart(listing: Listing) -> None:
    """One output name a frame. Names that meet are replaced by the path below the folder that all inputs share."""
    if listing.meet():
        folders = (Path(frame.path).parent.parts for frame in listing if not frame.problem)
        shared = len(reduce(_beginning, folders))
        listing.rename(lambda frame: _without_suffix(Path(*Path(frame.path).parts[shared:])))
    if listing.meet():  # a.png and a.jpg of one folder
        listing.rename(lambda frame: frame.output + files.suffix_of(frame.path).replace(".", "_"), among_equals=True)


def _beginning(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What two paths have in common, from their root."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(piece for piece, _ in same)


def _without_suffix(path: Path) -> str:
    return (path.parent / files.stem_of(path)).as_posix()
