"""Mirror images at test time: symmetric, and nothing changes for a network that is."""

from __future__ import annotations

import torch
from monai.inferers import SimpleInferer

from polyp_monai.inferers import TTAInferer


def brightness_to_the_right(x: torch.Tensor) -> torch.Tensor:
    return x[:, :1].cumsum(3)


def test_the_result_moves_with_the_frame():
    frames = torch.rand(2, 3, 24, 16)
    inferer = TTAInferer(SimpleInferer(), tta="flip")
    for axis in (2, 3):
        mirrored = inferer(frames.flip(axis), brightness_to_the_right).flip(axis)
        assert torch.allclose(mirrored, inferer(frames, brightness_to_the_right), atol=1e-5)
    plain = TTAInferer(SimpleInferer())
    assert not torch.allclose(
        plain(frames.flip(3), brightness_to_the_right).flip(3), plain(frames, brightness_to_the_right)
    )


def test_a_symmetric_network_gives_what_it_gave():
    frames = torch.rand(2, 3, 24, 16)
    assert torch.allclose(TTAInferer(SimpleInferer(), tta="flip")(frames, lambda x: x[:, :1] * 2), frames[:, :1] * 2)
