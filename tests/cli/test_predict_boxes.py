"""`polyp predict --boxes`: what it writes, and what it will not touch."""

from __future__ import annotations

import json
import shutil

import pytest

from polyp_monai.cli.main import main
from polyp_monai.data import boxes
from tests.cli.conftest import fails


@pytest.fixture
def frames(dataset, tmp_path):
    for name in ("one/a", "two/a"):
        (tmp_path / "frames" / name).parent.mkdir(parents=True)
        shutil.copy(next((dataset / "images").iterdir()), tmp_path / f"frames/{name}.jpg")
    return tmp_path / "frames"


def test_boxes_keep_the_tree_and_replace_only_their_own(sees_red, frames, tmp_path, capsys):
    def predict(*more) -> list[str]:
        return [*map(str, ("predict", sees_red, frames, "--out", tmp_path / "out", *more))]

    (tmp_path / "boxes.json").write_text("mine")
    said = fails(capsys, *predict("--boxes", tmp_path / "boxes.json", "--overwrite"))
    assert "`polyp predict` did not write it" in said
    assert (tmp_path / "boxes.json").read_text() == "mine"
    (tmp_path / "labels/two").mkdir(parents=True)
    (tmp_path / "labels/two/a.txt").write_text("mine")
    assert "labels/two/a.txt: is there already" in fails(capsys, *predict("--boxes", tmp_path / "labels"))
    assert "expected a .json file (COCO), or a folder" in fails(capsys, *predict("--boxes", tmp_path / "boxes.csv"))
    said = fails(capsys, *predict("--boxes", tmp_path / "b.json", "--skip-existing"))
    assert "--skip-existing leaves out frames, and their boxes" in said
    shutil.copy(frames / "one/a.jpg", frames / "classes.jpg")
    assert "which names the classes; rename it" in fails(capsys, *predict("--boxes", tmp_path / "other"))
    (frames / "classes.jpg").unlink()
    assert not (tmp_path / "out").exists()

    assert main(predict("--boxes", tmp_path / "out/boxes.json")) == 0
    content = json.loads((tmp_path / "out/boxes.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["one/a.jpg", "two/a.jpg"]
    assert "exists already" in fails(capsys, *predict("--boxes", tmp_path / "out/boxes.json"))
    assert main(predict("--boxes", tmp_path / "labels2", "--overwrite")) == 0
    assert set(boxes.read(tmp_path / "labels2").frames) == {"one/a", "two/a"}


def test_a_frame_that_cannot_be_read_has_no_boxes(sees_red, frames, tmp_path):
    (frames / "two/a.jpg").write_bytes(b"nothing")
    words = ("predict", sees_red, frames, "--out", tmp_path / "out", "--boxes", tmp_path / "boxes.json")
    assert main([*map(str, words)]) == 1
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["one/a.jpg"]
