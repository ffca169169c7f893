"""Which samples: the splits of a prepared data list, and the frames a prediction is asked for."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from polyp_monai.data import ALL, SPLITS, dicom, files, folds, outputs, search
from polyp_monai.errors import PolypError, counted

PNG = "png"  # of --dicom-out: the mask alone
LONGEST_NAME = 255  # bytes, on every usual file system


def read(dataset_dir: str | Path) -> dict:
    """The content of `dataset_dir`/datalist.json. Raises PolypError when it is absent or no data list."""
    path = Path(dataset_dir) / "datalist.json"
    if not path.is_file():
        raise PolypError(f"{path}: no such file; make it with `polyp prepare SET --source PATH --out {dataset_dir}`")
    return _read_list(path)


def _read_list(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolypError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or not any(isinstance(content.get(split), list) for split in SPLITS):
        raise PolypError(f"{path}: not a data list; it has none of the splits {', '.join(SPLITS)}")
    for name in SPLITS:
        entries = content.get(name) or []
        if not isinstance(entries, list):
            raise PolypError(f"{path}: {name!r} is no list")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                raise PolypError(f"{path}: entry {number} of {name!r} names no image")
    return content


def read_split(dataset_dir: str | Path, name: str, fold: str | None = None) -> list[dict]:
    """The samples of one split, or of all, with `image` and `label` as absolute paths that exist.

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
        content = content | folds.split(entries, fold, str(root / "datalist.json"))
    entries = [entry for p in SPLITS if name in (p, ALL) for entry in content.get(p) or []]
    if not entries:
        filled = ", ".join(p for p in SPLITS if content.get(p)) or "none"
        raise PolypError(f"{root / 'datalist.json'}: the split {name!r} is empty; filled are: {filled}")
    samples = []
    for entry in entries:
        if not isinstance(entry.get("label"), str):
            raise PolypError(f"{root / 'datalist.json'}: {entry['image']} in {name!r} has no label")
        sample = {
            **entry,
            "relative": entry["image"],
            "image": str(root / entry["image"]),
            "label": str(root / entry["label"]),
        }
        for key in ("image", "label"):
            if not Path(sample[key]).is_file():
                raise PolypError(
                    f"{sample[key]}: named in {root / 'datalist.json'} but not there; prepare the set again"
                )
        samples.append(sample)
    return samples


def labelled_frames(
    dataset_dir: str | Path | Sequence[str | Path],
    name: str,
    output_dir: str | Path | None = None,
    fold: str | None = None,
) -> list[dict]:
    """`read_split` reduced to what engines need: `image`, `label`, `name`, `group`, `tags`, `negative` (shows no polyp)
    and `output` (of the written mask).

    Of several folders (for training) the splits follow each other. `fold`: as of `read_split`, of each folder.

    Raises:
        PolypError: as `read_split`; or a mask written to `output_dir` would replace a file of the data set.
    """
    folders = [dataset_dir] if isinstance(dataset_dir, (str, Path)) else dataset_dir
    samples = [
        {
            "image": s["image"],
            "label": s["label"],
            "name": s.get("name", files.stem_of(s["image"])),
            "group": s.get("group", ""),
            "tags": " ".join(s.get("tags", ())),
            "negative": s.get("polyp_area") == 0,
            "output": _without_suffix(_below(Path(s["relative"]))).removeprefix("images/"),
        }
        for folder in folders
        for s in read_split(folder, name, fold)
    ]
    if output_dir is not None:
        _check_targets(samples, output_dir, {s[key] for s in samples for key in ("image", "label")})
    return samples


def digest(*splits: Sequence[dict]) -> str:
    """sha256, hex, of which frames the splits of `labelled_frames` hold, wherever their folder lies."""
    about = [[[s[key] for key in ("output", "name", "group", "negative")] for s in samples] for samples in splits]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


class Frames(list):
    """Samples to predict: `image` (absolute path) and `output` (relative path without suffix, one a frame).

    A sample that cannot be predicted says why in `problem`. `passed_over` are files that are no pictures of a format
    that is read here. The three together are all that the inputs name. `burned_in`: DICOM files with text in them.
    """

    def __init__(self, samples: Iterable[dict], passed_over: Sequence[Path], burned_in: Sequence[Path] = ()) -> None:
        super().__init__(samples)
        self.passed_over, self.burned_in = list(passed_over), list(burned_in)


def frames(
    inputs: str | Iterable[str],
    output_dir: str | Path,
    overwrite: bool = False,
    probability: bool = False,
    overlay: bool = False,
    skip_existing: bool = False,
    strict: bool = False,
    dicom_out: str = PNG,
) -> Frames:
    """The frames that a prediction is asked for.

    Args:
        inputs: a file, folder, glob or data list (JSON), or several. Folders are searched in depth and keep their tree
            in `output`; names that would meet get as much of their path as tells them apart.
        output_dir: where the masks will go; nothing there is overwritten unless `overwrite`, and then only what an
            earlier prediction wrote; an input never is.
        probability, overlay: whether these files will be written too.
        skip_existing: leave out frames whose mask is in `output_dir` already.
        strict: whether a file that would be passed over, or a frame with a problem, is an error.
        dicom_out: "seg" or "sr": a DICOM object of this kind will be written too, of each frame that came as DICOM.

    Raises:
        PolypError: an input that is not there, holds no frame, or whose mask would overwrite a file.
    """
    out = Path(os.path.abspath(output_dir))
    found, passed_over, problems, burned_in = _gather([inputs] if isinstance(inputs, (str, Path)) else inputs, out)
    if passed_over and strict:
        raise PolypError(search.passed_over_line(passed_over))
    names = _tell_apart({path: relative for path, relative in found.items() if path not in problems})
    samples = [{"image": str(path), "output": names.get(path, "")} for path in found]
    for sample in samples:
        problem = problems.get(Path(sample["image"])) or _too_long(sample, probability, overlay, dicom_out)
        if dicom_out != PNG and dicom.holds(sample["image"]):
            problem = problem or dicom.no_object(sample["image"])
        if problem:
            sample["problem"] = f"{sample['image']}: {problem}"
    if dicom_out != PNG and not any(dicom.holds(path) for path in found):
        raise PolypError(f"--dicom-out {dicom_out}: none of the {counted(len(found), 'frame')} is DICOM")
    if skip_existing:
        samples = [s for s in samples if "problem" in s or not _done(s, out, dicom_out)]
    if strict and (bad := [s["problem"] for s in samples if "problem" in s]):
        raise PolypError(bad[0] + (f"; and {len(bad) - 1} more" if len(bad) > 1 else ""))
    ledger = outputs.Ledger(out, "predict")
    _check_targets(samples, output_dir, found, ledger, overwrite, probability, overlay, dicom_out)
    return Frames(samples, passed_over, burned_in)


def claim(
    samples: Iterable[dict],
    output_dir: str | Path,
    probability: bool = False,
    overlay: bool = False,
    dicom_out: str = PNG,
) -> None:
    """Note in the folder's ledger what a prediction is about to write there."""
    good = [s for s in samples if "problem" not in s]
    if good:
        outputs.Ledger(output_dir, "predict").claim(
            n for s in good for n in targets(s, probability, overlay, dicom_out)
        )


def targets(sample: dict, probability: bool = False, overlay: bool = False, dicom_out: str = PNG) -> list[str]:
    """What is written for a sample, relative to its folder; the mask first, a DICOM object last."""
    suffix = files.mask_suffix(sample["image"])
    ends = [suffix, *[f"_probability{suffix}"] * probability, *["_overlay.png"] * overlay]
    if dicom_out != PNG and dicom.holds(sample["image"]):
        ends += [f".{dicom_out}.dcm", *[f"_probability.{dicom_out}.dcm"] * (probability and dicom_out == "seg")]
    return [f"{sample['output']}{end}" for end in ends]


def _done(sample: dict, out: Path, dicom_out: str) -> bool:
    return all((out / name).exists() for name in targets(sample, dicom_out=dicom_out))


def _gather(inputs: Iterable[str], out: Path) -> tuple[dict[Path, Path], list[Path], dict[Path, str], list[Path]]:
    """Frames and what to keep of their paths, files that are passed over, problems of frames and folders, and DICOM
    files with text in their pixels."""
    found: dict[Path, Path] = {}
    passed_over: dict[Path, None] = {}
    problems: dict[Path, str] = {}
    burned_in: dict[Path, None] = {}
    for item in inputs:
        if not str(item):
            raise PolypError("the name of an input is empty; give a file, a folder or a glob")
        matches, others, unreadable, with_text = find_frames(str(item))
        if Path(os.path.abspath(item)) in out.parents:  # masks of an earlier run, written below the input folder
            matches = [(path, name) for path, name in matches if out not in path.parents]
            others = [path for path in others if out not in path.parents]
        if not matches:
            other = f"; {search.passed_over_line(others)}" if others else ""
            raise PolypError(f"{item}: no frames there; known formats are {', '.join(files.SUFFIXES)}{other}")
        for path, relative in matches:
            found.setdefault(path, relative)
        passed_over |= dict.fromkeys(others)
        problems |= unreadable
        burned_in |= dict.fromkeys(with_text)
    return found, list(passed_over), problems, list(burned_in)


def _too_long(sample: dict, probability: bool, overlay: bool, dicom_out: str) -> str | None:
    for name in targets(sample, probability, overlay, dicom_out):
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(name).parts):
            return f"its name is too long for a file {Path(name).name[:20]}...{Path(name).name[-20:]}; shorten it"
    return None


def _check_targets(
    samples: list[dict],
    output_dir: str | Path,
    inputs: Iterable[str | Path],
    ledger: outputs.Ledger | None = None,
    overwrite: bool = False,
    probability: bool = False,
    overlay: bool = False,
    dicom_out: str = PNG,
) -> None:
    """Raises PolypError when what will be written replaces an input, another frame's file, or a file that
    `ledger` does not let go."""
    sources, claimed = {Path(path).resolve() for path in inputs}, set()
    for sample in samples:
        if "problem" in sample:
            continue
        for name in targets(sample, probability, overlay, dicom_out):
            target = Path(output_dir) / name
            if target.resolve() in sources or target.parent.is_file():  # of a frame the file that it is in
                raise PolypError(f"{target}: is an input and would be overwritten; give another output folder")
            if ledger is not None:
                ledger.check([name], overwrite)
            if name.casefold() in claimed:
                raise PolypError(f"{target}: two frames would be written there; predict them into two folders")
            claimed.add(name.casefold())


def _below(path: Path) -> Path:
    """What an output keeps of a path in a data list: all of it, or the name alone when it leads out of the folder."""
    return Path(path.name) if path.is_absolute() or ".." in path.parts else path


class Matches(NamedTuple):
    """What one input names.

    `frames`: (absolute path, path to keep below an output folder) of each. `passed_over`: files of no known format.
    `problems`: path -> reason, of those frames that cannot be read; a folder that cannot be listed counts as a frame.
    `burned_in`: DICOM files that say that text is burned into their pixels.
    """

    frames: list[tuple[Path, Path]]
    passed_over: list[Path]
    problems: dict[Path, str]
    burned_in: Sequence[Path] = ()


def find_frames(item: str) -> Matches:
    """Every frame that one input names.

    Args:
        item: a file, folder, glob or data list (JSON); or scan.dcm/3, a frame of a DICOM file.

    Raises:
        PolypError: nothing there, or a broken data list.
    """
    path = Path(os.path.abspath(item))
    if path.is_dir():
        return _below_root(search.search(path), path)
    if path.suffix.lower() == ".json" and path.is_file():
        content = _read_list(path)
        entries = [Path(entry["image"]) for name in SPLITS for entry in content.get(name) or []]
        return Matches([(Path(os.path.abspath(path.parent / p)), _below(p)) for p in entries], [], {})
    if dicom.holds(path):
        return _frames_of_dicom(path)
    if os.path.lexists(path):
        return Matches([(path, Path(path.name))], [], {})
    if glob.has_magic(item):
        found, deep = search.Found(), "**" in item
        for name in sorted(glob.glob(str(path), recursive=True)):
            if not (deep and Path(name).is_dir()):  # what is in a folder below ** matches by itself
                found.add(Path(name))
        return _below_root(found, Path(*_fixed_parts(path)))
    raise PolypError(f"{item}: no such file, folder or data list")


def _below_root(found: search.Found, root: Path) -> Matches:
    frames = sorted([*found.images, *found.unreadable])
    return Matches([(path, path.relative_to(root)) for path in frames], found.others, found.unreadable, found.burned_in)


def _frames_of_dicom(path: Path) -> Matches:
    """Every frame of a file, or the one of it that `path` names; a file without any says so when it is read."""
    file, number = dicom.source_of(path)
    found = search.Found()
    found.add(file)
    frames = [path] if number else found.images or [file]
    return Matches([(frame, frame.relative_to(file.parent)) for frame in frames], [], {}, found.burned_in)


def _fixed_parts(pattern: Path) -> list[str]:
    """The leading folders of a glob that hold no magic."""
    split_of = []
    for piece in pattern.parts[:-1]:
        if glob.has_magic(piece):
            break
        split_of.append(piece)
    return split_of


def _tell_apart(found: dict[Path, Path]) -> dict[Path, str]:
    """One output name a frame. Names that meet are replaced by the path below the folder that all inputs share."""
    names = {path: _without_suffix(relative) for path, relative in found.items()}
    if len(set(names.values())) < len(names):
        shared = os.path.commonpath([path.parent for path in found])
        names = {path: _without_suffix(path.relative_to(shared)) for path in found}
    meets = Counter(names.values())  # a.png and a.jpg of one folder
    suffixes = {path: files.suffix_of(path).replace(".", "_") for path in names}
    return {path: name + suffixes[path] if meets[name] > 1 else name for path, name in names.items()}


def _without_suffix(path: Path) -> str:
    return (path.parent / files.stem_of(path)).as_posix()
