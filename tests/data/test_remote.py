"""Addresses in place of paths: the same frames, the same masks, and one line for what a store refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

fsspec = pytest.importorskip("fsspec")

from polyp_monai.cli.main import main  # noqa: E402
from polyp_monai.data import datalist, files, remote  # noqa: E402
from polyp_monai.errors import PolypError  # noqa: E402
from tests.cli.conftest import fails  # noqa: E402


@pytest.fixture
def memory(dataset, monkeypatch, tmp_path):
    """memory://set, a copy of the synthetic set."""
    system = fsspec.filesystem("memory")
    system.put(str(dataset), "/set", recursive=True)
    monkeypatch.setenv("POLYP_CACHE", str(tmp_path / "cache"))
    yield system
    system.rm("/", recursive=True)


def test_a_picture_is_read_from_an_address(memory, dataset):
    image = sorted((dataset / "images").iterdir())[0]
    assert np.array_equal(files.read_rgb(f"memory://set/images/{image.name}"), files.read_rgb(image))
    with pytest.raises(PolypError, match=r"memory://set/none\.png: no such file"):
        files.read_rgb("memory://set/none.png")
    memory.pipe_file("/set/bad.png", b"nothing")
    with pytest.raises(PolypError, match=r"^memory://set/bad\.png: cannot be read"):
        files.read_rgb("memory://set/bad.png")


def test_a_folder_and_a_data_list_name_their_frames(memory, dataset, tmp_path):
    memory.pipe_file("/set/images/notes.txt", b"words")
    memory.pipe_file("/set/images/.hidden.png", b"")
    frames = datalist.frames("memory://set/images", tmp_path / "out")
    assert [sample["output"] for sample in frames] == [path.stem for path in sorted((dataset / "images").iterdir())]
    assert frames.passed_over == ["memory://set/images/notes.txt"]
    listed = datalist.frames("memory://set/datalist.json", tmp_path / "out")
    assert {sample["image"] for sample in listed} == {sample["image"] for sample in frames}


def test_masks_of_frames_elsewhere_are_those_of_the_files(memory, trained, dataset, tmp_path, capsys):
    words = ["predict", str(trained), "--overlay", "--out"]
    assert main([*words, str(tmp_path / "here"), str(dataset / "images")]) == 0
    assert main([*words, str(tmp_path / "away"), "memory://set/images/"]) == 0
    ours, theirs = (sorted((tmp_path / place).glob("*.png")) for place in ("here", "away"))
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs, strict=True))
    assert "a path of this machine" in fails(capsys, *words, "memory://masks", "memory://set/images")
    assert main(["predict", str(trained), f"file://{dataset}/images", "--out", str(tmp_path / "file")]) == 0


def test_a_set_elsewhere_is_copied_once_and_renewed(memory, dataset):
    copy = datalist.local("memory://set")
    assert datalist.read(copy) == datalist.read(dataset)
    image = sorted(copy.glob("images/*"))[0]
    before = image.stat().st_mtime_ns
    memory.pipe_file("/set/more.txt", b"1")
    memory.rm(f"/set/images/{sorted(copy.glob('images/*'))[1].name}")
    assert datalist.local("memory://set") == copy
    assert image.stat().st_mtime_ns == before
    assert (copy / "more.txt").read_text() == "1"
    assert len(list(copy.glob("images/*"))) == len(list((dataset / "images").iterdir())) - 1
    memory.pipe_file("/set/more.txt", b"22")
    assert (datalist.local("memory://set") / "more.txt").read_text() == "22"
    with pytest.raises(PolypError, match="memory://none: no such file or folder"):
        datalist.local("memory://none")


def test_prepare_takes_a_source_elsewhere(memory, dataset, tmp_path):
    words = ["prepare", "folder", "--images", "memory://set/images", "--masks", "memory://set/masks", "--out"]
    assert main([*words, str(tmp_path / "made")]) == 0
    content = json.loads((tmp_path / "made/datalist.json").read_text())
    assert sum(len(content[split]) for split in datalist.SPLITS) == len(list((dataset / "images").iterdir()))


def test_a_password_is_never_shown(capsys, trained, tmp_path):
    address = "s3://key:hunter2@bucket/frames"
    error = fails(capsys, "predict", trained, address, "--out", tmp_path / "out")
    assert "hunter2" not in error
    assert "s3://***@bucket/frames: holds a password" in error
    assert remote.shown("s3://bucket/a.png?secret=hunter2") == "s3://bucket/a.png"


def test_s3(bucket, trained, dataset, tmp_path, capsys):
    pytest.importorskip("s3fs")
    image = sorted((dataset / "images").iterdir())[0]
    fsspec.filesystem("s3").put(str(image), f"{bucket}/frames/a.jpg")
    out = tmp_path / "out"
    assert main(["predict", str(trained), f"{bucket}/frames", "--out", str(out)]) == 0
    assert Image.open(out / "a.png").size == Image.open(image).size
    assert f"{bucket}/none: no such file" in fails(capsys, "predict", trained, f"{bucket}/none", "--out", out)
    bucket.server.stop()
    assert f"{bucket}/frames: the store cannot be read" in fails(
        capsys, "predict", trained, f"{bucket}/frames", "--out", out
    )
