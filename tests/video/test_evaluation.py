from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.metrics.video import RULES
from polyp_monai.video.evaluation import evaluate, lines
from polyp_monai.video.events import COLUMNS, Events
from polyp_monai.video.tracking import TrackedPolyp

RATE, SIZE = 25, (60, 80)
HEADER = ",".join(COLUMNS)


def _box(frame: int) -> tuple[int, int, int, int]:
    """Where the polyp is: it moves 2 pixels a frame."""
    return 10 + 2 * frame, 20, 26 + 2 * frame, 36


def _write_prediction(path: Path, shown: dict[int, list[tuple]], frames: int = 20) -> Path:
    """A frames.csv as `polyp video` writes it; shown: frame -> (number, box)."""
    rows = []
    for i in range(frames):
        found = [TrackedPolyp(box, 256, 0.9, np.zeros((0, 2), np.int32), number=n) for n, box in shown.get(i, [])]
        rows += Events.rows(i, i / RATE, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(path, rows)
    return path


def _write_boxes(path: Path, frames: dict[int, list[tuple]], named: bool = True) -> Path:
    lines = ["frame,polyp,x0,y0,x1,y1" if named else "frame,x0,y0,x1,y1"]
    for frame, rows in frames.items():
        lines += [",".join(map(str, (frame, *([name] if named else []), *box))) for name, box in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def _write_masks(folder: Path, frames: dict[int, list[tuple]], count: int = 20, name: str = "mask_{:03}.png") -> Path:
    for i in range(count):
        mask = np.zeros(SIZE, np.uint8)
        for x0, y0, x1, y1 in frames.get(i, []):
            mask[y0:y1, x0:x1] = 1
        files.write_mask(folder / name.format(i), mask)
    return folder


SHOWN = {i: [(1, _box(i))] for i in range(5, 15)}
TRUE = {i: [("a", _box(i))] for i in range(5, 15)}
DRAWN = {i: [_box(i)] for i in range(5, 15)}


def _truth(kind: str, folder: Path) -> Path:
    if kind == "masks":
        return _write_masks(folder / "masks", DRAWN)
    return _write_boxes(folder / "boxes.csv", TRUE, named=kind == "named")


@pytest.mark.parametrize("kind", ["named", "nameless", "masks"])
def test_a_perfect_prediction(tmp_path, kind):
    result = evaluate(_write_prediction(tmp_path / "frames.csv", SHOWN), _truth(kind, tmp_path))
    (found,) = result["videos"].values()
    assert result["notes"] == []
    assert (found["frames"], found["frames_with_polyp"], found["specificity"]) == (20, 10, 1)
    assert found["seconds"] == pytest.approx(20 / RATE)
    for rule in RULES:
        row = found["rules"][rule]
        assert (row["sensitivity"], row["polyps"], row["recall"], row["false_alarms"]) == (1, 1, 1, 0)
        assert (row["median_delay"], row["median_latency"]) == (0, 0)
    assert found == result["all"]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("kind", ["named", "nameless", "masks"])
def test_a_late_prediction_with_a_false_alarm(tmp_path, kind):
    shown = {i: [(1, _box(i))] for i in range(8, 15)} | {i: [(2, (60, 2, 70, 12))] for i in (0, 1, 14)}
    found = evaluate(_write_prediction(tmp_path / "frames.csv", shown), _truth(kind, tmp_path))["all"]
    row = found["rules"]["centre"]
    assert (row["frames_found"], row["median_latency"], row["false_alarms"]) == (6, 3, 1)  # in 14 only a false one
    assert row["median_delay"] == pytest.approx(3 / RATE)
    assert row["false_alarms_per_minute"] == pytest.approx(60 / (20 / RATE))
    assert found["specificity"] == 0.8
    assert found["rules"]["any"]["frames_found"] == 7


def test_the_prediction_itself_can_be_the_truth(tmp_path):
    path = _write_prediction(tmp_path / "frames.csv", SHOWN)
    assert evaluate(path, path)["all"]["rules"]["iou_30"]["sensitivity"] == 1


def test_a_rate_takes_the_place_of_times(tmp_path):
    path = tmp_path / "frames.csv"
    path.write_text("frame,polyp,x0,y0,x1,y1\n4,,,,,\n5,1,11,20,27,36\n")
    truth = _write_boxes(tmp_path / "t.csv", {4: [("a", (10, 20, 26, 36))], 5: [("a", (11, 20, 27, 36))]})
    found = evaluate(path, truth, rate=10)["all"]
    assert (found["seconds"], found["rules"]["centre"]["median_delay"]) == pytest.approx((0.2, 0.1))
    with pytest.raises(PolypError, match="lacks the column time"):
        evaluate(path, truth)
    with pytest.raises(PolypError, match=r"--fps 0"):
        evaluate(path, truth, rate=0)


@pytest.mark.parametrize("kind", ["nameless", "masks"])
def test_polyps_without_names_are_followed_by_overlap(tmp_path, kind):
    """One leaves and returns (two polyps), another passes through in between, in two parts for a while."""
    drawn = {i: [(4, 4, 14, 14)] for i in (2, 3, 4, 9, 10)}
    for i in range(3, 12):
        parts = [(40, 20, 60, 30), (40, 31, 60, 41)] if i == 6 else [(40, 20, 60, 41)]
        drawn[i] = drawn.get(i, []) + parts
    if kind == "masks":
        truth = _write_masks(tmp_path / "masks", drawn)
    else:
        truth = _write_boxes(tmp_path / "t.csv", {i: [("", box) for box in boxes] for i, boxes in drawn.items()}, False)
    found = evaluate(_write_prediction(tmp_path / "frames.csv", {}), truth)["all"]
    assert sorted((row["first_frame"], row["frames"]) for row in found["polyps"]) == [(2, 3), (3, 9), (9, 2)]


def test_masks_are_paired_by_the_last_number_of_their_names(tmp_path):
    prediction = _write_prediction(tmp_path / "frames.csv", SHOWN)
    truth = _write_masks(tmp_path / "masks", DRAWN, name="video2_{}.png")  # 10 follows 9, not 1
    assert evaluate(prediction, truth)["all"]["rules"]["iou_30"]["sensitivity"] == 1


def test_masks_that_begin_at_1_are_paired_in_order(tmp_path):
    truth = _write_masks(tmp_path / "masks", {i + 1: boxes for i, boxes in DRAWN.items()}, count=21)
    (truth / "mask_000.png").unlink()
    result = evaluate(_write_prediction(tmp_path / "frames.csv", SHOWN), truth)
    assert result["all"]["rules"]["iou_30"]["median_latency"] == 0
    assert "paired in order" in result["notes"][0]


def test_specks_of_masks_are_no_polyps(tmp_path):
    truth = _write_masks(tmp_path / "masks", DRAWN, count=19)
    mask = np.zeros((600, 800), np.uint8)
    mask[0, 0] = 1
    for path in truth.iterdir():
        path.unlink()
    files.write_mask(truth / "3.png", mask)
    result = evaluate(_write_prediction(tmp_path / "frames.csv", {}), truth)
    assert result["all"]["frames_with_polyp"] == 0
    assert "1 speck of" in result["notes"][1]


def test_frames_of_one_side_only_are_told(tmp_path):
    prediction = _write_prediction(tmp_path / "frames.csv", SHOWN, frames=12)
    result = evaluate(prediction, _truth("masks", tmp_path))
    assert result["all"]["frames"] == 12
    assert "8 frames not in" in result["notes"][0]
    boxes = evaluate(prediction, _truth("named", tmp_path))
    assert "3 frames not in" in boxes["notes"][0]
    more = _write_prediction(tmp_path / "more.csv", SHOWN, frames=30)
    result = evaluate(more, tmp_path / "masks")
    assert (result["all"]["frames"], "10 predicted frames without a mask" in result["notes"][0]) == (20, True)


@pytest.mark.parametrize("kind", ["listed", "masks"])
def test_a_prediction_that_ends_before_the_polyp(tmp_path, kind):
    truth = _truth("masks", tmp_path) if kind == "masks" else _write_prediction(tmp_path / "all.csv", SHOWN)
    result = evaluate(_write_prediction(tmp_path / "frames.csv", {}, frames=3), truth)
    assert (result["all"]["frames"], result["all"]["rules"]["any"]["polyps"]) == (3, 0)
    assert "17 frames not in" in result["notes"][0]


def test_delay_runs_from_a_frame_that_was_dropped(tmp_path):
    path = _write_prediction(tmp_path / "frames.csv", SHOWN)
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("5,", "6,"))]
    path.write_text("\n".join(kept) + "\n")
    row = evaluate(path, _truth("named", tmp_path))["all"]["rules"]["centre"]
    assert (row["median_latency"], row["median_delay"]) == (2, pytest.approx(2 / RATE))


def test_boxes_and_masks_of_other_sizes(tmp_path):
    masks = _truth("masks", tmp_path)
    over = _write_prediction(tmp_path / "over.csv", {7: [(1, (70, 20, 85, 36))]})
    assert "1 boxes" in evaluate(over, masks)["notes"][0]
    outside = _write_prediction(tmp_path / "outside.csv", {7: [(1, (170, 20, 185, 36))]})
    with pytest.raises(PolypError, match=r"frame 7 lies outside of its mask, 80 x 60"):
        evaluate(outside, masks)
    files.write_mask(masks / "mask_004.png", np.zeros((30, 30), np.uint8))
    with pytest.raises(PolypError, match=r"mask_004.png: is 30 x 30, but .*mask_000.png is 80 x 60"):
        evaluate(over, masks)


def test_several_videos(tmp_path):
    _write_prediction(tmp_path / "pred/one/frames.csv", SHOWN)
    _write_prediction(tmp_path / "pred/two.csv", {})
    _write_prediction(tmp_path / "pred/three.csv", {})
    truth = tmp_path / "truth"
    _write_masks(truth / "one", DRAWN)
    _write_boxes(truth / "two.csv", TRUE)
    result = evaluate(tmp_path / "pred", truth)
    assert sorted(result["videos"]) == ["one", "two"]
    row = result["all"]["rules"]["centre"]
    assert (row["sensitivity"], row["polyps"], row["polyps_found"]) == (0.5, 2, 1)
    assert "1 video without a truth, not scored: three" in result["notes"][0]
    assert sum("specificity" in line for line in lines(result)) == 3
    json.dumps(result, allow_nan=False)
    with pytest.raises(PolypError, match="a truth is named as its video"):
        evaluate(tmp_path / "pred", tmp_path)


def test_a_video_without_polyps(tmp_path):
    result = evaluate(_write_prediction(tmp_path / "frames.csv", SHOWN), _write_boxes(tmp_path / "t.csv", {}))
    assert result["all"]["specificity"] == 0.5
    assert result["all"]["rules"]["any"]["sensitivity"] is None
    assert result["all"]["rules"]["any"]["false_alarms"] == 1


def test_the_text(tmp_path):
    result = evaluate(_write_prediction(tmp_path / "frames.csv", SHOWN, frames=12), _truth("named", tmp_path))
    told = lines(result)
    assert told[0].endswith("frames.csv: 12 frames, 0.5 s; 7 show a polyp")
    assert told[1] == "specificity 1.000: an alarm in 0 of 5 frames without a polyp"
    assert told[2].startswith("rule     sensitivity  polyps found  median delay  false alarms/min")
    assert told[4].split() == ["centre", "1.000", "1", "of", "1", "0.00", "s", "0.00", "0.00"]
    assert told[6].startswith("note: ")


BAD_ROWS = {
    "abc,0,,,,,,,": "line 2: frame is 'abc'",
    "1.5,0,,,,,,,": "frame is 1.5; expected a whole number",
    "-1,0,,,,,,,": "frame is -1",
    "0,nan,,,,,,,": "time is 'nan'; expected a number, or give --fps",
    "0,,,,,,,,": "time is ''",
    "0,0,1,.9,1,2,inf,4,9": "x1 is 'inf'",
    "0,0,1,.9,1,2,,4,9": "x1 is ''",
    "0,0,1,.9,9,2,5,4,9": "box 9, 2, 5, 4 is empty",
    "0,0,,.9,1,2,5,4,9": "a box without the number",
    "0,0,1,.9,-50,-50,-5,-5,9": "box -50, -50, -5, -5 lies outside of the frame; expected pixels",
    "0,0,1,.9,0,0,1,1,9": "box 0, 0, 1, 1 is in shares of the frame; expected pixels",
    "0,0,1,7.5,1,2,5,4,9": "confidence is 7.5; expected 0 to 1",
    "0,0,1,nan,1,2,5,4,9": "confidence is 'nan'",
    "0,-1,,,,,,,": "time is -1; expected seconds from 0",
    "0,0,1": "line 2: not the 9 cells",
    "0,0,,,,,,,,,": "line 2: not the 9 cells",
    "0,0,,,,,,,\n0,1,,,,,,,": "frame 0 has two times, 0 and 1",
    "0,3,,,,,,,\n1,1,,,,,,,": "time of frame 1 is before",
    "": "holds no frame",
}


@pytest.mark.parametrize("rows", BAD_ROWS)
def test_rows_that_make_no_sense_are_named(tmp_path, rows):
    path = tmp_path / "frames.csv"
    path.write_text(f"{HEADER}\n{rows}\n")
    with pytest.raises(PolypError) as caught:
        evaluate(path, _write_boxes(tmp_path / "t.csv", TRUE))
    assert BAD_ROWS[rows] in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_there_twice_is_named(tmp_path):
    path = tmp_path / "frames.csv"
    path.write_text(f"frame,{HEADER}\n7,0,0,,,,,,,\n")
    with pytest.raises(PolypError, match="has the column frame twice"):
        evaluate(path, _write_boxes(tmp_path / "t.csv", TRUE))


def test_truths_that_make_no_sense_are_named(tmp_path):
    prediction, truth = _write_prediction(tmp_path / "frames.csv", SHOWN), tmp_path / "t.csv"

    def refused(match: str, content: str | bytes | None = None, where: Path = truth) -> None:
        if content is not None:
            truth.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(PolypError, match=match) as caught:
            evaluate(prediction, where)
        assert "\n" not in str(caught.value)

    refused("no such file")
    refused("lacks the column frame, x0", "a;b\n1;2\n")
    refused("it has none", "")
    refused("no CSV in UTF-8", b"frame,x0,y0,x1,y1\n\xff\xfe\n")
    refused("name all or none", "frame,polyp,x0,y0,x1,y1\n1,a,1,1,4,4\n2,,1,1,4,4\n")
    refused("no frame in common; the prediction has 0 to 19", "frame,x0,y0,x1,y1\n100,1,1,4,4\n")
    masks = tmp_path / "masks"
    masks.mkdir()
    refused("holds no mask", where=masks)
    files.write_mask(masks / "100.png", np.zeros(SIZE, np.uint8))
    refused(r"no frame in common; .* the truth 100 to 100", where=masks)
    files.write_mask(masks / "x_0100.png", np.zeros(SIZE, np.uint8))
    refused("both of frame 100", where=masks)
    files.write_mask(masks / "first.png", np.zeros(SIZE, np.uint8))
    refused("no number in its name", where=masks)


@pytest.mark.parametrize(
    ("row", "said"),
    [(5, "frame 5 has the polyp 1 twice"), (0, "frame 0 has a row without a polyp twice")],
)
def test_a_row_that_is_there_twice(tmp_path, row, said):
    pred = _write_prediction(tmp_path / "frames.csv", SHOWN)
    content = pred.read_text().splitlines()
    pred.write_text("\n".join([*content, content[1 + row]]) + "\n")
    with pytest.raises(PolypError, match=said):
        evaluate(pred, _write_boxes(tmp_path / "boxes.csv", TRUE))


def test_a_true_box_that_is_there_twice(tmp_path):
    twice = {**TRUE, 5: TRUE[5] * 2}
    with pytest.raises(PolypError, match="the frame 5 has this box twice"):
        evaluate(_write_prediction(tmp_path / "frames.csv", SHOWN), _write_boxes(tmp_path / "boxes.csv", twice))


def test_frames_without_a_row_are_said(tmp_path):
    pred = _write_prediction(tmp_path / "frames.csv", SHOWN)
    content = pred.read_text().splitlines(keepends=True)
    pred.write_text("".join(content[:4] + content[6:]))  # without the frames 3 and 4
    notes = evaluate(pred, _write_boxes(tmp_path / "boxes.csv", TRUE))["notes"]
    assert any("2 frames without a row in " in note and "the first is 3" in note for note in notes)
