"""bfloat16 on a CPU, and what a device cannot do."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from polyp_monai.errors import PolypError
from polyp_monai.training import precision
from tests.cli.conftest import fails
from tests.conftest import small_options
from tests.training.test_training import curve, train, weights


class Noted(nn.Module):
    """Notes the precisions in which its convolutions gave their results."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.plain = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
        self.seen: list[torch.dtype] = []

    def forward(self, x):
        first = self.depthwise(x)
        second = self.plain(first)
        self.seen = [first.dtype, second.dtype]
        return second


def test_the_network_alone_runs_in_bfloat16_and_depthwise_convolutions_in_float32():
    frames = torch.rand(1, 8, 9, 9)
    network = precision.prepared(Noted(), "bf16", "cpu")
    names = list(network.state_dict())
    other = copy.deepcopy(network)  # as for the averaged weights
    for one in (network, other):
        logits = precision.AutocastInferer(SimpleInferer(), "bf16")(frames, one)
        assert one.seen == [torch.float32, torch.bfloat16]
        assert logits.dtype == torch.float32
    assert names == list(Noted().state_dict())
    plain = Noted()
    precision.AutocastInferer(SimpleInferer(), "auto")(frames, precision.prepared(plain, "auto", "cpu"))
    assert plain.seen == [torch.float32, torch.float32]


def test_float16_is_of_cuda():
    assert precision.scaled("auto", "cuda")
    assert precision.scaled("fp16", "cuda")
    assert not any(precision.scaled(amp, "cpu") for amp in ("auto", "off", False))
    assert not precision.scaled("bf16", "cuda")
    with pytest.raises(PolypError, match="needs a CUDA device"):
        precision.scaled("fp16", "cpu")


def test_a_cpu_without_bfloat16_says_so(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda: False)
    words = ["train", "unet", "--data", dataset, "--out", tmp_path / "run", *small_options(), "--amp", "bf16"]
    assert "neither AMX nor AVX512-BF16" in fails(capsys, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not precision._has_bf16(), reason="a CPU that computes in bfloat16")
def test_a_training_in_bfloat16_comes_near_to_one_in_float32(dataset, tmp_path):
    for amp in ("off", "bf16"):
        assert train(tmp_path / amp, dataset, epochs="2", amp=amp) == 0
    losses = [[float(row[1]) for row in curve(tmp_path / amp)] for amp in ("off", "bf16")]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    one, other = (weights(tmp_path / amp) for amp in ("off", "bf16"))
    assert not all(torch.equal(one[key], other[key]) for key in one)
