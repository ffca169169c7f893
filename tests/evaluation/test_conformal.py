"""A threshold that is found on one split and kept beside its weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import conformal

LEVELS = 256


def histograms(*levels: int) -> np.ndarray:
    """(N, 256): a frame a level, its polyp of 100 pixels wholly at that level."""
    return np.eye(LEVELS, dtype=int)[list(levels)] * 100


def write_run(folder, polyp: np.ndarray, **about: str):
    """What `polyp evaluate` leaves, as far as it matters here."""
    files.write_json(folder / "summary.json", {"run": {"split": "validation", **about}})
    np.savez(folder / "histograms.npz", polyp=polyp, background=np.zeros_like(polyp))
    return folder


def test_the_threshold_is_written_beside_the_weights(tmp_path):
    weights = tmp_path / "models/model.pt"
    run = write_run(tmp_path / "run", histograms(10, 50, *[200] * 18), weights=str(weights), weights_sha256="a" * 64)
    found, path = conformal.calibrate(run, 0.15)
    assert path == weights.parent / "calibration.json"
    assert json.loads(path.read_text()) == found
    assert (found["level"], found["alpha"], found["images"]) == (200, 0.15, 20)
    assert (found["split"], found["weights_sha256"]) == ("validation", "a" * 64)


def test_of_maps_without_weights_it_is_written_into_the_run(tmp_path):
    run = write_run(tmp_path / "run", histograms(*[200] * 20))
    assert conformal.calibrate(run, 0.1)[1] == run / "calibration.json"


@pytest.mark.parametrize(
    ("split", "polyp", "missed", "text"),
    [
        ("test", histograms(*[200] * 20), 0.1, "is the test split; calibrate on another"),
        ("validation", histograms(200, 200), 0.1, "2 images with a polyp are too few .* it takes at least 9"),
        ("validation", histograms(*[200] * 20), 1.5, "alpha is a share"),
    ],
)
def test_what_promises_nothing_is_refused(tmp_path, split, polyp, missed, text):
    run = write_run(tmp_path / "run", polyp, split=split)
    with pytest.raises(PolypError, match=text):
        conformal.calibrate(run, missed)
    assert not (run / "calibration.json").exists()


@pytest.mark.parametrize("damage", ["absent", "summary.json", "histograms.npz"])
def test_a_folder_that_is_no_run(tmp_path, damage):
    run = tmp_path / "run"
    if damage != "absent":
        (write_run(run, histograms(200)) / damage).write_bytes(b"{")
    with pytest.raises(PolypError, match="no complete run of `polyp evaluate`"):
        conformal.calibrate(run, 0.1)


@pytest.fixture
def weights(tmp_path):
    """Weights with a threshold beside them that misses at most a tenth."""
    run = write_run(tmp_path / "run", histograms(*[200] * 20), weights=str(tmp_path / "model.pt"), weights_sha256="abc")
    conformal.calibrate(run, 0.1)
    return tmp_path / "model.pt"


def test_what_the_threshold_misses_elsewhere(weights):
    found = conformal.reached(weights, "abc", [*histograms(250, 250, 100, 199), np.zeros(LEVELS, int)])
    assert found == {
        "alpha": 0.1,
        "threshold": pytest.approx(200 / 255),
        "missed_on_calibration": 0.0,
        "missed_here": pytest.approx(0.5),  # of the four with a polyp, two lie below
    }


def test_a_threshold_of_other_weights_promises_nothing(weights, tmp_path):
    assert conformal.reached(weights, "other", histograms(250)) is None
    assert conformal.reached(weights, "abc", [np.zeros(LEVELS, int)]) is None  # no frame with a polyp
    assert conformal.reached(tmp_path / "elsewhere/model.pt", "abc", histograms(250)) is None
