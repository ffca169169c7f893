"""A packed bundle in MONAI Label and MONAI Deploy gives the masks of `polyp predict`.

MONAI Label and MONAI Deploy need packages that cannot be installed beside ours. POLYP_TEST_LABEL and POLYP_TEST_DEPLOY
name the Python of an environment that has monailabel, or monai-deploy-app-sdk, with MONAI and torch, and without
polyp_monai; `docs/how-to.md` says how to make them.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyp_monai.cli.main import main
from polyp_monai.export import pack, platforms
from polyp_monai.sharing import archive

LABEL = """
import json, shutil, sys, types
torchvision, utils = types.ModuleType("torchvision"), types.ModuleType("torchvision.utils")
utils.make_grid = utils.save_image = None    # imported and not used
sys.modules.setdefault("torchvision", torchvision), sys.modules.setdefault("torchvision.utils", utils)
import numpy as np
from PIL import Image
from monailabel.tasks.infer.bundle import BundleInferTask
root, frame, out = sys.argv[1:]
task = BundleInferTask(root, {})
for name, image in (("file", frame), ("array", np.array(Image.open(frame)))):
    words = {"image": image, "device": "cpu", "result_extension": ".png", "result_dtype": "uint8"}
    file, about = task(words)
    shutil.move(file, f"{out}/{name}.png")
json.dump(about["label_names"], open(f"{out}/labels.json", "w"))
"""
DEPLOY = """
import sys
import numpy as np
import torch
from PIL import Image
from monai.deploy.operators.monai_bundle_inference_operator import DISALLOW_LOAD_SAVE, filter_compose, get_bundle_config
file, frame, out = sys.argv[1:]
parser = get_bundle_config(file, ["inference"])
pre = filter_compose(parser.get_parsed_content("preprocessing"), DISALLOW_LOAD_SAVE)
post = filter_compose(parser.get_parsed_content("postprocessing"), DISALLOW_LOAD_SAVE)
network = torch.jit.load(file, map_location="cpu").eval()
sample = pre({"image": np.array(Image.open(frame))})
with torch.no_grad():
    sample["pred"] = parser.get_parsed_content("inferer")(sample["image"][None], network)[0]
np.save(out, np.asarray(post(sample)["pred"]))
"""


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory) -> Path:
    """A small trained bundle with TorchScript, unpacked."""
    folder = tmp_path_factory.mktemp("platforms")
    return archive.unpack(pack.pack(trained, folder / "net.zip", ["torchscript"]), folder / "net")


@pytest.fixture(scope="module")
def frame(dataset) -> Path:
    return sorted((dataset / "images").iterdir())[0]


@pytest.fixture(scope="module")
def expected(trained, frame, tmp_path_factory) -> np.ndarray:
    """(H, W) bool, as `polyp predict` has it."""
    out = tmp_path_factory.mktemp("expected")
    assert main(["predict", str(trained), str(frame), "--out", str(out), "--device", "cpu"]) == 0
    return np.asarray(Image.open(next(out.glob("*.png")))) > 0


def test_a_config_of_another_form_is_left_alone():
    assert platforms.chains({"preprocessing": {"transforms": [{"_target_": "LoadImaged"}]}}) == {}


def test_the_items_for_label_give_the_same_mask(packed, frame, expected, tmp_path, monkeypatch):
    """As MONAI Label reads them: the file from anywhere, `bundle_root` set, transforms by their items."""
    from monai.bundle import ConfigParser

    monkeypatch.chdir(tmp_path)
    parser = ConfigParser()
    parser.read_config(str(packed / "configs/inference.json"))
    parser["bundle_root"], parser["device"] = str(packed), "cpu"
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(packed / "models/model.pt", weights_only=True))
    sample = {"image": str(frame)}
    for step in parser.get_parsed_content("pre_transforms").transforms:
        sample = step(sample)
    with torch.no_grad():
        sample["pred"] = parser.get_parsed_content("inferer")(sample["image"][None], network)[0]
    for step in parser.get_parsed_content("post_transforms").transforms:
        sample = step(sample)
    assert (np.asarray(sample["pred"]).T.astype(bool) == expected).all()
    about = json.loads((packed / "configs/metadata.json").read_text())
    assert about["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "polyp"}


def test_torchscript_holds_what_monai_and_deploy_look_for(packed):
    from monai.data import load_net_with_metadata

    file = packed / "models/model.ts"
    network, about, extra = load_net_with_metadata(str(file), more_extra_files=["inference.json"])
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)
    assert about["network_data_format"]["inputs"].keys() == {"image"}
    config = json.loads(extra["inference.json"])
    assert "pre_transforms" not in config
    assert config["preprocessing"]["transforms"][0]["_target_"] == "LoadImaged"
    assert not [step for step in json.dumps(config["postprocessing"]).split('"') if "SavePrediction" in step]
    assert {"model/extra/metadata.json", "model/extra/inference.json"} <= set(zipfile.ZipFile(file).namelist())


def test_torchscript_predicts_as_the_bundle(packed, frame, expected, tmp_path):
    words = ["predict", str(packed / "models/model.ts"), str(frame), "--out", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert ((np.asarray(Image.open(next(tmp_path.glob("*.png")))) > 0) == expected).all()


def elsewhere(variable: str, code: str, *words: Path, find: Path) -> None:
    """Run `code` with the Python that the variable names, where `find` is the only way to polyp_monai."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} is not set")
    environment = {**os.environ, "PYTHONPATH": str(find), "CUDA_VISIBLE_DEVICES": ""}
    command = [python, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=find.parent)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_monai_labels_own_task_gives_the_same_mask(packed, frame, expected, tmp_path):
    elsewhere("POLYP_TEST_LABEL", LABEL, packed, frame, tmp_path, find=tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text()) == {"polyp": 1}
    mask = np.asarray(Image.open(tmp_path / "file.png"))
    assert (mask == expected).all()
    of_array = np.asarray(Image.open(tmp_path / "array.png"))  # the task turns what comes as an array
    assert of_array.T.shape == expected.shape


@pytest.mark.slow
def test_monai_deploys_own_reader_gives_the_same_shape(packed, frame, expected, tmp_path):
    elsewhere("POLYP_TEST_DEPLOY", DEPLOY, packed / "models/model.ts", frame, tmp_path / "mask.npy", find=packed)
    mask = np.load(tmp_path / "mask.npy")
    assert mask.shape == expected.shape
    assert set(np.unique(mask)) <= {0, 1}
