"""Every loss that `configs/losses.yaml` names, and the laws that a loss of masks keeps."""

from __future__ import annotations

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from polyp_monai.bundle.locate import shipped
from polyp_monai.losses import FocalTverskyLoss, PresenceLoss, ProbabilityLoss, WeightedSumLoss

LOSSES = yaml.safe_load((shipped()["unet"] / "configs/losses.yaml").read_text())
WEIGH_MISSED_MORE = ("tversky", "focal", "focal_tversky")


@pytest.fixture(params=sorted(LOSSES))
def name(request) -> str:
    return request.param


@pytest.fixture
def loss(name) -> torch.nn.Module:
    return ConfigParser({"loss": LOSSES[name]}).get_parsed_content("loss")


def disc(size: int = 32, radius: float = 9.0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2).float()[None, None]


def logits_of(mask: torch.Tensor, size: float = 20.0) -> torch.Tensor:
    return (2 * mask - 1) * size


def test_a_perfect_prediction_costs_nothing(loss):
    assert loss(logits_of(disc()), disc()) < 1e-3


def test_a_wrong_prediction_costs_more_than_a_vague_one(loss):
    assert loss(-logits_of(disc()), disc()) > loss(torch.zeros(1, 1, 32, 32), disc()) > 0.01


def test_a_step_against_the_gradient_helps(loss):
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 32, 32, requires_grad=True)
    before = loss(logits, disc().expand(2, -1, -1, -1))
    (gradient,) = torch.autograd.grad(before, logits)
    assert gradient.isfinite().all()
    assert loss(logits - 0.1 * gradient / gradient.norm(), disc().expand(2, -1, -1, -1)) < before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("target", [torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32), disc()])
@pytest.mark.parametrize("value", [-100.0, 0.0, 100.0])
def test_extreme_logits_and_empty_masks_stay_finite(loss, value, target, dtype):
    # as in training: MONAI's wrapper hands the loss float32 whatever the network's precision
    from monai.losses import DeepSupervisionLoss

    logits = torch.full((1, 1, 32, 32), value, dtype=dtype, requires_grad=True)
    cost = DeepSupervisionLoss(loss)(logits, target)
    cost.backward()
    assert cost.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", WEIGH_MISSED_MORE)
def test_a_missed_part_costs_more_than_a_false_one_of_its_size(name):
    loss = ConfigParser({"loss": LOSSES[name]}).get_parsed_content("loss")
    truth = torch.zeros(1, 1, 32, 32)
    truth[..., 8:24, 8:24] = 1
    missed, false_alarm = truth.clone(), truth.clone()
    missed[..., 8:12, 8:24] = 0
    false_alarm[..., 24:28, 8:24] = 1
    assert loss(logits_of(missed, 5), truth) > loss(logits_of(false_alarm, 5), truth)


def test_focal_tversky_by_hand():
    """TP 2, FN 1, FP 1: TI = 2 / (2 + 0.7 + 0.3), loss (1 - TI)^(3/4)."""
    truth = torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 0.0]]]])
    predicted = torch.tensor([[[[1.0, 1.0, 0.0, 1.0, 0.0]]]])
    cost = FocalTverskyLoss(0.7, 4 / 3, smooth=0)(logits_of(predicted, 50), truth)
    assert cost.item() == pytest.approx((1 / 3) ** 0.75, rel=1e-5)


def test_focal_tversky_is_the_mean_over_frames():
    loss = FocalTverskyLoss()
    logits, truth = torch.randn(3, 1, 16, 16), (torch.rand(3, 1, 16, 16) > 0.7).float()
    each = torch.stack([loss(logits[i : i + 1], truth[i : i + 1]) for i in range(3)])
    assert torch.allclose(loss(logits, truth), each.mean())


def test_a_weighted_sum():
    logits, truth = torch.randn(1, 1, 8, 8), disc(8, 3)
    parts = [FocalTverskyLoss(), ProbabilityLoss(torch.nn.MSELoss())]
    total = WeightedSumLoss(parts, [2.0, 0.5])(logits, truth)
    assert torch.allclose(total, 2 * parts[0](logits, truth) + 0.5 * parts[1](logits, truth))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="false_negative"):
        FocalTverskyLoss(false_negative=1.5)
    with pytest.raises(ValueError, match="weights"):
        WeightedSumLoss([FocalTverskyLoss()], [1.0, 2.0])


def test_a_frame_without_a_polyp_teaches_focal_tversky_nothing():
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 32, 32, requires_grad=True)
    both = FocalTverskyLoss()(logits, torch.cat([disc(), torch.zeros(1, 1, 32, 32)]))
    both.backward()
    assert float(both.detach()) == pytest.approx(float(FocalTverskyLoss()(logits.detach()[:1], disc())))
    assert logits.grad[0].any()
    assert not logits.grad[1].any()
    assert FocalTverskyLoss()(logits, torch.zeros(2, 1, 32, 32)) == 0


def test_presence_presses_down_what_stands_out_in_a_negative():
    logits = torch.full((1, 1, 32, 32), -6.0)
    logits[..., 4:6, 4:6] = 3.0  # a false outline of 4 pixels
    logits.requires_grad_()
    loss = PresenceLoss(share=4 / 1024)(logits, torch.zeros(1, 1, 32, 32))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(3.0486, abs=1e-3)  # ln(1 + e^3)
    assert torch.equal(logits.grad > 0, logits.detach() > 0)


def test_presence_lifts_the_polyp_and_nothing_beside_it():
    logits = torch.zeros(1, 1, 32, 32, requires_grad=True)
    tiny = torch.zeros(1, 1, 32, 32)
    tiny[..., 4:6, 4:6] = 1  # smaller than the share
    loss = PresenceLoss(share=0.1)(logits, tiny)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.6931, abs=1e-3)  # ln 2
    assert torch.equal(logits.grad < 0, tiny > 0)
    with pytest.raises(ValueError, match="share"):
        PresenceLoss(0)


@pytest.mark.parametrize("value", [-100.0, 0.0, 100.0])
def test_presence_stays_finite(value):
    for target in (torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32), disc()):
        logits = torch.full((1, 1, 32, 32), value, requires_grad=True)
        PresenceLoss()(logits, target).backward()
        assert logits.grad.isfinite().all()
