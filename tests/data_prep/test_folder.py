"""Images and masks of the user's own, in the shapes that they come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_sets import frame, polyp, write_set

from data_prep import folder
from data_prep.findings import Finding
from polyp_monai.data import files
from polyp_monai.errors import PolypError


def test_two_folders_anywhere(tmp_path):
    write_set(tmp_path / "a", ["x", "y"])
    (tmp_path / "b").mkdir()
    shutil.move(tmp_path / "a/masks", tmp_path / "b/truth")
    pairs = folder.pairs(None, [], images=tmp_path / "a/images", masks=tmp_path / "b/truth")
    assert [(p.name, p.mask, p.group) for p in pairs] == [
        ("x", tmp_path / "b/truth/x.png", "x"),
        ("y", tmp_path / "b/truth/y.png", "y"),
    ]


def test_one_folder_with_a_suffix(tmp_path):
    for name in ("x", "sub/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        files.write_png(tmp_path / f"{name}.png", frame(1))
        files.write_mask(tmp_path / f"{name}_mask.png", polyp())
    pairs = folder.pairs(tmp_path, [], mask_suffix="_mask")
    assert [(p.name, p.image.name, p.mask.name) for p in pairs] == [
        ("sub__x", "x.png", "x_mask.png"),
        ("x", "x.png", "x_mask.png"),
    ]


def test_subfolders_that_hold_the_same_name_stay_apart(tmp_path, prepare):
    names = ["p1/a", "p2/a", "p1__a", "p3/b", "p4/c"]
    source = write_set(tmp_path / "raw", names)
    assert prepare("folder", "--source", source, "--out", tmp_path / "out")[0] == 0
    content = json.loads((tmp_path / "out/datalist.json").read_text())
    sources = {s["image"]: s["source"] for split in ("training", "validation", "test") for s in content[split]}
    assert set(sources.values()) == {f"images/{name}.png" for name in names}
    for image, origin in sources.items():
        assert (tmp_path / "out" / image).read_bytes() == (source / origin).read_bytes()


@given(st.sets(st.text("aA_/.b", min_size=1, max_size=6), max_size=12))
def test_names_never_clash_on_any_file_system(keys):
    names = folder._names(sorted(keys), [])
    assert len({name.casefold() for name in names.values()}) == len(keys)


def test_case_of_a_mask_may_differ(tmp_path):
    source = write_set(tmp_path, ["IMG1", "IMG2"])
    (source / "masks/IMG1.png").rename(source / "masks/img1.PNG")
    findings: list[Finding] = []
    assert [p.name for p in folder.pairs(source, findings)] == ["IMG1", "IMG2"]
    assert [(f.code, f.severity) for f in findings] == [("case-differs", "info")]


def test_groups_from_a_table(tmp_path):
    source = write_set(tmp_path / "raw", ["a", "sub/b"])
    table = tmp_path / "groups.csv"
    table.write_text("name,group,age\na.png,patient1,70\nsub/b,patient2,60\n", encoding="utf-8-sig")
    pairs = folder.pairs(source, [], group_csv=table)
    assert {p.name: p.group for p in pairs} == {"a": "patient1", "sub__b": "patient2"}


def test_names_in_a_table_that_no_frame_has_are_said(tmp_path, capsys):
    source = write_set(tmp_path / "raw", ["a"])
    table = tmp_path / "groups.csv"
    table.write_text("name,group\na,patient1\nz.png,patient2\n")
    folder.pairs(source, [], group_csv=table)
    assert "gives groups of 1 names that no frame has: z" in capsys.readouterr().err


def test_groups_from_the_folder_name(tmp_path):
    source = write_set(tmp_path, ["p1/a", "p1/b", "p2/a"])
    pairs = folder.pairs(source, [], group_regex=r"^(p\d+)/")
    assert {p.name: p.group for p in pairs} == {"p1__a": "p1", "p1__b": "p1", "p2__a": "p2"}


def test_nifti_keeps_its_geometry(tmp_path, prepare):
    affine = np.diag([0.5, 0.5, 1, 1])
    for i in range(4):
        like = files.Picture(frame(i)[..., 0], affine, (64, 48, 1))
        for place, values in (("images", frame(i)[..., 0]), ("masks", polyp())):
            (tmp_path / "raw" / place).mkdir(parents=True, exist_ok=True)
            files.write_nifti(tmp_path / "raw" / place / f"n{i}.nii.gz", values, like)
    assert prepare("folder", "--source", tmp_path / "raw", "--out", tmp_path / "out")[0] == 0
    sample = json.loads((tmp_path / "out/datalist.json").read_text())["test"][0]
    label = files.read_picture(tmp_path / "out" / sample["label"])
    assert sample["size"] == [64, 48]
    assert np.array_equal(label.pixels, polyp())
    assert np.array_equal(label.affine, affine)


def test_two_possible_places_are_refused(tmp_path, prepare):
    for place in ("one", "two"):
        write_set(tmp_path / "raw" / place, ["a", "b", "c"])
    status, _, error = prepare("folder", "--source", tmp_path / "raw", "--out", tmp_path / "out")
    assert status == 1
    assert "in 2 places (one, two)" in error


def test_the_order_of_the_pairs_is_that_of_the_names(tmp_path):
    source = write_set(tmp_path, ["c", "a", "b"])
    assert [p.name for p in folder.pairs(Path(source), [])] == ["a", "b", "c"]


def negatives(folder, names, shift: int = 40):
    for number, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_png(path, frame(shift + number))
    return folder


def listed(out) -> dict[str, dict]:
    content = json.loads((out / "datalist.json").read_text())
    return {s["name"]: s | {"split": split} for split in ("training", "validation", "test") for s in content[split]}


def test_negatives_need_no_mask_and_get_an_empty_one(tmp_path, prepare):
    source = write_set(tmp_path / "raw", ["a", "b", "c"])
    empty = negatives(tmp_path / "empty", ["a", "x/y", "z"])
    words = ("folder", "--source", source, "--negatives", empty, "--out", tmp_path / "out")
    assert prepare(*words)[0] == 0
    found = listed(tmp_path / "out")
    assert {name for name, s in found.items() if s["tags"] == ["negative"]} == {"negative__a", "x__y", "z"}
    for sample in found.values():
        mask = files.read_mask(tmp_path / "out" / sample["label"])
        assert mask.shape == files.read_rgb(tmp_path / "out" / sample["image"]).shape[:2]
        assert mask.any() == bool(sample["polyp_area"]) == (sample["tags"] == [])
    audit = json.loads((tmp_path / "out/audit.json").read_text())
    assert [f["severity"] for f in audit["findings"] if f["code"] == "empty-mask"] == ["info"]


@pytest.mark.parametrize("copied", [False, True])
def test_a_picture_with_a_polyp_is_no_negative(tmp_path, prepare, copied):
    source = write_set(tmp_path / "raw", ["a", "b", "c"])
    place = shutil.copytree(source / "images", tmp_path / "copy") if copied else source / "images"
    status, _, error = prepare("folder", "--source", source, "--negatives", place, "--out", tmp_path / "out")
    assert (status, (tmp_path / "out").exists()) == (1, False)
    assert "is given as a negative, and" in error
    assert "the same picture, shows a polyp" in error


def test_negatives_alone_split_by_the_groups_of_a_table(tmp_path, prepare):
    names = [f"n{i}" for i in range(12)]
    empty = negatives(tmp_path / "empty", names)
    table = tmp_path / "scenes.csv"
    table.write_text("name,class,group\n" + "".join(f"n{i}.png,caecum,{i // 3}\n" for i in range(12)))
    assert prepare("folder", "--negatives", empty, "--group-csv", table, "--out", tmp_path / "out")[0] == 0
    found = listed(tmp_path / "out")
    assert len(found) == 12
    split_of = {group: {s["split"] for s in found.values() if s["group"] == group} for group in "0123"}
    assert all(len(where) == 1 for where in split_of.values())
    audit = json.loads((tmp_path / "out/audit.json").read_text())
    assert {f["severity"] for f in audit["findings"] if f["code"] == "no-polyp"} == {"info"}


def test_a_missing_mask_is_a_negative_only_when_told(tmp_path, prepare):
    source = write_set(tmp_path / "raw", ["a", "b", "c", "d"])
    (source / "masks/b.png").unlink()
    status, _, errors = prepare("folder", "--source", source, "--out", tmp_path / "out")
    assert (status, "image b has no mask" in errors) == (1, True)
    words = ("folder", "--source", source, "--missing-mask", "empty", "--out", tmp_path / "out")
    assert prepare(*words)[0] == 0
    assert [name for name, s in listed(tmp_path / "out").items() if s["polyp_area"] == 0] == ["b"]


@pytest.mark.parametrize("places", [("images", "masks"), ()])
def test_a_suffix_that_no_mask_has_is_refused(tmp_path, places):
    write_set(tmp_path / "a", ["x", "y"])
    own = {name: tmp_path / "a" / name for name in places}
    with pytest.raises(PolypError, match=r"--mask-suffix _mask: no mask in .*masks has a name that ends like this"):
        folder.pairs(None if places else tmp_path / "a", [], mask_suffix="_mask", **own)
    with pytest.raises(PolypError, match="--mask-suffix _mask: there are no masks"):
        folder.pairs(None, [], negatives=tmp_path / "a/images", mask_suffix="_mask")


def test_a_table_has_one_column_of_groups(tmp_path):
    write_set(tmp_path / "a", ["x", "y"])
    (tmp_path / "groups.csv").write_text("name,group,group\nx,1,2\ny,1,3\n")
    with pytest.raises(PolypError, match="has two columns group"):
        folder.pairs(tmp_path / "a", [], group_csv=tmp_path / "groups.csv")
