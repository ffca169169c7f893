from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from PIL import Image

from polyp_monai.data.transforms import FitFrame, FitFramed, LoadPictured, draw_contour

sizes = st.tuples(st.integers(32, 200), st.integers(32, 200))


def _disk(width: int, height: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (((rows - height / 2) / height) ** 2 + ((columns - width / 2.5) / width) ** 2 < 0.06).astype(np.uint8)


@pytest.fixture
def pair(tmp_path):
    mask = _disk(131, 97)
    Image.fromarray(np.dstack([mask * 200, mask * 90, mask * 0 + 7])).save(tmp_path / "a.png")
    Image.fromarray(mask * 255).save(tmp_path / "m.png")
    return {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "m.png")}


def test_load_gives_monais_axis_order(pair):
    d = LoadPictured(["label"], mask=True)(LoadPictured(["image"])(pair))
    assert d["image"].shape == (3, 131, 97)
    assert d["label"].shape == (1, 131, 97)
    assert d["image"].dtype == d["label"].dtype == torch.uint8
    assert set(d["label"].unique().tolist()) == {0, 1}
    assert d["image"].meta["filename_or_obj"] == pair["image"]
    stored = np.asarray(Image.open(pair["image"]))
    assert torch.equal(d["image"].as_tensor(), torch.from_numpy(stored.transpose(2, 1, 0)))


@given(sizes, st.sampled_from([32, 64, 96]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_fit_window_covers_the_window(size, image_size, keep_aspect):
    image = MetaTensor(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    fitted = FitFrame(image_size, keep_aspect)(image)
    assert fitted.dtype == torch.uint8
    if keep_aspect:
        assert min(fitted.shape[1:]) == image_size
        assert max(fitted.shape[1:]) / image_size == pytest.approx(max(size) / min(size), abs=0.51 / image_size)
    else:
        assert fitted.shape == (3, image_size, image_size)


@given(sizes, st.booleans())
@settings(max_examples=25, deadline=None)
def test_inverse_restores_size_and_affine(size, keep_aspect):
    affine = torch.diag(torch.tensor([0.5, -0.7, 1.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.zeros((3, *size), dtype=torch.uint8), affine=affine)
    fit = FitFrame(64, keep_aspect)
    fitted = fit(image)
    restored = fit.inverse(MetaTensor(torch.rand((1, *fitted.shape[1:]))).copy_meta_from(fitted))
    assert restored.shape == (1, *size)
    assert torch.allclose(restored.affine, affine, atol=1e-9)


def test_a_frame_of_the_windows_size_passes_untouched():
    image = MetaTensor(torch.randint(0, 256, (3, 64, 90), dtype=torch.uint8))
    fit = FitFrame(64, keep_aspect=True)
    fitted = fit(image)
    assert torch.equal(fitted.as_tensor(), image.as_tensor())
    assert torch.equal(fit.inverse(fitted.float()).as_tensor(), image.as_tensor().float())


def test_inverted_map_is_smooth_and_in_place(pair):
    chain = Compose([LoadPictured("image"), FitFramed("image", 64)])
    d = chain(pair)
    d["pred"] = MetaTensor(d["image"][:1].float() / 200)
    restored = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(d)["pred"]
    assert restored.shape == (1, 131, 97)
    truth = _disk(131, 97).T.astype(bool)
    prediction = restored[0].numpy() > 0.5
    assert 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum()) > 0.97
    assert len(np.unique(restored.numpy().round(3))) > 20  # not in blocks


def test_masks_stay_binary_and_follow_their_image(pair):
    chain = Compose(
        [LoadPictured("image"), LoadPictured("label", mask=True), FitFramed("image", 48, mask_keys="label")]
    )
    d = chain(pair)
    assert set(d["label"].unique().tolist()) == {0, 1}
    red, mask = d["image"][0].numpy() > 100, d["label"][0].numpy() > 0
    assert (red == mask).mean() > 0.98


def test_contour_touches_only_the_edge():
    mask = _disk(131, 97)
    drawn = draw_contour(np.zeros((97, 131, 3), np.uint8), mask)
    edge = drawn.any(axis=2)
    assert edge.any()
    assert not edge[:3].any()
    assert edge.mean() < 0.1
