"""From a frame to the polyps that are shown in it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from scipy.special import expit

from polyp_monai.bundle.predictor import Predictor
from polyp_monai.data.transforms import FitFrame
from polyp_monai.data.view import SteadyView, whole
from polyp_monai.metrics.classes import of_polyp
from polyp_monai.metrics.regions import find_polyps
from polyp_monai.video.latency import Latency
from polyp_monai.video.pipeline import Item
from polyp_monai.video.smoothing import smoother
from polyp_monai.video.tracking import Tracker


class Finder:
    """The stage "infer": crop, fit to the window, network, smoothing over time, regions, numbers.

    Args:
        network: from (1, 3, w, h) RGB 0..1 to logits (1, C, w, h); W before H, as everywhere in the bundles.
        fit: the bundle's resize to its window.
        threshold: probability from which a pixel counts as polyp.
        smooth: of `smoothing.smoother`.
        tracker: gives polyps their numbers.
        view: where the endoscope's picture lies; None looks at the whole frame.
        device: of the network.
        latency: takes the time of "preprocess", "network" and "postprocess".
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        fit: FitFrame,
        threshold: float,
        smooth: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
        tracker: Tracker,
        view: SteadyView | None,
        device: torch.device,
        latency: Latency,
    ) -> None:
        self.network, self.fit, self.threshold, self.smooth = network, fit, threshold, smooth
        self.tracker, self.view, self.device, self.latency = tracker, view, device, latency
        self._before = 0.0

    @classmethod
    def of(
        cls, predictor: Predictor, smooth: str, half_life: float, on: tuple[int, int], crop: bool, latency: Latency
    ) -> Finder:
        """That of a loaded bundle.

        Args:
            smooth, half_life: of `smoothing.smoother`.
            on: k and n: a polyp is shown once k of the last n frames saw it.
            crop: whether black borders around the endoscope's picture are left out.
        """
        view = SteadyView() if crop else None
        over_time = smoother(smooth, half_life), Tracker(on, classes=predictor.classes)
        return cls(
            predictor.logits, predictor.fit_image, predictor.threshold, *over_time, view, predictor.device, latency
        )

    def __call__(self, item: Item) -> None:
        image, seconds = item.frame.image, item.frame.time
        with self.latency.timed("preprocess"):
            item.view = self._view(image)
            x0, y0, x1, y1 = item.view
            coarse = _halved(image[y0:y1, x0:x1], 2 * self.fit.image_size)
            fitted = np.ascontiguousarray(
                self.fit(torch.from_numpy(coarse).permute(2, 1, 0), whole(coarse)).numpy()
            )  # uint8
            # numpy for what is small: torch would share it out to threads that the other stages need
            batch = torch.from_numpy(fitted[None] * np.float32(1 / 255)).to(self.device)
        with self.latency.timed("network"), torch.inference_mode():
            logits = self.network(batch)[0].float().cpu().numpy()
        with self.latency.timed("postprocess"):
            maps = [cv2.transpose(expit(channel)) for channel in logits]
            together = maps[0] if len(maps) == 1 else cv2.merge(maps)
            together = self.smooth(together, fitted.transpose(2, 1, 0), seconds - self._before)
            self._before = seconds
            by_class = None if len(maps) == 1 else np.ascontiguousarray(together.transpose(2, 0, 1))
            item.probability = together if by_class is None else of_polyp(by_class)
            found = find_polyps(item.probability, self.threshold, item.view, by_class=by_class)
            item.polyps = self.tracker.update(found, seconds)

    def _view(self, image: np.ndarray) -> tuple[int, int, int, int]:
        if self.view is None:
            return 0, 0, image.shape[1], image.shape[0]
        view = self.view.update(image)
        return view.x0, view.y0, view.x1, view.y1


def _halved(image: np.ndarray, side: int) -> np.ndarray:
    """The (H, W, 3) picture, halved while both sides are `side` or more: three times as fast as one step by area."""
    while min(image.shape[:2]) >= side:
        half = image.shape[1] // 2, image.shape[0] // 2
        # of an odd side the last line goes: only whole fours of pixels take the fast path
        image = cv2.resize(image[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    return image
