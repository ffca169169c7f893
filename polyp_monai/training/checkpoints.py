"""Weights and training state on disk: written atomically, read with `weights_only=True`."""

from __future__ import annotations

import logging
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polyp_monai import provenance
from polyp_monai.data import files
from polyp_monai.errors import PolypError, counted, shortened, summary

logger = logging.getLogger(__name__)

OTHER = {"loss": "another loss", "data": "another data list"}  # of a recipe, what is too long to say


def check_free(ckpt_dir: str | Path) -> None:
    """Raises PolypError when `ckpt_dir` holds what an earlier training left, which a new one would overwrite."""
    for name in ("last.pt", "model.pt"):
        path = Path(ckpt_dir) / name
        if path.exists():
            resume = "--resume to go on with it, " if name == "last.pt" else ""
            raise PolypError(
                f"{path}: holds an earlier training; add {resume}--overwrite to train again over it, or train "
                "into another folder"
            )


@torch.no_grad()
def check_network(network: nn.Module, size: int, loss: nn.Module | None = None, classes: Sequence[str] = ()) -> None:
    """Raises PolypError when the network does not turn a frame of `size` x `size` pixels into logits of that size, one
    channel for each of `classes`, or `loss` cannot be taken of them."""
    trains, device = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    reason, found = "", None
    try:
        given = torch.zeros(1, 3, size, size, device=device)
        found = network.eval()(given)
        if found.shape[2:] != given.shape[2:]:
            reason = f"it gives {' x '.join(map(str, found.shape))}"
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, AttributeError) as error:
        reason = summary(error)
    finally:
        network.train(trains)
    if reason or found is None:
        divisor = f"; its strides have to divide {network.divisor}" if hasattr(network, "divisor") else ""
        raise PolypError(f"network_def: cannot segment {size} x {size} pixels ({reason}){divisor}")
    if classes and found.shape[1] != len(classes):
        expected = f"expected one for each of {', '.join(classes)}"
        raise PolypError(f"network_def: gives {counted(found.shape[1], 'channel')}; {expected}")
    if loss is not None:
        _check_loss(loss, found)


def _check_loss(loss: nn.Module, logits: torch.Tensor) -> None:
    try:
        value = loss(logits, torch.zeros_like(logits))
    except Exception as error:  # any that a config can name
        raise PolypError(
            f"loss: cannot be taken of logits and masks of {tuple(logits.shape)} ({summary(error)})"
        ) from error
    if not isinstance(value, torch.Tensor):
        raise PolypError(f"loss: gives a {type(value).__name__}; expected a tensor")


def last_state(ckpt_dir: str | Path) -> Path | None:
    """The state that a resumed run goes on from; None where there is none yet.

    Raises:
        PolypError: there are weights all the same.
    """
    best, last = Path(ckpt_dir) / "model.pt", Path(ckpt_dir) / "last.pt"
    if best.exists() and not last.exists():
        raise PolypError(
            f"{best}: holds weights, but the state of their training ({last.name}) is not there to go on with; add "
            "--overwrite to train again over them, or train into another folder"
        )
    return last if last.exists() else None


def check_resumable(ckpt_dir: str | Path, recipe: Mapping[str, Any], network: nn.Module) -> None:
    """Raises PolypError when a run in `ckpt_dir` is of another recipe or network; before what resumes it writes."""
    path = last_state(ckpt_dir)
    if path is None:
        return
    content = read(path)
    progress, best = content.get("progress", {}), path.with_name("model.pt")
    if progress.get("best_metric_epoch", -1) > 0 and not best.exists():
        raise PolypError(
            f"{best}: is gone, the best weights so far, of epoch {progress['best_metric_epoch']}; put it back, or add "
            "--overwrite in place of --resume to train again"
        )
    check_recipe(path, progress.get("recipe", {}), recipe)
    was, now = content.get("network", {}), network.state_dict()
    if {key: value.shape for key, value in was.items()} != {key: value.shape for key, value in now.items()}:
        raise PolypError(f"{path}: is of another network; resume with the same bundle")


def check_recipe(path: str | Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises PolypError when the run in `path` was trained by another recipe than that of the run that goes on."""
    if other := {key: value for key, value in was.items() if now.get(key) != value}:
        said = ", ".join(OTHER.get(key, f"{key} {value}") for key, value in other.items())
        raise PolypError(f"{path}: was trained with {said}; resume with the same")


def save(path: str | Path, content: Any) -> None:
    """`torch.save` atomically: a run killed meanwhile leaves the old file.

    By way of memory, because torch's own writer hides a full disk behind an assertion.
    """
    buffer = BytesIO()
    torch.save(content, buffer)
    with files.atomic(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def read(path: str | Path, device: str | torch.device = "cpu") -> Any:
    """`torch.load` of tensors and plain containers only.

    Raises:
        PolypError: absent, damaged, or holding other objects (which could run code).
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise PolypError(f"{path}: no such weights; train the bundle first, or name other weights with --weights FILE")
    if not files.is_whole_zip(path):
        raise PolypError(f"{path}: is damaged: its content is not what its checksums say; copy or train it again")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # the reader of damaged files raises anything, IndexError too
        if objects := _objects(path):
            raise PolypError(
                f"{path}: holds Python objects ({shortened(objects, 2)}), which can run code when they are read; only "
                "weights are read here: save them again, with torch.save(network.state_dict(), FILE)"
            ) from error
        raise PolypError(f"{path}: not a readable checkpoint; it is damaged, or no file of torch.save") from error


def _objects(path: Path) -> list[str]:
    """Names of the functions and classes that reading the file would call for, other than torch's own containers."""
    try:
        if zipfile.is_zipfile(path):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        with open(path, "rb") as file:  # a plain pickle; its text is looked at, nothing of it is run
            texts = [str(argument) for code, argument, _ in pickletools.genops(file) if isinstance(argument, str)]
        return texts[:2]
    except Exception:  # no pickle, or damaged
        return []


def _spread(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of `state` with one channel where `own` has one a class: each class gets a copy; nothing where they
    differ in another way. Between layers of a channel a class, a class sees its own channel alone.
    """
    spread, counts = {}, set()
    for key in [k for k in own if k in state and own[k].shape != state[k].shape]:
        one, several = state[key], own[key].shape
        axes = [axis for axis, (n, c) in enumerate(zip(one.shape, several, strict=False)) if n != c]
        if one.ndim != len(several) or len(axes) > 2 or any(one.shape[axis] != 1 for axis in axes):
            return {}
        counts |= {several[axis] for axis in axes}
        spread[key] = one.expand(several).clone()
        if len(axes) == 2 and len(counts) == 1:
            shape = [several[axis] if axis in axes else 1 for axis in range(one.ndim)]
            spread[key] *= torch.eye(several[axes[0]], dtype=one.dtype).view(shape)
    return spread if len(counts) == 1 else {}


def load_weights(network: nn.Module, path: str | Path, start: bool = False) -> nn.Module:
    """`network` with the weights of a plain state dict; says in one line which they are.

    Args:
        network: takes them.
        path: of the file.
        start: whether a training starts with them. Then weights of one class may start a network of several: what
            their last layer says of a polyp, each class says at first.

    Raises:
        PolypError: no such file, damaged, or of another network.
    """
    state, path = read(path), Path(path).resolve()
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise PolypError(f"{path}: holds no plain state dict of a network")
    own = network.state_dict()
    if start and (spread := _spread(state, own)):
        state |= spread
        layers = shortened(sorted({key.rpartition(".")[0] for key in spread}), 2)
        logger.info(f"{path}: is of one class, and the network of several: each starts with its channel of {layers}")
    missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
    other = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or unknown or other:
        example = sorted(missing or unknown or other)[0]
        raise PolypError(
            f"{path}: weights of another network ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(other)} of another shape, such as {example})"
        )
    if broken := [k for k, v in state.items() if not v.isfinite().all()]:
        raise PolypError(f"{path}: holds numbers that are not finite, such as in {broken[0]}; the training diverged")
    network.load_state_dict(state)
    logger.info(f"weights: {provenance.of_weights(path)}")
    return network
