from __future__ import annotations

import cv2
import numpy as np
import pytest

from polyp_monai.data import files, search
from polyp_monai.data.view import SteadyView, View, find_view

HEIGHT, WIDTH = 540, 720
BOX = (120, 40, 620, 500)  # x0, y0, x1, y1 of the picture
NEAR = 2 * (HEIGHT // 144)  # pixels by which a view may be wider


def picture(shape="rectangle", border=0, box=BOX, seed=0) -> np.ndarray:
    """(H, W, 3) mucosa of mottled pink in `box`, cut to `shape`, in a border of some grey with noise."""
    rng = np.random.default_rng(seed)
    mottled = cv2.resize(
        rng.uniform(0.6, 1.1, (9, 12)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    mucosa = mottled[..., None] * np.array((190, 100, 80), np.float32)
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    u, v = np.abs(x + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2), np.abs(y + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    inside &= {"rectangle": u <= 1, "octagon": u + v <= 1.6, "round": u**2 + v**2 <= 1}[shape]
    image = np.where(inside[..., None], mucosa, border) + rng.normal(0, 2, (HEIGHT, WIDTH, 1))
    return image.clip(0, 255).astype(np.uint8)


def check(view: View, box=BOX, near=NEAR):
    """The view holds all of the box, and little more."""
    assert view.x0 <= box[0]
    assert view.y0 <= box[1]
    assert view.x1 >= box[2]
    assert view.y1 >= box[3]
    assert max(box[0] - view.x0, box[1] - view.y0, view.x1 - box[2], view.y1 - box[3]) <= near


@pytest.mark.parametrize("shape", ["rectangle", "octagon", "round"])
@pytest.mark.parametrize("border", [0, 12, 30])
def test_borders(shape, border):
    check(find_view(picture(shape, border)))


@pytest.mark.parametrize("box", [(0, 40, 720, 500), (120, 0, 620, 540), (250, 0, 720, 540), (0, 0, 720, 400)])
def test_borders_on_some_sides(box):
    check(find_view(picture("rectangle", 5, box)), box)


@pytest.mark.parametrize("scale", [0.5, 1, 2.37])
def test_other_sizes_of_frame(scale):
    image = cv2.resize(picture("octagon"), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    step = max(1, min(image.shape[:2]) // 144)
    check(find_view(image), tuple(round(side * scale) for side in BOX), 2 * step + 1)


def test_a_picture_to_the_edges_and_nothing_clear():
    whole = View(0, 0, WIDTH, HEIGHT)
    assert find_view(picture(box=(0, 0, WIDTH, HEIGHT))) == whole
    assert find_view(picture("octagon", box=(0, 0, WIDTH, HEIGHT))) == whole
    assert find_view(np.zeros((HEIGHT, WIDTH, 3), np.uint8)) == whole
    assert find_view(np.full((HEIGHT, WIDTH, 3), 255, np.uint8)) == whole
    assert find_view(picture(box=(300, 200, 420, 300))) == whole  # too small to be the picture
    assert find_view(np.zeros((3, 2, 3), np.uint8)) == View(0, 0, 2, 3)


def test_text_bars_and_panels_do_not_widen():
    image = picture("octagon", 8)
    for line, text in enumerate(("Name: A. Nybody", "04/05/2021", "12:31:07", "CVP: 7")):
        cv2.putText(image, text, (2, 30 + 24 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
        cv2.putText(image, text, (560, 480 + 16 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    image[530:] = (60, 90, 90)  # a status bar along the frame
    image[380:500, 8:100] = (200, 120, 100)  # a second picture beside the first
    image[330:500, 640:] = (20, 150, 90)  # the display of the scope's shape
    check(find_view(image))


def test_a_panel_that_touches_the_picture_does_not_widen():
    image = picture("octagon", 8)
    image[380:520, 60:220] = (20, 190, 120)
    check(find_view(image))


def test_dark_scenes_keep_the_view():
    image = picture("octagon", 2).astype(np.float32)
    x = np.linspace(0, 1, WIDTH, dtype=np.float32)[None, :, None]
    lumen = image * np.clip(0.12 + 1.5 * (x - 0.3), 0.12, 1)  # the left half lies in deep shadow
    check(find_view(lumen.astype(np.uint8)))


def test_blue_and_green_light():
    pink = picture("octagon")
    for order in ((2, 1, 0), (1, 0, 2)):
        check(find_view(np.ascontiguousarray(pink[..., order])))


def test_a_steady_view_stays_through_dark_and_odd_frames():
    steady, image = SteadyView(every=2, hold=6), picture("octagon", 8)
    first = steady.update(image)
    check(first)
    black, odd = np.zeros_like(image), picture(box=(0, 0, WIDTH, HEIGHT))
    half = image.copy()
    half[:, :360] = 8
    seen = [steady.update(frame) for frame in [image] * 4 + [black] * 50 + [odd] * 2 + [image] * 8 + [half] * 6]
    assert set(seen) == {first}


def test_a_steady_view_follows_what_holds():
    steady, image = SteadyView(every=2, hold=6), picture("octagon", 8)
    small = picture("octagon", 8, box=(200, 100, 600, 460))
    check(steady.update(small), (200, 100, 600, 460))
    for _ in range(6):
        view = steady.update(image)
    check(view)  # grows soon
    for _ in range(8):
        view = steady.update(small)
    check(view)  # shrinks late
    for _ in range(8):
        view = steady.update(small)
    check(view, (200, 100, 600, 460))


def test_a_steady_view_before_anything_is_clear():
    assert SteadyView().update(np.zeros((30, 40, 3), np.uint8)) == View(0, 0, 40, 30)


@pytest.mark.real
def test_no_polyp_of_kvasir_is_cut(real_data):
    images = search.find_images(real_data / "Kvasir-SEG/images")[::20]
    narrowed = 0
    for path in images:
        image = files.read_rgb(path)
        mask = files.read_mask(real_data / "Kvasir-SEG/masks" / path.name)
        view = find_view(image)
        assert mask[view.y0 : view.y1, view.x0 : view.x1].sum() == mask.sum(), path.name
        narrowed += (view.x1 - view.x0) * (view.y1 - view.y0) < mask.size
    assert narrowed > 0


@pytest.mark.real
def test_the_border_of_clinicdb_is_found(real_data):
    images = search.find_images(real_data / "CVC-ClinicDB/PNG/Original")[::20]
    for path in images:
        view = find_view(files.read_rgb(path))
        assert 0.68 < (view.x1 - view.x0) * (view.y1 - view.y0) / (384 * 288) < 0.82, path.name


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3, 40), (6, 6)])
def test_a_frame_of_a_few_pixels_is_kept_whole(shape):
    assert find_view(np.zeros((*shape, 3), np.uint8)) == View(0, 0, *shape[::-1])
