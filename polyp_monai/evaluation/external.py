"""Masks and probability maps that anybody wrote, matched with their truth by name, and scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from polyp_monai.data import SPLITS, datalist, files, search
from polyp_monai.errors import PolypError, counted, shortened
from polyp_monai.evaluation.leakage import LIMIT
from polyp_monai.evaluation.pool import Pool
from polyp_monai.evaluation.scoring import Scored, score

T = TypeVar("T")
U = TypeVar("U")


class Match(NamedTuple):
    """A map and its truth, and what the data list says of the frame."""

    name: str
    prediction: Path
    truth: Path
    image: str
    group: str
    tags: str


class ScoreOptions(NamedTuple):
    """`keep_inverted`: whether truths and maps may pass in which the polyp seems to be black."""

    threshold: float = 0.5
    normalize: bool = False
    resize: bool = False
    outlines: bool = True
    keep_inverted: bool = False
    of_ones: bool = True  # whether a map of 0 and 1 alone is a mask; `score_all` finds out


def check_place(out: Path, *inputs: Path) -> None:
    """Raises PolypError when tables would be written among the masks or maps."""
    for folder in inputs:
        if out.resolve().is_relative_to(folder.resolve()):
            raise PolypError(f"{out}: --out lies in {folder}, which is read; give another --out")


def match(predictions: Path, truths: Path, data: Path | None = None) -> tuple[list[Match], list[str], list[str]]:
    """Maps and truths of one name, by relative path without suffix, else by name alone.

    Args:
        predictions, truths: folders, searched in depth.
        data: a data list, which knows image, group and tags of each name, or its folder.

    Returns:
        matches sorted by name, names without a prediction, names without a truth.

    Raises:
        PolypError: no such folder, no picture in it, two files of one name, no name in common, or none that
            `data` knows.
    """
    maps, masks = same_names(by_key(predictions), by_key(truths), predictions, truths)
    names = sorted(maps.keys() & masks.keys())
    about = knowledge(data, names)
    found = [Match(key, maps[key], masks[key], *about(key)) for key in names]
    return found, sorted(masks.keys() - maps.keys()), sorted(maps.keys() - masks.keys())


def same_names(
    found: dict[str, T], true: dict[str, U], predictions: Path, truths: Path
) -> tuple[dict[str, T], dict[str, U]]:
    """Both by relative path where some are in common, else by name alone.

    Raises:
        PolypError: no name in common, or one that is there twice.
    """
    if not found.keys() & true.keys():  # trees differ: the names alone
        found, true = _by_name(found, predictions), _by_name(true, truths)
    if not found.keys() & true.keys():
        examples = f"such as {min(found)} and {min(true)}"
        raise PolypError(f"{predictions} and {truths}: no file name in common, {examples}; a map is named as its truth")
    return found, true


def knowledge(data: Path | None, names: Sequence[str]) -> Callable[[str], tuple[str, str, str]]:
    """What a data list knows of a frame: a function of its name that gives image, group and tags, or blanks.

    Raises:
        PolypError: it knows none of the frames `names`.
    """
    known = _known(data)
    if data is not None and not any(Path(name).name in known for name in names):
        raise PolypError(f"--data {data}: knows none of the frames, such as {names[0]}; is it the list of another set?")

    def about(key: str) -> tuple[str, str, str]:
        entry = known.get(Path(key).name, {})
        return entry.get("image", ""), entry.get("group", ""), " ".join(entry.get("tags", ()))

    return about


def familiar(data: Path | None, names: Sequence[str]) -> list[str]:
    """What a data list says against scores of these frames, a line each: it does not know them, or they, or others of
    their group, are of its training split."""
    if data is None:
        return []
    known, lines = _known(data), []
    frames = [known.get(Path(name).name) for name in names]
    if unknown := frames.count(None):
        lines.append(f"--data {data}: does not know {counted(unknown, 'frame')} of {len(names)}")
    groups = {entry.get("group") for entry in known.values() if entry["split"] == "training"} - {None, ""}
    near = sum(entry["split"] == "training" or entry.get("group") in groups for entry in frames if entry)
    if near:
        line = f"{near} of {counted(len(names), 'frame')} or their sequence are in the training split of {data}"
        lines.append(f"{'LEAKED: ' * (near > LIMIT * len(names))}{line}; what was trained on it is scored too well")
    return lines


def by_key(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise PolypError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in search.find_images(folder):
        files.check_name(path)
        key = (path.relative_to(folder).parent / files.stem_of(path)).as_posix()
        if key in found:
            raise PolypError(f"{path} and {found[key]}: two files of one name; which of them is meant?")
        found[key] = path
    if not found:
        raise PolypError(f"{folder}: holds no picture ({', '.join(files.SUFFIXES)})")
    return found


def _by_name(keyed: dict[str, T], folder: Path) -> dict[str, T]:
    keys: dict[str, str] = {}
    for key in keyed:
        name = Path(key).name
        if name in keys:
            raise PolypError(f"{folder}: {name} is there twice ({keys[name]}, {key}); keep the tree of the truth")
        keys[name] = key
    return {name: keyed[key] for name, key in keys.items()}


def _known(data: Path | None) -> dict[str, dict]:
    if data is None:
        return {}
    folder = data.parent if data.is_file() else data
    content = datalist.read_list(data) if data.is_file() else datalist.read(data)
    entries = [entry | {"split": split} for split in SPLITS for entry in content.get(split) or []]
    return {
        entry.get("name", files.stem_of(entry["image"])): entry | {"image": str((folder / entry["image"]).resolve())}
        for entry in entries
    }


def score_all(matches: list[Match], options: ScoreOptions, processes: int | None = None) -> Iterator[Scored]:
    """Score every match in order, on all cores or in `processes`; memory does not grow with their number.

    Raises:
        PolypError: a file that cannot be read, a truth that seems inverted (unless `options.keep_inverted`), or a map
            of another size than its truth (unless `options.resize`).
    """
    some = matches[:: max(1, len(matches) // 20)]
    options = options._replace(of_ones=not any(is_graded(m.prediction) for m in some))
    waiting: deque[Future[Scored]] = deque()
    with Pool(len(matches), processes) as pool:
        for match in matches:
            waiting.append(pool.submit(_score, match, options))
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def is_graded(path: Path) -> bool:
    """Whether a map has whole numbers of many levels up to 255: beside it, a map of 0 and 1 is one of faint doubts."""
    pixels = files.largest_channel(files.read_picture(path).pixels)
    return pixels.dtype.kind in "ui" and pixels.max(initial=0) > 127 and len(np.unique(pixels)) > files.FEW


def doubts(scored: list[Scored], options: ScoreOptions) -> list[str]:
    """What a set of maps looks like as a whole and may not be meant, a line each.

    Raises:
        PolypError: maps of which what they leave out is the polyp, unless `options.keep_inverted`.
    """
    inverted = [s.row["name"] for s in scored if _is_inverted(s)]
    if inverted and not options.keep_inverted:
        raise PolypError(
            f"{counted(len(inverted), 'prediction')} with the polyp in black: {shortened(inverted)}; invert them, or "
            "give --keep-inverted"
        )
    highest = max((int(np.flatnonzero(sum(s.histograms))[-1]) for s in scored), default=0) / 255
    if 0 < highest < options.threshold and not options.normalize:
        return [
            f"no prediction reaches {options.threshold:g}: the highest value was read as {highest:.3f}, whole numbers "
            "against the largest of their depth (255 of 8 bits); if they are of another scale, use --normalize minmax"
        ]
    return []


def _is_inverted(scored: Scored) -> bool:
    """Whether a map covers more than half of the frame, and the rest of it has a Dice above .5."""
    tp, fp, fn, tn = (getattr(scored.counts, name) for name in ("tp", "fp", "fn", "tn"))
    return tp + fp > files.INVERTED[0] * (tp + fp + fn + tn) and 2 * fn > 0.5 * (2 * fn + tn + tp)


def _score(match: Match, options: ScoreOptions) -> Scored:
    import cv2

    probability = files.read_map(match.prediction, options.of_ones, dim=options.normalize)
    picture = files.read_picture(match.truth)
    mask = files.to_mask(picture, match.truth)
    if not options.keep_inverted:
        files.check_not_inverted(mask, match.truth)
    truth = mask.astype(bool)
    if probability.shape != truth.shape:
        if not options.resize:
            sizes = [f"{size[1]} x {size[0]}" for size in (probability.shape, truth.shape)]
            raise PolypError(
                f"{match.prediction} is {sizes[0]}, but {match.truth} is {sizes[1]}; --resize stretches the map"
            )
        probability = cv2.resize(probability, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    about: dict[str, Any] = {"name": match.name, "group": match.group, "tags": match.tags, "image": match.image}
    about |= {"truth": str(match.truth.resolve()), "prediction": str(match.prediction.resolve())}
    # JPEG noise or a third class, cut in the middle
    about["truth_of_other_values"] = int(len(np.unique(files.largest_channel(picture.pixels))) > 2)
    return score(about, probability, truth, options.threshold, options.normalize, options.outlines)
