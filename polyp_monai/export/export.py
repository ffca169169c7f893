"""A bundle's network as a file for other runtimes, checked against PyTorch before it stays on disk."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from polyp_monai import provenance
from polyp_monai import runtime as runtimes
from polyp_monai.bundle.read import BundleConfig, classes_of, recipe_digest
from polyp_monai.data import files, outputs
from polyp_monai.errors import PolypError
from polyp_monai.export import agreement, quantize, writers
from polyp_monai.export.samples import Samples
from polyp_monai.runtime import about
from polyp_monai.runtime.about import About
from polyp_monai.runtime.formats import FORMATS, READERS
from polyp_monai.training import checkpoints

logger = logging.getLogger(__name__)

ALLOWED_LOSS = 0.005  # of the mean Dice, by a reduced precision
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """The file at `path`, its size with what belongs to it in bytes, and in words how far it is from PyTorch."""

    path: Path
    size: int
    finding: str

    def __str__(self) -> str:
        return f"{os.path.relpath(self.path)}: {self.size / 1e6:.1f} MB; {self.finding}"


@dataclass(frozen=True)
class Original:
    """What is exported: the network with its weights, the facts that travel with it, and how the bundle predicts.

    `inferer(frames, network)` gives the logits of fitted frames of any size, `data` is a prepared set or None.
    """

    network: nn.Module
    facts: About
    inferer: Callable[[Tensor, Network], Tensor]
    data: str | None

    def samples(self, split: str) -> Samples:
        assert self.data is not None  # asked for only with --data
        return Samples.of(self.data, split, self.facts.image_size, self.facts.fit, self.facts.crop)


def export(
    root: Path,
    format: str,  # noqa: A002  as the command's --format
    precision: str = "fp32",
    out: Path | None = None,
    data: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the network of the bundle `root` in another format, and check it.

    Args:
        root: folder of the bundle.
        format: a key of `runtime.formats.FORMATS`.
        precision: of those of the format.
        out: file to write; by default NAME and a suffix, in the current folder.
        data: folder that `polyp prepare` wrote; needed for a reduced precision.
        weights: other than the bundle's.
        overwrite: whether `out` may be replaced.

    Raises:
        PolypError: an impossible combination, a missing package, a file in the way; or the export differs from the
            network by more than `agreement.TOLERANCE` or `ALLOWED_LOSS`, and then it is not kept.
    """
    _check_choice(format, precision, data)
    target = _target(root.resolve(), format, precision, out, overwrite)
    source = _original(BundleConfig(root), precision, data, Path(weights).absolute() if weights else None)
    with _whole(target) as partial:
        _write(source, format, partial)
        finding = _check(source, format, partial)
        size = sum(p.stat().st_size for p in (partial, partial.with_suffix(".bin")) if p.exists())
        for path in _files(target, format):  # now that it is kept
            outputs.claim_file(path, "export")
    return Exported(target, size, finding)


def checked_onnx(network: nn.Module, weights: Path, root: Path, path: Path) -> None:
    """Write `network`, which holds `weights` of the bundle `root`, as ONNX to `path`, and check it in every runtime.

    Raises:
        PolypError: it cannot be exported, or its export differs.
    """
    config = BundleConfig(root)
    source = Original(network, _facts(config, weights, "fp32"), config["inferer"], None)
    _write(source, "onnx", path)
    _check(source, "onnx", path)


def _check_choice(form: str, precision: str, data: str | None) -> None:
    if form not in FORMATS:
        raise PolypError(f"--format {form}: no such format; known are {', '.join(FORMATS)}")
    known = FORMATS[form]
    if precision not in known.precisions:
        why = f" ({known.refused[precision]})" if precision in known.refused else ""
        raise PolypError(
            f"--precision {precision}: not with --format {form}{why}; it takes {', '.join(known.precisions)}"
        )
    if precision != "fp32" and not data:
        what = "calibrate and check" if precision == "int8" else "check"
        raise PolypError(f"--precision {precision}: give --data DIR, a prepared set to {what} it on")


def _target(root: Path, form: str, precision: str, out: Path | None, overwrite: bool) -> Path:
    """Where the file goes, as an absolute path. Raises PolypError when something is in the way."""
    suffix = FORMATS[form].suffix
    kinds = ["tensorrt"] * (form == "tensorrt") + [precision] * (precision != "fp32")
    target = (out or Path(".".join([root.name, *kinds]) + suffix)).absolute()
    if target.suffix != suffix:
        raise PolypError(f"--out {out}: a file of {form} ends in {suffix}")
    for path in _files(target, form):
        outputs.check_file(path, "export", overwrite)
    return target


def _files(target: Path, form: str) -> tuple[Path, ...]:
    """What an export writes: the file, and for some formats another one beside it."""
    beside = FORMATS[form].beside
    return (target, target.with_suffix(beside)) if beside else (target,)


def _original(config: BundleConfig, precision: str, data: str | None, weights: Path | None) -> Original:
    """The bundle's parts, by its configs/inference.yaml."""
    path = weights or Path(config["weights"])
    if path.suffix in READERS:
        raise PolypError(f"{path}: is an export already; give the weights of a training, a .pt")
    network = checkpoints.load_weights(config["network_def"], path).eval()
    return Original(network, _facts(config, path, precision), config["inferer"], data)


def _facts(config: BundleConfig, weights: Path, precision: str) -> About:
    known, classes = provenance.of_weights(weights), classes_of(config)
    of_classes: dict[str, Any] = {"classes": (about.CLASSES[0], *classes.names)}
    of_classes |= {"class_certainty": classes.certainty} if classes.several else {}
    return About(
        bundle=config.root.name,
        bundle_version=about.version_of(config.root),
        weights_sha256=known.sha256,
        precision=precision,
        recipe=recipe_digest(config),
        trained_on=known.trained_on,
        created=known.created,
        **of_classes,
        **{key: config[key] for key in ("image_size", "fit", "crop", "threshold")},
    )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """`files.atomic` that also takes along the .bin that OpenVINO writes beside its .xml."""
    with files.atomic(target) as partial:
        numbers = partial.with_suffix(".bin")
        try:
            yield partial
            if numbers.exists():
                os.replace(numbers, target.with_suffix(".bin"))
        finally:
            numbers.unlink(missing_ok=True)


def _write(source: Original, form: str, path: Path) -> None:
    if source.facts.precision == "int8":
        _write_int8(source, form, path)
        return
    getattr(writers, FORMATS[form].write)(source.network, path, source.facts)


def _write_int8(source: Original, form: str, path: Path) -> None:
    samples = source.samples("training")
    with tempfile.TemporaryDirectory() as folder:
        plain, rounded = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        writers.onnx(source.network, plain, replace(source.facts, precision="fp32"))
        logger.info(f"calibrating on {len(samples)} training frames")
        quantize.int8(plain, rounded, tqdm(samples.frames(), "calibrate", len(samples), unit="frame", disable=None))
        writers.describe_onnx(rounded, source.facts)
        if form == "openvino":
            writers.openvino(rounded, path, source.facts)
        else:
            path.write_bytes(rounded.read_bytes())


def _check(source: Original, form: str, path: Path) -> str:
    """What is to be said of the export at `path`. Raises PolypError when it is too far from the network."""
    import torch

    device = torch.device("cuda" if form == "tensorrt" else "cpu")
    readers = [name for name in FORMATS[form].readers if about.installed(name)]
    if not readers:
        about.require(f"--format {form}", FORMATS[form].readers[-1])
    exported = [runtimes.load(name, path, device) for name in readers]
    network = source.network.to(device)
    if source.facts.precision == "fp32":
        frames = [batch.to(device) for batch in _batches(source, any_size=form != "tensorrt")]
        found = max(agreement.check(network, other, frames, f"the export in {other.description}") for other in exported)
        return f"probabilities differ from PyTorch's by {found:.1g} at most"
    return _check_dice(source, network, exported, device)


def _batches(source: Original, any_size: bool) -> list[Tensor]:
    """Frames of --data, of the validation split, where given; else drawn ones."""
    frames = list(zip(range(3), source.samples("validation").pictures(), strict=False)) if source.data else []
    pictures = [picture for _, picture in frames] or agreement.synthetic_frames()
    return agreement.batches((pictures * 3)[:3], source.facts.image_size, any_size)


def _check_dice(source: Original, network: nn.Module, exported: list, device) -> str:
    samples, threshold = source.samples("validation"), source.facts.threshold

    def dice(other: Network) -> float:
        return samples.dice(lambda frames: source.inferer(frames.to(device), other).cpu(), threshold)

    full, reduced = dice(network), min(dice(other) for other in exported)
    if not full - reduced <= ALLOWED_LOSS:
        raise PolypError(
            f"--precision {source.facts.precision}: mean Dice on {len(samples)} validation frames falls from "
            f"{full:.4f} to {reduced:.4f}, by more than {ALLOWED_LOSS}; the file is not kept"
        )
    return f"mean Dice {reduced:.4f}, in fp32 {full:.4f}, on {len(samples)} validation frames"
