"""Promises that are found on one split and kept beside the weights."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import conformal

LEVELS = 256


def histograms(*levels: int) -> np.ndarray:
    """(N, 256): a frame a level, its polyp of 100 pixels wholly at that level."""
    return np.eye(LEVELS, dtype=int)[list(levels)] * 100


def write_run(folder, polyp: np.ndarray, background: np.ndarray | None = None, leakage=None, **about):
    """What `polyp evaluate` leaves, as far as it matters here: frames of 10 x 20 pixels."""
    if background is None:
        background = np.zeros_like(polyp)
    background[:, 0] += 200 - polyp.sum(1) - background.sum(1)
    rows = [{"name": n, "width": 10, "height": 20, "polyp_pixels": inside} for n, inside in enumerate(polyp.sum(1))]
    files.write_csv(folder / "frames.csv", [row | {"predicted_pixels": 0, "dice": 0.5} for row in rows])
    run = {"split": "validation", **about}
    files.write_json(folder / "summary.json", {"frames": len(rows), "run": run, "leakage": leakage})
    np.savez(folder / "histograms.npz", polyp=polyp, background=background)
    return folder


def test_the_threshold_is_written_beside_the_weights(tmp_path):
    weights = tmp_path / "models/model.pt"
    run = write_run(tmp_path / "run", histograms(10, 50, *[200] * 18), weights=str(weights), weights_sha256="a" * 64)
    found, path = conformal.calibrate(run, 0.15)
    assert path == weights.parent / "calibration.json"
    assert json.loads(path.read_text()) == found
    promise = found["missed"]
    assert (promise["level"], promise["alpha"], promise["images"]) == (200, 0.15, 20)
    assert (promise["split"], promise["weights_sha256"]) == ("validation", "a" * 64)


def test_of_maps_without_weights_it_is_written_into_the_run(tmp_path):
    run = write_run(tmp_path / "run", histograms(*[200] * 20))
    assert conformal.calibrate(run, 0.1)[1] == run / "calibration.json"


@pytest.mark.parametrize(
    ("split", "polyp", "missed", "text"),
    [
        ("test", histograms(*[200] * 20), 0.1, "is the test split; calibrate on another"),
        ("training", histograms(*[200] * 20), 0.1, "is the training split; calibrate on another"),
        ("validation", histograms(200, 200), 0.1, "2 images with a polyp are too few .* it takes at least 9"),
        ("validation", histograms(*[200] * 20), 1.5, "alpha is a share"),
    ],
)
def test_what_promises_nothing_is_refused(tmp_path, split, polyp, missed, text):
    run = write_run(tmp_path / "run", polyp, split=split)
    with pytest.raises(PolypError, match=text):
        conformal.calibrate(run, missed)
    assert not (run / "calibration.json").exists()


@pytest.mark.parametrize("split", ["all", "validation"])
def test_frames_like_those_of_training(tmp_path, caplog, split):
    leaks = {"leaked": True, "similar_in_training": 15, "test": 20}
    run = write_run(tmp_path / "run", histograms(*[200] * 20), leakage=leaks, split=split)
    if split == "all":
        with pytest.raises(PolypError, match="15 of 20 frames are like frames of training; calibrate on frames that"):
            conformal.calibrate(run, 0.1)
    else:
        conformal.calibrate(run, 0.1)
        assert "15 of 20 frames are like frames of training, so what is found here promises too much" in caplog.text


def damaged_counts(run, polyp):
    np.savez(run / "histograms.npz", polyp=polyp, background=histograms(*[0] * 20))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda run: shutil.rmtree(run), "no run to report on, summary.json is missing"),
        (lambda run: (run / "summary.json").write_text("{"), "summary.json: cannot be read"),
        (lambda run: (run / "summary.json").write_text("[]"), "summary.json: cannot be read"),
        (lambda run: (run / "summary.json").write_text('{"frames": 20}'), "does not say what was evaluated"),
        (lambda run: (run / "histograms.npz").write_bytes(b""), "histograms.npz: cannot be read"),
        (lambda run: (run / "histograms.npz").write_bytes(b"{"), "histograms.npz: cannot be read"),
        (lambda run: (run / "histograms.npz").unlink(), "histograms.npz: cannot be read"),
        (lambda run: damaged_counts(run, histograms(*[200] * 19)), "does not count the pixels of the frames"),
        (lambda run: damaged_counts(run, np.full((20, 10), 10)), "does not count the pixels of the frames"),
        (lambda run: damaged_counts(run, histograms(*[200] * 20) / 1.0), "does not count the pixels of the frames"),
        (lambda run: damaged_counts(run, histograms(*[200] * 20) * 2), "does not count the pixels of the frames"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path, damage, text):
    run = write_run(tmp_path / "run", histograms(*[200] * 20))
    damage(run)
    with pytest.raises(PolypError, match=text):
        conformal.calibrate(run, 0.1)
    assert not (run / "calibration.json").exists()


def test_a_copied_run_keeps_its_promises_to_itself(tmp_path):
    original = tmp_path / "unet"
    (original / "models").mkdir(parents=True)
    (original / "models/model.pt").write_bytes(b"weights")
    about = {"weights": str(original / "models/model.pt"), "weights_sha256": hashlib.sha256(b"weights").hexdigest()}
    write_run(original / "eval/validation", histograms(*[200] * 20), **about)
    copy = shutil.copytree(original, tmp_path / "copy")
    assert conformal.calibrate(copy / "eval/validation", 0.1)[1] == copy / "models/calibration.json"
    assert not (original / "models/calibration.json").exists()
    (copy / "models/model.pt").write_bytes(b"trained again")  # not what was evaluated
    assert conformal.calibrate(copy / "eval/validation", 0.1)[1] == original / "models/calibration.json"


@pytest.fixture
def weights(tmp_path):
    """Weights with a threshold beside them that misses at most a tenth."""
    run = write_run(tmp_path / "run", histograms(*[200] * 20), weights=str(tmp_path / "model.pt"), weights_sha256="abc")
    conformal.calibrate(run, 0.1)
    return tmp_path / "model.pt"


def run_of(weights, sha256: str = "abc", presence: float = 0.0):
    return {"weights": str(weights), "weights_sha256": sha256, "presence": presence}


def nothing(count: int) -> np.ndarray:
    return np.zeros((count, LEVELS), int)


def test_what_the_threshold_misses_elsewhere(weights):
    inside = [*histograms(250, 250, 100, 199), np.zeros(LEVELS, int)]
    assert conformal.reached(run_of(weights), inside, histograms(*[0] * 5)) == {
        "missed": {
            "alpha": 0.1,
            "threshold": pytest.approx(200 / 255),
            "on_calibration": 0.0,
            "here": pytest.approx(0.5),  # of the four with a polyp, two lie below
        }
    }


def test_a_threshold_of_other_weights_promises_nothing(weights, tmp_path):
    assert conformal.reached(run_of(weights, "other"), histograms(250), nothing(1)) == {}
    assert conformal.reached(run_of(weights), nothing(1), histograms(3)) == {}  # no frame with a polyp
    assert conformal.reached(run_of(tmp_path / "elsewhere/model.pt"), histograms(250), nothing(1)) == {}


@pytest.fixture
def alarms(tmp_path):
    """A run of 19 negatives, whose highest levels are 0, 10 .. 180, and of two frames with a polyp, at 100 and 250."""
    outside = np.concatenate([histograms(*range(0, 190, 10)), nothing(2)])
    inside = np.concatenate([nothing(19), histograms(100, 250)])
    about = {"weights": str(tmp_path / "model.pt"), "weights_sha256": "abc", "presence": 1.0}
    return write_run(tmp_path / "run", inside, outside, **about)


def test_false_alarms_by_hand(alarms, tmp_path):
    found, path = conformal.calibrate(alarms, alarms=0.1)
    promise = found["false_alarms"]
    assert promise["level"] == 171  # just above the ceil(20 * .9) = 18th lowest
    assert promise["left_empty"] == pytest.approx(18 / 19)
    assert (promise["polyp_frames"], promise["polyp_frames_emptied"]) == (2, 1)
    # elsewhere, with no presence of its own: at that highest probability and one logit more
    outside = histograms(171, 220, 221, 255)  # sigmoid(logit(171 / 255) + 1) * 255 = 215.7
    here = conformal.reached(run_of(tmp_path / "model.pt"), nothing(4), outside)["false_alarms"]["here"]
    assert here == pytest.approx(0.75)
    settings = conformal.settings(path, "abc", threshold=0.5)
    assert settings == {"presence": pytest.approx(1 + np.log(171 / 84))}


def test_one_promise_does_not_push_out_the_other(alarms):
    _, path = conformal.calibrate(alarms, alarms=0.1)
    write_run(alarms, histograms(*[200] * 20), **json.loads((alarms / "summary.json").read_text())["run"])
    conformal.calibrate(alarms, 0.1)
    assert set(json.loads(path.read_text())) == {"missed", "false_alarms"}
    # a frame has to clear the calibrated threshold by less than it has to clear one half
    assert conformal.settings(path, "abc", threshold=0.5) == {
        "threshold": pytest.approx(200 / 255),
        "presence": pytest.approx(1 + np.log(171 / 84) - np.log(200 / 55)),
    }


def test_a_second_promise_of_one_kind_needs_overwrite(alarms):
    _, path = conformal.calibrate(alarms, alarms=0.1)
    before = path.read_bytes()
    with pytest.raises(PolypError, match="holds another promise"):
        conformal.calibrate(alarms, alarms=0.2)
    assert path.read_bytes() == before
    conformal.calibrate(alarms, alarms=0.2, overwrite=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file or directory; `polyp calibrate` writes it"),
        ("{", "cannot be read"),
        ("{}", "holds no promise"),
        ('{"level": 3}', "not as `polyp calibrate` writes it"),
        ('{"missed": {"weights_sha256": "other"}}', "is about other weights"),
        ('{"missed": {"weights_sha256": "abc"}}', "not as `polyp calibrate` writes it"),
        ('{"missed": {"weights_sha256": "abc", "threshold": 7}}', "threshold 7: expected 0 to 1"),
        ('{"missed": {"weights_sha256": "abc", "threshold": NaN}}', "threshold nan: expected 0 to 1"),
        ('{"missed": {"weights_sha256": "abc", "threshold": -1}}', "threshold -1: expected 0 to 1"),
        ('{"missed": {"weights_sha256": "abc", "threshold": true}}', "threshold True: expected 0 to 1"),
        (
            '{"missed": {"weights_sha256": "abc", "threshold": 0.3, "settings": [1]}}',
            "not as `polyp calibrate` writes it",
        ),
        ('{"false_alarms": {"weights_sha256": "abc", "highest": 2, "presence": 0}}', "highest 2: expected 0 to 1"),
        (
            '{"false_alarms": {"weights_sha256": "abc", "highest": 1, "presence": -1}}',
            "presence -1: expected 0 or more",
        ),
    ],
)
def test_a_file_that_promises_nothing(tmp_path, content, text):
    if content is not None:
        (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(PolypError, match=text):
        conformal.settings(tmp_path / "calibration.json", "abc", 0.5)


MADE_WITH = {"image_size": 64, "fit": "stretch", "crop": False, "tta": "none", "presence": 0.0}


@pytest.mark.parametrize(
    ("key", "value"), [("image_size", 128), ("fit", "area"), ("crop", True), ("tta", "flip"), ("presence", 1.0)]
)
def test_a_promise_holds_for_the_settings_it_was_found_with(tmp_path, key, value):
    about = {"weights": str(tmp_path / "model.pt"), "weights_sha256": "abc"} | MADE_WITH
    _, path = conformal.calibrate(write_run(tmp_path / "run", histograms(*[200] * 20), **about), 0.1)
    assert conformal.settings(path, "abc", 0.5, MADE_WITH) == {"threshold": pytest.approx(200 / 255)}
    with pytest.raises(PolypError, match=f"was found with {key} {MADE_WITH[key]}, not {value}"):
        conformal.settings(path, "abc", 0.5, MADE_WITH | {key: value})
    inside = list(histograms(250))
    assert conformal.reached(about, inside, nothing(1))
    assert conformal.reached(about | {key: value}, inside, nothing(1)) == {}


def test_a_file_from_before_settings_were_kept(tmp_path, caplog):
    path = tmp_path / "calibration.json"
    path.write_text('{"missed": {"weights_sha256": "abc", "threshold": 0.3}}')
    assert conformal.settings(path, "abc", 0.5, MADE_WITH) == {"threshold": 0.3}
    assert "does not name the image_size, fit, crop, tta, presence that it was found with" in caplog.text


def test_masks_of_which_no_threshold_finds_more_promise_nothing(tmp_path):
    run = write_run(tmp_path / "run", histograms(*[0] * 10, *[255] * 10))
    with pytest.raises(PolypError, match="only threshold 0, a polyp everywhere"):
        conformal.calibrate(run, 0.3)


def test_weights_that_changed_since_the_run_are_said(tmp_path, caplog):
    weights = tmp_path / "unet/models/model.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"trained again")
    about = {"weights": str(weights), "weights_sha256": hashlib.sha256(b"weights").hexdigest()}
    conformal.calibrate(write_run(tmp_path / "run", histograms(*[200] * 20), **about), 0.1)
    assert "its weights have changed since, or are gone" in caplog.text


def test_a_promise_without_settings_or_edited_by_hand(tmp_path, caplog):
    path = tmp_path / "calibration.json"
    promise = {"weights_sha256": "abc", "threshold": 137 / 255, "level": 137, "settings": {}}
    path.write_text(json.dumps({"missed": promise}))
    conformal.settings(path, "abc", 0.5, MADE_WITH)
    assert "does not name the image_size" in caplog.text
    path.write_text(json.dumps({"missed": promise | {"threshold": 0.95}}))
    with pytest.raises(PolypError, match=r"threshold 0\.95 is not that of level 137"):
        conformal.settings(path, "abc", 0.5)
