"""What is drawn, and where."""

from __future__ import annotations

import numpy as np

from polyp_monai.video import overlay
from polyp_monai.video.tracking import TrackedPolyp

CONTOUR = np.array([[40, 30], [80, 30], [80, 60], [40, 60]], np.int32)
POLYP = TrackedPolyp((40, 30, 81, 61), 1200.0, 0.9, CONTOUR, number=3)


def test_outline_and_label_are_drawn_and_the_rest_stays():
    image = np.zeros((120, 160, 3), np.uint8)
    overlay.draw(image, [POLYP])
    assert (image[60, 40:80] == overlay.YELLOW).all()
    assert (image[:30, 40:80] == overlay.YELLOW).all(axis=2).any()
    assert not image[70:].any()
    assert not image[40:55, 45:75].any()


def test_nothing_is_drawn_without_a_polyp():
    image = np.full((120, 160, 3), 77, np.uint8)
    overlay.draw(image, [])
    assert (image == 77).all()


def test_a_label_stays_inside_at_any_border():
    for x, y in ((0, 0), (150, 0), (150, 110), (-20, 60)):
        image = np.zeros((120, 160, 3), np.uint8)
        polyp = TrackedPolyp((x, y, x + 30, y + 20), 600.0, 0.5, CONTOUR - CONTOUR[0] + [x, y], number=12)
        overlay.draw(image, [polyp])
        assert image.any()


def test_the_heat_map_tints_its_view_alone_and_is_transparent_at_zero():
    image = np.full((60, 80, 3), 100, np.uint8)
    probability = np.zeros((32, 32), np.float32)
    probability[:16] = 1
    overlay.heat(image, probability, (20, 10, 60, 50))
    assert (image[:10] == 100).all()
    assert (image[35:] == 100).all()
    assert (image[12:25, 22:58] != 100).any(axis=2).all()
