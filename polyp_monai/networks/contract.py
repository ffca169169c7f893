"""The network contract, checked: what every bundle's `network_def` must do, one's own too."""

from __future__ import annotations

import torch
from torch import nn

from polyp_monai.errors import PolypError

SIZES = ((64, 96), (97, 131))


def check(network: nn.Module) -> None:
    """Give `network` frames of several sizes, and a step of training.

    Raises:
        PolypError: it fails on them, gives another size or no plain tensor in evaluation, a sample's result depends on
            its batch, or a parameter gets no finite gradient.
    """
    try:
        with torch.no_grad():
            for size in SIZES:
                _check_output(network.eval(), torch.rand(2, 3, *size))
        _check_gradients(network.train())
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise PolypError(f"the network fails: {str(error).splitlines()[0]}") from error


def _check_output(network: nn.Module, frames: torch.Tensor) -> None:
    logits = network(frames)
    if not isinstance(logits, torch.Tensor):
        raise PolypError(f"in evaluation the network gives a {type(logits).__name__}; expected one tensor of logits")
    if logits.ndim != 4 or logits.shape[0] != frames.shape[0] or logits.shape[2:] != frames.shape[2:]:
        raise PolypError(f"frames {tuple(frames.shape)} give logits {tuple(logits.shape)}; expected (2, C, same size)")
    if not logits.isfinite().all():
        raise PolypError("the network gives NaN or infinite logits")
    if not torch.allclose(network(frames[:1]), logits[:1], atol=1e-3):
        raise PolypError("the logits of a frame depend on the other frames of its batch")


def _check_gradients(network: nn.Module) -> None:
    output = network(torch.rand(2, 3, 64, 64))
    heads = output if isinstance(output, (list, tuple)) else [output]
    sum(head.square().mean() for head in heads).backward()
    idle = [
        n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    network.zero_grad()
    if idle:
        raise PolypError(f"{len(idle)} parameters get no finite gradient in training, such as {idle[0]}")
