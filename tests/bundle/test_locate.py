"""From a name or a path to a bundle's folder, and where its results and its working copy go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyp_monai.bundle import locate
from polyp_monai.errors import PolypError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder: Path, weights: bool = False) -> Path:
    shutil.copytree(locate.shipped()["unet"], folder, ignore=shutil.ignore_patterns("models", "eval"))
    if weights:
        (folder / "models").mkdir()
        (folder / "models/model.pt").touch()
    return folder


def test_a_name_is_the_shipped_bundle_whatever_lies_here(here):
    make(here / "unet")
    make(here / "runs/unet")
    assert locate.find("unet") == locate.shipped()["unet"]
    assert locate.find("./unet") == here / "unet"
    assert locate.find("runs/unet") == here / "runs/unet"
    assert locate.find(str(make(here / "mine"))) == locate.find("mine") == here / "mine"


def test_what_is_no_bundle_gets_a_word(here):
    make(here / "runs/mine")
    (here / "a.zip").touch()
    (here / "empty").mkdir()
    for name, says in [
        ("", "name is empty"),
        ("unett", "no such bundle; did you mean unet"),
        ("xyz", "no such bundle; give a bundle's folder, or one of .*unet"),
        ("mine", "named by its path, runs/mine"),
        ("a.zip", "polyp fetch a.zip"),
        ("empty", "no folder configs/"),
    ]:
        with pytest.raises(PolypError, match=says):
            locate.find(name)


def test_results_of_a_shipped_bundle_stay_out_of_it_and_of_the_runs(here):
    assert locate.results(locate.find("unet"), "test") == Path("results/unet/test")
    assert locate.results(make(here / "runs/unet"), "all") == here / "runs/unet/eval/all"


def test_a_training_goes_on_in_the_working_copy(here):
    shipped = locate.shipped()["unet"]
    assert locate.template("unet", None) == locate.template("unet", "runs/other") == shipped
    with locate.working_copy("unet", None) as root:
        assert root == here / "runs/unet"
        (root / "models").mkdir()
        (root / "models/model.pt").touch()
    assert locate.template("unet", None) == locate.template("unet", "runs/unet") == root
    assert locate.template("runs/unet", None) == root
    with pytest.raises(RuntimeError), locate.working_copy("unet", "runs/torn"):
        raise RuntimeError
    assert not (here / "runs/torn").exists()


def test_missing_weights_are_told_with_what_to_do(here):
    shipped, copy = locate.shipped()["unet"], make(here / "copy")
    for root, weights, says in [
        (shipped, "models/model.pt", "unet: comes without weights; train it first .* then give runs/unet"),
        (shipped, "other.pt", r"other\.pt: no such weights"),
        (copy, "models/model.pt", r"copy/models/model\.pt: no such weights; train the bundle first"),
    ]:
        with pytest.raises(PolypError, match=says):
            locate.check_weights(root / weights, root)
    trained = make(here / "runs/unet", weights=True)
    with pytest.raises(PolypError, match="for those that you trained, give runs/unet"):
        locate.check_weights(shipped / "models/model.pt", shipped)
    locate.check_weights(trained / "models/model.pt", trained)


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
