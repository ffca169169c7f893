"""An identity prediction comes back with exactly the pixels, and the affine, that went in."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.sharing import trust


class RedIsPolyp(torch.nn.Module):
    """Logits that are positive where the red channel is above one half: the frame is its own mask."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(50.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - 0.5) * self.scale


@pytest.fixture
def identity(bundle):
    """A bundle whose network answers with the frame, at the frames' own size (the image size is their shorter side)."""
    torch.save(RedIsPolyp().state_dict(), bundle.parent / "identity.pt")
    path = bundle / "configs/model.yaml"
    start, rest = path.read_text().split("network_def:")
    after = rest[rest.index("\n# Tversky") :]
    path.write_text(f"{start}network_def: {{_target_: {__name__}.RedIsPolyp}}\n{after}")
    trust.made_here(bundle)
    return bundle


@pytest.mark.parametrize("size", [(97, 131), (131, 97), (64, 64)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".nii", ".nii.gz"])
def test_identity(identity, tmp_path, suffix, size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    path, affine = tmp_path / f"frame{suffix}", np.diag([0.3, -0.4, 1.0, 1.0])
    affine[:2, 3] = 7, -9
    if suffix.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(np.swapaxes(pixels, 0, 1), affine), path)
    else:
        Image.fromarray(pixels).save(path)
    decoded = files.read_rgb(path)
    words = ["predict", identity, path, "--out", tmp_path / "out", "--weights", tmp_path / "identity.pt"]
    options = ["--fit", "windows", "--image_size", min(size), "--device", "cpu"]
    assert main([str(w) for w in (*words, *options)]) == 0
    expected = (decoded[..., 0] > 127).astype(np.uint8)
    if suffix.startswith(".nii"):
        written = nibabel.load(tmp_path / f"out/frame{suffix}")
        assert np.array_equal(written.affine, nibabel.load(path).affine)
        assert np.array_equal(np.asarray(written.dataobj), expected.T)
    else:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out/frame.png")), expected * 255)


def test_cropped_frames_have_the_same_masks_in_a_batch_and_alone(identity, tmp_path):
    boxes = {"a": (10, 20, 110, 90), "b": (0, 0, 140, 100), "c": (40, 5, 138, 95)}  # x0, y0, x1, y1 of the picture
    for name, (x0, y0, x1, y1) in boxes.items():
        frame = np.zeros((100, 140, 3), np.uint8)
        frame[y0:y1, x0:x1] = (100, 70, 60)
        frame[y0 + 20 : y0 + 50, x0 + 20 : x0 + 60, 0] = 230
        files.write_png(tmp_path / f"frames/{name}.png", frame)
    masks = {}
    for size in (1, 3):
        out = tmp_path / f"out{size}"
        words = ["predict", identity, tmp_path / "frames", "--out", out, "--weights", tmp_path / "identity.pt"]
        options = ["--crop", "true", "--image_size", 96, "--batch_size", size, "--device", "cpu"]
        assert main([str(w) for w in (*words, *options)]) == 0
        masks[size] = {name: files.read_mask(out / f"{name}.png") for name in boxes}
    for name, (x0, y0, _, _) in boxes.items():
        assert np.array_equal(masks[1][name], masks[3][name])
        rows, columns = np.nonzero(masks[1][name])
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert found == pytest.approx((x0 + 20, y0 + 20, x0 + 60, y0 + 50), abs=2)
