"""A bundle behind the service: bytes of a picture in, what was found out, beside other requests."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from polyp_monai.api import Bundle, Prediction
from polyp_monai.bundle.predictor import FittedFrame, Segmented
from polyp_monai.data import files
from polyp_monai.data.classes import COLORS, hexadecimal
from polyp_monai.data.overlay import OUTLINE
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import conformal
from polyp_monai.metrics.classes import class_map
from polyp_monai.runtime import about
from polyp_monai.serve.batches import Batches
from polyp_monai.serve.limits import Limits
from polyp_monai.serve.meter import Meter

FRAME, TENSOR = "frame", "tensor"
T = TypeVar("T")


class ServedBundle:
    """A loaded bundle, the queue before its network, and what clients may know of it.

    Args:
        name: by which clients ask for it.
        bundle: with weights.
        pool: threads for what stands before and behind the network.
    """

    def __init__(self, name: str, bundle: Bundle, limits: Limits, meter: Meter, pool: ThreadPoolExecutor) -> None:
        self.name, self.bundle, self.limits = name, bundle, limits
        self.predictor = bundle.predictor
        self.channels = self._warm_up()
        self.facts = _facts(name, bundle)
        self._pool, self._meter = pool, meter
        self.batches = Batches(self._run, limits.batch, meter.batch.observe)

    async def predict(
        self,
        content: bytes,
        name: str,
        threshold: float | None,
        answer: Callable[[Prediction], T],
        with_pixels: bool = False,
    ) -> tuple[T, dict[str, float]]:
        """What `answer` makes of a picture, and the milliseconds by stage.

        Args:
            content: of the picture's file.
            name: what messages call it.
            threshold: instead of the bundle's.
            answer: runs in a thread of its own.
            with_pixels: whether the prediction knows its frame; it is held while it waits.

        Raises:
            PolypError: it is no picture, or one that is damaged or too large.
        """
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        prepared, picture = await loop.run_in_executor(self._pool, self._prepare, content, name)
        decoded = time.perf_counter()
        kept = picture.pixels if with_pixels else None
        del picture
        found = await asyncio.wrap_future(self.batches.submit((FRAME, *prepared.shape), prepared))
        network = time.perf_counter()
        made = await loop.run_in_executor(self._pool, self._answer, prepared, found.value, kept, threshold, answer)
        seconds = decoded - began, found.waited, found.took, time.perf_counter() - network
        milliseconds = {
            stage: round(1e3 * value, 2)
            for stage, value in zip(("decode", "wait", "network", "encode"), seconds, strict=True)
        }
        self._meter.stages(milliseconds)
        self._meter.frames.labels(self.name).inc()
        return made, milliseconds

    async def logits(self, frames: np.ndarray) -> np.ndarray:
        """(B, C, W, H) float32 of (B, 3, W, H) float32 RGB in 0..1, as the exported network gives them."""
        found = await asyncio.wrap_future(self.batches.submit((TENSOR, *frames.shape), frames))
        return found.value

    def close(self) -> None:
        self.batches.close()

    def _prepare(self, content: bytes, name: str) -> tuple[FittedFrame, files.Picture]:
        picture = files.decode_picture(content, name, upright=True, most_pixels=self.limits.pixels)
        try:
            return self.predictor.prepare(picture), picture
        except PolypError as error:
            raise PolypError(str(error).replace("a picture in memory", name, 1)) from error

    def _answer(
        self,
        prepared: FittedFrame,
        output: dict,
        pixels: np.ndarray | None,
        threshold: float | None,
        answer: Callable[[Prediction], T],
    ) -> T:
        found: Segmented = self.predictor.finish(prepared, output)
        prediction = Prediction.of(found, (None, pixels), self.predictor.threshold, self.predictor.classes)
        if threshold is not None:
            mask = found.probability >= np.float32(threshold)
            numbers = None if found.by_class is None else class_map(found.by_class, threshold)
            prediction = replace(prediction, mask=mask, threshold=threshold, class_map=numbers)
        return answer(prediction)

    def _run(self, kind: tuple, items: Sequence[Any]) -> Sequence[Any]:
        if kind[0] == FRAME:
            return self.predictor.infer([prepared.sample for prepared in items])
        joined = torch.from_numpy(np.concatenate(items))
        at_once = max(1, min(self.limits.batch, self.limits.tensor // math.prod(joined.shape[2:])))
        made = [self.predictor.logits(part.to(self.predictor.device)).float().cpu() for part in joined.split(at_once)]
        return np.split(torch.cat(made).numpy(), len(items))

    def _warm_up(self) -> int:
        """Send one frame through, since the first is slow; returns the number of the network's channels."""
        side = self.predictor.image_size
        frames = torch.zeros(1, 3, side, side, device=self.predictor.device)
        return int(self.predictor.logits(frames).shape[1])


def _facts(name: str, bundle: Bundle) -> dict[str, Any]:
    """As `GET /v1/bundles` tells them."""
    predictor, weights = bundle.predictor, bundle.weights
    exported = getattr(predictor.network, "about", None)
    metadata = _metadata(bundle.root)
    stored = metadata.get("network_stats", {}).get("parameters")
    counted = sum(parameter.numel() for parameter in predictor.network.parameters())
    found, promises = conformal.kept(weights.path, weights.sha256), []
    if missed := found.get(conformal.MISSED):
        promises.append({"name": f"misses up to {missed['alpha']:.0%}", "threshold": missed["threshold"]})
    if alarms := found.get(conformal.ALARMS):
        promises.append({"name": f"false alarms up to {alarms['alpha']:.0%}", "threshold": alarms["highest"]})
    return {
        "name": name,
        "version": str(exported.bundle_version if exported else about.version_of(bundle.root)),  # type: ignore[arg-type]
        "description": str(metadata.get("description", "")),
        "image_size": predictor.image_size,
        "fit": predictor.fit_image.fit,
        "crop": predictor.fit_image.crop,
        "threshold": predictor.threshold,
        "classes": [
            {"name": told, "color": hexadecimal(color)}
            for told, color in zip(
                predictor.classes.names, COLORS if predictor.classes.several else [OUTLINE], strict=False
            )
        ],
        "calibrated": promises,
        "parameters": counted or stored,
        "runtime": bundle.description,
        "digest": weights.sha256,
    }


def _metadata(root: Path | None) -> dict[str, Any]:
    if root is None:
        return {}
    return json.loads((root / "configs/metadata.json").read_text(encoding="utf-8"))
