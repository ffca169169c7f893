"""PyTorch: state dicts in the bundle's own network, and files of torch.export and TorchScript."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from polyp_monai.runtime import about
from polyp_monai.runtime.exported import ExportedNetwork
from polyp_monai.training import checkpoints

EXTRA = "polyp_monai.json"  # the metadata's name among a file's extra files


def plain(network_def: nn.Module, weights: str | Path, device: torch.device) -> nn.Module:
    """`network_def` itself with the weights of a state dict, on `device`; in addition it has a `description`."""
    return ready(checkpoints.load_weights(network_def, weights), device)


def ready(loaded: nn.Module, device: torch.device) -> nn.Module:
    """`loaded` itself on `device`, with a `description`."""
    network = loaded.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    network.description = _description("fp32", device)
    return network


def load(path: Path, device: torch.device) -> ExportedNetwork:
    """The network in a .pt2 (torch.export) or .ts (TorchScript) file.

    Raises:
        PolypError: the file is damaged, or no export of polyp_monai.
    """
    extra = {EXTRA: ""}
    read = _exported_program if path.suffix == ".pt2" else _torchscript
    call = about.readable(lambda: read(path, device, extra), path, "PyTorch")
    found = extra[EXTRA] or "{}"
    facts = about.parse(json.loads(found), path)

    @torch.no_grad()
    def run(frames: torch.Tensor) -> torch.Tensor:
        return call(frames.contiguous(memory_format=torch.channels_last))

    return ExportedNetwork(run, facts, _description(facts.precision, device))


def _torchscript(path: Path, device: torch.device, extra: dict[str, str]) -> nn.Module:
    if device.type == "cuda" and about.installed("torch_tensorrt"):
        import torch_tensorrt  # noqa: F401  files of TensorRT need its operators

    return torch.jit.load(path, map_location=device, _extra_files=extra).eval()


def _exported_program(path: Path, device: torch.device, extra: dict[str, str]) -> nn.Module:
    from torch.export.passes import move_to_device_pass

    program = torch.export.load(path, extra_files=extra)
    return (program if device.type == "cpu" else move_to_device_pass(program, device)).module()


def _description(precision: str, device: torch.device) -> str:
    place = f"{torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    return f"PyTorch {'.'.join(torch.__version__.split('.')[:2])} {precision}, {place}"
