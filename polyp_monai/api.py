"""polyp_monai from Python: load a bundle once, give it frames of any kind, get masks at their native size.

    bundle = polyp_monai.load("efficient_unet")
    result = bundle.predict("photo.jpg")
    result.save("mask.png")

Nothing here changes the working directory, draws from or seeds a global random generator, prints, or sets the number
of threads. Threads may share a bundle. What happens goes to the logger `polyp_monai`; what a user can mend is a
`polyp_monai.errors.PolypError` of one line.
"""

from __future__ import annotations

import errno
import glob
import io as memory
import json
import logging
import numbers
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, overload

import numpy as np

from polyp_monai import provenance
from polyp_monai.bundle import locate
from polyp_monai.data import datalist, dicom, files, outputs, remote, search
from polyp_monai.errors import PolypError, counted
from polyp_monai.metrics.classes import Classes
from polyp_monai.metrics.regions import Polyp, find_polyps

if TYPE_CHECKING:
    import PIL.Image
    import torch

    from polyp_monai.bundle.predictor import Predictor, Segmented
    from polyp_monai.video.source import Source
    from polyp_monai.video.tracking import TrackedPolyp

Picture = Union[np.ndarray, "PIL.Image.Image", "torch.Tensor"]
Errors = Literal["raise", "skip"]
logger = logging.getLogger(__name__)

SHOWN = 640  # pixels of the longer side at most, in a notebook


def load(
    bundle: str | Path | Sequence[str | Path],
    *,
    device: str | torch.device | None = None,
    runtime: str | None = None,
    image_size: int | None = None,
    threshold: float | None = None,
    tta: Literal["none", "flip"] | None = None,
    class_certainty: float | None = None,
    weights: str | Path | None = None,
    trust: str | None = None,
    calibration: str | Path | None = None,
) -> Bundle:
    """Load a bundle.

    A bundle's config can run code. One that did not come with polyp_monai, and was not made on this machine, is looked
    at first, without running anything of it, and refused when it holds what is not known. An exported file runs none.

    Args:
        bundle: name of a shipped bundle; or a path: a bundle's folder (such as runs/unet), a zip of one, or a file that
            `polyp export` wrote (.onnx, .xml, .pt2, .ts), which needs nothing beside it. Of a list of trained bundles,
            an ensemble: the mean of their probabilities.
        device: "cpu", "cuda", "cuda:1"; by default CUDA where there is some.
        runtime: "torch", "onnxruntime", "openvino", or "auto" for the fastest that is installed; by default the
            config's, which is torch. Exported files are run by what reads them.
        image_size: side of the network's input in pixels; by default what it was trained with.
        threshold: probability from which a pixel counts as polyp, 0..1; by default the bundle's.
        tta: "flip" takes the mean over a frame and its mirror images, four times as slow.
        class_certainty: of a bundle of several classes, the probability of its class below which a polyp's class reads
            "uncertain", 0..1; by default the bundle's.
        weights: a state dict (.pt) or an exported file, in place of the bundle's; or the name of a shipped bundle.
        trust: digest that `polyp inspect` prints, of a bundle that is used whatever it holds, now and later.
        calibration: file that `polyp calibrate` wrote for these weights: its threshold, and its bound on false alarms.

    Raises:
        PolypError: no such bundle, or one that is not trusted; a value out of range; a calibration of other
            weights or settings; weights that are damaged, or of another network. Of a bundle without weights only what
            needs them raises.
    """
    from polyp_monai import runtime as runtimes

    for name, given in (("weights", weights), ("calibration", calibration)):
        if given is not None:
            _path(name, given)
    if trust is not None and not isinstance(trust, str):
        raise PolypError(f"trust: a {type(trust).__name__}; expected the digest that `polyp inspect` prints")
    values: dict[str, Any] = {"device": device, "runtime": runtime, "image_size": image_size, "threshold": threshold}
    values |= {"tta": tta, "weights": weights, "class_certainty": class_certainty}
    settings = {key: value for key, value in values.items() if value is not None}
    if isinstance(bundle, (list, tuple)):
        from polyp_monai.bundle import ensemble

        temporary = tempfile.TemporaryDirectory(prefix="polyp_monai-")
        return Bundle(ensemble.write(bundle, Path(temporary.name) / "ensemble"), None, settings, temporary)
    if not isinstance(bundle, (str, Path)):
        raise PolypError(f"a bundle of {type(bundle).__name__}: expected its name, or the path of its folder or file")
    path, folder = Path(bundle and _path("bundle", bundle)), None
    if path.suffix in runtimes.READERS and path.is_file():
        return _checked(Bundle(None, path.resolve(), settings | _promised(calibration, path, settings)), calibration)
    if path.suffix == ".zip" and path.is_file():
        folder = tempfile.TemporaryDirectory(prefix="polyp_monai-")
        root = _unpacked(path, Path(folder.name).resolve(), trust)
    else:
        root = locate.find(str(bundle), trust, ask=False)
    own = Path(settings.get("weights") or root / "models/model.pt")
    return _checked(Bundle(root, None, settings | _promised(calibration, own, settings), folder), calibration)


def _promised(calibration: str | Path | None, weights: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    """The settings by which the promises in `calibration` hold; of those that are given, none may be among them."""
    if calibration is None:
        return {}
    from polyp_monai.evaluation import conformal

    if not weights.is_file():
        raise PolypError(f"{weights}: no such weights, which {calibration} could be about")
    found = conformal.settings(calibration, provenance.digest(weights), settings.get("threshold", 0.5))
    if both := sorted(found.keys() & settings.keys()):
        raise PolypError(f"{calibration}: sets {both[0]} too; leave it out")
    return found


def _checked(bundle: Bundle, calibration: str | Path | None) -> Bundle:
    """`bundle`. Raises PolypError when `calibration` was found with other settings."""
    if calibration is not None:
        from polyp_monai.evaluation import conformal

        conformal.check_settings(calibration, bundle.predictor.settings)
    return bundle


def _unpacked(archive: Path, folder: Path, digest: str | None) -> Path:
    from polyp_monai.sharing import trust
    from polyp_monai.sharing.archive import unpack

    root = unpack(archive, folder / archive.stem)
    if not (root / "configs").is_dir():
        raise PolypError(f"{archive}: holds no bundle (a folder configs/, at its top or one below)")
    trust.require_trust(root, digest, ask=False, source=archive)
    return root


class Bundle:
    """A loaded bundle; `load` makes it.

    Attributes:
        name: of the bundle.
        root: its folder; None of an exported file.
    """

    def __init__(
        self,
        root: Path | None,
        file: Path | None,
        settings: Mapping[str, Any],
        folder: tempfile.TemporaryDirectory | None = None,
    ) -> None:
        from polyp_monai.bundle import overrides

        self.root, self._file, self._folder = root, file, folder
        self._loading = threading.Lock()
        self._loaded: Predictor | None = None
        if root is None:
            overrides.check_values(settings)
            self._given = dict(settings)
        else:
            self._given = overrides.check(root, "inference", overrides.words(settings))
        self.name = root.name if root else self.predictor.name
        if root and ("weights" in self._given or (root / "models/model.pt").is_file()):
            _ = self.predictor

    def __repr__(self) -> str:
        state = self._loaded
        if state is None:
            return f"<Bundle {self.name}, without weights>"
        size = f"{state.image_size} x {state.image_size}"
        return f"<Bundle {self.name}: {state.description}, {size}, weights {self.weights}>"

    @property
    def predictor(self) -> Predictor:
        """The network with all that stands around it. Raises PolypError when the bundle has no weights."""
        with self._loading:
            if self._loaded is None:
                from polyp_monai.bundle.predictor import Predictor

                if self._file is not None:
                    self._loaded = Predictor.of_file(self._file, self._given)
                else:
                    self._loaded = Predictor.of_bundle(self._home("predict"), self._given)
        return self._loaded

    @property
    def weights(self) -> provenance.Weights:
        """Which weights were taken: `path`, `sha256`, `trained_on`, `created`, `modified`."""
        return self.predictor.weights

    @property
    def image_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.predictor.image_size

    @property
    def threshold(self) -> float:
        """Probability from which a pixel counts as polyp, 0..1."""
        return self.predictor.threshold

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's channels."""
        return self.predictor.classes.names

    @property
    def description(self) -> str:
        """What runs the network: runtime, precision, threads or device."""
        return self.predictor.description

    @overload
    def predict(self, source: list[Any] | tuple[Any, ...], errors: Errors = ...) -> list[Prediction]: ...
    @overload
    def predict(self, source: Iterator[Any], errors: Errors = ...) -> Iterator[Prediction]: ...
    @overload
    def predict(self, source: Picture, errors: Errors = ...) -> Prediction: ...
    @overload
    def predict(self, source: str | Path, errors: Errors = ...) -> Any: ...

    def predict(self, source: Any, errors: Errors = "raise") -> Any:
        """Find polyps in one frame or in many.

        Args:
            source: what decides about the result:

                - a path of a picture (PNG, JPEG, TIFF, BMP, WebP, HEIC, NIfTI, DICOM), which is read upright, as
                  viewers show it; an array (H, W, 3) RGB of uint8 (or uint16, or
                  floats in 0..1; (H, W) is grey), a PIL image, a MetaTensor or tensor (3, W, H), MONAI's axis order:
                  a `Prediction`
                - a list or tuple of these: a list, predicted in batches
                - a folder (searched in depth), a glob or a data list (.json), as `polyp predict` takes them, a DICOM
                  file of several frames, or an iterator of the above: a generator, which holds two batches however
                  many frames come
            errors: "raise", or "skip": a frame that cannot be read is named in the log (WARNING) and left out; a single
                frame always raises.

        Raises:
            PolypError: a frame that cannot be read; from a generator after the results of the frames before it.
        """
        if errors not in ("raise", "skip"):
            raise PolypError(f"errors {errors!r}: expected 'raise' or 'skip'")
        if isinstance(source, (list, tuple)):
            return list(self._predictions(source, errors == "skip"))
        if isinstance(source, Iterator):
            return self._predictions(source, errors == "skip")
        if isinstance(source, (str, os.PathLike)) and _is_many(_path("source", source)):
            return self._predictions(_found(os.fspath(source), errors == "skip"), errors == "skip")
        return next(self._predictions([source], skip=False))

    def _predictions(self, frames: Iterable[Any], skip: bool) -> Iterator[Prediction]:
        predictor, asked = self.predictor, _Asked(frames, skip)
        for found in predictor.segment(asked, skip):
            yield Prediction.of(found, asked.taken(found.position), predictor.threshold, predictor.classes)

    def track(
        self,
        source: str | Path | Source,
        *,
        confirm: tuple[int, int] = (3, 5),
        smooth: Literal["none", "exponential", "flow"] = "exponential",
        half_life: float = 0.1,
        crop: bool = True,
        realtime: bool = False,
        fps: float | None = None,
    ) -> Iterator[TrackedFrame]:
        """Follow the polyps of a video, frame by frame, as `polyp video` does. Needs the package `av` for files.

        Args:
            source: a video file, a folder or glob of frames, "camera:0", the address of a stream, or an open `Source`.
            confirm: (k, n): a polyp is shown once k of the last n frames saw it.
            smooth: how probabilities are smoothed over time; "flow" carries them along with the optical flow.
            half_life: of the smoothing, in seconds.
            crop: whether black borders and text around the endoscope's picture are left out.
            realtime: drops frames of a file instead of lagging behind; cameras and streams always do.
            fps: frames a second of a folder of frames (25).

        Raises:
            PolypError: the source cannot be opened; or it breaks, after the frames before that.
        """
        from polyp_monai.video.address import open_source
        from polyp_monai.video.finder import Finder
        from polyp_monai.video.latency import Latency
        from polyp_monai.video.pipeline import Pipeline
        from polyp_monai.video.source import Source

        if not isinstance(source, Source):
            source = _path("source", source)
        if not isinstance(confirm, (tuple, list)) or [type(n) for n in confirm] != [int, int]:
            raise PolypError(f"confirm {confirm!r}: expected two whole numbers, k of the last n frames, such as (3, 5)")
        for name, number in (("half_life", half_life), ("fps", 25 if fps is None else fps)):
            if not isinstance(number, numbers.Real):
                raise PolypError(f"{name} {number!r}: expected a number")
        latency = Latency()
        finder = Finder.of(self.predictor, smooth, half_life, confirm, crop, latency)
        with (
            remote.here(source) as place,
            place if isinstance(place, Source) else open_source(place, fps) as frames,
        ):
            for item in Pipeline(frames, [finder], latency, realtime or frames.live):
                yield TrackedFrame(item.frame.index, item.frame.time, item.polyps, item.frame.image)
            if frames.damaged:
                index, reason = next(iter(frames.damaged.items()))
                logger.warning(
                    f"{counted(len(frames.damaged), 'damaged frame')} left out, the first is frame {index}: {reason}"
                )
            if frames.broken:
                raise PolypError(frames.broken)

    def evaluate(
        self, data: str | Path, split: str = "test", out: str | Path | None = None, **keys: Any
    ) -> dict[str, Any]:
        """Score the bundle on a prepared set at native size, as `polyp evaluate`: report, tables and masks in `out`.

        Args:
            data: folder that `polyp prepare` wrote.
            split: "training", "validation", "test" or "all".
            out: folder; by default eval/SPLIT in the bundle's, and results/NAME/SPLIT for a shipped bundle or a zip.
            keys: of configs/evaluate.yaml.

        Returns:
            The content of `out`/summary.json.

        Raises:
            PolypError: a key that is unknown or out of range, no such data, a frame that cannot be read, or a run in
                `out` already (`overwrite=True` replaces an earlier one).
        """
        from polyp_monai.bundle import overrides, run

        root = self._home("evaluate")
        given = overrides.check(root, "evaluate", overrides.words({**self._given, **keys}))
        place = _target("out", out) if out else Path("results") / self.name / split if self._folder else None
        place = (place or locate.results(root, split)).absolute()
        folder = datalist.local(_path("data", data))
        datalist.read(folder)
        about = {"dataset_dir": str(folder), "split": split, "output_dir": str(place)}
        with run.random_state_kept():
            run.run(root, "evaluate", {**about, **given}, log=False)
        return json.loads((place / "summary.json").read_text(encoding="utf-8"))

    def train(self, data: str | Path | Sequence[str | Path], out: str | Path | None = None, **keys: Any) -> Bundle:
        """Train the bundle on one prepared set or several, as `polyp train`.

        A shipped bundle is copied to `out` (runs/NAME) and trained there; another is trained where it is, or in `out`.

        Args:
            data: folders that `polyp prepare` wrote.
            out: folder of the run.
            keys: of configs/train.yaml: `epochs=40`, `weights="efficient_unet"`, `resume=True` ...

        Returns:
            The trained bundle.

        Raises:
            PolypError: a key that is unknown or out of range, no such data, or an earlier training in `out`.
        """
        from polyp_monai.bundle import overrides, run

        root = self._home("train")
        if self._folder and not out:
            raise PolypError(f"{self.name}: comes from a zip, so say with out=DIR where the trained bundle goes")
        kept: dict[str, Any] = {key: self._given[key] for key in ("device", "image_size") if key in self._given}
        folders = [datalist.local(folder) for folder in ([data] if isinstance(data, (str, Path)) else data)]
        bundle = root.name if locate.is_shipped(root) else str(root)
        out = str(_target("out", out)) if out else None
        source = locate.template(bundle, out)
        given = overrides.check(source, "train", overrides.words({**kept, **keys}))
        with run.random_state_kept():
            place = run.train(bundle, folders, out, given, log=False)
        return Bundle(place, None, {key: value for key, value in self._given.items() if key != "weights"})

    def export(
        self,
        format: str,  # noqa: A002  as the command's --format
        out: str | Path | None = None,
        *,
        precision: str = "fp32",
        data: str | Path | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the network as one file for other runtimes, check it, and return its path, as `polyp export`.

        Args:
            format: "onnx", "openvino", "torch-export", "torchscript" or "tensorrt".
            out: file; by default NAME and a suffix, in the working directory.
            precision: "fp32", "fp16", "bf16" or "int8".
            data: a prepared set, to calibrate and check a lower precision.
            overwrite: whether `out` may be replaced.

        Raises:
            PolypError: an impossible combination, a missing package, a file in the way, or an export that differs.
        """
        from polyp_monai.bundle import run
        from polyp_monai.export.export import export

        root, weights = self._home("export"), str(self.weights.path)
        file, data = _target("out", out) if out else None, str(data) if data else None
        with run.random_state_kept():
            return export(root, format, precision, file, data, weights, overwrite).path

    def _home(self, verb: str) -> Path:
        if self.root is None:
            raise PolypError(f"{self._file}: an exported file cannot {verb}; load its bundle, {self.name}")
        return self.root


class _Asked:
    """Passes frames on to be read, and keeps what is needed of each until its result has come."""

    def __init__(self, frames: Iterable[Any], skip: bool) -> None:
        self._frames, self._skip = frames, skip
        self._waiting: dict[int, tuple[str | None, np.ndarray | None]] = {}

    def __iter__(self) -> Iterator[str | files.Picture]:
        position = 0
        for frame in self._frames:
            try:
                is_path = isinstance(frame, (str, os.PathLike))
                asked: str | files.Picture = remote.absolute(_path("frame", frame)) if is_path else _picture(frame)
            except PolypError as error:
                if not self._skip:
                    raise
                logger.warning(f"{error}; left out")
                continue
            self._waiting[position] = (asked, None) if isinstance(asked, str) else (None, asked.pixels)
            yield asked
            position += 1

    def taken(self, position: int) -> tuple[str | None, np.ndarray | None]:
        """Path, or pixels, of the frame that came as number `position`; those before it are not wanted any more."""
        for earlier in [key for key in self._waiting if key < position]:  # left out, as they could not be read
            del self._waiting[earlier]
        return self._waiting.pop(position)


def _is_many(source: str) -> bool:
    if remote.is_address(source):
        return source.lower().endswith(".json") or remote.is_folder(source)
    path = Path(source)
    if dicom.holds(path):
        return len(datalist.find_frames(source).frames) > 1
    return path.is_dir() or path.suffix.lower() == ".json" or (not path.exists() and glob.has_magic(source))


def _found(source: str, skip: bool) -> list[str]:
    """The frames that a folder, glob or data list names; what is passed over is named in the log."""
    found = datalist.find_frames(source)
    if not found.frames:
        raise PolypError(f"{source}: no frames there; known formats are {', '.join(files.SUFFIXES)}")
    if found.problems:
        line = search.unreadable_line(found.problems)
        if not skip:
            raise PolypError(line)
        logger.warning(f"{line}; left out")
    if found.passed_over:
        logger.warning(search.passed_over_line(found.passed_over))
    if found.burned_in:
        logger.warning(dicom.burned_in_line(found.burned_in))
    return [path for path, _ in found.frames if path not in found.problems]


def _path(name: str, path: Any) -> str:
    """A path, or address, that was given as the argument `name`. Raises PolypError for what no file can be called."""
    if not isinstance(path, (str, os.PathLike)):
        raise PolypError(f"{name}: a path of {type(path).__name__}; expected a text or a Path")
    text = os.fsdecode(path)
    try:
        os.lstat(text or "\0")
    except ValueError as error:
        raise PolypError(f"{name} {text[:80]!r}: is no name of a file or folder") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PolypError(f"{name} {text[:80]}...: is too long for the name of a file") from error
    return text


def _target(name: str, path: Any) -> Path:
    """Where to write, on this machine. Raises PolypError, for an address too."""
    try:
        return Path(remote.local(_path(name, path)))
    except ValueError as error:
        raise PolypError(f"{name} {remote.shown(str(path))}: {error}") from error


def _picture(frame: Any) -> files.Picture:
    """A frame in memory as a file would have it. Raises PolypError when it is none."""
    import PIL.Image
    import torch

    if isinstance(frame, PIL.Image.Image):
        try:
            pixels, affine, axes = files.pixels_of(frame), np.eye(4), 2
        except Exception as error:  # of a file that is read only now; decoders raise anything
            raise PolypError(f"a PIL image: cannot be read ({error}); is it damaged or cut short?") from error
    elif isinstance(frame, torch.Tensor):
        if frame.ndim != 3 or frame.shape[0] not in (1, 3, 4):
            raise PolypError(f"a tensor of shape {tuple(frame.shape)}: expected (3, W, H), MONAI's order")
        try:
            plain = torch.as_tensor(frame).detach().cpu().numpy()
        except (TypeError, RuntimeError, NotImplementedError) as error:  # bfloat16, sparse, without content
            raise PolypError(f"a tensor of {frame.dtype}, {frame.layout}, on {frame.device}: expected uint8") from error
        pixels = np.ascontiguousarray(plain.transpose(2, 1, 0))
        affine = np.asarray(getattr(frame, "affine", np.eye(4)), dtype=float)
        axes = int(getattr(frame, "meta", {}).get("file_axes", 2))
    elif isinstance(frame, np.ndarray):
        pixels, affine, axes = np.asarray(frame), np.eye(4), 2
    else:
        raise PolypError(f"a {type(frame).__name__}: expected a path, an array, a PIL image or a tensor")
    if pixels.ndim not in (2, 3) or not pixels.size or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise PolypError(f"an array of shape {pixels.shape}: expected (H, W, 3) RGB; give several as a list")
    if pixels.dtype.kind not in "buif":
        raise PolypError(f"an array of {pixels.dtype}: expected uint8")
    if not pixels.flags.writeable:  # torch would warn
        pixels = pixels.copy()
    return files.Picture(pixels, affine, (*pixels.shape[1::-1], *(1,) * (axes - 2)))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one frame, at its native size.

    Attributes:
        mask: (H, W) bool, True where a polyp is.
        probability: (H, W) float32 in 0..1.
        threshold: from which a pixel counts as polyp.
        source: path of the frame; None of one in memory.
        classes: of the bundle: `names`, and `certainty`, the probability below which a class is uncertain.
        class_map: of several classes (H, W) uint8, 0 and the numbers of the polyps' classes from 1; else None.
        class_probabilities: of several classes (C, H, W) float32, whose sum, at most 1, is `probability`; else None.
    """

    mask: np.ndarray
    probability: np.ndarray
    threshold: float
    source: str | None
    geometry: files.Picture = field(repr=False)
    pixels: np.ndarray | None = field(repr=False)
    classes: Classes = field(default=Classes())
    class_map: np.ndarray | None = field(default=None, repr=False)
    class_probabilities: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        found: Segmented,
        asked: tuple[str | None, np.ndarray | None],
        threshold: float,
        classes: Classes = Classes(),  # noqa: B008  which cannot change
    ) -> Prediction:
        """From what a predictor says, and from where the frame came."""
        source, pixels = asked
        of_classes = classes, found.numbers, found.by_class
        return cls(found.mask, found.probability, threshold, source, found.geometry, pixels, *of_classes)

    def __repr__(self) -> str:
        where = self.source or "a picture in memory"
        return f"<Prediction of {where}, {self.size[0]} x {self.size[1]}: {counted(len(self.polyps), 'polyp')}>"

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.mask.shape[1], self.mask.shape[0]

    @cached_property
    def polyps(self) -> list[Polyp]:
        """The connected regions of the mask, largest first: `box`, `area`, `confidence` and `outline` of each.

        Of several classes also `class_name` ("uncertain" below the certainty), `class_probability` and the `means` of
        the classes' probabilities.

        Specks below 0.05 % of the frame are in the mask, and not here.
        """
        within = np.where(self.mask, np.maximum(self.probability, self.threshold), 0).astype(np.float32)
        view = (0, 0, *self.size)
        return find_polyps(within, self.threshold, view, classes=self.classes, by_class=self.class_probabilities)

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB: the frame, which is read again when it came from a file.

        Raises:
            PolypError: the file has gone.
        """
        if self.source is not None:
            return files.read_rgb(self.source, upright=True)
        assert self.pixels is not None  # a frame has come from somewhere
        return files.to_rgb(files.Picture(self.pixels, np.eye(4), self.size), "a picture in memory")

    def save(self, path: str | Path, probability: bool = False, overwrite: bool = False) -> Path:
        """Write the mask, {0, 255} as PNG or {0, 1} as NIfTI with affine and shape of its frame; returns the path.

        Of several classes it holds 0 and their numbers, as PNG with a palette.

        Args:
            path: ends in .png, .nii or .nii.gz.
            probability: writes the probability instead, 0..255 as PNG, 0..1 as NIfTI.
            overwrite: whether a mask or probability that polyp_monai predicted may be replaced; nothing else ever is.

        Raises:
            PolypError: another suffix, `path` is the frame itself, or a file is there that may not be replaced.
        """
        path = _target("path", path)
        if self.source is not None and path.resolve() == Path(self.source).resolve():
            raise PolypError(f"{path}: is the frame itself; give the mask another name")
        if (suffix := files.suffix_of(path)) not in (".png", *files.NIFTI_SUFFIXES):
            raise PolypError(f"{path}: a mask is written as .png, .nii or .nii.gz")
        outputs.check_file(path, "predict", overwrite)
        if not probability and self.class_map is not None and suffix == ".png":
            files.write_indices(path, self.class_map, "predict")
        elif not probability:
            mask = self.mask if self.class_map is None else self.class_map
            files.write_mask(path, mask.astype(np.uint8), self.geometry, "predict")
        elif suffix == ".png":
            files.write_png(path, (self.probability * 255).round().astype(np.uint8), "predict")
        else:
            files.write_nifti(path, self.probability, self.geometry, "predict")
        return path

    def plot(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB: the frame with the outline of the mask in yellow, or in the colors of the classes."""
        from polyp_monai.data.overlay import draw_classes, draw_contour

        if self.class_map is not None:
            return draw_classes(self.image, self.class_map)
        return draw_contour(self.image, self.mask.astype(np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: source, size, threshold, polyp_pixels, and of each polyp its box, area, confidence and
        outline, in pixels; of several classes also its class and the probability of that."""
        return {
            "source": self.source,
            "size": list(self.size),
            "threshold": float(self.threshold),
            "polyp_pixels": int(self.mask.sum()),
            "polyps": [_plain(polyp) for polyp in self.polyps],
        }

    def _repr_jpeg_(self) -> bytes:
        return _jpeg(self.plot())


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One frame of a video.

    Attributes:
        index: from 0.
        time: seconds since the first frame.
        polyps: those that are shown, by their numbers: `number`, `seen`, and as of a `Prediction`.
        image: (H, W, 3) uint8 RGB.
    """

    index: int
    time: float
    polyps: list[TrackedPolyp]
    image: np.ndarray = field(repr=False)

    def plot(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB: the frame with outline, box, number and confidence of each polyp."""
        from polyp_monai.video import overlay

        drawn = self.image.copy()
        overlay.draw(drawn, self.polyps)
        return drawn

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: index, time, and of each polyp its number, box, area, confidence and outline."""
        polyps = [{"number": polyp.number, "seen": polyp.seen, **_plain(polyp)} for polyp in self.polyps]
        return {"index": self.index, "time": self.time, "polyps": polyps}

    def _repr_jpeg_(self) -> bytes:
        return _jpeg(self.plot())


def _plain(polyp: Polyp) -> dict[str, Any]:
    about = {"box": list(polyp.box), "area": polyp.area, "confidence": polyp.confidence}
    if polyp.means:
        about |= {"class": polyp.class_name, "class_probability": polyp.class_probability}
    return about | {"outline": polyp.outline.tolist()}


def _jpeg(pixels: np.ndarray) -> bytes:
    """As a notebook keeps it: a tenth of a PNG."""
    import PIL.Image

    image = PIL.Image.fromarray(pixels)
    image.thumbnail((SHOWN, SHOWN))
    image.save(buffer := memory.BytesIO(), format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
