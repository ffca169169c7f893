"""The network contract, checked: what every bundle's `network_def` must do, one's own too."""

from __future__ import annotations

import torch
from torch import nn

from polyp_monai.errors import PolypError, summary

SIZES = ((64, 96), (97, 131))


def check(network: nn.Module, channels: int = 1) -> None:
    """Give `network` frames of several sizes, and a step of training; it must have a channel of logits for each class.

    Raises:
        PolypError: it fails on them, gives another size or no plain tensor in evaluation, ends in a sigmoid, a sample's
            result depends on its batch, or a parameter gets no finite gradient.
    """
    try:
        with torch.no_grad():
            for size in SIZES:
                _check_output(network.eval(), torch.rand(2, 3, *size), channels)
            _check_unbounded(network)
        _check_gradients(network.train(), channels)
    except PolypError:
        raise
    except Exception as error:  # the user's own code can raise anything
        raise PolypError(f"the network fails: {summary(error)}") from error


def _check_output(network: nn.Module, frames: torch.Tensor, channels: int) -> None:
    logits = network(frames)
    if not isinstance(logits, torch.Tensor):
        raise PolypError(f"in evaluation the network gives a {type(logits).__name__}; expected one tensor of logits")
    _check_shape(frames, logits, channels)
    if not logits.isfinite().all():
        raise PolypError("the network gives NaN or infinite logits")
    if not torch.allclose(network(frames[:1]), logits[:1], atol=1e-3):
        raise PolypError("the logits of a frame depend on the other frames of its batch")


def _check_unbounded(network: nn.Module) -> None:
    """Probabilities stay within 0..1 whatever the weights; losses and postprocessing apply the sigmoid themselves."""
    frames = torch.rand(2, 3, *SIZES[0])
    found = [network(frames)]
    for parameter in network.parameters():
        parameter.neg_()
    found.append(network(frames))
    for parameter in network.parameters():
        parameter.neg_()
    if all(output.min() >= 0 and output.max() <= 1 and output.std() > 0 for output in found):
        raise PolypError(
            "the network gives probabilities, all within 0..1; expected logits, without a sigmoid at its end"
        )


def _check_shape(frames: torch.Tensor, logits: torch.Tensor, channels: int) -> None:
    expected = (frames.shape[0], channels, *frames.shape[2:])
    if logits.shape != expected:
        raise PolypError(f"frames {tuple(frames.shape)} give logits {tuple(logits.shape)}; expected {tuple(expected)}")


def _check_gradients(network: nn.Module, channels: int) -> None:
    frames = torch.rand(2, 3, 64, 64)
    output = network(frames)
    heads = output if isinstance(output, (list, tuple)) else [output]
    for head in heads:
        _check_shape(frames, head, channels)
    sum(head.square().mean() for head in heads).backward()
    idle = [
        n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    network.zero_grad()
    if idle:
        raise PolypError(f"{len(idle)} parameters get no finite gradient in training, such as {idle[0]}")
