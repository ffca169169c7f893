"""Tiny data sets on disk, and the real ones where POLYP_TEST_DATA names them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from polyp_monai import io


def frame(seed: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A smooth random picture (H, W, 3) of `size` (W, H); two seeds never look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)


def polyp(size: tuple[int, int] = (64, 48), radius: int = 10) -> np.ndarray:
    """A round mask of {0, 1}."""
    mask = np.zeros(size[::-1], np.uint8)
    return cv2.circle(mask, (size[0] // 2, size[1] // 2), radius, 1, -1)


def write_set(root: Path, names: list[str], images: str = "images", masks: str = "masks", suffix: str = ".png") -> Path:
    """root/images/NAME.png and root/masks/NAME.png."""
    for seed, name in enumerate(names):
        (root / images / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / images / f"{name}{suffix}"), frame(seed))
        io.write_mask(root / masks / f"{name}.png", polyp())
    return root


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """Ten frames of five sequences: images/seq0_0.png ..."""
    return write_set(tmp_path / "raw", [f"seq{i // 2}_{i % 2}" for i in range(10)])


@pytest.fixture
def prepare(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `polyp prepare`: (exit status, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def real_data() -> Path:
    place = os.environ.get("POLYP_TEST_DATA")
    if not place:
        pytest.skip("POLYP_TEST_DATA is not set")
    return Path(place)
