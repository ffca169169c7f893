"""The synthetic frames: repeatable, exact masks, and looking as they should where it can be measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from data_prep import synthetic
from polyp_monai.data import files

COUNT = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic.pairs(tmp_path_factory.mktemp("synthetic"), COUNT, seed=1)


@pytest.fixture(scope="module")
def frames(made):
    return [(files.read_rgb(pair.image), files.read_mask(pair.mask)) for pair in made]


def one_polyp(shape: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return synthetic.render(np.random.default_rng(seed), (321, 300), [synthetic.DrawnPolyp(shape, 0.06, (0.3, -0.2))])


def test_same_seed_same_bytes_whatever_the_count(made, tmp_path):
    for again, pair in zip(synthetic.pairs(tmp_path, 4, seed=1), made, strict=False):
        assert (again.name, again.group, again.tags) == (pair.name, pair.group, pair.tags)
        assert again.image.read_bytes() == pair.image.read_bytes()
        assert again.mask.read_bytes() == pair.mask.read_bytes()


def test_other_seed_other_frames(made, tmp_path):
    other = synthetic.pairs(tmp_path, 1, seed=2)[0]
    assert other.image.read_bytes() != made[0].image.read_bytes()


def test_mask_and_image_agree(made, frames):
    for pair, (image, mask) in zip(made, frames, strict=True):
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert 320 <= mask.shape[0] <= 520
        assert mask.shape[0] <= mask.shape[1] <= 1.3 * 520 + 1
        stored = files.read_picture(pair.mask).pixels
        assert set(np.unique(stored)) <= {0, 255}
        assert np.array_equal(stored == 255, mask == 1)
    assert len({mask.shape for _, mask in frames}) > 5


def test_area_and_tags(made, frames):
    for pair, (_, mask) in zip(made, frames, strict=True):
        if pair.tags == ("negative",):
            assert not mask.any()
        else:
            assert set(pair.tags) <= set(synthetic.SHAPES)
            assert 0.002 <= mask.mean() <= 0.32
    negatives = sum(pair.tags == ("negative",) for pair in made)
    assert 1 <= negatives <= COUNT // 3
    assert {tag for pair in made for tag in pair.tags} == {*synthetic.SHAPES, "negative"}


def test_views_of_one_sequence_look_alike_but_differ(made, frames):
    groups = [pair.group for pair in made]
    assert groups == sorted(groups)
    assert max(groups.count(group) for group in groups) <= 3
    first = next(i for i in range(COUNT - 1) if groups[i] == groups[i + 1])
    (image, _), (other, _) = frames[first], frames[first + 1]
    assert image.shape == other.shape
    assert not np.array_equal(image, other)
    assert made[first].tags == made[first + 1].tags


@pytest.mark.parametrize("seed", range(6))
def test_polyp_lies_inside_the_visible_field(seed):
    at_border = [synthetic.DrawnPolyp("round", 0.2, (0.65, 0.6)), synthetic.DrawnPolyp("sessile", 0.1, (-0.7, 0.5))]
    image, mask = synthetic.render(np.random.default_rng(seed), (401, 333), at_border)
    outside = ndimage.maximum_filter(image.max(axis=2), 9) == 0  # noise never leaves 9 x 9 black pixels in the field
    assert outside.any()
    assert mask.any()
    assert not mask[outside].any()


def test_inset_covers_the_mask():
    frame, mask = np.ones((100, 120, 3), np.float32), np.zeros((100, 120), bool)
    mask[60:90, 20:90] = True
    synthetic._inset(np.random.default_rng(0), frame, mask)
    painted = (frame != 1).any(axis=2)
    assert painted.any()
    assert mask.any()
    assert not (mask & painted).any()


@pytest.mark.parametrize("area", [0.003, 0.05, 0.3])
def test_whole_polyp_has_the_area_asked_for(area):
    polyp = synthetic.DrawnPolyp("sessile", area, (0.05, 0.0))
    shares = [synthetic.render(np.random.default_rng(seed), (400, 380), [polyp])[1].mean() for seed in range(3)]
    assert np.allclose(shares, area, rtol=0.3)  # the camera moves nearer and further


@pytest.mark.parametrize("shape", ["round", "sessile"])
def test_polyp_stands_out_from_its_surroundings(shape):
    contrasts = []
    for seed in range(5):
        image, mask = one_polyp(shape, seed)
        ring = ndimage.binary_dilation(mask, iterations=15) & ~ndimage.binary_dilation(mask, iterations=3)
        contrasts.append(np.abs(image[mask == 1].mean(axis=0) - image[ring].mean(axis=0)).max())
    assert np.median(contrasts) > 12


def test_render_without_polyps_is_empty_and_lit():
    image, mask = synthetic.render(np.random.default_rng(3), (360, 300))
    assert image.shape == (300, 360, 3)
    assert mask.shape == (300, 360)
    assert not mask.any()
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    assert red > 60
    assert red > 1.2 * green
    assert red > 1.2 * blue


def test_no_frames_when_none_are_asked_for(tmp_path):
    assert synthetic.pairs(tmp_path, 0, seed=0) == []
