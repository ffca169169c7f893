"""Anybody's boxes against anybody's: the same numbers whatever the boxes came in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp_monai.cli.main import main
from polyp_monai.data import boxes, coco, files, yolo
from polyp_monai.data.boxes import Box, BoxedFrame
from tests.cli.conftest import fails

SIZE = (60, 40)
TRUE = {"a": [(10, 10, 30, 30)], "b": [(0, 0, 20, 20), (30, 5, 50, 25)], "c": []}  # without a polyp
FOUND = {"a": [(12, 10, 32, 30, 0.9)], "b": [(1, 0, 20, 12, 0.6)], "c": [(40, 20, 50, 30, 0.7)]}


def frames(content: dict, names=None) -> list[BoxedFrame]:
    made = []
    for name, own in content.items():
        found = [Box(0, tuple(map(float, box[:4])), *box[4:]) for box in own]
        made.append(BoxedFrame(f"{name}.jpg", SIZE, found))
    return made


def write_yolo(folder: Path, content: dict, classes=("polyp",)) -> Path:
    folder.mkdir(parents=True)
    for frame in frames(content):
        (folder / yolo.file_of(frame.name)).write_text(yolo.text(frame))
    (folder / yolo.NAMES).write_text(yolo.names_text(classes))
    return folder


def write_masks(folder: Path, content: dict, size=SIZE) -> Path:
    folder.mkdir(parents=True)
    for name, own in content.items():
        mask = np.zeros(size[::-1], np.uint8)
        for x0, y0, x1, y1, *_ in own:
            mask[y0:y1, x0:x1] = 255
        files.write_png(folder / f"{name}.png", mask)
    return folder


def numbers(node) -> list[float]:
    """All that stands in a section, in order."""
    if isinstance(node, dict):
        return [value for key in sorted(node) for value in numbers(node[key])]
    if isinstance(node, list):
        return [value for item in node for value in numbers(item)]
    return [np.nan if node is None else node]


@pytest.fixture
def truth(tmp_path) -> Path:
    coco.write(tmp_path / "truth.json", frames(TRUE), ["polyp"])
    return tmp_path / "truth.json"


@pytest.fixture
def found(tmp_path) -> Path:
    coco.write(tmp_path / "found.json", frames(FOUND), ["polyp"])
    return tmp_path / "found.json"


def score(pred: Path, truth: Path, out: Path, *more: object) -> dict:
    assert main(["score", "--pred", str(pred), "--truth", str(truth), "--out", str(out), *map(str, more)]) == 0
    return json.loads((out / "summary.json").read_text())


def test_scores_of_boxes(truth, found, tmp_path, capsys):
    summary = score(found, truth, tmp_path / "out")
    measured = summary["detection"]
    assert (summary["frames"], measured["polyps"], measured["boxes"]) == (3, 3, 3)
    # IoU .82 right, then a false alarm, then IoU .57 right: a third of the recalls at precision 1, a third at 2 / 3
    assert measured["value"]["ap_50"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert measured["froc"]["iou_50"]["false_positives"] == pytest.approx(1 / 3)
    assert "AP50 0.554" in capsys.readouterr().out
    rows = (tmp_path / "out/frames.csv").read_text().splitlines()
    assert rows == [
        "name,group,tags,image,width,height,polyps,boxes,found,false_positives",
        "a,,,,60,40,1,1,1,0",
        "b,,,,60,40,2,1,1,0",
        "c,,,,60,40,0,1,0,1",
    ]
    page = (tmp_path / "out/report.html").read_text()
    assert "FROC" in page
    assert "found.json against truth.json" in page
    assert main(["report", str(tmp_path / "out")]) == 0


def test_the_same_numbers_from_any_form(truth, found, tmp_path):
    expected = score(found, truth, tmp_path / "out")["detection"]
    labels, true_labels = write_yolo(tmp_path / "labels", FOUND), write_yolo(tmp_path / "true", TRUE)
    masks = write_masks(tmp_path / "masks", TRUE)
    results = json.loads(found.read_text())["annotations"]
    bare = tmp_path / "results.json"
    bare.write_text(json.dumps([{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in results]))
    pairs = [(labels, truth), (found, masks), (labels, masks), (found, true_labels), (labels, true_labels)]
    for number, (pred, true) in enumerate([*pairs, (bare, truth)]):
        measured = score(pred, true, tmp_path / f"out{number}")["detection"]
        np.testing.assert_allclose(numbers(measured), numbers(expected), err_msg=f"{pred} {true}")


def test_boxes_of_masks_are_predictions_too(truth, tmp_path):
    masks = write_masks(tmp_path / "maps", FOUND)
    measured = score(masks, truth, tmp_path / "out")["detection"]
    assert measured["boxes"] == 3
    assert measured["froc"]["centre"]["recall"] == pytest.approx(2 / 3)  # all of one score, that of a mask


def test_what_a_list_of_results_does_not_name_was_not_found(truth, tmp_path, capsys):
    labels = write_yolo(tmp_path / "labels", {"a": FOUND["a"]})
    assert score(labels, truth, tmp_path / "out")["frames"] == 3
    assert "labels does not name 2 frames of the truth: nothing was found there" in capsys.readouterr().err


@pytest.mark.parametrize(("named", "absent"), [(("a",), 2), ((), 3)])
def test_frames_without_a_result_in_a_bare_list_are_said(named, absent, truth, tmp_path, capsys):
    ids = {image["file_name"]: image["id"] for image in json.loads(truth.read_text())["images"]}
    result = {"category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9}
    bare = tmp_path / "results.json"
    bare.write_text(json.dumps([{"image_id": number} | result for name, number in ids.items() if name[0] in named]))
    assert score(bare, truth, tmp_path / "out")["frames"] == 3
    assert f"does not name {absent} frames of the truth" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [("--threshold", "0.95"), ("--keep-inverted",)])
def test_what_says_nothing_of_boxes_is_refused(flag, truth, found, tmp_path, capsys):
    words = ("score", "--pred", found, "--truth", truth, "--out", tmp_path / "out", *flag)
    assert f"{flag[0]}: has no meaning" in fails(capsys, *words, status=2)


def test_a_key_that_stands_twice_is_refused(truth, found, tmp_path, capsys):
    found.write_text(found.read_text().rstrip()[:-1] + ', "annotations": []}')
    words = ("score", "--pred", found, "--truth", truth, "--out", tmp_path / "out")
    assert "the key 'annotations' stands there twice" in fails(capsys, *words)


def test_a_frame_that_a_data_set_does_not_name_is_not_scored(truth, tmp_path, capsys):
    coco.write(tmp_path / "found.json", frames({"a": FOUND["a"], "z": []}), ["polyp"])
    summary = score(tmp_path / "found.json", truth, tmp_path / "out")
    assert summary["frames"] == 1
    assert summary["unmatched"] == {"without_prediction": ["b", "c"], "without_truth": ["z"]}
    assert "2 truths without a prediction, not scored: b, c" in capsys.readouterr().err


def test_groups_of_a_data_list_are_drawn_whole(truth, found, tmp_path):
    entries = [{"image": f"{name}.jpg", "name": name, "group": "one"} for name in TRUE]
    (tmp_path / "datalist.json").write_text(json.dumps({"test": entries}))
    measured = score(found, truth, tmp_path / "out", "--data", tmp_path)["detection"]
    assert measured["groups"] == 1
    assert measured["interval"]["ap_50"] == [None, None]


def test_classes_by_name(tmp_path):
    def write(name: str, classes: tuple[str, ...], labels: tuple[int, int]) -> Path:
        both = [Box(label, (10.0, 10.0, 30.0 + 10 * label, 30.0), 0.9) for label in labels]
        coco.write(tmp_path / name, [BoxedFrame("a.jpg", SIZE, both[:1]), BoxedFrame("b.jpg", SIZE, both[1:])], classes)
        return tmp_path / name

    true = write("true.json", ("adenoma", "hyperplastic"), (0, 0))
    turned = write("turned.json", ("hyperplastic", "adenoma"), (1, 0))
    measured = score(turned, true, tmp_path / "out")["detection"]
    assert measured["classes"]["adenoma"]["ap_50"] == pytest.approx(51 / 101)  # one of two is called so
    assert measured["froc"]["iou_50"]["recall"] == 1
    union = write("union.json", ("polyp",), (0, 0))
    assert score(union, true, tmp_path / "any")["detection"]["value"]["ap_50"] == 1


def test_what_cannot_be_scored(truth, found, tmp_path, capsys):
    def refused(pred: object, true: object, *more: object, status: int = 1) -> str:
        words = ("score", "--pred", pred, "--truth", true, "--out", tmp_path / "out", *more)
        return fails(capsys, *words, status=status)

    assert "boxes without a score" in refused(truth, truth)
    coco.write(tmp_path / "small.json", [BoxedFrame("a.jpg", (30, 40), [])], ["polyp"])
    assert "in a frame of 30 x 40, but it is 60 x 40" in refused(tmp_path / "small.json", truth)
    coco.write(tmp_path / "others.json", [BoxedFrame("z.jpg", SIZE, [])], ["polyp"])
    assert "no file name in common, such as z and a" in refused(tmp_path / "others.json", truth)
    for name, classes in (("one", ("x", "y")), ("two", ("x", "z"))):
        coco.write(tmp_path / f"{name}.json", [BoxedFrame("a.jpg", SIZE, [])], classes)
    assert "has the classes x, z, the predictions x, y" in refused(tmp_path / "one.json", tmp_path / "two.json")
    assert "truth.json: no such file" in refused(found, tmp_path / "absent/truth.json")
    assert "--quick: has no meaning for boxes" in refused(found, truth, "--quick", status=2)
    inverted = tmp_path / "inverted"
    inverted.mkdir()
    mask = np.full(SIZE[::-1], 255, np.uint8)
    mask[10:20, 10:20] = 0
    Image.fromarray(mask).save(inverted / "a.png")
    assert "is the polyp black?" in refused(found, inverted)
    assert not (tmp_path / "out").exists()
    (tmp_path / "results.json").write_text("[]")
    assert "is a list of results without images" in refused(tmp_path / "results.json", inverted, "--keep-inverted")


def test_a_run_of_boxes_is_replaced_only_when_asked(truth, found, tmp_path, capsys):
    masks = write_masks(tmp_path / "masks", TRUE)
    score(masks, masks, tmp_path / "out")
    words = ("score", "--pred", found, "--truth", truth, "--out", tmp_path / "out")
    assert "exists already" in fails(capsys, *words)
    assert (tmp_path / "out/histograms.npz").exists()
    assert main([*map(str, words), "--overwrite"]) == 0
    assert not (tmp_path / "out/histograms.npz").exists()  # whose frames are not these
    assert "no table of a run; it needs the columns name and dice" in fails(
        capsys, "compare", tmp_path / "out", tmp_path / "out/.."
    )


def boxes_of_prediction(bundle: str, data: Path, split: str, folder: Path, *form: str) -> dict[str, dict]:
    """The section of an evaluation, and that of the boxes that a prediction of the same frames writes."""
    content = json.loads((data / "datalist.json").read_text())
    parts = [split] if split in content else ["training", "validation", "test"]
    images = [str(data / entry["image"]) for part in parts for entry in content[part]]
    about = ["--data", str(data), "--split", split, "--out", str(folder / "evaluated")]
    assert main(["evaluate", bundle, *about]) == 0
    measured = {"evaluate": json.loads((folder / "evaluated/summary.json").read_text())["detection"]}
    for name in form:
        words = ["predict", bundle, *images, "--out", str(folder / f"masks-{name}"), "--boxes", str(folder / name)]
        assert main(words) == 0
        measured[name] = score(folder / name, data / "masks", folder / f"scored-{name}", "--data", data)["detection"]
    return measured


def test_boxes_of_a_prediction_score_as_its_evaluation(sees_red, dataset, tmp_path):
    measured = boxes_of_prediction(str(sees_red), dataset, "all", tmp_path, "boxes.json", "labels")
    assert 0 < measured["evaluate"]["value"]["ap_25_75"] < 1
    assert measured["boxes.json"] == measured["evaluate"]
    np.testing.assert_allclose(numbers(measured["labels"]), numbers(measured["evaluate"]))
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["polyp"]
    for annotation in content["annotations"]:
        assert 0.5 <= annotation["score"] <= 1
        assert annotation["area"] <= np.prod(annotation["bbox"][2:])
        assert len(annotation["segmentation"][0]) >= 6
    assert boxes.read(tmp_path / "labels").classes == ("polyp",)


@pytest.mark.real
@pytest.mark.slow
def test_real_boxes_of_a_prediction_score_as_its_evaluation(real_data, tmp_path):
    entries = []
    for image in sorted((real_data / "Kvasir-SEG/images").iterdir())[::80]:
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(real_data / "Kvasir-SEG" / kind / image.name, tmp_path / "data" / kind)
        entries.append({"image": f"images/{image.name}", "label": f"masks/{image.name}", "name": image.stem})
    (tmp_path / "data/datalist.json").write_text(json.dumps({"test": entries}))
    measured = boxes_of_prediction("efficient_unet", tmp_path / "data", "test", tmp_path, "boxes.json")
    assert measured["boxes.json"] == measured["evaluate"]
    assert measured["evaluate"]["value"]["ap_50"] > 0.5
