"""`polyp video --fast`, and the choice of a form that keeps up with a live source."""

from __future__ import annotations

import pytest

from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.video import pace

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def two_forms(sees_red):
    """The bundle with an export beside its weights, in the place of the int8 one."""
    assert main(["export", str(sees_red), "--format", "onnx", "--out", str(pace.int8_file(sees_red))]) == 0
    return sees_red


def test_the_most_accurate_form_that_keeps_up_is_taken(two_forms, monkeypatch, caplog):
    caplog.set_level("INFO", "polyp_monai")
    taken = {"PyTorch": 0.1, 96: 0.05, pace.FAST_SIZE: 0.01}  # seconds a frame
    monkeypatch.setattr(pace, "seconds", lambda p: taken["PyTorch" if "PyTorch" in p.description else p.image_size])

    def at(rate: float) -> tuple[bool, int]:
        found = pace.keeping_up(two_forms, {}, rate)
        return "PyTorch" in found.description, found.image_size

    assert at(8) == (True, 96)  # 100 ms of 125
    assert at(12) == (False, 96)
    assert at(50) == (False, pace.FAST_SIZE)
    assert at(200) == (False, pace.FAST_SIZE)
    assert "too slow for 200 frames/s" in caplog.text


def test_seconds_are_those_of_the_network(sees_red):
    from polyp_monai.bundle.predictor import Predictor

    assert 0 < pace.seconds(Predictor.of_bundle(sees_red, {}), frames=1) < 60


def test_fast_is_int8_on_fewer_pixels(two_forms):
    found = pace.fast(two_forms, {"runtime": "auto", "threshold": 0.4})
    weights = str(pace.int8_file(two_forms))
    assert found == {"runtime": "auto", "threshold": 0.4, "weights": weights, "image_size": pace.FAST_SIZE}


@pytest.mark.parametrize(
    ("given", "text"),
    [({}, "write it with `polyp export"), ({"image_size": 320}, "--fast: sets --image-size too")],
)
def test_what_fast_cannot_do(sees_red, given, text):
    with pytest.raises(PolypError, match=text):
        pace.fast(sees_red, given)
