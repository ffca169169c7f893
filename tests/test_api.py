"""polyp_monai from Python: what a user gives, what comes back, and what is left as it was."""

from __future__ import annotations

import ast
import gc
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import polyp_monai
from polyp_monai.bundle.locate import recipe, shipped
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.data.transforms import LoadPictured
from polyp_monai.errors import PolypError
from polyp_monai.runtime import about
from polyp_monai.sharing import trust
from polyp_monai.training import checkpoints

SMALL = {
    "network_def::body::channels": [4, 8, 16],
    "network_def::body::strides": [2, 2],
    "image_size": 64,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A small U-Net with drawn weights, and a threshold at which its masks have many edges."""
    root = tmp_path_factory.mktemp("bundles") / "drawn"
    shutil.copytree(shipped()["unet"], root, ignore=shutil.ignore_patterns("*.pt", "eval"))
    path = root / "configs/model.yaml"
    model = yaml.safe_load(path.read_text())
    model["network_def"]["body"] |= {"channels": [4, 8, 16], "strides": [2, 2]}
    path.write_text(yaml.safe_dump(model | {"image_size": 64}))
    torch.manual_seed(1)
    checkpoints.save(root / "models/model.pt", BundleConfig(root)["network_def"].state_dict())
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    middle = float(np.median(polyp_monai.load(root, device="cpu").predict(frame).probability))
    path = root / "configs/inference.yaml"
    path.write_text(path.read_text().replace("threshold: 0.5", f"threshold: {middle:.4f}"))
    return root


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Frames of several formats and sizes, odd ones too."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(3)
    for index, (height, width) in enumerate([(97, 131), (64, 64), (200, 77), (33, 35), (150, 301)]):
        coarse = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        if index == 1:
            Image.fromarray(pixels).save(folder / "jpeg.jpg")
        if index == 0:
            affine = np.diag([0.3, -0.4, 1.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(np.swapaxes(pixels, 0, 1), affine), folder / "color.nii.gz")
            nibabel.save(nibabel.Nifti1Image(pixels[..., 0].T[..., None], affine), folder / "grey.nii")
    return folder


@pytest.fixture(scope="module")
def bundle(drawn) -> polyp_monai.Bundle:
    return polyp_monai.load(drawn, device="cpu")


def stock(root: Path, frames: Path, out: Path, *words: str) -> None:
    """`python -m monai.bundle run`, in the bundle's folder."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    command += ["--dataset_dir", str(frames), "--output_dir", str(out), "--device", "cpu", *words]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


@pytest.mark.parametrize("case", ["drawn", "windows", "area", "efficient_unet"])
def test_masks_are_those_of_stock_monai_to_the_pixel(case, drawn, frames, tmp_path):
    root = shipped()["efficient_unet"]
    if case != "efficient_unet":
        root = shutil.copytree(drawn, tmp_path / "copy")
        path = root / "configs/model.yaml"
        settings = path.read_text().replace("fit: stretch", f"fit: {case if case != 'drawn' else 'stretch'}")
        path.write_text(settings.replace("crop: false", f"crop: {case == 'area'}".lower()))
    stock(root, frames, tmp_path / "masks")
    found = list(polyp_monai.load(root, device="cpu").predict(frames))
    assert len(found) == 8
    for result in found:
        source = Path(result.source)
        mask = files.read_mask(tmp_path / "masks" / f"{files.stem_of(source)}{files.mask_suffix(source)}")
        assert np.array_equal(result.mask, mask)
        assert np.array_equal(result.mask, result.probability >= result.threshold)
        assert (result.mask.dtype, result.probability.dtype) == (bool, np.float32)
        assert result.size == mask.shape[::-1]
    assert case == "efficient_unet" or all(0.05 < result.mask.mean() < 0.95 for result in found)


def test_a_frame_in_memory_is_what_its_file_is(bundle, frames):
    path = frames / "0.png"
    expected, pixels = bundle.predict(path), np.asarray(Image.open(path))
    tensor = LoadPictured("image")({"image": str(path)})["image"]
    for frame in (str(path), pixels, Image.open(path), tensor, tensor.as_tensor(), pixels / np.float32(255)):
        result = bundle.predict(frame)
        assert np.array_equal(result.probability, expected.probability)
        assert np.array_equal(result.plot(), expected.plot())
    assert bundle.predict(pixels).source is None
    assert bundle.predict(path).source == str(path)
    palette = Image.open(path).convert("P")
    assert np.array_equal(bundle.predict(palette).image, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.zeros((3, 64, 64), np.uint8), r"shape \(3, 64, 64\): expected \(H, W, 3\) RGB"),
        (np.zeros((2, 64, 64, 3), np.uint8), "give several as a list"),
        (np.zeros((0, 64, 3), np.uint8), "expected"),
        (np.full((64, 64, 3), np.nan, np.float32), "NaN"),
        (np.full((64, 64, 3), -3.0), "values from -3"),
        (np.full((64, 64, 3), "x"), "expected uint8"),
        (torch.zeros(64, 64, 3), r"expected \(3, W, H\)"),
        (3, "a int: expected a path"),
        ("nowhere.png", "no such file"),
        ("nowhere/*.png", "no frames there"),
    ],
)
def test_what_is_no_frame_gets_one_line(bundle, frame, says):
    with pytest.raises(PolypError, match=says) as caught:
        list(bundle.predict([frame]) if isinstance(frame, np.ndarray) else bundle.predict(frame))
    assert "\n" not in str(caught.value)


def test_a_list_gives_a_list_and_everything_else_of_many_a_generator(bundle, frames):
    paths = sorted(frames.iterdir())
    listed = bundle.predict(paths)
    assert [Path(result.source) for result in listed] == paths
    for many in (frames, str(frames), f"{frames}/*.*", iter(paths)):
        found = bundle.predict(many)
        assert not isinstance(found, list)
        for one, other in zip(found, listed, strict=True):
            assert np.array_equal(one.probability, other.probability)
    assert bundle.predict([]) == []
    assert [r.source for r in bundle.predict([np.zeros((40, 40, 3), np.uint8), paths[0]])] == [None, str(paths[0])]


def test_a_generator_holds_two_batches_and_can_be_left(bundle, frames):
    asked = []

    def endless():
        while True:
            asked.append(len(asked))
            yield frames / "1.png"

    before = threading.active_count()
    found = bundle.predict(endless())
    for _ in range(9):
        next(found)
    assert len(asked) <= 9 + 2 * bundle.predictor.batch_size
    found.close()
    assert threading.active_count() == before


def test_a_damaged_frame_is_raised_after_those_before_it_or_left_out(bundle, frames, tmp_path, caplog):
    for index in range(6):
        shutil.copy(frames / "1.png", tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:300])
    found, names = bundle.predict(tmp_path), []
    with pytest.raises(PolypError, match=r"2\.png: cannot be read"):
        names.extend(Path(result.source).name for result in found)
    assert names == ["0.png", "1.png"]
    kept = [Path(result.source).name for result in bundle.predict(tmp_path, errors="skip")]
    assert kept == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert "2.png: cannot be read" in caplog.text
    with pytest.raises(PolypError, match=r"2\.png"):
        bundle.predict(tmp_path / "2.png", errors="skip")
    with pytest.raises(PolypError, match=r"2\.png"):
        bundle.predict([tmp_path / "2.png"])
    with pytest.raises(PolypError, match="expected 'raise' or 'skip'"):
        bundle.predict([], errors="ignore")


def test_polyps_are_the_regions_of_the_mask(bundle, frames):
    result = bundle.predict(frames / "4.png")
    _, labels, stats, _ = cv2.connectedComponentsWithStats(result.mask.astype(np.uint8), connectivity=8)
    least = 0.0005 * result.mask.size
    expected = sorted((s.tolist() for s in stats[1:] if s[4] >= least), key=lambda s: (-s[4], s[0], s[1]))
    assert len(expected) > 2
    for polyp, (x, y, width, height, area) in zip(result.polyps, expected, strict=True):
        assert (polyp.box, polyp.area) == ((x, y, x + width, y + height), area)
        assert result.threshold <= polyp.confidence <= 1
        filled = cv2.drawContours(np.zeros(result.mask.shape, np.uint8), [polyp.outline], -1, 1, cv2.FILLED)
        (left, top), (right, bottom) = polyp.outline.min(axis=0), polyp.outline.max(axis=0)
        assert (left, top, right + 1, bottom + 1) == polyp.box
        assert filled[labels == labels[polyp.outline[0][1], polyp.outline[0][0]]].all()
    found_again = json.loads(json.dumps(result.to_dict()))
    assert found_again["size"] == [301, 150]
    assert found_again["polyp_pixels"] == result.mask.sum()
    assert [polyp["area"] for polyp in found_again["polyps"]] == [s[4] for s in expected]
    assert "4.png, 301 x 150" in repr(result)


def test_a_result_is_saved_and_drawn_as_polyp_predict_does(bundle, drawn, frames, tmp_path):
    words = ["predict", drawn, frames, "--out", tmp_path, "--probability", "true", "--overlay", "true"]
    assert main([*map(str, words), "--device", "cpu"]) == 0
    for result in bundle.predict(frames):
        stem, suffix = files.stem_of(result.source), files.mask_suffix(result.source)
        for kind in ("", "_probability"):
            expected, path = tmp_path / f"{stem}{kind}{suffix}", tmp_path / f"mine_{stem}{kind}{suffix}"
            assert result.save(path, probability=bool(kind)) == path
            one, other = files.read_picture(expected), files.read_picture(path)
            assert np.array_equal(one.pixels, other.pixels)
            assert np.array_equal(one.affine, other.affine)
            assert one.shape == other.shape
        assert np.array_equal(result.plot(), files.read_rgb(tmp_path / f"{stem}_overlay.png"))
    assert Image.open(BytesIO(result._repr_jpeg_())).size == result.size
    with pytest.raises(PolypError, match="is the frame itself"):
        result.save(result.source)
    for own in (tmp_path / f"mine_{stem}.png", tmp_path / f"{stem}.png"):  # the latter by `polyp predict`
        with pytest.raises(PolypError, match="exists already"):
            result.save(own)
        result.save(own, overwrite=True)
    for name in ("theirs.png", "theirs.nii.gz"):
        files.write_mask(tmp_path / name, result.mask.astype(np.uint8))
        with pytest.raises(PolypError, match="`polyp predict` did not write it"):
            result.save(tmp_path / name, overwrite=True)
    with pytest.raises(PolypError, match="a path of NoneType"):
        result.save(None)
    with pytest.raises(PolypError, match=r"written as \.png"):
        result.save(tmp_path / "mask.jpg")


def test_threads_share_a_bundle(bundle, frames):
    expected = [result.probability for result in bundle.predict(frames)]
    wrong, start = [], threading.Barrier(3)

    def work():
        start.wait()
        for _ in range(4):
            found = [result.probability for result in bundle.predict(frames)]
            wrong.extend(not np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
            wrong.append(not np.array_equal(bundle.predict(frames / "0.png").mask, expected[0] >= bundle.threshold))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 3 * 4 * 9
    assert not any(wrong)


def state() -> dict:
    return {
        "folder": os.getcwd(),
        "sys.path": list(sys.path),
        "finders": list(sys.meta_path),
        "scripts": [name for name in sys.modules if name.partition(".")[0] == "scripts"],
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), cv2.getNumThreads()),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "umask": _umask(),
        "handlers": [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler],
        "disabled": logging.root.manager.disable,
    }


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_nothing_of_the_process_changes(drawn, frames, dataset, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = state()
    bundle = polyp_monai.load(drawn, device="cpu", threshold=0.4)
    list(bundle.predict(frames))
    bundle.evaluate(dataset, out="scores")
    bundle.export("torchscript")
    trained = polyp_monai.load(drawn, device="cpu").train(dataset, out="run", epochs=1)
    assert state() == before
    out, err = capfd.readouterr()
    assert out == ""
    assert "Warning" not in err
    assert trained.root == tmp_path / "run"


def test_train_evaluate_and_export_are_those_of_the_command_line(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    untrained = polyp_monai.load("unet", device="cpu")
    with pytest.raises(PolypError, match="comes without weights; train it first"):
        untrained.predict(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(PolypError, match="did you mean --epochs"):
        untrained.train(dataset, epoch=3)
    with pytest.raises(PolypError, match="polyp prepare"):
        untrained.train(tmp_path)
    assert list(tmp_path.iterdir()) == []
    bundle = untrained.train(dataset, epochs=1, **SMALL)
    assert bundle.root == tmp_path / "runs/unet"
    assert bundle.weights.path == tmp_path / "runs/unet/models/model.pt"
    assert bundle.weights.trained_on == ("synthetic (16 frames)",)
    assert bundle.weights.sha256[:12] in repr(bundle)
    assert (bundle.image_size, bundle.threshold) == (64, 0.5)
    with pytest.raises(PolypError, match="earlier training"):
        bundle.train(dataset, epochs=1)
    with pytest.raises(PolypError, match="for those that you trained, give runs/unet"):
        _ = untrained.weights

    summary = bundle.evaluate(dataset, threshold=0.3)
    assert (summary["frames"], summary["run"]["threshold"]) == (2, 0.3)
    assert (bundle.root / "eval/test/report.html").is_file()
    words = ["evaluate", "runs/unet", "--data", dataset, "--threshold", 0.3, "--device", "cpu", "--out", "e"]
    assert main([str(word) for word in words]) == 0
    there = json.loads(Path("e/summary.json").read_text())
    assert there["frames_with_polyp"] == summary["frames_with_polyp"]
    with pytest.raises(PolypError, match="expected 0 to 1"):
        bundle.evaluate(dataset, threshold=7)

    path = bundle.export("torchscript")
    assert path == tmp_path / "unet.ts"
    with pytest.raises(PolypError, match="exists already"):
        bundle.export("torchscript")


def test_an_exported_file_predicts_alone(bundle, frames, dataset, tmp_path):
    path = bundle.export("torchscript", tmp_path / "alone.ts")
    expected = list(bundle.predict(frames))
    alone = polyp_monai.load(path, device="cpu")
    assert (alone.name, alone.image_size, alone.threshold) == ("drawn", 64, bundle.threshold)
    assert alone.weights.sha256 == bundle.weights.sha256
    for one, other in zip(alone.predict(frames), expected, strict=True):
        assert np.abs(one.probability - other.probability).max() < 1e-4
    assert polyp_monai.load(path, device="cpu", image_size=96, threshold=0.9).image_size == 96
    for wrong, says in (({"threshold": 2}, "expected 0 to 1"), ({"image_size": "wide"}, "expected a number")):
        with pytest.raises(PolypError, match=says):
            polyp_monai.load(path, **wrong)
    for act in (lambda: alone.evaluate(dataset), lambda: alone.train(dataset), lambda: alone.export("onnx")):
        with pytest.raises(PolypError, match="load its bundle, drawn"):
            act()


def test_an_exported_file_of_another_recipe_is_refused(drawn, tmp_path):
    root = shutil.copytree(drawn, tmp_path / "other")
    path = root / "configs/inference.yaml"
    path.write_text(path.read_text().replace("nearest_interp: false", "nearest_interp: true"))
    file = polyp_monai.load(root, device="cpu").export("torchscript", tmp_path / "a.ts")
    with pytest.raises(PolypError, match="fits frames in its own way"):
        polyp_monai.load(file)
    assert polyp_monai.load(root, weights=file, device="cpu").weights.path == file


def test_what_the_recipe_asks_of_a_bundle_travels_in_an_exported_file():
    """Else a file would predict otherwise without its bundle, once the recipe has a new key."""
    config = BundleConfig(shipped()["unet"])
    parts = [config.written(key) for key in ("fit_image", "preprocessing", "inferer", "postprocessing")]
    asked = {name for name in re.findall(r"@(\w+)", json.dumps(parts)) if name != "fit_image"}
    users = {"tta", "probability", "output_dir", "overlay"}  # are no property of the weights
    assert asked - users <= set(about.KEYS)
    assert (recipe() / "configs/inference.yaml").is_file()


def zipped(root: Path, path: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in root.rglob("*"):
            if file.is_file():
                archive.write(file, Path(top) / file.relative_to(root))
    return path


@pytest.mark.parametrize("top", ["drawn", ""])
def test_a_zip_is_a_bundle(drawn, bundle, frames, dataset, tmp_path, top):
    loaded = polyp_monai.load(zipped(drawn, tmp_path / "drawn.zip", top), device="cpu")
    assert loaded.name == "drawn"
    assert np.array_equal(loaded.predict(frames / "0.png").mask, bundle.predict(frames / "0.png").mask)
    with pytest.raises(PolypError, match="say with out=DIR"):
        loaded.train(dataset)
    folder = loaded.root
    assert folder.is_dir()
    del loaded
    gc.collect()
    assert not folder.exists()


def test_a_zip_that_reaches_outside_is_refused(drawn, tmp_path):
    for name in ("../evil", "/tmp/evil", "drawn/../../evil"):
        path = zipped(drawn, tmp_path / "bad.zip", "drawn")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, "evil")
        with pytest.raises(PolypError, match="refused"):
            polyp_monai.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PolypError, match="cannot be unpacked"):
        polyp_monai.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no bundle")
    with pytest.raises(PolypError, match="holds no bundle"):
        polyp_monai.load(path)
    assert not (tmp_path / "evil").exists()


def test_a_bundles_files_never_stand_for_a_library_and_its_scripts_are_its_own(drawn, frames, dataset, tmp_path):
    """Two bundles with scripts of one name, in a folder that holds modules called like libraries."""
    roots = [Path(shutil.copytree(drawn, tmp_path / name)) for name in ("one", "two")]
    for sign, root in zip((1, -1), roots, strict=True):
        for name in ("ignite.py", "yaml.py", "monai.py", "secret.py"):
            (root / name).write_text("raise SystemExit('imported')")
        (root / "scripts").mkdir()
        (root / "scripts/parts.py").write_text(f"SIGN = {sign}\n")
        (root / "scripts/net.py").write_text(
            "import torch\nfrom scripts.parts import SIGN\n"
            "class Net(torch.nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n        self.w = torch.nn.Parameter(torch.ones(1))\n"
            "    def forward(self, x):\n        return SIGN * 50 * self.w * (x[:, :1] - 0.5)\n"
        )
        path = root / "configs/model.yaml"
        path.write_text(
            yaml.safe_dump(yaml.safe_load(path.read_text()) | {"network_def": {"_target_": "scripts.net.Net"}})
        )
        checkpoints.save(root / "models/model.pt", {"w": torch.ones(1)})
        with pytest.raises(PolypError, match=r'dangerous.*trust="[0-9a-f]{64}"'):
            polyp_monai.load(root)
        trust.made_here(root)
    one, two = (polyp_monai.load(root, device="cpu", threshold=0.5) for root in roots)
    frame = np.asarray(Image.open(frames / "1.png"))
    assert (one.predict(frame).mask ^ two.predict(frame).mask).mean() > 0.95
    for root in roots:
        words = ["evaluate", root, "--data", dataset, "--out", tmp_path / f"{root.name}-scores", "--device", "cpu"]
        assert main([str(word) for word in words]) == 0
    (roots[0] / "scripts/net.py").write_text("import secret\n")
    with pytest.raises(PolypError, match="secret"):
        polyp_monai.load(roots[0])


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("unett", {}, "no such bundle"),
        ("", {}, "name is empty"),
        (None, {"threshold": 7}, "expected 0 to 1"),
        (None, {"image_size": 5}, "expected 32"),
        (None, {"device": "abacus"}, "no such device"),
        (None, {"runtime": "tvm"}, "expected torch, onnxruntime"),
        (None, {"tta": "yes"}, "expected none or flip"),
        (None, {"weights": "nowhere.pt"}, "nowhere.pt: no such weights"),
        (None, {"weights": "efficient_unet"}, "weights of another network"),
    ],
)
def test_what_cannot_be_loaded_gets_one_line(name, settings, says, drawn):
    with pytest.raises(PolypError, match=says):
        polyp_monai.load(drawn if name is None else name, **settings)


def test_settings_change_what_is_predicted(drawn, bundle, frames):
    flipped = polyp_monai.load(drawn, device="cpu", tta="flip").predict(frames / "0.png")
    mirrored = bundle.predict(np.asarray(Image.open(frames / "0.png"))[:, ::-1])
    plain = bundle.predict(frames / "0.png")
    assert not np.array_equal(flipped.probability, plain.probability)
    assert not np.array_equal(mirrored.probability[:, ::-1], plain.probability)
    strict = polyp_monai.load(drawn, device="cpu", threshold=1.0)
    assert not strict.predict(frames / "0.png").mask.any()
    assert polyp_monai.load(drawn, device="cpu", image_size=96).image_size == 96


def test_a_video_is_followed_polyp_by_polyp(drawn, tmp_path):
    root = Path(shutil.copytree(drawn, tmp_path / "red"))
    path = root / "configs/model.yaml"
    body = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    network = {"_target_": "polyp_monai.networks.FrameNetwork", "body": body, "divisor": 32}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"network_def": network}))
    weights = {"body.weight": torch.tensor([4.0, -4.0, -4.0]).view(1, 3, 1, 1), "body.bias": torch.tensor([-6.0])}
    checkpoints.save(root / "models/model.pt", weights)
    for index in range(12):
        picture = np.full((120, 160, 3), 110, np.uint8)
        if 3 <= index < 8:
            picture[40:80, 40 + index : 80 + index] = (230, 20, 20)
        files.write_png(tmp_path / f"clip/{index}.png", picture)
    bundle = polyp_monai.load(root, device="cpu", threshold=0.5)
    options = {"confirm": (1, 1), "smooth": "none", "crop": False, "fps": 10}
    found = list(bundle.track(tmp_path / "clip", **options))
    assert [frame.index for frame in found] == list(range(12))
    assert [frame.time for frame in found] == pytest.approx([index / 10 for index in range(12)])
    seen = [[polyp.number for polyp in frame.polyps if polyp.seen] for frame in found]
    assert seen == [[]] * 3 + [[1]] * 5 + [[]] * 4
    assert found[5].polyps[0].box == pytest.approx((45, 40, 85, 80), abs=4)
    assert json.loads(json.dumps(found[5].to_dict()))["polyps"][0]["number"] == 1
    assert (found[5].plot() != found[5].image).any()
    threads = threading.active_count()
    frame = next(walk := bundle.track(tmp_path / "clip", **options))
    assert frame.index == 0
    walk.close()
    assert threading.active_count() == threads
    (tmp_path / "clip/9.png").write_bytes(b"torn")
    left = [frame.index for frame in bundle.track(tmp_path / "clip", **options)]
    assert left == [index for index in range(12) if index != 9]  # a damaged frame is left out, and named


def test_the_import_is_quick_and_light():
    code = (
        "import sys, time; start = time.perf_counter(); import polyp_monai; took = time.perf_counter() - start\n"
        "assert not {'torch', 'monai', 'numpy', 'cv2'} & sys.modules.keys()\n"
        "assert took < 0.2, took\n"
        "from polyp_monai import load\n"
        "assert callable(load) and 'load' in dir(polyp_monai)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_class_has_a_name_of_its_own():
    home = Path(polyp_monai.__file__).resolve().parents[1]
    names = Counter(
        node.name
        for package in ("polyp_monai", "data_prep")
        for path in (home / package).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("what", [None, 3, b"efficient_unet", {"efficient_unet"}])
def test_what_is_no_name_of_a_bundle(what):
    with pytest.raises(PolypError, match=f"a bundle of {type(what).__name__}: expected its name, or the path"):
        polyp_monai.load(what)


def test_what_no_file_and_no_setting_can_be_is_refused_by_name(bundle, frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bundle.predict(frames / "1.png")
    root = bundle.root
    refused = {
        "weights": [lambda: polyp_monai.load(root, weights=3), lambda: polyp_monai.load(root, weights=["a"])],
        "calibration": [lambda: polyp_monai.load(root, calibration={})],
        "trust": [lambda: polyp_monai.load(root, trust=True)],
        "bundle": [lambda: polyp_monai.load("a" * 5000)],
        "frame": [lambda: bundle.predict(["a" * 5000])],
        "source": [
            lambda: bundle.predict(""),
            lambda: bundle.predict("a" * 300),
            lambda: next(bundle.track("")),
            lambda: next(bundle.track(np.zeros((8, 8, 3)))),
        ],
        "confirm": [lambda: next(bundle.track(frames, confirm="3/5")), lambda: next(bundle.track(frames, confirm=3))],
        "half_life": [lambda: next(bundle.track(frames, half_life="a"))],
        "fps": [lambda: next(bundle.track(frames, fps="x"))],
        "path": [
            lambda: result.save("a" * 300 + ".png"),
            lambda: result.save("a\0.png"),
            lambda: result.save("s3://b/o.png"),
        ],
        "out": [lambda: bundle.evaluate(tmp_path, out="https://b/x"), lambda: bundle.export("onnx", out="gs://b/x")],
    }
    for name, calls in refused.items():
        for call in calls:
            with pytest.raises(PolypError, match=f"^{name}"):
                call()
    assert list(tmp_path.iterdir()) == []


def test_pictures_in_memory_that_cannot_be_read_are_left_out_too(bundle, frames, caplog):
    cut = Image.open(BytesIO((frames / "1.png").read_bytes()[:300]))
    tensor = torch.zeros(3, 40, 40)
    good = np.zeros((40, 40, 3), np.uint8)
    bad = [cut, tensor.bfloat16(), tensor.to_sparse(), tensor.to("meta"), good[..., :2]]
    for frame in bad:
        with pytest.raises(PolypError, match=r"cannot be read|a tensor of|an array of"):
            bundle.predict(frame)
    kept = bundle.predict([good, *bad, frames / "1.png"], errors="skip")
    assert [result.source for result in kept] == [None, str(frames / "1.png")]
    assert len(caplog.messages) == len(bad)
    assert bundle.predict(good[..., 0].view(np.matrix)).size == (40, 40)
