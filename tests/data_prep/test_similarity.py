"""What counts as the same picture, and what does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tiny_sets import frame

from polyp_monai.data import similarity


def found(pictures: list[np.ndarray]) -> dict[tuple[int, int], bool]:
    """{(first, second): exact}"""
    views = [similarity.views(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in pictures]
    digests = [str(hash(picture.tobytes())) for picture in pictures]
    twins = similarity.find(digests, np.stack([v[0] for v in views]), np.stack([v[1] for v in views]))
    return {(twin.first, twin.second): twin.exact for twin in twins}


def scene(seed: int) -> np.ndarray:
    return frame(seed, (320, 240))


def encoded(picture: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: encoded(picture, 50),
        lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5),
        lambda picture: cv2.resize(picture, (352, 352)),
        lambda picture: (255 * (picture / 255) ** 0.8).astype(np.uint8),
        lambda picture: cv2.GaussianBlur(picture, (0, 0), 2),
    ],
    ids=["re-encoded", "halved", "square", "lighter", "blurred"],
)
def test_what_changes_only_the_pixels_is_a_near_duplicate(change):
    pictures = [scene(seed) for seed in range(20)]
    assert found([*pictures, change(pictures[7])]) == {(7, 20): False}


def test_equal_pixels_are_an_exact_duplicate():
    assert found([scene(1), scene(2), scene(1)]) == {(0, 2): True}


def test_flat_pictures_are_alike_only_when_equal():
    flat = [np.full((48, 64, 3), value, np.uint8) for value in (0, 90, 90)]
    assert found(flat) == {(1, 2): True}


def test_blocks_do_not_change_the_answer(monkeypatch):
    pictures = [scene(seed % 9) for seed in range(30)]
    whole = found(pictures)
    monkeypatch.setattr(similarity, "BLOCK", 4)
    assert found(pictures) == whole
    assert len(whole) == sum((seed // 9) for seed in range(30))
