"""An ensemble is a bundle like any other."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml

import polyp_monai
from polyp_monai.bundle import ensemble
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.networks import Ensemble, contract
from polyp_monai.training import checkpoints


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):
    """The trained bundle with other weights."""
    root = shutil.copytree(trained, tmp_path_factory.mktemp("other") / "other")
    state = checkpoints.read(root / "models/model.pt")
    checkpoints.save(root / "models/model.pt", {key: value * 0.8 for key, value in state.items()})
    return root


def test_the_mean_is_of_probabilities_however_sure():
    logits = torch.tensor([[-3.0, 40.0, 0.0], [2.0, 50.0, -90.0]])
    members = [torch.nn.Identity(), torch.nn.Identity()]
    for member, value in zip(members, logits, strict=True):
        member.forward = lambda x, value=value: value
    found = Ensemble(members)(torch.zeros(1))
    assert found.isfinite().all()
    assert torch.allclose(found.sigmoid(), logits.sigmoid().mean(0), atol=1e-6)


def test_an_ensemble_keeps_the_contract(trained, other, tmp_path):
    root = ensemble.write([trained, other], tmp_path / "both")
    bundle = polyp_monai.load(root)
    contract.check(bundle.predictor.network)
    assert yaml.safe_load((root / "configs/model.yaml").read_text())["network_def"]["_target_"].endswith("Ensemble")


def test_a_run_counts_once(trained, other, tmp_path):
    with pytest.raises(PolypError, match="is named twice"):
        ensemble.write([trained, other, trained / "../" / trained.name], tmp_path / "both")
    with pytest.raises(PolypError, match="holds a bundle already; give another --out"):
        ensemble.write([trained, other], shutil.copytree(trained, tmp_path / "third"))


def test_a_prediction_is_the_mean_of_the_members(trained, other, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = next((dataset / "images").iterdir())
    one, two = (polyp_monai.load(root).predict(frame).probability for root in (trained, other))
    both = polyp_monai.load([trained, other]).predict(frame)
    assert np.abs(one - two).max() > 1e-3
    assert both.probability == pytest.approx((one + two) / 2, abs=1e-5)
    words = ["predict", "--ensemble", str(trained), "--ensemble", str(other), str(frame), "--out", "masks"]
    assert main(words) == 0
    written = cv2.imread(str(next((tmp_path / "masks").glob("*.png"))), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(written > 0, both.mask)


def test_what_cannot_be_an_ensemble(trained, other, tmp_path):
    with pytest.raises(PolypError, match="two runs or more"):
        ensemble.write([trained], tmp_path / "one")
    larger = shutil.copytree(other, tmp_path / "larger")
    text = (larger / "configs/model.yaml").read_text()
    (larger / "configs/model.yaml").write_text(text.replace("image_size: 64", "image_size: 96"))
    with pytest.raises(PolypError, match=r"image_size is 96, of .* 64"):
        ensemble.write([trained, larger], tmp_path / "both")
    (other / "models/model.pt").rename(tmp_path / "model.pt")
    try:
        with pytest.raises(PolypError, match="no such weights"):
            ensemble.write([trained, other], tmp_path / "both")
    finally:
        (tmp_path / "model.pt").rename(other / "models/model.pt")
    assert not (tmp_path / "both").exists()


@pytest.mark.slow
def test_an_ensemble_is_exported_into_one_file(trained, other, dataset, tmp_path):
    root = ensemble.write([trained, other], tmp_path / "both")
    bundle = polyp_monai.load(root)
    file = bundle.export("onnx", tmp_path / "both.onnx")
    frame = next((dataset / "images").iterdir())
    expected = bundle.predict(frame).probability
    assert polyp_monai.load(file).predict(frame).probability == pytest.approx(expected, abs=1e-4)
