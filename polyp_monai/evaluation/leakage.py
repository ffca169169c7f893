"""How much of a test split the training split gives away: look-alike frames, shared sequences, and a baseline that
learns nothing and copies."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polyp_monai.data import datalist, files, similarity, texts
from polyp_monai.errors import PolypError, counted
from polyp_monai.metrics.pixel import pixel_scores
from polyp_monai.provenance import TRAINED_ON

logger = logging.getLogger(__name__)

LIMIT = 0.05  # share of test frames with a neighbour in training above which a result is called leaked


class _View(NamedTuple):
    thumbnail: np.ndarray
    hash: np.ndarray


class TrainedOn(NamedTuple):
    """What weights were trained on: (n, 256) bool hashes of the frames, and their groups of one data set."""

    hashes: np.ndarray
    groups: set[str]


def save_fingerprints(
    sets: str | Sequence[str], ckpt_dir: str | Path, weights: str | Path | None = None, fold: str | None = None
) -> None:
    """Write `trained_on.json` beside the weights: hashes and groups of the frames that train them.

    So that an evaluation can tell later, and elsewhere, which frames the weights have seen. Warns where the validation
    or test split of a set holds frames like those.

    Args:
        sets: folders with a data list, whose training splits are meant.
        ckpt_dir: folder of the weights.
        weights: where the training starts, whose frames count too; those without a `trained_on.json` are warned of.
        fold: K/N of a cross-validation, which is noted too.
    """
    earlier = _read(weights) if weights else None
    if weights and earlier is None:
        logger.warning(
            f"{weights}: no {TRAINED_ON} beside it, so a leak from what these weights have seen cannot be known"
        )
    about, groups, hashes = earlier or ([], {}, [])
    folders = [sets] if isinstance(sets, (str, Path)) else sets
    views: list[_View] = []
    for folder in folders:
        content = datalist.read(folder)
        name, samples = content.get("name", ""), datalist.labelled_frames(folder, "training", fold=fold)
        groups[name] = sorted({s["group"] for s in samples} - {""} | set(groups.get(name, ())))
        views += _views(samples)
        seen = {"name": name, "protocol": content.get("protocol"), "frames": len(samples)}
        seen |= {"fold": fold} if fold else {}
        about += [] if seen in about else [seen]
    hashes += [np.packbits(view.hash).tobytes().hex() for view in views]
    for folder in folders:
        _warn_of_leaks(folder, views, fold)
    kept = list(dict.fromkeys(hashes))
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {"created": now, "sets": about, "groups": groups, "hashes": kept}
    files.write_json(Path(ckpt_dir) / TRAINED_ON, content)


def _warn_of_leaks(folder: str | Path, training: Sequence[_View], fold: str | None) -> None:
    """Say how many frames of a set's other splits look like one that trains, or share a group with its training."""
    content = datalist.read(folder)
    groups = {sample["group"] for sample in datalist.labelled_frames(folder, "training", fold=fold)} - {""}
    for split in ("validation", "test"):
        if not content.get(split) and not (fold and split == "validation"):
            continue
        try:
            samples = datalist.labelled_frames(folder, split, fold=fold)
            alike, _ = _look_alikes(_views(samples), training)
        except PolypError as error:  # training needs no test frames
            logger.warning(f"{error}; whether training leaks into {split} is not known")
            continue
        near = [s["image"] for s, like in zip(samples, alike, strict=True) if like or s["group"] in groups]
        if near:
            logger.warning(
                f"{split}: {len(near)} of {counted(len(samples), 'frame')}, such as {near[0]}, have a look-alike or "
                "their sequence in training; scores on them promise too much"
            )


def load_fingerprints(weights: str | Path, dataset: str) -> TrainedOn | None:
    """What was remembered beside `weights` for frames of the data set named `dataset`; None where nothing was."""
    found = _read(weights)
    if found is None:
        return None
    _, groups, hashes = found
    packed = np.array([np.frombuffer(bytes.fromhex(text), np.uint8) for text in hashes])
    return TrainedOn(np.unpackbits(packed, axis=1).astype(bool), set(groups.get(dataset, ())))


def _read(weights: str | Path) -> tuple[list[dict], dict[str, list[str]], list[str]] | None:
    """Sets, groups by set, and hashes (hex, of 256 bits) of the file beside `weights`; None where there is none."""
    path = Path(weights).parent / TRAINED_ON
    if not path.is_file():
        return None
    try:
        content = texts.parse_json(path.read_bytes())
        sets, groups, hashes = content["sets"], content["groups"], content["hashes"]
        if not hashes or {len(bytes.fromhex(text)) for text in hashes} != {32}:
            raise ValueError("expected hashes of 256 bits")
        return list(sets), {name: list(groups[name]) for name in groups}, list(hashes)
    except (ValueError, KeyError, TypeError) as error:
        raise PolypError(f"{path}: is damaged; delete it, and the leakage audit does without") from error


def audit(
    test: Sequence[dict], training: Sequence[dict], trained_on: TrainedOn | None = None, limit: float = LIMIT
) -> dict[str, Any]:
    """Compare the frames of a test split with those of training.

    A frame has a neighbor when a frame of its group is in training, or one that looks like it (`data.similarity`:
    correlation of thumbnails and distance of hashes), or when the weights were trained on such a frame. The copy-mask
    baseline gives each test frame the mask of the training frame whose thumbnail correlates best: what it scores,
    memory alone can score.

    Args:
        test, training: samples with `image` and `label` (paths) and `group`; `training` may be empty.
        trained_on: of the weights. Only hashes are known of those frames; unlike frames of the public sets differ in
            32 bits or more, against `similarity.DISTANCE` of 24.
        limit: share above which the split counts as leaked.

    Returns:
        test, similar_in_training, by_group, by_similarity, by_weights (frames), share, limit, leaked, copy_mask_dice,
        copy_mask_iou (means over the frames with a polyp; None without such a frame or a training split).
    """
    seen = _views(test)
    by_group = by_similarity = by_weights = np.zeros(len(test), bool)
    baseline: dict[str, float] = {}
    if training:
        by_similarity, nearest = _look_alikes(seen, _views(training))
        groups = {sample["group"] for sample in training} - {""}
        by_group = np.array([sample["group"] in groups for sample in test])
        copied = [_copied(sample, training[index]) for sample, index in zip(test, nearest, strict=True)]
        for name in ("dice", "iou"):
            defined = [scores[name] for scores in copied if not np.isnan(scores[name])]
            baseline |= {name: float(np.mean(defined))} if defined else {}
    if trained_on:
        distances = [np.count_nonzero(view.hash != trained_on.hashes, axis=1).min(initial=256) for view in seen]
        known = np.array([sample["group"] in trained_on.groups for sample in test])
        by_weights = (np.array(distances) <= similarity.DISTANCE) | known
    near = by_similarity | by_group | by_weights
    return {
        "test": len(test),
        "similar_in_training": int(near.sum()),
        "by_group": int(by_group.sum()),
        "by_similarity": int(by_similarity.sum()),
        "by_weights": int(by_weights.sum()),
        "share": float(near.mean()),
        "limit": limit,
        "leaked": bool(near.mean() > limit),
        "copy_mask_dice": baseline.get("dice"),
        "copy_mask_iou": baseline.get("iou"),
    }


def _look_alikes(seen: Sequence[_View], known: Sequence[_View]) -> tuple[np.ndarray, np.ndarray]:
    """Which of `seen` has a near duplicate in `known`, and the place of the one that correlates best."""
    vectors, references = (similarity.unit_vectors(np.stack([v.thumbnail for v in split])) for split in (seen, known))
    correlation = vectors @ references.T
    found = np.zeros(len(seen), bool)
    for one, other in np.argwhere(correlation >= similarity.CORRELATION):
        found[one] |= np.count_nonzero(seen[one].hash != known[other].hash) <= similarity.DISTANCE
    return found, correlation.argmax(axis=1)


def _views(samples: Sequence[dict]) -> list[_View]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_view, samples))


def _view(sample: dict) -> _View:
    import cv2

    return _View(*similarity.views(cv2.cvtColor(files.read_rgb(sample["image"]), cv2.COLOR_RGB2GRAY)))


def _copied(sample: dict, source: dict) -> dict[str, float]:
    """Scores of the mask of `source`, stretched to the size of the frame."""
    import cv2

    truth = files.read_mask(sample["label"])
    mask = cv2.resize(files.read_mask(source["label"]), truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return pixel_scores(mask, truth)
