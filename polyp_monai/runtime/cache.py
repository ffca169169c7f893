"""Weights of a training, exported once for a runtime and kept, so that the next run starts at once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import polyp_monai
from polyp_monai import provenance
from polyp_monai import runtime as runtimes
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.runtime import about
from polyp_monai.runtime.exported import ExportedNetwork, same_logits

logger = logging.getLogger(__name__)


def folder() -> Path:
    """Where the exports are kept: POLYP_CACHE, else ~/.cache/polyp_monai."""
    return Path(os.environ.get("POLYP_CACHE") or "~/.cache/polyp_monai").expanduser()


def network(
    runtime: str, loaded: nn.Module, weights: Path, device: torch.device, export: Callable[[Path], None]
) -> ExportedNetwork:
    """`loaded`, a network that holds `weights`, as ONNX in the hands of `runtime`; from beside the weights, where the
    file there was exported from them, or from the cache.

    ONNX serves both runtimes: OpenVINO reads it as fast as its own format. What lies there is held against the network
    each time, with one small frame, because a network's code can change while its name stays.

    Args:
        export: writes `loaded` to a path, and checks it.

    Raises:
        PolypError: a package is missing, the network cannot be exported, or its export differs; nothing is kept then.
    """
    about.require(f"--runtime {runtime}", runtime)
    shipped = _kept(runtime, weights.with_suffix(".onnx"), loaded, device)
    if shipped is not None and shipped.about.weights_sha256 == provenance.digest(weights):
        return shipped
    about.require(f"--runtime {runtime}", "onnx", "onnxscript")
    path = folder() / _name(loaded, weights)
    if (kept := _kept(runtime, path, loaded, device)) is not None:
        return kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PolypError(f"{path.parent}: no folder to keep exports in; name another with POLYP_CACHE") from error
    logger.warning(f"exporting for {runtime}, once (about 20 s), to {path}")
    with files.atomic(path) as partial:
        export(partial)
        return runtimes.load(runtime, partial, device)


def _kept(runtime: str, path: Path, loaded: nn.Module, device: torch.device) -> ExportedNetwork | None:
    if not path.is_file():
        return None
    try:
        kept = runtimes.load(runtime, path, device)
    except PolypError:
        return None  # damaged: made again
    return kept if same_logits(loaded, kept) else None


def _name(loaded: nn.Module, weights: Path) -> str:
    layers = hashlib.sha256(str(loaded).encode()).hexdigest()
    return f"{provenance.digest(weights)[:16]}-{layers[:16]}-{polyp_monai.__version__}.onnx"
