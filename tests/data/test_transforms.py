from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from PIL import Image

from polyp_monai.data.overlay import draw_contour
from polyp_monai.data.transforms import FITS, FitFrame, FitFramed, LoadPictured, area_bins, fitted_size

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


@given(sizes, st.sampled_from([32, 64, 96]), st.sampled_from(FITS))
@settings(max_examples=40, deadline=None)
def test_fit_window_covers_the_window(size, image_size, fit):
    image = MetaTensor(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    fitted = FitFrame(image_size, fit)(image)
    assert fitted.dtype == torch.uint8
    if fit == "windows":
        assert min(fitted.shape[1:]) == image_size
        assert max(fitted.shape[1:]) / image_size == pytest.approx(max(size) / min(size), abs=0.51 / image_size)
    elif fit == "area":
        assert tuple(sorted(fitted.shape[1:], reverse=True)) in area_bins(image_size)
        assert (fitted.shape[1] >= fitted.shape[2]) == (size[0] >= size[1]) or fitted.shape[1] == fitted.shape[2]
    else:
        assert fitted.shape == (3, image_size, image_size)


@pytest.mark.parametrize("image_size", [192, 256, 320, 352, 512])
def test_area_bins_have_the_windows_area(image_size):
    bins = area_bins(image_size)
    assert bins[0] == (image_size, image_size)
    for longer, shorter in bins:
        assert longer % 32 == shorter % 32 == 0
        assert longer * shorter == pytest.approx(image_size**2, rel=0.125)


@given(st.integers(200, 2000), st.integers(200, 2000))
@settings(max_examples=60, deadline=None)
def test_area_nearly_keeps_the_aspect(width, height):
    if max(width, height) <= 2 * min(width, height):
        fitted = fitted_size((width, height), 320, "area")
        assert fitted[0] / fitted[1] == pytest.approx(width / height, rel=0.17)


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="stretch, area, windows"):
        FitFrame(64, "squeeze")


def _framed(box: tuple[int, int, int, int], size: tuple[int, int] = (200, 160)) -> tuple[MetaTensor, torch.Tensor]:
    """A bright picture in `box` (x0, y0, x1, y1) of a black frame of `size` (W, H), and where it is, (1, W, H)."""
    x0, y0, x1, y1 = box
    inside = torch.zeros((1, *size), dtype=torch.uint8)
    inside[:, x0:x1, y0:y1] = 1
    affine = torch.diag(torch.tensor([0.5, -0.7, 1.0, 1.0], dtype=torch.float64))
    image = inside * torch.tensor([190, 100, 80], dtype=torch.uint8)[:, None, None]
    return MetaTensor(image, affine=affine), inside


@given(st.integers(0, 40), st.integers(0, 30), st.integers(130, 200), st.integers(100, 160), st.sampled_from(FITS))
@settings(max_examples=40, deadline=None)
def test_cropped_to_the_picture_and_back(x0, y0, x1, y1, fit):
    image, inside = _framed((x0, y0, x1, y1))
    transform = FitFrame(64, fit, crop=True)
    fitted = transform(image)
    assert (fitted[0] > 100).float().mean() > 0.9  # little border is left
    restored = transform.inverse(MetaTensor(torch.ones((1, *fitted.shape[1:]))).copy_meta_from(fitted))
    assert restored.shape == inside.shape
    assert torch.allclose(restored.affine, image.affine, atol=1e-9)
    assert (restored.as_tensor()[inside > 0] == 1).all()  # nothing of the picture is lost
    assert (restored.as_tensor() == 0).sum() >= (inside == 0).sum() - 6 * (200 + 160)


def test_a_frame_without_border_is_kept_whole():
    rng = np.random.default_rng(0)
    image = MetaTensor(torch.from_numpy(rng.integers(90, 200, (3, 200, 160), dtype=np.uint8)))
    assert torch.equal(FitFrame(96, "area", crop=True)(image), FitFrame(96, "area")(image))
    dark = MetaTensor(torch.zeros((3, 200, 160), dtype=torch.uint8))
    assert torch.equal(FitFrame(96, "area", crop=True)(dark), FitFrame(96, "area")(dark))


def test_a_mask_is_cropped_as_its_image():
    image, inside = _framed((30, 20, 190, 140))
    polyp = torch.zeros_like(inside)
    polyp[:, 60:100, 50:90] = 1
    image[0][polyp[0] > 0] = 250
    d = FitFramed("image", 96, "area", True, mask_keys="label")({"image": image, "label": MetaTensor(polyp)})
    assert d["image"].shape[1:] == d["label"].shape[1:]
    red, mask = d["image"][0].numpy() > 220, d["label"][0].numpy() > 0
    assert (red == mask).mean() > 0.98


@given(sizes, st.sampled_from(FITS))
@settings(max_examples=25, deadline=None)
def test_inverse_restores_size_and_affine(size, fit):
    affine = torch.diag(torch.tensor([0.5, -0.7, 1.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.zeros((3, *size), dtype=torch.uint8), affine=affine)
    transform = FitFrame(64, fit)
    fitted = transform(image)
    restored = transform.inverse(MetaTensor(torch.rand((1, *fitted.shape[1:]))).copy_meta_from(fitted))
    assert restored.shape == (1, *size)
    assert torch.allclose(restored.affine, affine, atol=1e-9)


def test_a_frame_of_the_windows_size_passes_untouched():
    image = MetaTensor(torch.randint(0, 256, (3, 64, 90), dtype=torch.uint8))
    fit = FitFrame(64, "windows")
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
