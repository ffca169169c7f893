"""Which folder a bundle's name or path means, and where it is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyp_monai.bundle import locate
from polyp_monai.errors import PolypError

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_shipped_bundles_are_those_of_the_checkout():
    found = locate.shipped()
    assert "recipe" not in found  # holds what they share, and no model
    assert set(found) == {path.name for path in (HOME / "bundles").iterdir()} - {"recipe"}


def test_a_name_and_a_path(bundle):
    assert locate.find("efficient_unet") == locate.shipped()["efficient_unet"]
    assert locate.find(str(bundle)) == bundle


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the bundle's name is empty; give a folder, or one of attention_unet"),
        ("unett", "unett: no such bundle; .* or one of attention_unet"),
        ("empty", "is no bundle .it has no folder configs/"),
    ],
)
def test_what_is_no_bundle(tmp_path, text, reason):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolypError, match=reason):
        locate.find(text)


def test_a_shipped_bundle_is_trained_in_a_copy_without_weights():
    with locate.working_copy("efficient_unet", "runs/mine") as root:
        assert root == Path("runs/mine").resolve()
        assert (root / "configs/train.yaml").is_file()
        assert not (root / "models").exists()
    assert (root / "configs").is_dir()


def test_a_bundle_given_by_its_path_is_trained_in_place(bundle):
    with locate.working_copy(str(bundle), None) as root:
        assert root == bundle


def test_a_copy_is_removed_when_the_training_could_not_start():
    def start(weights: bool) -> None:
        with locate.working_copy("unet", "run") as root:
            if weights:
                (root / "models").mkdir()
                (root / "models/last.pt").touch()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        start(weights=False)
    assert not Path("run").exists()
    with pytest.raises(RuntimeError):
        start(weights=True)
    assert Path("run/models/last.pt").is_file()


def test_a_copy_of_an_earlier_run_is_gone_on_with_and_never_removed(bundle):
    shutil.copytree(bundle, "run")
    with pytest.raises(RuntimeError), locate.working_copy("unet", "run"):
        raise RuntimeError("no")
    assert Path("run/configs/train.yaml").is_file()


def test_a_folder_with_something_else_is_left_alone():
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    with pytest.raises(PolypError, match="is not empty and holds no bundle"), locate.working_copy("unet", "mine"):
        pytest.fail("it must not start")
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]
    assert list(Path().glob(".partial-*")) == []
