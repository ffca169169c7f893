"""A bundle of two classes on every way that leads out of it: masks, tables, scores, Python, exports, service, video."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import polyp_monai
from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.data.classes import COLORS, hexadecimal
from polyp_monai.data.transforms import ClassMapd
from polyp_monai.metrics.classes import class_map
from tests.cli.conftest import fails

NAMES = ["ruby", "emerald"]
COUNT = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("classes")


@pytest.fixture(scope="module")
def sees_colors(home) -> Path:
    """A bundle whose only layer gives a large logit to red pixels in one channel, and to green ones in the other."""
    import shutil

    from polyp_monai.bundle.locate import shipped
    from polyp_monai.sharing import trust

    root = Path(shutil.copytree(shipped()["unet"], home / "colors", ignore=shutil.ignore_patterns("*.pt", "eval")))
    path = root / "configs/model.yaml"
    model = yaml.safe_load(path.read_text())
    body = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    model["network_def"] = {"_target_": "polyp_monai.networks.FrameNetwork", "body": body, "divisor": 32}
    model |= {"image_size": 96, "classes": NAMES, "class_certainty": 0.7}
    path.write_text(yaml.safe_dump(model))
    weight = torch.tensor([[20.0, -20, -20], [-20, 20, -20]]).view(2, 3, 1, 1)
    state = {"body.weight": weight, "body.bias": torch.tensor([-30.0, -30.0])}
    (root / "models").mkdir(exist_ok=True)
    torch.save(state, root / "models/model.pt")
    trust.made_here(root)
    return root


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(120, 160, 3) frame with a red polyp, and a green one in every other; its mask by color."""
    rng = np.random.default_rng(number)
    frame = rng.integers(90, 110, (120, 160, 3), dtype=np.uint8)
    mask = np.zeros_like(frame)
    x, y = rng.integers(5, 30, 2)
    for code, left in ((0, 5), (1, 80)) if number % 2 else ((0, 5),):
        at = slice(y, y + 40), slice(left + x, left + x + 36)
        frame[at] = np.roll((230, 20, 20), code)
        mask[at] = np.roll((255, 0, 0), code)
    return frame, mask


@pytest.fixture(scope="module")
def data(home) -> Path:
    for number in range(COUNT):
        for kind, pixels in zip(("images", "masks"), drawn(number), strict=True):
            files.write_png(home / "source" / kind / f"f{number:02}.png", pixels)
    (home / "classes.csv").write_text("name,color\nruby,#ff0000\nemerald,#00ff00\n")
    words = ["--classes", str(home / "classes.csv"), "--ratios", "0.4,0.4,0.2", "--out", str(home / "data")]
    assert main(["prepare", "folder", "--source", str(home / "source"), *words]) == 0
    return home / "data"


def test_predict(sees_colors, home, tmp_path, capsys):
    frames, out = home / "frames", tmp_path / "masks"
    files.write_png(frames / "both.png", drawn(1)[0])
    assert main(["predict", str(sees_colors), str(frames), "--out", str(out), "--overlay", "--probability"]) == 0
    assert "both.png: 2 polyps (emerald, ruby)" in capsys.readouterr().out.replace("(ruby, emerald)", "(emerald, ruby)")
    numbers = files.read_indices(out / "both.png")
    shown = (drawn(1)[1] > 0) @ np.array([1, 2, 0])
    assert np.mean(numbers != shown) < 0.01
    assert Image.open(out / "both.png").mode == "P"
    assert (files.read_mask(out / "both.png") == (numbers > 0)).all()
    assert (files.read_map(out / "both_probability.png") >= 0.5).sum() == pytest.approx((numbers > 0).sum(), rel=0.01)
    overlay = files.read_rgb(out / "both_overlay.png").reshape(-1, 3).tolist()
    assert list(COLORS[0]) in overlay
    assert list(COLORS[1]) in overlay
    (row,) = csv.DictReader((out / "predictions.csv").open())
    assert sorted(row["classes"].split("; ")) == ["emerald", "ruby"]
    assert all(float(text) > 0.95 for text in row["class_probabilities"].split("; "))


def test_boxes(sees_colors, tmp_path):
    frames, boxes = tmp_path / "frames", tmp_path / "boxes.json"
    files.write_png(frames / "both.png", drawn(1)[0])
    words = ["--out", str(tmp_path / "masks"), "--boxes", str(boxes)]
    assert main(["predict", str(sees_colors), str(frames), *words]) == 0
    found = json.loads(boxes.read_text())
    assert [entry["name"] for entry in found["categories"]] == NAMES
    left = {entry["category_id"]: entry["bbox"][0] for entry in found["annotations"]}
    assert left[1] < 80 <= left[2]  # the red one, and the green


def test_a_table_of_one_class_goes_on_with_several(sees_colors, sees_red, home, tmp_path, capsys):
    for number in (2, 3):
        files.write_png(tmp_path / f"frames{number}/f{number}.png", drawn(number)[0])
    out = str(tmp_path / "masks")
    assert main(["predict", str(sees_red), str(tmp_path / "frames2"), "--out", out]) == 0
    assert next(csv.reader((tmp_path / "masks/predictions.csv").open()))[-1] == "boxes"
    assert main(["predict", str(sees_colors), str(tmp_path / "frames3"), "--out", out]) == 0
    rows = {Path(row["image"]).stem: row for row in csv.DictReader((tmp_path / "masks/predictions.csv").open())}
    assert rows["f2"]["classes"] == ""
    assert "ruby" in rows["f3"]["classes"]


def test_python(sees_colors):
    bundle = polyp_monai.load(sees_colors, device="cpu")
    assert bundle.classes == ("ruby", "emerald")
    found = bundle.predict(drawn(1)[0])
    assert {p.class_name for p in found.polyps} == {"ruby", "emerald"}
    assert found.class_probabilities.shape == (2, 120, 160)
    assert (found.class_map == class_map(found.class_probabilities, 0.5)).all()
    assert (found.mask == (found.class_map > 0)).all()
    assert {polyp["class"] for polyp in found.to_dict()["polyps"]} == {"ruby", "emerald"}
    doubtful = polyp_monai.load(sees_colors, device="cpu", class_certainty=1.0).predict(drawn(1)[0])
    assert {p.class_name for p in doubtful.polyps} <= {"uncertain", "ruby", "emerald"}


def test_evaluate_and_calibrate(sees_colors, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["evaluate", str(sees_colors), "--data", str(data), "--split", "validation", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    told = summary["classes"]
    assert told["names"] == NAMES
    for name in NAMES:
        assert told["dice"][name]["mean"]["value"] > 0.9
        assert told["polyps"][name]["auc"]["value"] == 1
        assert summary["detection"]["classes"][name]["ap_50"] == 1
    assert told["confusion"]["ruby"]["emerald"] == told["confusion"]["emerald"]["ruby"] == 0
    assert "Polyps by class" in (out / "report.html").read_text()
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert all(float(row["dice_ruby"]) > 0.9 for row in rows)
    assert {row["class"] for row in csv.DictReader((out / "polyps.csv").open())} == {"ruby", "emerald"}
    assert main(["calibrate", str(out), "--max-wrong-class-rate", "0.2"]) == 0
    assert "of 6 polyps get a wrong class" in capsys.readouterr().out
    calibration = sees_colors / "models/calibration.json"
    assert json.loads(calibration.read_text())["wrong_class"]["certainty"] == 0
    given = polyp_monai.load(sees_colors, device="cpu", calibration=calibration)
    assert given.predictor.classes.certainty == 0
    calibration.unlink()


def test_a_run_of_one_class_has_no_classes(sees_red, dataset, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["evaluate", str(sees_red), "--data", str(dataset), "--split", "validation", "--out", str(out)]) == 0
    assert "classes" not in json.loads((out / "summary.json").read_text())
    assert not (out / "polyps.csv").exists()
    assert "dice_polyp" not in (out / "frames.csv").read_text()
    assert "no polyps.csv: its bundle tells no classes apart" in fails(
        capsys, "calibrate", out, "--max-wrong-class-rate", "0.2"
    )


def test_a_model_of_polyps_takes_a_list_with_classes_as_their_union(sees_red, data, tmp_path):
    out = tmp_path / "run"
    assert main(["evaluate", str(sees_red), "--data", str(data), "--split", "training", "--out", str(out)]) == 0
    for row in csv.DictReader((out / "frames.csv").open()):
        assert int(row["polyp_pixels"]) == (files.read_indices(row["truth"]) > 0).sum()


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_an_export_gives_the_same_masks(sees_colors, form, tmp_path, monkeypatch):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    own = polyp_monai.load(sees_colors, device="cpu")
    other = polyp_monai.load(own.export(form), device="cpu")
    assert other.classes == ("ruby", "emerald")
    for number in range(3):
        one, two = (bundle.predict(drawn(number)[0]) for bundle in (own, other))
        assert (one.class_map == two.class_map).all()
        assert [p.class_name for p in one.polyps] == [p.class_name for p in two.polyps]


def test_the_service_tells_classes_and_colors(sees_colors):
    pytest.importorskip("fastapi")
    from polyp_monai.serve.limits import Limits
    from tests.serve.conftest import encoded, pixels, served

    with served(polyp_monai.load(sees_colors, device="cpu"), Limits()) as client:
        (facts,) = client.get("/v1/bundles").json()["bundles"]
        assert facts["classes"] == [
            {"name": name, "color": hexadecimal(c)} for name, c in zip(NAMES, COLORS, strict=False)
        ]
        body = encoded(drawn(1)[0])
        (result,) = client.post("/v1/predict?probability=true", content=body).json()["results"]
        assert {polyp["class"] for polyp in result["polyps"]} == set(NAMES)
        assert {polyp["color"] for polyp in result["polyps"]} == {hexadecimal(c) for c in COLORS[:2]}
        assert [one["name"] for one in result["classes"]["of"]] == NAMES
        for threshold in ("", "?threshold=0.9"):
            mask = client.post(f"/v1/predict{threshold}", content=body, headers={"Accept": "image/png"}).content
            assert set(np.unique(pixels(mask))) == {0, 1, 2}


def test_video_tells_the_class_of_a_track_by_all_its_frames(sees_colors, tmp_path):
    frames = tmp_path / "clip"
    for index in range(10):
        picture = drawn(1)[0]
        if index == 6:  # a moment in which the light is odd
            picture[:, 80:] = picture[:, 80:, [1, 0, 2]]
        files.write_png(frames / f"{index:03}.png", picture)
    table, events = tmp_path / "frames.csv", tmp_path / "events.json"
    words = ["--csv", str(table), "--events", str(events), "--smooth", "none", "--confirm", "1/1"]
    assert main(["video", str(sees_colors), str(frames), *words]) == 0
    rows = [row for row in csv.DictReader(table.open()) if row["polyp"]]
    by_track = {row["polyp"]: {r["class"] for r in rows if r["polyp"] == row["polyp"]} for row in rows}
    assert sorted(map(sorted, by_track.values())) == [["emerald"], ["ruby"]]
    assert {event["class"] for event in json.loads(events.read_text())["events"]} == {"ruby", "emerald"}
    (frame, *_) = polyp_monai.load(sees_colors, device="cpu").track(frames, confirm=(1, 1))
    assert {polyp["class"] for polyp in frame.to_dict()["polyps"]} == {"ruby", "emerald"}
    assert list(COLORS[0]) in frame.plot().reshape(-1, 3).tolist()


def test_a_packed_bundle_gives_other_platforms_the_numbers_of_classes(sees_colors, tmp_path):
    import zipfile

    assert main(["pack", str(sees_colors), "--out", str(tmp_path / "colors.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "colors.zip") as packed:
        (inference,) = [name for name in packed.namelist() if name.endswith("configs/inference.json")]
        content = json.loads(packed.read(inference))
    last = content["post_transforms"]["transforms"][-2]
    assert last == {
        "_target_": "polyp_monai.data.transforms.ClassMapd",
        "keys": "pred",
        "threshold": "@threshold",
        "to": "pred",
    }
    assert not any("to_mask" in str(step) for step in content["post_transforms"]["transforms"])
    found = ClassMapd("pred", 0.5, to="pred")({"pred": torch.tensor([[[0.1, 0.9]], [[0.8, 0.05]]])})["pred"]
    assert found.tolist() == [[[1, 1]]]  # side by side they are one polyp, whose higher mean is the first class's
