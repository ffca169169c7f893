"""A bundle's network as a file for other runtimes, checked against PyTorch before it stays on disk."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from polyp_monai import provenance
from polyp_monai import runtime as runtimes
from polyp_monai.bundle.run import clear_errors, inside
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.export import agreement, quantize, writers
from polyp_monai.export.samples import Samples
from polyp_monai.runtime import about
from polyp_monai.runtime.about import About
from polyp_monai.training import checkpoints

ALLOWED_LOSS = 0.005  # of the mean Dice, by a reduced precision
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "torchscript": ".ts", "tensorrt": ".ts"}
PRECISIONS = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "torch-export": ("fp32", "bf16"),
    "torchscript": ("fp32", "bf16"),
    "tensorrt": ("fp32", "fp16"),
}
REASONS = {
    ("onnx", "bf16"): "ONNX Runtime cannot run it on a CPU",
    ("torch-export", "fp16"): "PyTorch takes seconds a frame for it on a CPU",
    ("torchscript", "fp16"): "PyTorch takes seconds a frame for it on a CPU",
}
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Source:
    """What is exported: the network with its weights, the facts that travel with it, and how the bundle predicts.

    `inferer(frames, network)` gives the logits of fitted frames of any size, `data` is a prepared set or None.
    """

    network: nn.Module
    facts: About
    inferer: Callable[[Tensor, Network], Tensor]
    data: str | None

    def samples(self, split: str) -> Samples:
        assert self.data is not None  # `_check_choice` asked for it
        return Samples.of(self.data, split, self.facts.image_size, self.facts.keep_aspect)


def export(
    root: Path,
    format: str,  # noqa: A002  as the command's --format
    precision: str = "fp32",
    out: Path | None = None,
    data: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write the network of the bundle `root` in another format, check it, and say what came of it.

    Args:
        root: folder of the bundle.
        format: a key of `PRECISIONS`.
        precision: of those of the format.
        out: file to write; by default NAME and a suffix, in the current folder.
        data: folder that `polyp prepare` wrote; needed for a reduced precision.
        weights: other than the bundle's.
        overwrite: whether `out` may be replaced.

    Returns:
        A line for the user: the file, its size, and how far it is from PyTorch.

    Raises:
        PolypError: an impossible combination, a missing package, a file in the way; or the export differs from the
            network by more than `agreement.TOLERANCE` or `ALLOWED_LOSS`, and then it is not kept.
    """
    _check_choice(format, precision, data)
    target = _target(root.resolve(), format, precision, out, overwrite)
    data, weights = (path and os.path.abspath(path) for path in (data, weights))
    with inside(root.resolve()), clear_errors():
        source = _source(root.resolve(), precision, data, weights)
        with _whole(target) as partial:
            _write(source, format, partial)
            finding = _check(source, format, partial)
            size = sum(p.stat().st_size for p in (partial, partial.with_suffix(".bin")) if p.exists())
    return f"{os.path.relpath(target)}: {size / 1e6:.1f} MB; {finding}"


def _check_choice(form: str, precision: str, data: str | None) -> None:
    if form not in PRECISIONS:
        raise PolypError(f"--format {form}: no such format; known are {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[form]:
        reason = REASONS.get((form, precision))
        why = f" ({reason})" if reason else ""
        raise PolypError(
            f"--precision {precision}: not with --format {form}{why}; it takes {', '.join(PRECISIONS[form])}"
        )
    if precision != "fp32" and not data:
        what = "calibrate and check" if precision == "int8" else "check"
        raise PolypError(f"--precision {precision}: give --data DIR, a prepared set to {what} it on")


def _target(root: Path, form: str, precision: str, out: Path | None, overwrite: bool) -> Path:
    """Where the file goes, as an absolute path. Raises PolypError when something is in the way."""
    suffix = SUFFIXES[form]
    kinds = ["tensorrt"] * (form == "tensorrt") + [precision] * (precision != "fp32")
    target = (out or Path(".".join([root.name, *kinds]) + suffix)).absolute()
    if target.suffix != suffix:
        raise PolypError(f"--out {out}: a file of {form} ends in {suffix}")
    for path in (target, target.with_suffix(".bin")) if form == "openvino" else (target,):
        if path.is_dir() or (path.exists() and not overwrite):
            raise PolypError(f"{path}: exists already; give another --out, or --overwrite")
    return target


def _source(root: Path, precision: str, data: str | None, weights: str | None) -> Source:
    """The bundle's parts, by its configs/inference.yaml; in the bundle's folder."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config("configs/inference.yaml")
    path = Path(weights or parser.get_parsed_content("weights"))
    if path.suffix in runtimes.READERS:
        raise PolypError(f"{path}: is an export already; give the weights of a training, a .pt")
    network = checkpoints.load_weights(parser.get_parsed_content("network_def"), path).eval()
    settings = {key: parser.get_parsed_content(key) for key in ("image_size", "keep_aspect", "threshold")}
    facts = About(
        bundle=root.name,
        bundle_version=about.version_of(root),
        weights_sha256=provenance.digest(path),
        precision=precision,
        **settings,
    )
    return Source(network, facts, parser.get_parsed_content("inferer"), data)


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


def _write(source: Source, form: str, path: Path) -> None:
    if source.facts.precision == "int8":
        _write_int8(source, form, path)
        return
    write = {
        "onnx": writers.onnx,
        "openvino": writers.openvino_from,
        "torch-export": writers.torch_export,
        "torchscript": writers.torchscript,
        "tensorrt": writers.tensorrt,
    }[form]
    write(source.network, path, source.facts)


def _write_int8(source: Source, form: str, path: Path) -> None:
    samples = source.samples("training")
    with tempfile.TemporaryDirectory() as folder:
        plain, rounded = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        writers.onnx(source.network, plain, replace(source.facts, precision="fp32"))
        print(f"calibrating on {len(samples)} training frames", file=sys.stderr)
        quantize.int8(plain, rounded, samples.frames())
        writers.describe_onnx(rounded, source.facts)
        if form == "openvino":
            writers.openvino(rounded, path, source.facts)
        else:
            path.write_bytes(rounded.read_bytes())


def _check(source: Source, form: str, path: Path) -> str:
    """What is to be said of the export at `path`. Raises PolypError when it is too far from the network."""
    import torch

    device = torch.device("cuda" if form == "tensorrt" else "cpu")
    readers = [name for name in runtimes.READERS[path.suffix] if about.installed(name)]
    if not readers:
        about.require(f"--format {form}", runtimes.READERS[path.suffix][-1])
    exported = [runtimes.load(name, path, device) for name in readers]
    network = source.network.to(device)
    if source.facts.precision == "fp32":
        frames = [batch.to(device) for batch in _batches(source, any_size=form != "tensorrt")]
        found = max(agreement.check(network, other, frames, f"the export in {other.description}") for other in exported)
        return f"probabilities differ from PyTorch's by {found:.1g} at most"
    return _check_dice(source, network, exported, device)


def _batches(source: Source, any_size: bool) -> list[Tensor]:
    """Frames of --data, of the validation split, where given; else drawn ones."""
    frames = list(zip(range(3), source.samples("validation").pictures(), strict=False)) if source.data else []
    pictures = [picture for _, picture in frames] or agreement.synthetic_frames()
    return agreement.batches((pictures * 3)[:3], source.facts.image_size, any_size)


def _check_dice(source: Source, network: nn.Module, exported: list, device) -> str:
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
