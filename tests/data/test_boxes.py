"""Boxes in COCO's and YOLO's formats: what is written is read again, and what is damaged is named."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyp_monai.data import boxes, coco, yolo
from polyp_monai.data.boxes import Box, BoxedFrame
from polyp_monai.errors import PolypError

CLASSES = ("neoplastic", "non-neoplastic")


@st.composite
def frames(draw) -> list[BoxedFrame]:
    """Frames of several sizes with boxes on whole pixels, as masks give them."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        width, height = draw(st.tuples(st.integers(2, 4000), st.integers(2, 4000)))
        own = []
        for _ in range(draw(st.integers(0, 3))):
            x0, y0 = draw(st.tuples(st.integers(0, width - 2), st.integers(0, height - 2)))
            x1, y1 = draw(st.tuples(st.integers(x0 + 2, width), st.integers(y0 + 2, height)))
            score = draw(st.floats(0, 1))
            own.append(Box(draw(st.integers(0, 1)), (float(x0), float(y0), float(x1), float(y1)), score))
        found.append(BoxedFrame(f"site {number % 2}/Bild ä {number}.jpg", (width, height), own))
    return found


def content(found) -> dict:
    return {name: [tuple(box[:3]) for box in frame.boxes] for name, frame in found.items()}


@given(written=frames())
def test_coco_comes_back(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("coco") / "boxes.json"
    coco.write(path, written, CLASSES)
    found = boxes.read(path)
    assert found.classes == CLASSES
    assert content(found.frames) == {boxes.key(f.name): [tuple(b[:3]) for b in f.boxes] for f in written}
    assert [f.size for f in found.frames.values()] == [f.size for f in written]


@given(written=frames())
def test_yolo_comes_back_to_the_pixel(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolo")
    for frame in written:
        (folder / yolo.file_of(frame.name)).parent.mkdir(exist_ok=True)
        (folder / yolo.file_of(frame.name)).write_text(yolo.text(frame))
    (folder / yolo.NAMES).write_text(yolo.names_text(CLASSES))
    assert boxes.is_boxes(folder)
    found, sizes = boxes.read(folder), {boxes.key(f.name): f.size for f in written}
    assert found.classes == CLASSES
    again = {name: frame.sized(sizes[name]) for name, frame in found.frames.items()}
    assert content(again) == {boxes.key(f.name): [tuple(b[:3]) for b in f.boxes] for f in written}


def test_a_coco_file_is_read_by_pycocotools(tmp_path):
    tool = pytest.importorskip("pycocotools.coco")
    outline = np.array([[10, 10], [19, 10], [19, 29], [10, 29]])
    frame = BoxedFrame("a.png", (64, 48), [Box(0, (10.0, 10.0, 20.0, 30.0), 0.5, outline, 200.0)])
    coco.write(tmp_path / "boxes.json", [frame, BoxedFrame("b.png", (64, 48), [])], ["polyp"])
    read = tool.COCO(str(tmp_path / "boxes.json"))
    (annotation,) = read.loadAnns(read.getAnnIds())
    assert annotation["bbox"] == [10, 10, 10, 20]
    assert (annotation["area"], annotation["score"], annotation["id"]) == (200, 0.5, 1)
    assert read.annToMask(annotation).sum() == pytest.approx(200, abs=30)
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["a.png", "b.png"]


def good() -> dict:
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "polyp"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 20, 20]}],
    }


def test_the_file_that_is_damaged_below_is_a_good_one(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(good()))
    (box,) = boxes.read(tmp_path / "a.json").frames["a"].boxes
    assert box.corners == (10, 10, 30, 30)
    assert math.isnan(box.score)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("images", None, "has no list 'images'"),
        ("annotations", {}, "has no list 'annotations'"),
        ("images", [], "names no image"),
        ("images", ["a.jpg"], "image 0: expected an object"),
        ("images", [{"id": 7, "width": 1, "height": 1}], "image 0: has no file_name"),
        ("images", [{"file_name": "a.jpg", "width": 1, "height": 1}], "image 0: id is None"),
        ("images", [*good()["images"] * 2], "image 1: has the id 7, as another image"),
        ("images", [{**good()["images"][0], "id": i} for i in (7, 8)], "a.jpg and a.jpg: two frames of one name"),
        ("images", [{**good()["images"][0], "width": 0}], "width and height are 0 and 80"),
        ("categories", [], "names no category"),
        ("categories", [{"id": 1}], "category 0: has no name"),
        ("categories", [{"id": i, "name": "polyp"} for i in (1, 2)], "category 1: has the id or the name of another"),
        ("image_id", 9, "annotation 0: no image has the id 9"),
        ("category_id", 2, "annotation 0: no category has the id 2"),
        ("category_id", True, "category_id is True; expected a number"),
        ("bbox", None, "bbox is None; expected four numbers"),
        ("bbox", [1, 2, 3], "of a.jpg: bbox is [1, 2, 3]; expected four numbers"),
        ("bbox", [1, 2, 3, "4"], "expected four numbers"),
        ("bbox", [1, 2, 3, math.nan], "expected four numbers"),
        ("bbox", [10, 10, 0, 5], "a box without an area, 0 x 5"),
        ("bbox", [10, 10, 5, -5], "a box without an area"),
        ("bbox", [60, 60, 90, 70], "the box leaves its frame of 100 x 80; bbox is x, y, width, height"),
        ("bbox", [0.1, 0.1, 0.2, 0.2], "are these shares of the frame?"),
        ("score", "sure", "score is 'sure'; expected a number"),
        ("score", math.inf, "score is inf"),
        ("iscrowd", 1, "is a crowd"),
    ],
)
def test_a_damaged_coco_file_is_named(part, change, said, tmp_path):
    whole = good()
    place = whole if part in whole else whole["annotations"][0]
    place[part] = change
    (tmp_path / "a.json").write_text(json.dumps(whole))
    with pytest.raises(PolypError, match=r"a\.json") as error:
        boxes.read(tmp_path / "a.json")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"images": [', "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"3", "expected COCO's object"),
        (b"[]", "is a list of results without images"),
    ],
)
def test_what_is_no_coco_file_is_named(content, said, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(PolypError) as error:
        boxes.read(tmp_path / "a.json")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"0 .5 .5 .1", "a.txt, line 2: 4 numbers; expected class"),
        (b"0 .5 .5 .1 .1 .9 1", "7 numbers"),
        (b"0 .5 .5 .1 wide", "is not made of numbers"),
        (b"0 .5 .5 .1 nan", "NaN or infinite"),
        (b"1 .5 .5 .1 .1", "there is no class 1; without a classes.txt every box is of class 0"),
        (b"0.0 .5 .5 .1 .1", "there is no class 0.0"),
        (b"0 50 50 10 10", "the box leaves its frame of 1 x 1; the numbers are shares of it, not pixels"),
        (b"0 .5 .5 0 .1", "a box without an area"),
        (b"0 .5 .5 .1 .1 \xff", "is no text in UTF-8"),
    ],
)
def test_a_damaged_yolo_file_is_named(line, said, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"0 .5 .5 .1 .1 .9\n" + line + b"\n")
    with pytest.raises(PolypError) as error:
        boxes.read(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_of_yolo(tmp_path):
    (tmp_path / "classes.txt").write_text("one\ntwo\n\n")
    with pytest.raises(PolypError, match=r"holds no \.txt file with boxes"):
        boxes.read(tmp_path)
    (tmp_path / "a.txt").write_text("2 .5 .5 .1 .1\n")
    with pytest.raises(PolypError, match=r"there is no class 2; classes\.txt names 2"):
        boxes.read(tmp_path)
    (tmp_path / "a.txt").write_text("\n1 .5 .5 .1 .1\n")
    assert boxes.read(tmp_path).frames["a"].boxes[0].label == 1
    (tmp_path / "classes.txt").write_text("one\none\n")
    with pytest.raises(PolypError, match="expected a name a line, each once"):
        boxes.read(tmp_path)
    with pytest.raises(PolypError, match="which names the classes"):
        yolo.file_of("classes.jpg")
