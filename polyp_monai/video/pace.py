"""Which form of the network keeps up with a source: the bundle's own, int8, or int8 on fewer pixels."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from polyp_monai.bundle.predictor import Predictor
from polyp_monai.errors import PolypError

logger = logging.getLogger(__name__)

FAST_SIZE = 320  # pixels: fewer cost accuracy, see docs/flagship.md
SHARE = 0.8  # of the time between two frames that the network may take; the other stages need the processor too
CHOICES = ("weights", "image_size", "runtime")  # a user who sets one of them has chosen


def int8_file(root: Path) -> Path:
    """The int8 export that lies beside the weights of the bundle in the folder `root`."""
    return root / "models/model.int8.onnx"


def fast(root: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with the fastest form of the bundle in `root`: int8 on `FAST_SIZE` pixels.

    Raises:
        PolypError: the user chose a form already, or the bundle has no int8 export.
    """
    if taken := [f"--{key.replace('_', '-')}" for key in CHOICES if key in given and given[key] != "auto"]:
        raise PolypError(f"--fast: sets {', '.join(taken)} too; leave one of them out")
    path = int8_file(root)
    if not path.is_file():
        raise PolypError(
            f"--fast: {path} is not there; write it with `polyp export {root.name} --format onnx --precision int8 "
            f"--data DIR --out {path}`"
        )
    return {**given, "weights": str(path), "image_size": FAST_SIZE}


def keeping_up(root: Path, given: Mapping[str, Any], rate: float) -> Predictor:
    """The most accurate form whose network takes no more than `SHARE` of the time between two frames, else the fastest.

    Args:
        root: folder of the bundle.
        given: overrides of its configs/inference.yaml.
        rate: frames a second of the source.
    """
    forms = [dict(given)]
    if int8_file(root).is_file():
        forms += [{**given, "weights": str(int8_file(root))}, fast(root, given)]
    limit = SHARE / rate
    for form in forms:
        predictor = Predictor.of_bundle(root, form)
        taken = seconds(predictor)
        if taken <= limit:
            break
    verb = "keeps up with" if taken <= limit else "is the fastest there is, too slow for"
    taker = f"{predictor.description} at {predictor.image_size} pixels"
    logger.info(f"{taker} {verb} {rate:g} frames/s: {taken * 1000:.0f} ms a frame")
    return predictor


def seconds(predictor: Predictor, frames: int = 5) -> float:
    """Median time that the network takes for a frame of its image size, after one that does not count."""
    noise = torch.rand(1, 3, predictor.image_size, predictor.image_size, device=predictor.device)
    taken = []
    for _ in range(frames + 1):
        began = time.perf_counter()
        predictor.logits(noise).cpu()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])
