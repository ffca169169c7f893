"""One face over PyTorch, ONNX Runtime and OpenVINO: what the configs name as their network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.errors import PolypError
from polyp_monai.runtime import about
from polyp_monai.runtime.formats import FASTEST, READERS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from polyp_monai.runtime.exported import ExportedNetwork

logger = logging.getLogger(__name__)

RUNTIMES = ("torch", "onnxruntime", "openvino")
AUTO = "auto"
# writes a network, which holds the weights of a file, of a bundle's folder, as ONNX to a path, and checks it
Exporter = Callable[["nn.Module", Path, Path, Path], None]


def network(
    runtime: str,
    network_def: nn.Module,
    weights: str | Path,
    bundle_root: str | Path,
    device: str | torch.device,
    export: Exporter | None = None,
    presence: float = 0.0,
) -> nn.Module:
    """A module from frames (B, 3, H, W) to logits (B, C, H, W), whichever runtime runs it; see its `description`.

    Args:
        runtime: of `RUNTIMES`, or "auto" for the fastest that is installed. Of a state dict, any but torch is exported
            once, into a cache. A file that `polyp export` wrote is run by what reads it, "torch" or "auto" alike.
        network_def: the bundle's network, which takes the weights of a state dict.
        weights: a state dict, or an exported file (.onnx, .xml, .pt2, .ts).
        bundle_root: folder of the bundle that the weights must be of.
        device: of the frames. OpenVINO runs on the CPU all the same, and on a CUDA device "auto" is PyTorch.
        export: `polyp_monai.export.export.checked_onnx`, which a state dict needs for any runtime but torch.
        presence: of `FrameNetwork`, in logits, beyond the network's own.

    Raises:
        PolypError: an unknown runtime, or one that is not installed; weights or a file that cannot be read, or are of
            another network or bundle.
    """
    import torch

    device = torch.device(device)
    found: Any = _network(runtime, network_def, Path(weights).resolve(), Path(bundle_root).resolve(), device, export)
    if presence:
        if not hasattr(found, "presence"):
            raise PolypError(f"--presence {presence:g}: {type(found).__name__} has none; wrap it in a FrameNetwork")
        found.presence += presence
    return found


def _network(
    runtime: str, network_def: nn.Module, weights: Path, root: Path, device: torch.device, export: Exporter | None
) -> nn.Module:
    from polyp_monai.runtime import torch_network

    if runtime not in (*RUNTIMES, AUTO):
        raise PolypError(f"--runtime {runtime}: no such runtime; known are {', '.join((AUTO, *RUNTIMES))}")
    if weights.suffix in READERS:
        found = file(runtime, weights, device)
        about.check_bundle(found.about, weights, root)
        _tell_other_weights(found, weights, root)
        return found
    if runtime == "torch":
        return torch_network.plain(network_def, weights, device)
    kept = _of_weights(runtime, network_def, weights, root, device, export)
    logger.info(f"network: {kept.description}")
    return kept


def check(given: Mapping[str, object]) -> None:
    """Raises PolypError when the user asked for a runtime that does not read the weights that the user named."""
    readers = READERS.get(Path(str(given.get("weights", ""))).suffix)
    if readers and given.get("runtime", AUTO) not in (AUTO, *readers):
        raise PolypError(
            f"{given['weights']}: --runtime {given['runtime']} does not read it; {' and '.join(readers)} can"
        )


def load(runtime: str, path: Path, device: torch.device) -> ExportedNetwork:
    """An exported file by one of `RUNTIMES`. Raises PolypError as `network`."""
    from polyp_monai.runtime import onnx_runtime, openvino_runtime, torch_network

    modules = dict(zip(RUNTIMES, (torch_network, onnx_runtime, openvino_runtime), strict=True))
    return modules[runtime].load(path, device)


def file(runtime: str, path: Path, device: torch.device) -> ExportedNetwork:
    """An exported file by `runtime`, of "auto" and "torch" by what reads it; says in one line which weights it holds.

    Raises:
        PolypError: that runtime does not read it, or as `load`.
    """
    readers = READERS[path.suffix]
    if runtime in (AUTO, "torch"):  # the configs' default cannot be known from a wish
        runtime = next((name for name in readers if about.installed(name)), readers[-1])
    check({"weights": path, "runtime": runtime})
    found = load(runtime, path, device)
    logger.info(f"weights: {found.about.weights(path)}")
    logger.info(f"network: {found.description}")
    return found


def _tell_other_weights(found: ExportedNetwork, path: Path, root: Path) -> None:
    """A line where the bundle was trained again since the export: the file still holds the older weights."""
    from polyp_monai import provenance

    own = root / "models/model.pt"
    if own.is_file() and provenance.digest(own) != found.about.weights_sha256:
        logger.warning(f"{path}: was exported from other weights than {own}; it is used as it is")


def _of_weights(
    runtime: str, network_def: nn.Module, weights: Path, root: Path, device: torch.device, export: Exporter | None
) -> nn.Module:
    from polyp_monai.runtime import cache, torch_network
    from polyp_monai.training import checkpoints

    loaded = checkpoints.load_weights(network_def, weights).eval()

    def kept(name: str) -> ExportedNetwork:
        if export is None:
            raise PolypError(f"{root}/configs: hand no exporter to `runtimes.network`; copy them from a shipped bundle")
        return cache.network(name, loaded, weights, device, lambda path: export(loaded, weights, root, path))

    if runtime != AUTO:
        return kept(runtime)
    for name in FASTEST if device.type != "cuda" else ():
        try:
            return kept(name)
        except (PolypError, OSError) as error:
            logger.warning(f"not with {name}: {error}")
    return torch_network.ready(loaded, device)
