"""Does an exported network say what the network itself says?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polyp_monai.errors import PolypError
from polyp_monai.runtime.exported import Call, same_logits

TOLERANCE = 1e-4  # of a probability
ODD = (97, 131)  # a size that no stride divides


def synthetic_frames(count: int = 3) -> list[np.ndarray]:
    """`count` drawn frames, (320, 400, 3) uint8 RGB, always the same: a lit wall, its noise, and two bumps on it."""
    import cv2

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:320, :400]
    frames = []
    for _ in range(count):
        wall = cv2.resize(rng.normal(0, 1, (10, 12)), (400, 320), interpolation=cv2.INTER_CUBIC)
        for x, y, radius in rng.uniform((80, 60, 25), (320, 260, 70), (2, 3)):
            wall += 3 * np.clip(1 - np.hypot(columns - x, rows - y) / radius, 0, None)
        light = 0.55 + 0.12 * wall + rng.normal(0, 0.02, wall.shape)
        frames.append(np.clip(light[..., None] * (235, 130, 105), 0, 255).astype(np.uint8))
    return frames


def batches(frames: Sequence[np.ndarray], image_size: int, any_size: bool = True) -> list[Tensor]:
    """Batches of 1 and 2 frames at `image_size` x `image_size`, and one of an odd size: (B, 3, W, H) in 0..1 each.

    Args:
        frames: three of (H, W, 3) uint8.
        any_size: False leaves the odd size out.
    """
    first, second, third = (_resized(frame, (image_size, image_size)) for frame in frames[:3])
    return [first, torch.cat([second, third])] + [_resized(frames[0], ODD)] * any_size


def _resized(frame: np.ndarray, size: tuple[int, int]) -> Tensor:
    import cv2

    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 1, 0)[None].contiguous() / 255


@torch.no_grad()
def greatest_difference(one: Call, other: Call, frames: Sequence[Tensor]) -> float:
    """Greatest difference of probabilities over all pixels of all batches; NaN when one of the networks gives NaN."""
    return float(torch.stack([(one(b).sigmoid() - other(b).sigmoid()).abs().max() for b in frames]).max())


def check(one: Call, other: Call, frames: Sequence[Tensor], name: str) -> float:
    """`greatest_difference`, which must be within the tolerance, and the logits the same but for rounding.

    Probabilities alone would not tell where all of them are next to 0, as on frames without a polyp.

    Raises:
        PolypError: they differ; `name` says which export.
    """
    found = greatest_difference(one, other, frames)
    if not found <= TOLERANCE:  # so that NaN does not pass
        raise PolypError(f"{name}: its probabilities differ from PyTorch's by {found:.2g}, more than {TOLERANCE:g}")
    if not all(same_logits(one, other, batch) for batch in frames):
        raise PolypError(f"{name}: its logits differ from PyTorch's by more than rounding does")
    return found
