"""What the processes of one training must agree on. Each is a rank; the world is all of them."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from polyp_monai.errors import PolypError, counted

Dataset = TypeVar("Dataset", bound=Sized)


def share_of_batch(batch_size: int, world: int | None = None) -> int:
    """Frames of a batch that one rank takes.

    Raises:
        PolypError: the world does not divide the batch.
    """
    world = dist.get_world_size() if world is None else world
    if batch_size % world:
        near = max(1, round(batch_size / world)) * world
        raise PolypError(
            f"batch_size {batch_size} cannot be shared by {world} processes; it is that of all together, and {near} can"
        )
    return batch_size // world


def one_each(dataset: Dataset) -> Dataset:
    """`dataset` itself. Raises PolypError when there are too few frames for every rank to validate one."""
    if len(dataset) < dist.get_world_size():
        frames = counted(len(dataset), "validation frame")
        raise PolypError(f"{frames} cannot be shared by {dist.get_world_size()} processes; take fewer processes")
    return dataset


def check_resumed(epoch: int, path: Path) -> None:
    """Raises PolypError when not all ranks go on after the same epoch, which would train each on its own."""
    if not dist.is_initialized():
        return
    epochs: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(epochs, epoch)
    if len(set(epochs)) > 1:
        raise PolypError(f"{path}: not every machine sees it; --resume needs a folder that all of them share")
