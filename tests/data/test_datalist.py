from __future__ import annotations

import json

import numpy as np
import pytest

from polyp_monai.data import datalist, files
from polyp_monai.errors import PolypError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _outputs(root, inputs, **more):
    return sorted(f["output"] for f in datalist.frames(inputs, root / "out", **more))


def test_folders_keep_their_tree(tmp_path):
    _touch(tmp_path, "in/a.png", "in/sub/a.png", "in/sub/deep/b.jpg")
    assert _outputs(tmp_path, str(tmp_path / "in")) == ["a", "sub/a", "sub/deep/b"]


def test_equal_names_of_two_folders_stay_apart(tmp_path):
    _touch(tmp_path, "kvasir/1.png", "clinic/1.png")
    assert _outputs(tmp_path, [str(tmp_path / "kvasir"), str(tmp_path / "clinic")]) == ["clinic/1", "kvasir/1"]
    assert _outputs(tmp_path, [str(tmp_path / "kvasir/1.png"), str(tmp_path / "clinic/1.png")]) == [
        "clinic/1",
        "kvasir/1",
    ]


def test_one_stem_with_two_suffixes_stays_apart(tmp_path):
    _touch(tmp_path, "in/a.png", "in/a.jpg", "in/a.nii.gz")
    assert _outputs(tmp_path, str(tmp_path / "in")) == ["a_jpg", "a_nii_gz", "a_png"]


def test_glob_file_and_repeats(tmp_path):
    _touch(tmp_path, "in/x/a.png", "in/y/b.png", "in/y/c.txt")
    assert _outputs(tmp_path, str(tmp_path / "in/**/*.png")) == ["x/a", "y/b"]
    assert _outputs(tmp_path, [str(tmp_path / "in/x/a.png"), str(tmp_path / "in")]) == ["a", "y/b"]


def test_a_data_list_gives_all_its_images(tmp_path):
    _touch(tmp_path, "set/images/a.png", "set/images/b.png")
    content = {"training": [{"image": "images/a.png"}], "test": [{"image": "images/b.png"}]}
    (tmp_path / "set/datalist.json").write_text(json.dumps(content))
    assert _outputs(tmp_path, str(tmp_path / "set/datalist.json")) == ["images/a", "images/b"]


def test_nothing_is_overwritten(tmp_path):
    _touch(tmp_path, "in/a.png", "out/a.png", "out/a_overlay.png")
    for overwrite in (False, True):  # nobody knows who wrote it
        with pytest.raises(PolypError, match="did not write it"):
            _outputs(tmp_path, str(tmp_path / "in"), overwrite=overwrite)
    datalist.claim([{"image": "a.png", "output": "a"}], tmp_path / "out")
    with pytest.raises(PolypError, match="exists already"):
        _outputs(tmp_path, str(tmp_path / "in"))
    assert _outputs(tmp_path, str(tmp_path / "in"), overwrite=True) == ["a"]
    with pytest.raises(PolypError, match="a_overlay"):
        _outputs(tmp_path, str(tmp_path / "in"), overwrite=True, overlay=True)
    with pytest.raises(PolypError, match="is an input"):
        datalist.frames(str(tmp_path / "in"), tmp_path / "in", overwrite=True)


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    _touch(tmp_path, "in/a.png", "in/a.jpg", "in/a_jpg.png")
    with pytest.raises(PolypError, match=r"two frames .*in/a_jpg\.png and .*in/|two frames .*and .*in/a_jpg\.png"):
        _outputs(tmp_path, str(tmp_path / "in"))


def test_links_are_frames_of_their_own(tmp_path):
    _touch(tmp_path, "store/blob")
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "store/blob")
    assert _outputs(tmp_path, str(tmp_path / "in")) == ["a", "b"]


def test_a_list_that_leads_out_of_its_folder_stays_below_the_output(tmp_path):
    _touch(tmp_path, "raw/a.png")
    (tmp_path / "list").mkdir()
    (tmp_path / "list/l.json").write_text('{"test": [{"image": "../raw/a.png"}], "training": null}')
    assert _outputs(tmp_path, str(tmp_path / "list/l.json")) == ["a"]


def test_masks_below_the_input_folder_are_no_frames(tmp_path):
    _touch(tmp_path, "in/a.png", "in/masks/a.png")
    datalist.claim([{"image": "a.png", "output": "a"}], tmp_path / "in/masks")
    assert [f["output"] for f in datalist.frames(str(tmp_path / "in"), tmp_path / "in/masks", overwrite=True)] == ["a"]
    assert [f["output"] for f in datalist.frames(str(tmp_path / "in"), tmp_path, overwrite=True)] == ["a", "masks/a"]


@pytest.mark.parametrize(
    ("items", "out"),
    [(["in"], "in"), (["in"], "link"), (["in", "two"], "."), (["in/*"], "in"), (["**/*.png"], "masks")],
)
def test_masks_that_the_next_run_would_take_for_frames_are_refused(tmp_path, items, out):
    _touch(tmp_path, "in/a.jpg", "in/sub/b.jpg", "two/a.jpg", "three/d.png")
    (tmp_path / "link").symlink_to("in")
    inputs = [str(tmp_path / item) for item in items]
    with pytest.raises(PolypError, match="would take it for a frame; give another --out"):
        datalist.frames(inputs, tmp_path / out)
    assert len(datalist.frames(inputs, tmp_path.parent / "masks")) > 0


@pytest.mark.parametrize(
    ("item", "out"), [("in/a.jpg", "in"), ("in/*.jpg", "in"), ("in", "in/masks"), ("in/sub", "in")]
)
def test_masks_may_lie_where_the_next_run_does_not_find_them(tmp_path, item, out):
    _touch(tmp_path, "in/a.jpg", "in/sub/b.jpg")
    assert len(datalist.frames(str(tmp_path / item), tmp_path / out)) > 0


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.jpg", "https://user:secret@host/x", "ftp://host/x"])
def test_an_address_of_no_store_is_called_one(tmp_path, address):
    with pytest.raises(PolypError, match="no address that can be read here") as error:
        datalist.frames(address, tmp_path / "out")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("item", ["absent", "absent.png", "no*.png", "empty"])
def test_inputs_without_frames_are_named(tmp_path, item):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolypError, match=item.replace("*", r"\*")):
        datalist.frames(str(tmp_path / item), tmp_path / "out")


def test_parts_of_a_prepared_set(dataset):
    for name in datalist.SPLITS:
        for sample in datalist.labelled_frames(dataset, name):
            assert sample.keys() == {
                "image",
                "label",
                "name",
                "group",
                "tags",
                "negative",
                "positive",
                "large",
                "output",
            }
    with pytest.raises(PolypError, match="unknown"):
        datalist.read_split(dataset, "tests")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "JSON"),
        ("[]", "not a data list"),
        ('{"training": []}', "is empty"),
        (None, "polyp prepare"),
        ('{"training": ["a.png"]}', "names no image"),
        ('{"training": [{"image": "a.png"}]}', "no label"),
        (
            '{"training": [{"image": "a.png", "group": ["a"]}]}',
            r"a.png in 'training': group is \['a'\]; expected a text",
        ),
        ('{"training": [{"image": "a.png", "group": null}]}', "group is None; expected a text"),
        ('{"training": [{"image": "a.png", "tags": "negative"}]}', "tags is 'negative'; expected a list of texts"),
        ('{"training": [{"image": "a.png", "tags": [1]}]}', "expected a list of texts"),
        ('{"training": [{"image": "a.png", "polyp_area": "all"}]}', "expected a number"),
        ('{"training": [], "name": ["x"]}', r"datalist.json: name is \['x'\]; expected a text"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_a_broken_list_is_one_clear_line(tmp_path, content, text):
    if content is not None:
        (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(PolypError, match=text):
        datalist.read_split(tmp_path, "training")


def test_a_file_that_has_gone_is_named(tmp_path):
    (tmp_path / "datalist.json").write_text('{"test": [{"image": "a.png", "label": "b.png"}]}')
    with pytest.raises(PolypError, match=r"a\.png.*but not there"):
        datalist.read_split(tmp_path, "test")


def test_all_is_every_part_together(dataset):
    together = [sample["name"] for sample in datalist.labelled_frames(dataset, "all")]
    split_of = [sample["name"] for split in datalist.SPLITS for sample in datalist.labelled_frames(dataset, split)]
    assert together == split_of
    assert len(set(together)) == 20


def listing(folder, **splits):
    """A set of one frame, a.png, whose data list has these splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "m.png"):
        files.write_png(folder / name, np.zeros((32, 32), np.uint8))
    content = {name: [{"image": image, "label": "m.png"} for image in images] for name, images in splits.items()}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def test_a_set_that_is_given_twice(tmp_path):
    one, two = listing(tmp_path / "one", training=["a.png"]), listing(tmp_path / "two", training=["a.png"])
    assert len(datalist.labelled_frames([one, two], "training")) == 2
    with pytest.raises(PolypError, match="one: is given twice; name each data set once"):
        datalist.labelled_frames([one, two, tmp_path / "two/../one"], "training")


def test_a_split_that_is_misspelt(tmp_path):
    with pytest.raises(PolypError, match="has a split 'trainig'; known are training, validation, test"):
        datalist.read(listing(tmp_path, trainig=["a.png"], test=["a.png"]))


def test_a_split_that_is_there_twice(tmp_path):
    (listing(tmp_path) / "datalist.json").write_text('{"training": [{"image": "a.png"}], "training": []}')
    with pytest.raises(PolypError, match=r"not readable as JSON \(the key 'training' stands there twice"):
        datalist.read(tmp_path)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"test": ["a.png", "a.png"]}, "datalist.json: a.png is listed twice in 'test'"),
        ({"training": ["a.png"], "test": ["a.png"]}, "a.png is listed in 'training' and in 'test'"),
    ],
)
def test_a_frame_that_would_be_scored_twice(tmp_path, splits, said):
    with pytest.raises(PolypError, match=said):
        datalist.labelled_frames(listing(tmp_path, **splits), "all", tmp_path / "out")


def test_a_frame_that_would_train_twice(tmp_path):
    with pytest.raises(PolypError, match=r"datalist.json: a.png is listed twice in 'training'; a frame counts once"):
        datalist.labelled_frames(listing(tmp_path, training=["a.png", "a.png"]), "training")


def test_two_frames_of_one_name(tmp_path):
    entries = [{"image": image, "label": "m.png", "name": "x"} for image in ("a.png", "m.png")]
    (listing(tmp_path) / "datalist.json").write_text(json.dumps({"test": entries}))
    with pytest.raises(PolypError, match=r"a\.png and m\.png have one name, x; give each its own"):
        datalist.labelled_frames(tmp_path, "test")


def test_a_data_list_names_its_folder(tmp_path):
    folder = listing(tmp_path, test=["a.png"])
    assert datalist.local(folder / "datalist.json") == folder
    with pytest.raises(PolypError, match=r"a.png: is a file; give the folder of a datalist.json"):
        datalist.local(folder / "a.png")
