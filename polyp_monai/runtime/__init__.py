"""One face over PyTorch, ONNX Runtime and OpenVINO: what the configs name as their network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.errors import PolypError
from polyp_monai.runtime import about

if TYPE_CHECKING:
    import torch
    from torch import nn

    from polyp_monai.runtime.exported import ExportedNetwork

logger = logging.getLogger(__name__)

RUNTIMES = ("torch", "onnxruntime", "openvino")
AUTO = "auto"
FASTEST = ("openvino", "onnxruntime")  # on a CPU, in this order, and both before PyTorch
READERS = {".onnx": FASTEST, ".xml": ("openvino",), ".pt2": ("torch",), ".ts": ("torch",)}


def network(
    runtime: str, network_def: nn.Module, weights: str | Path, bundle_root: str | Path, device: str | torch.device
) -> nn.Module:
    """A module from frames (B, 3, H, W) to logits (B, C, H, W), whichever runtime runs it; see its `description`.

    Args:
        runtime: of `RUNTIMES`, or "auto" for the fastest that is installed. Of a state dict, any but torch is exported
            once, into a cache. A file that `polyp export` wrote is run by what reads it, "torch" or "auto" alike.
        network_def: the bundle's network, which takes the weights of a state dict.
        weights: a state dict, or an exported file (.onnx, .xml, .pt2, .ts).
        bundle_root: folder of the bundle that the weights must be of.
        device: of the frames. OpenVINO runs on the CPU all the same, and on a CUDA device "auto" is PyTorch.

    Raises:
        PolypError: an unknown runtime, or one that is not installed; weights or a file that cannot be read, or are of
            another network or bundle.
    """
    import torch

    from polyp_monai.runtime import torch_network

    if runtime not in (*RUNTIMES, AUTO):
        raise PolypError(f"--runtime {runtime}: no such runtime; known are {', '.join((AUTO, *RUNTIMES))}")
    weights, device = Path(weights).resolve(), torch.device(device)
    found: Any
    if weights.suffix in READERS:
        found = _of_file(runtime, weights, bundle_root, device)
    elif runtime == "torch":
        return torch_network.plain(network_def, weights, device)
    else:
        found = _of_weights(runtime, network_def, weights, bundle_root, device)
    logger.info(f"network: {found.description}")
    return found


def check(given: Mapping[str, object]) -> None:
    """Raises PolypError when the user asked for a runtime that does not read the weights that the user named."""
    readers = READERS.get(Path(str(given.get("weights", ""))).suffix)
    if readers and given.get("runtime", AUTO) not in (AUTO, *readers):
        raise PolypError(
            f"{given['weights']}: --runtime {given['runtime']} does not read it; {' and '.join(readers)} can"
        )


def load(runtime: str, path: Path, device: torch.device) -> ExportedNetwork:
    """An exported file by one of `RUNTIMES`. Raises PolypError as `network`."""
    if runtime == "openvino":
        from polyp_monai.runtime import openvino_runtime

        return openvino_runtime.load(path, device)
    if runtime == "onnxruntime":
        from polyp_monai.runtime import onnx_runtime

        return onnx_runtime.load(path, device)
    from polyp_monai.runtime import torch_network

    return torch_network.load(path, device)


def _of_file(runtime: str, path: Path, bundle_root: str | Path, device: torch.device) -> ExportedNetwork:
    readers = READERS[path.suffix]
    if runtime in (AUTO, "torch"):  # the configs' default cannot be known from a wish
        runtime = next((name for name in readers if about.installed(name)), readers[-1])
    check({"weights": path, "runtime": runtime})
    found = load(runtime, path, device)
    about.check_bundle(found.about, path, bundle_root)
    _tell_other_weights(found, path, bundle_root)
    return found


def _tell_other_weights(found: ExportedNetwork, path: Path, bundle_root: str | Path) -> None:
    """A line where the bundle was trained again since the export: the file still holds the older weights."""
    from polyp_monai import provenance

    own = Path(bundle_root) / "models/model.pt"
    if own.is_file() and provenance.digest(own) != found.about.weights_sha256:
        logger.warning(f"{path}: was exported from other weights than {own.resolve()}; it is used as it is")


def _of_weights(
    runtime: str, network_def: nn.Module, weights: Path, bundle_root: str | Path, device: torch.device
) -> nn.Module:
    from polyp_monai.runtime import cache, torch_network
    from polyp_monai.training import checkpoints

    loaded = checkpoints.load_weights(network_def, weights).eval()
    if runtime != AUTO:
        return cache.network(runtime, loaded, weights, bundle_root, device)
    for name in FASTEST if device.type != "cuda" else ():
        try:
            return cache.network(name, loaded, weights, bundle_root, device)
        except (PolypError, OSError) as error:
            logger.warning(f"not with {name}: {error}")
    return torch_network.plain(network_def, weights, device)
