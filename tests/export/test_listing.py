"""The listings of docs/realtime.md, which need neither polyp_monai nor PyTorch, give the masks of `polyp predict`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.data import SPLITS, datalist, files, view
from tests.docs.blocks import HOME, blocks

LISTINGS = [b.text for b in blocks(HOME / "docs/realtime.md") if "import onnxruntime" in b.text]
FORBIDDEN = "import sys\nfor name in ('torch', 'monai', 'polyp_monai'):\n    sys.modules[name] = None\n"


def frame(dataset: Path, width: int, height: int) -> np.ndarray:
    """(H, W, 3): the largest polyp of a drawn set, in a black border at one side."""
    content = datalist.read(dataset)
    largest = max((entry for split in SPLITS for entry in content[split]), key=lambda entry: entry["polyp_area"])
    pixels = cv2.resize(files.read_rgb(dataset / largest["image"]), (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(pixels, 0, 0, width // 6, 0, cv2.BORDER_CONSTANT)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("width", "height"), [(700, 520), (300, 420)])
def test_the_listing_gives_the_mask_of_polyp_predict(number, width, height, dataset, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped()["efficient_unet"] / "models/model.onnx", "efficient_unet.onnx")
    shutil.copy(view.__file__, "view.py")
    Image.fromarray(frame(dataset, width, height)).save("photo.jpg", quality=95)
    subprocess.run([sys.executable, "-c", FORBIDDEN + LISTINGS[number]], check=True, cwd=tmp_path)
    crop = "--crop" if number else "--no-crop"
    exported = ["--runtime", "onnxruntime", "--weights", "efficient_unet.onnx"]
    assert main(["predict", "photo.jpg", crop, *exported]) == 0
    mask = files.read_mask("mask.png")
    assert np.array_equal(mask, files.read_mask("masks/photo.png"))
    assert 0 < mask.mean() < 1


def test_the_short_listing_is_short():
    assert len(LISTINGS) == 2
    assert len([line for line in LISTINGS[0].split("\n\n")[1].splitlines() if line]) <= 16
