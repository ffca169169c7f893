"""Whatever lies in a folder: what is predicted and what is named is together what was given."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polyp_monai.data import datalist, files, search
from polyp_monai.data.loading import FrameDataset
from polyp_monai.errors import PolypError

PICTURE = Image.new("RGB", (6, 5), (200, 90, 80))
KINDS = {  # suffix, what it holds
    "good": ".png",
    "jpeg": ".JPG",
    "webp": ".webp",
    "bitmap": ".bmp",
    "cut": ".png",
    "empty": ".png",
    "gif": ".gif",
    "text": ".txt",
    "dangling": ".jpg",
    "linked": ".png",
    "pipe": ".png",
    "long": ".tif",
}
GOOD = {"good", "jpeg", "webp", "bitmap", "linked"}


STORE = tempfile.mkdtemp()  # where links lead
atexit.register(shutil.rmtree, STORE)


def put(place: Path, name: str, kind: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{'n' * 250 if kind == 'long' else name}{KINDS[kind]}"
    if kind == "dangling":
        path.symlink_to("../annex/objects/none")
    elif kind == "linked":
        path.symlink_to(put(Path(tempfile.mkdtemp(dir=STORE)), name, "good"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("text", "empty"):
        path.write_text("words" if kind == "text" else "")
    else:
        PICTURE.save(path)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-40])
    return path


names = st.text("abcö \r\n\x1b", min_size=1, max_size=4).map(str.strip).filter(bool)
trees = st.dictionaries(
    st.tuples(st.sampled_from(["", "sub", "sub/deep", "other"]), names), st.sampled_from(sorted(KINDS)), min_size=1
)


@given(trees, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_predicted_and_what_is_named_is_what_was_given(tree, overlay):
    root = Path(tempfile.mkdtemp())
    logging.disable()
    try:
        kind_of = {put(root / "in" / place, name, kind): kind for (place, name), kind in tree.items()}
        if set(kind_of.values()) <= {"gif", "text"}:
            with pytest.raises(PolypError, match=f"no frames there.*{len(kind_of)} file"):
                datalist.frames(str(root / "in"), root / "out", overlay=overlay)
            return
        frames = datalist.frames(str(root / "in"), root / "out", overlay=overlay)
        seen = FrameDataset(frames, lambda sample: {**sample, "pixels": files.read_rgb(sample["image"])})
        predicted = {Path(sample["image"]) for sample in seen}
        failed = {path for path in kind_of for line in seen.failures if line.startswith(f"{path}: ")}
        assert len(predicted) + len(seen.failures) + len(frames.passed_over) == len(kind_of)
        assert predicted | failed | set(map(Path, frames.passed_over)) == kind_of.keys()
        good = GOOD if overlay else GOOD | {"long"}
        assert predicted == {path for path, kind in kind_of.items() if kind in good}
        if frames.passed_over or any("problem" in sample for sample in frames):
            with pytest.raises(PolypError):
                datalist.frames(str(root / "in"), root / "out", overlay=overlay, strict=True)
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(root)


def test_hidden_files_do_not_count_and_the_rest_is_named(tmp_path, caplog):
    for name in ("b.PNG", "sub/a.jpeg", ".partial-x.png", "sub/.hidden/c.png", "notes.txt", "v.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in search.find_images(tmp_path)]
    assert found == ["b.PNG", "sub/a.jpeg", "v.nii.gz"]
    assert "1 file is passed over, no picture of a known format: notes.txt" in caplog.text


def test_a_linked_folder_is_searched_and_a_circle_is_named(tmp_path):
    put(tmp_path / "store", "a", "good")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/set").symlink_to(tmp_path / "store")
    (tmp_path / "in/again").symlink_to(tmp_path / "in")
    frames = datalist.frames(str(tmp_path / "in"), tmp_path / "out")
    assert [s["output"] for s in frames if "problem" not in s] == ["set/a"]
    assert [s["problem"] for s in frames if "problem" in s] == [
        f"{tmp_path}/in/again: a link to a folder that it lies in"
    ]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    put(tmp_path / "in", "a", "good")
    put(tmp_path / "in/locked", "b", "good")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    frames = datalist.frames(str(tmp_path / "in"), tmp_path / "out")
    assert [s.get("problem") for s in frames] == [
        None,
        f"{tmp_path}/in/locked: the folder cannot be read (permission denied)",
    ]
    for inputs in (tmp_path / "in/locked",):
        with pytest.raises(PolypError, match=r"locked: the folder cannot be read \(permission denied\)"):
            datalist.frames(str(inputs), tmp_path / "out")
    with pytest.raises(PolypError, match="locked: the folder cannot be read"):
        search.find_images(tmp_path / "in")


def test_a_glob_names_what_it_matches_and_does_not_take(tmp_path):
    for kind in ("good", "gif", "dangling"):
        put(tmp_path / "in", kind, kind)
    frames = datalist.frames(str(tmp_path / "in/*"), tmp_path / "out")
    assert sorted(s["output"] for s in frames) == ["", "good"]
    assert [Path(path).name for path in frames.passed_over] == ["gif.gif"]


def test_a_link_that_leads_nowhere_says_where_to(tmp_path):
    path = put(tmp_path / "in", "a", "dangling")
    with pytest.raises(PolypError, match=r"a\.jpg: a link to \.\./annex/objects/none, which is not there; fetch"):
        files.read_rgb(path)
