from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyp_monai.data.augmentation import (
    RandBlurd,
    RandColord,
    RandFieldd,
    RandGammad,
    RandGeometryd,
    RandJpegd,
    RandMotiond,
    RandOverlayd,
    RandSpeculard,
    RandVignetted,
)

COLOR = [RandColord, RandGammad, RandVignetted, RandBlurd, RandMotiond, RandSpeculard, RandJpegd]
COVER = [RandOverlayd, RandFieldd]


def _sample(width: int = 70, height: int = 60) -> dict:
    """An image whose red channel is its mask, over a dim background."""
    columns, rows = np.mgrid[:width, :height]
    mask = ((columns - width * 0.4) ** 2 + (rows - height * 0.6) ** 2 < (height / 4) ** 2).astype(np.uint8)
    image = np.stack([mask * 220, mask * 0 + 40, mask * 0 + 60]).astype(np.uint8)
    return {"image": torch.from_numpy(image), "label": torch.from_numpy(mask[None])}


def _smooth() -> dict:
    columns, rows = np.mgrid[:70, :60]
    image = np.stack([40 + columns * 2, 60 + rows * 2, 90 + (columns + rows) // 2]).astype(np.uint8)
    return {"image": torch.from_numpy(image), "label": torch.zeros((1, 70, 60), dtype=torch.uint8)}


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_image_and_mask_move_together(seed):
    geometry = RandGeometryd(["image", "label"], image_size=64).set_random_state(seed)
    d = geometry(_sample())
    assert d["image"].shape == (3, 64, 64)
    assert set(d["label"].unique().tolist()) <= {0, 1}
    red, mask = d["image"][0].numpy() > 110, d["label"][0].numpy() > 0
    assert (red == mask).mean() > 0.97


def test_without_a_draw_the_window_is_cut_from_the_centre():
    d = _sample(70, 60)
    out = RandGeometryd(["image", "label"], image_size=60, prob=0)(d)
    assert torch.equal(out["label"], d["label"][:, 5:65])
    assert torch.equal(out["image"], d["image"][:, 5:65])


def test_a_frame_of_the_windows_size_without_a_draw_is_untouched():
    d = _sample(64, 64)
    out = RandGeometryd(["image", "label"], image_size=64, prob=0)(d)
    assert torch.equal(out["image"], d["image"])


def test_a_turn_by_180_degrees_is_exact():
    geometry = RandGeometryd(["image", "label"], image_size=64, scale=(1, 1), aspect=0, shear=0, shift=0)
    geometry.randomize()
    geometry.linear, geometry.offset = -np.eye(2), np.zeros(2)
    geometry.randomize = lambda: None
    d = _sample(64, 64)
    assert torch.equal(geometry(d)["label"], d["label"].flip(1, 2))


def test_crops_of_a_larger_frame_reach_its_ends():
    geometry = RandGeometryd(["image", "label"], 32, rotation=0, scale=(1, 1), aspect=0, shear=0, shift=0)
    geometry.set_random_state(0)
    seen = torch.zeros(96)
    for _ in range(300):
        image = torch.arange(96, dtype=torch.uint8)[None, :, None].repeat(3, 1, 32)
        crop = geometry({"image": image, "label": image[:1]})["image"][0, :, 16]
        seen[crop.long()] += 1
    assert seen[2] > 0
    assert seen[93] > 0


@pytest.mark.parametrize("transform", COLOR)
def test_color_transforms_change_the_image_and_leave_the_mask(transform):
    d = _smooth()
    out = transform("image", prob=1).set_random_state(1)(d)
    assert out["image"].shape == d["image"].shape
    assert out["image"].dtype == torch.uint8
    assert not torch.equal(out["image"], d["image"])
    assert out["label"] is d["label"]


@pytest.mark.parametrize("transform", COLOR)
def test_probability_zero_is_the_identity(transform):
    d = _smooth()
    assert transform("image", prob=0)(d)["image"] is d["image"]


@pytest.mark.parametrize("transform", [*COLOR, lambda keys, prob: RandGeometryd([keys, "label"], 64, prob)])
def test_a_seed_repeats_itself_and_the_input_stays(transform):
    d = _smooth()
    before = d["image"].clone()
    one, two = (transform("image", prob=1).set_random_state(5)(d)["image"] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(d["image"], before)


def test_color_without_range_is_the_identity():
    d = _smooth()
    out = RandColord("image", 1, brightness=0, contrast=0, saturation=0, hue=0, balance=0)(d)
    assert (out["image"].int() - d["image"].int()).abs().max() <= 1


def test_grey_has_no_hue_to_turn():
    grey = {"image": torch.full((3, 8, 8), 100, dtype=torch.uint8)}
    out = RandColord("image", 1, brightness=0, contrast=0, balance=0, hue=90)(grey)
    assert (out["image"].int() - 100).abs().max() <= 1


def test_highlights_are_bright_and_leave_the_border_black():
    d = _smooth()
    d["image"][:, :20] = 0
    out = RandSpeculard("image", prob=1, radius=(0.05, 0.1)).set_random_state(0)(d)["image"]
    assert not out[:, :18].any()
    assert (out >= d["image"]).all()
    assert out.max() > 240


@pytest.mark.parametrize("transform", COVER)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_is_covered_is_no_polyp_and_the_rest_is_untouched(transform, seed):
    before = _sample(160, 120)
    kept = {key: value.clone() for key, value in before.items()}
    after = transform(["image", "label"], "label", prob=1).set_random_state(seed)(before)
    assert all(torch.equal(before[key], kept[key]) for key in kept)  # the cache keeps what it has
    changed = (after["image"] != before["image"]).any(0, keepdim=True)
    assert not (after["label"] & changed).any()
    assert torch.equal(after["label"][~changed], before["label"][~changed])
    assert after["label"].sum() >= 0.66 * before["label"].sum()


@pytest.mark.parametrize("transform", COVER)
def test_negatives_are_covered_as_well(transform):
    sample = _smooth()
    cover = transform(["image", "label"], "label", prob=1).set_random_state(0)
    assert any(not torch.equal(cover(sample)["image"], sample["image"]) for _ in range(5))


def test_from_afar_the_polyp_is_small_and_mirrored_beyond_the_edges():
    geometry = RandGeometryd(["image", "label"], 64, scale=(1, 1), far=1.0, far_scale=(0.5, 0.5), aspect=0, shear=0)
    d = geometry.set_random_state(0)(_sample(64, 64))
    assert geometry.afar
    assert d["image"].any(0).float().mean() > 0.99  # no black beyond the frame
    red, mask = d["image"][0].numpy() > 110, d["label"][0].numpy() > 0
    assert (red == mask).mean() > 0.96
