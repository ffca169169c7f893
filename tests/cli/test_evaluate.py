"""`polyp evaluate`, `calibrate` and their kin as a user sees them."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import polyp_monai
from polyp_monai import provenance
from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.sharing import trust
from tests.cli.conftest import fails, mistakes
from tests.conftest import small_options


def test_evaluate_writes_tables_and_masks(trained, dataset, tmp_path):
    assert main(["evaluate", str(trained), "--data", str(dataset), "--out", str(tmp_path / "e"), "--overlay"]) == 0
    summary = json.loads((tmp_path / "e/summary.json").read_text())
    assert summary["frames"] == 2
    rows = (tmp_path / "e/frames.csv").read_text().splitlines()
    assert rows[0].startswith("name,group,tags,image,truth,prediction,width,height,polyp_pixels,predicted_pixels,dice")
    assert summary["run"]["weights_sha256"] == hashlib.sha256((trained / "models/model.pt").read_bytes()).hexdigest()
    assert summary["leakage"]["test"] == 2
    assert (tmp_path / "e/report.html").is_file()
    assert len(rows) == 3
    for sample in json.loads((dataset / "datalist.json").read_text())["test"]:
        mask = np.asarray(Image.open(tmp_path / "e/masks" / f"{Path(sample['image']).stem}.png"))
        assert mask.shape == tuple(sample["size"][::-1])
        assert set(np.unique(mask)) <= {0, 255}


def test_a_damaged_frame_stops_the_evaluation(trained, dataset, tmp_path, capsys):
    """Scores over some of the frames would look like scores over all."""
    copy = shutil.copytree(dataset, tmp_path / "data")
    image = copy / json.loads((copy / "datalist.json").read_text())["test"][1]["image"]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[:2000])
    assert image.name in fails(capsys, "evaluate", trained, "--data", copy, "--out", tmp_path / "e")
    assert not (tmp_path / "e/summary.json").exists()


@pytest.mark.parametrize("place", ["", "masks", "results"])
def test_results_do_not_go_into_a_data_set(trained, dataset, capsys, place):
    before = sorted(dataset.rglob("*"))
    error = fails(capsys, "evaluate", trained, "--data", dataset, "--out", dataset / place)
    assert "lies in the data set" in error
    assert sorted(dataset.rglob("*")) == before


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"polyp_area": 0.1}, "shows no polyp, and the data list says one; prepare the set again"),
        ({"polyp_area": 0}, "shows a polyp, and the data list says none"),
        ({"tags": ["negative"]}, "shows a polyp, and the data list says none"),
    ],
)
def test_a_mask_that_is_not_what_its_list_says(trained, dataset, tmp_path, capsys, listed, said):
    data = shutil.copytree(dataset, tmp_path / "data")
    content = json.loads((data / "datalist.json").read_text())
    sample = content["test"][0]
    sample.update(listed)
    (data / "datalist.json").write_text(json.dumps(content))
    mask = np.asarray(Image.open(data / sample["label"]))
    Image.fromarray(mask * np.uint8(0 if listed.get("polyp_area") else 1)).save(data / sample["label"])
    assert said in fails(capsys, "evaluate", trained, "--data", data, "--out", tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_a_refused_evaluation_leaves_nothing(trained, dataset, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "models/trained_on.json").write_text("{}")
    words = ["evaluate", run, "--data", dataset, "--out", tmp_path / "e"]
    for _ in range(2):
        assert "trained_on.json: is damaged" in fails(capsys, *words)
        assert not (tmp_path / "e").exists()


def test_a_mask_of_another_size_is_named(trained, dataset, tmp_path, capsys):
    copy = shutil.copytree(dataset, tmp_path / "data")
    sample = json.loads((copy / "datalist.json").read_text())["test"][0]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    assert sample["name"] in fails(capsys, "evaluate", trained, "--data", copy, "--out", tmp_path / "e")
    sample = json.loads((copy / "datalist.json").read_text())["training"][0]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    error = fails(capsys, "train", "unet", "--data", copy, "--out", tmp_path / "run", *small_options())
    assert sample["name"] in error
    assert "40 x 30" in error


def test_an_evaluation_that_fails_leaves_the_earlier_one(trained, dataset, tmp_path, capsys):
    copy, out = shutil.copytree(dataset, tmp_path / "data"), tmp_path / "e"
    assert main(["evaluate", str(trained), "--data", str(copy), "--out", str(out)]) == 0
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    sample = json.loads((copy / "datalist.json").read_text())["test"][-1]
    Image.new("L", (40, 30)).save(copy / sample["label"])
    fails(capsys, "evaluate", trained, "--data", copy, "--out", out, "--threshold", "0.01", "--overwrite")
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before


def test_options_that_would_be_passed_over(trained, dataset, tmp_path, capsys):
    words = ["evaluate", trained, "--data", dataset, "--out", tmp_path / "e"]
    assert "is set by --out" in fails(capsys, *words, "--output_dir", "elsewhere", status=2)
    assert "expected mlflow" in fails(capsys, *words, "--tracking", "nope")


def test_all_that_is_wrong_is_said_before_the_data_is_read(trained, tmp_path, capsys):
    words = ["--data", "nowhere", "--split", "tset", "--thresold", "1", "--runtime", "x", "--weights", "no.pt"]
    lines = mistakes(capsys, "evaluate", trained, *words, "--out", tmp_path / "e", status=2)
    for part in ("--thresold: no such option", "--split tset: expected", "did you mean test?", "nowhere/datalist.json"):
        assert any(part in line for line in lines)
    assert any("--runtime x: expected torch, onnxruntime, openvino or auto" in line for line in lines)
    assert len(lines) == 4


def test_an_empty_model_file_is_named(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    (root / "models/model.pt").write_text("")
    trust.made_here(root)
    error = fails(capsys, "evaluate", root, "--data", dataset, "--out", tmp_path / "e")
    assert f"{root}/models/model.pt: not a readable checkpoint" in error


def test_an_earlier_run_is_replaced_only_when_asked(trained, dataset, tmp_path, capsys):
    words = ["evaluate", trained, "--data", dataset, "--out", tmp_path / "e"]
    assert main([*map(str, words)]) == 0
    report = tmp_path / "e/report.html"
    before = report.read_bytes()
    assert "exists already; give another --out, or --overwrite" in fails(capsys, *words)
    assert report.read_bytes() == before
    assert main([*map(str, words), "--overwrite"]) == 0


def test_what_polyp_did_not_write_is_never_replaced(trained, dataset, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    words = ["--out", out, "--overwrite"]
    error = fails(capsys, "evaluate", trained, "--data", dataset, *words)
    assert "report.html: is there already, and `polyp evaluate` did not write it" in error
    maps = ["--pred", dataset / "masks", "--truth", dataset / "masks"]
    assert "`polyp score` did not write it" in fails(capsys, "score", *maps, *words)
    assert (out / "report.html").read_text() == "mine"
    assert len(list(out.iterdir())) == 1


def test_a_comparison_replaces_a_file_only_when_asked(scored, tmp_path, capsys):
    words = ["compare", *map(str, scored), "--out", str(tmp_path / "c.json")]
    assert main(words) == 0
    assert "or --overwrite" in fails(capsys, *words)
    assert main([*words, "--overwrite"]) == 0
    assert "ends in .html or .json" in fails(capsys, "compare", *scored, "--out", tmp_path)
    (tmp_path / "d.json").mkdir()
    assert "is a folder" in fails(capsys, "compare", *scored, "--out", tmp_path / "d.json")
    (tmp_path / "mine.json").write_text("mine")
    words = ["compare", *scored, "--out", tmp_path / "mine.json", "--overwrite"]
    assert "mine.json: is there already, and `polyp compare` did not write it" in fails(capsys, *words)
    assert (tmp_path / "mine.json").read_text() == "mine"


def test_a_comparison_as_a_page(scored, tmp_path, capsys):
    assert main(["compare", *map(str, scored), "--out", str(tmp_path / "c.html")]) == 0
    assert f"look at {tmp_path / 'c.html'}" in capsys.readouterr().out
    assert "Comparison of 2 runs" in (tmp_path / "c.html").read_text()


def without_a_width(content: bytes) -> bytes:
    names, first, *others = csv.reader(content.decode().splitlines())
    first[names.index("width")] = "abc"
    return files.csv_text([names, first, *others]).encode()


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_damaged_run_is_refused(command, scored, tmp_path, capsys):
    def damaged(file: str, cut) -> str:
        run = Path(shutil.copytree(scored[0], tmp_path / "run", dirs_exist_ok=True))
        content = (run / file).read_bytes()
        (run / file).write_bytes(cut(content))
        others = [scored[1]] if command == "compare" else []
        return fails(capsys, command, run, *others)

    assert "a line of it ends too early" in damaged("frames.csv", lambda c: c[:-2])
    assert "a line of it ends too early" in damaged("frames.csv", lambda c: c[: len(c) // 2])
    whole = damaged("frames.csv", lambda c: b"\n".join(c.split(b"\n")[:5]) + b"\n")
    assert "holds 4 rows of the 20 frames that summary.json tells of" in whole
    assert "frames.csv: cannot be read" in damaged("frames.csv", without_a_width)
    assert "summary.json: cannot be read" in damaged("summary.json", lambda c: c[:100])


def test_inverted_truths_are_refused_unless_told_otherwise(dataset, tmp_path, capsys):
    """Scored as they are, a perfect prediction would have a Dice of nearly 0."""
    inverted = tmp_path / "inverted"
    inverted.mkdir()
    for mask in (dataset / "masks").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(mask))).save(inverted / mask.name)
    words = ["score", "--pred", dataset / "masks", "--truth", inverted, "--out", tmp_path / "out", "--quick"]
    assert "along its edge: is the polyp black? Invert it, or give --keep-inverted" in fails(capsys, *words)
    assert not (tmp_path / "out").exists()
    assert main([*map(str, words), "--keep-inverted"]) == 0


@pytest.mark.parametrize("place", ["truth", "truth/below", "maps"])
def test_scores_do_not_go_among_the_masks(place, dataset, tmp_path, capsys):
    for name in ("truth", "maps"):
        shutil.copytree(dataset / "masks", tmp_path / name)
    before = {path.name for path in tmp_path.rglob("*")}
    words = ["score", "--pred", tmp_path / "maps", "--truth", tmp_path / "truth", "--quick"]
    assert "which is read; give another --out" in fails(capsys, *words, "--out", tmp_path / place)
    assert {path.name for path in tmp_path.rglob("*")} == before


@pytest.fixture(scope="module")
def scored(dataset, tmp_path_factory) -> list[Path]:
    """Two runs of `polyp score`: the truth itself, and empty masks."""
    place = tmp_path_factory.mktemp("scored")
    empty = place / "empty"
    empty.mkdir()
    for mask in (dataset / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(mask)))).save(empty / mask.name)
    words = ["--truth", str(dataset / "masks"), "--quick"]
    for name, maps in (("a", dataset / "masks"), ("b", empty)):
        assert main(["score", "--pred", str(maps), "--out", str(place / name), *words]) == 0
    return [place / "a", place / "b"]


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (lambda s, d, o: ["compare", *s], {"frames", "pairs", "means"}),
        (lambda s, d, o: ["report", s[0]], {"report"}),
        (lambda s, d, o: ["score", "--pred", d / "masks", "--truth", d / "masks", "--out", o, "--quick"], {"runs"}),
        (lambda s, d, o: ["calibrate", s[0], "--max-miss-rate", "0.4"], {"missed", "file"}),
    ],
)
def test_json_is_one_document_on_stdout(words, keys, scored, dataset, tmp_path, capsys):
    capsys.readouterr()
    assert main([*map(str, words(scored, dataset, tmp_path / "out")), "--json"]) == 0
    assert keys <= json.loads(capsys.readouterr().out).keys()


def test_json_of_an_evaluation(trained, dataset, tmp_path, capfd):
    capfd.readouterr()
    assert main(["evaluate", str(trained), "--data", str(dataset), "--out", str(tmp_path / "e"), "--json"]) == 0
    shown = capfd.readouterr()
    run = json.loads(shown.out)["runs"][0]
    assert run["summary"]["frames"] == 2
    assert run["out"] == str(tmp_path / "e")
    assert "--- input summary" not in shown.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["score", "--pred", "x", "--truth", "x", "--out", "y", "--threshold", "2"], "--threshold 2: expected 0 to 1"),
        (["score", "--pred", "x", "--truth", "x", "--out", "y", "--normalize", "max"], "did you mean minmax?"),
        (["calibrate", "x", "--max-miss-rate", "2"], "expected 0 to 1"),
        (
            ["evaluate", "unet", "--data", "x", "--tracking", f"{shipped()['unet']}/configs/metadata.json"],
            "no settings of MONAI for tracking",
        ),
    ],
)
def test_wrong_values(words, text, capsys):
    assert any(text in line for line in mistakes(capsys, *words, status=1))


def test_weights_that_are_not_finite_are_refused(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    state = torch.load(root / "models/model.pt", weights_only=True)
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, root / "models/model.pt")
    assert "not finite" in fails(capsys, "evaluate", root, "--data", dataset, "--out", tmp_path / "e")


def test_several_sets_make_one_table(trained, dataset, tmp_path, capsys):
    other = shutil.copytree(dataset, tmp_path / "other")
    words = ["evaluate", trained, "--data", dataset, "--data", other, "--out", tmp_path / "e"]
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "other against synthetic: much like it" in shown
    assert {path.name for path in (tmp_path / "e").iterdir()} == {"synthetic", "other"}
    assert "is given twice" in fails(capsys, "evaluate", trained, "--data", other, "--data", other)
    namesake = shutil.copytree(dataset, tmp_path / "elsewhere/other")
    assert "would meet" in fails(capsys, "evaluate", trained, "--data", other, "--data", namesake)


def test_a_calibrated_threshold_is_reported_on(trained, dataset, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "unet")
    large = shutil.copytree(dataset, tmp_path / "large")  # of so small a set only training has enough frames
    content = json.loads((large / "datalist.json").read_text())
    (large / "datalist.json").write_text(json.dumps(content | {"validation": content["training"], "training": []}))
    for part, data in (("training", dataset), ("test", dataset), ("validation", large)):
        assert main(["evaluate", str(root), "--data", str(data), "--split", part]) == 0
    assert "is the test split" in fails(capsys, "calibrate", root / "eval/test")
    assert "is the training split" in fails(capsys, "calibrate", root / "eval/training")
    run = root / "eval/validation"
    assert "expected a number above 0 and below 1" in fails(capsys, "calibrate", run, "--max-miss-rate", "0")
    assert "too few" in fails(capsys, "calibrate", run, "--max-miss-rate", "0.001")
    assert main(["calibrate", str(run), "--max-miss-rate", "0.3"]) == 0
    assert main(["calibrate", str(run), "--max-miss-rate", "0.3"]) == 0  # the same again
    again = ["calibrate", run, "--max-miss-rate", "0.4"]
    assert "holds another promise" in fails(capsys, *again)
    assert main([*map(str, again), "--overwrite"]) == 0
    assert main([*map(str, again[:-1]), "0.3", "--overwrite"]) == 0
    assert main(["evaluate", str(root), "--data", str(large), "--split", "validation", "--overwrite"]) == 0
    risk = json.loads((run / "summary.json").read_text())["promises"]["missed"]
    assert risk["here"] == pytest.approx(risk["on_calibration"])
    assert risk["here"] <= 0.3
    file, frame = root / "models/calibration.json", next((dataset / "images").iterdir())
    other = ["predict", root, frame, "--calibration", file, "--tta", "flip", "--out", tmp_path / "m"]
    assert "was found with tta none, not flip" in fails(capsys, *other)
    with pytest.raises(PolypError, match="was found with image_size 64, not 96"):
        polyp_monai.load(root, calibration=file, image_size=96)
    assert polyp_monai.load(root, calibration=file).threshold == json.loads(file.read_text())["missed"]["threshold"]


def test_a_promise_about_false_alarms_is_gone_by(trained, dataset, tmp_path, capsys):
    promise = {"weights_sha256": provenance.digest(trained / "models/model.pt"), "highest": 0.9999, "presence": 0.0}
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"false_alarms": promise}))
    frame = next((dataset / "images").iterdir())
    words = ["predict", trained, frame, "--calibration", file]
    assert main([*map(str, words), "--out", str(tmp_path / "m")]) == 0  # of which this network is not that sure
    assert not any(files.read_mask(path).any() for path in (tmp_path / "m").glob("*.png"))
    assert not polyp_monai.load(trained, calibration=file).predict(frame).mask.any()
    assert "--presence: --calibration" in fails(capsys, *words, "--presence", "1")
    file.write_text(json.dumps({"false_alarms": promise | {"weights_sha256": "0" * 64}}))
    assert "is about other weights" in fails(capsys, *words)
