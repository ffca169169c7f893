"""A network with all that stands around it: one way from frames to masks, for Python, video and what comes later."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import decollate_batch, list_data_collate
from monai.transforms import Compose, SaveImage, SaveImaged

from polyp_monai import provenance
from polyp_monai import runtime as runtimes
from polyp_monai.bundle import locate
from polyp_monai.bundle.read import BundleConfig, classes_of, clear_errors, recipe_digest
from polyp_monai.data import files
from polyp_monai.data.transforms import CLASS_MAP, FitFrame, SavePredictiond, channels, in_geometry_of, to_pixels
from polyp_monai.errors import PolypError, root_cause
from polyp_monai.metrics.classes import Classes, of_polyp
from polyp_monai.metrics.regions import Polyp, find_polyps

logger = logging.getLogger(__name__)


class Segmented(NamedTuple):
    """What the network found in a frame, at its native size.

    position: of the frame among those that were given; mask: bool (H, W); probability: float32 (H, W) in 0..1, of a
    polyp of any class; geometry: of the frame's file. Of several classes, numbers: uint8 (H, W), the class
    of each polyp from 1; by_class: float32 (C, H, W) the probability of each; of one, both are None.
    """

    position: int
    mask: np.ndarray
    probability: np.ndarray
    geometry: files.Picture
    numbers: np.ndarray | None = None
    by_class: np.ndarray | None = None

    def polyps(self, threshold: float, classes: Classes) -> list[Polyp]:
        """The connected regions of the mask, which was cut at `threshold`, largest first."""
        within = np.where(self.mask, np.maximum(self.probability, threshold), 0).astype(np.float32)
        height, width = self.mask.shape
        return find_polyps(within, threshold, (0, 0, width, height), by_class=self.by_class, classes=classes)


class FittedFrame(NamedTuple):
    """A frame that was read and fitted: its sample, and the transforms of its own that know the way back."""

    sample: dict
    transforms: tuple[Compose, Compose]

    @property
    def shape(self) -> tuple[int, ...]:
        """(3, w, h) as the network gets it; frames of one shape can go through together."""
        return tuple(self.sample["image"].shape)


class Predictor:
    """What a bundle's configs/inference.yaml builds, but for reading a list of files and writing masks.

    Threads may share it: they read and finish frames beside each other, and take turns at the network.

    Args:
        config: "inference" of a bundle.
        network: takes (B, 3, W, H) RGB in 0..1 to logits; by default the config's.
        weights: of the network.
    """

    def __init__(self, config: BundleConfig, network: torch.nn.Module, weights: provenance.Weights) -> None:
        self.network, self.weights = network.eval(), weights
        self.image_size, self.threshold, self.batch_size = (
            config[key] for key in ("image_size", "threshold", "batch_size")
        )
        self.classes = classes_of(config)
        self.device, self.fit = torch.device(config["device"]), config["fit_image"]
        self._inferer, self._amp = config["inferer"], bool(config["evaluator::amp"])
        finish = [t for t in config["postprocessing"].transforms if not isinstance(t, _WRITERS)]
        self._transforms = config["preprocessing"], Compose(finish)
        self._root, self._turn = config.root, threading.Lock()
        self._spare: list[tuple[Compose, Compose]] = []

    @classmethod
    def of_bundle(cls, root: Path, given: Mapping[str, Any]) -> Predictor:
        """That of the bundle in the folder `root`, with checked overrides of its configs/inference.yaml.

        Raises:
            PolypError: no weights, weights of another network, or a broken bundle.
        """
        config = BundleConfig(root, "inference", {**given, "probability": True})
        locate.check_weights(Path(config["weights"]), root)
        with torch.random.fork_rng():  # a network is built with drawn weights
            network = config["network"]
        path = Path(config["weights"])
        exported = getattr(network, "about", None) if path.suffix in runtimes.READERS else None
        return cls(config, network, exported.weights(path) if exported else provenance.of_weights(path))

    @classmethod
    def of_file(cls, path: Path, given: Mapping[str, Any]) -> Predictor:
        """That of a file that `polyp export` wrote, alone: the recipe's config with the settings that the file tells.

        Args:
            given: overrides of those settings, and `device` and `runtime`.

        Raises:
            PolypError: the file is damaged, or its bundle was not of this recipe.
        """
        device = torch.device(given.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        network = runtimes.file(given.get("runtime", runtimes.AUTO), path, device)
        about = network.about
        network.presence = float(given.get("presence", 0.0))
        settings: dict[str, Any] = {"classes": list(about.classes[1:]), "class_certainty": about.class_certainty or 0.0}
        settings |= {"image_size": about.image_size, "fit": about.fit, "crop": about.crop, "threshold": about.threshold}
        fixed = {"network_def": None, "device": str(device), "probability": True}
        config = BundleConfig(locate.recipe(), "inference", {**settings, **given, **fixed})
        if recipe_digest(config) != about.recipe:
            raise PolypError(
                f"{path}: its bundle, {about.bundle} {about.bundle_version}, fits frames in its own way, or in that of "
                f"another version ({about.polyp_monai}); load that bundle with these weights, or export it again"
            )
        return cls(config, network, about.weights(path))

    @property
    def name(self) -> str:
        """Of the bundle, which an exported file tells too."""
        exported = getattr(self.network, "about", None)
        return exported.bundle if exported else self._root.name

    @property
    def description(self) -> str:
        """Runtime, precision and threads or device."""
        return str(getattr(self.network, "description", type(self.network).__name__))

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the probabilities beside the weights, by the names of the options."""
        frame, tta = self.fit_image, {"tta": self._inferer.tta} if hasattr(self._inferer, "tta") else {}
        return {"image_size": frame.image_size, "fit": frame.fit, "crop": frame.crop, **tta}

    @property
    def fit_image(self) -> FitFrame:
        """The resize of a frame to the image size."""
        return self.fit.fit["image"]

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, C, W, H) of fitted frames (B, 3, W, H) RGB in 0..1, on the predictor's device, in this thread's turn."""
        with self._turn, torch.no_grad():
            return self.network(frames)

    def prepare(self, frame: str | files.Picture) -> FittedFrame:
        """Read and fit one frame, for `infer` and `finish`; for callers that make up batches of their own.

        Raises:
            PolypError: it cannot be read.
        """
        try:  # made once and used again: a copy costs milliseconds
            transforms = self._spare.pop()
        except IndexError:
            transforms = copy.deepcopy(self._transforms)
        _, samples, failure, _ = _read(transforms[0], [(0, frame)], skip=False)
        if failure is not None:
            raise failure
        return FittedFrame(samples[0], transforms)

    def finish(self, prepared: FittedFrame, output: dict) -> Segmented:
        """The mask of a frame, of what `infer` gave for it; once for each."""
        found = _finished(0, prepared.transforms[1], output)
        self._spare.append(prepared.transforms)
        return found

    def segment(self, frames: Iterable[str | files.Picture], skip: bool = False) -> Iterator[Segmented]:
        """The masks of frames, in their order, in batches; the next batch is read while one is finished.

        Args:
            frames: paths, or pictures in memory, however many: two batches are held at a time.
            skip: whether a frame that cannot be read is named in the log and left out, instead of raised.

        Raises:
            PolypError: a frame that cannot be read, after the frames before it.
        """
        read, finish = copy.deepcopy(self._transforms)  # inverting writes into a transform
        numbered = enumerate(frames)
        with ThreadPoolExecutor(1, "polyp-read") as reader:

            def ahead() -> Future[_Read]:
                return reader.submit(_read, read, list(islice(numbered, self.batch_size)), skip)

            batch = ahead()
            while True:
                positions, samples, failure, asked = batch.result()
                outputs = self.infer(samples) if samples else []
                if asked and failure is None:
                    batch = ahead()  # not sooner: on a CPU a thread beside the network slows both
                for position, output in zip(positions, outputs, strict=True):
                    yield _finished(position, finish, output)
                if failure is not None:
                    raise failure
                if not asked:
                    return

    def infer(self, samples: Sequence[dict]) -> list[dict]:
        """What the network says of fitted frames of one shape, a sample for a sample, in this thread's turn."""
        batch = list_data_collate(samples)
        with self._turn, torch.no_grad(), torch.autocast("cuda") if self._amp else nullcontext():
            batch["pred"] = self._inferer(batch["image"].to(self.device), self.network)
        return decollate_batch(batch)


_Read = tuple["list[int]", "list[dict]", PolypError | None, bool]
_WRITERS = (SavePredictiond, SaveImaged, SaveImage)


def _read(transform: Compose, frames: Sequence[tuple[int, str | files.Picture]], skip: bool) -> _Read:
    """Positions and samples of the frames that could be read, the error that stopped it, and whether any were asked."""
    positions: list[int] = []
    samples: list[dict] = []
    for position, frame in frames:
        try:
            samples.append(transform({"image": frame}))
        except Exception as error:
            reason = root_cause(error)
            if not isinstance(reason, PolypError):
                raise
            if not skip:
                return positions, samples, PolypError(str(reason)), True
            logger.warning(f"{reason}; left out")
        else:
            positions.append(position)
    return positions, samples, None, bool(frames)


def _finished(position: int, finish: Compose, output: dict) -> Segmented:
    with clear_errors():
        output = finish(output)
    if (numbers := output.get(CLASS_MAP)) is None:
        mask = to_pixels(output["pred"]) > 0
        return Segmented(
            position, mask, to_pixels(output["probability"].float()), in_geometry_of(output["image"].meta, mask)
        )
    found, by_class = to_pixels(numbers), channels(output["probability"])
    geometry = in_geometry_of(output["image"].meta, found)
    return Segmented(position, found > 0, of_polyp(by_class), geometry, found, by_class)
