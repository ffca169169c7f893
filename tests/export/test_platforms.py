"""A packed bundle in MONAI Label and MONAI Deploy gives the masks of `polyp predict`.

Both need packages that cannot be installed beside ours. POLYP_TEST_LABEL names the Python of an environment that has
monailabel (by `pip install --no-deps`, and what it imports) with MONAI and torch, and without polyp_monai;
POLYP_TEST_DEPLOY the folder in which the wheel of monai-deploy-app-sdk was unpacked.
"""

from __future__ import annotations

import ast
import copy
import json
import logging
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Union

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

import polyp_monai
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


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory) -> Path:
    """A small trained bundle with TorchScript, unpacked."""
    folder = tmp_path_factory.mktemp("platforms")
    return archive.unpack(pack.pack(trained, folder / "unet.zip", ["torchscript"]), folder / "unet")


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


def test_torchscript_predicts_as_the_bundle(packed, frame, expected):
    found = polyp_monai.load(packed / "models/model.ts", device="cpu").predict(frame)
    assert (found.mask == expected).all()


@pytest.mark.slow
def test_monai_labels_own_task_gives_the_same_mask(packed, frame, expected, tmp_path):
    python = os.environ.get("POLYP_TEST_LABEL") or pytest.skip("POLYP_TEST_LABEL is not set")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"CUDA_VISIBLE_DEVICES": ""}
    command = [python, "-c", LABEL, *map(str, (packed, frame, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "labels.json").read_text()) == {"polyp": 1}
    assert (np.asarray(Image.open(tmp_path / "file.png")) == expected).all()
    of_array = np.asarray(Image.open(tmp_path / "array.png"))  # the task turns what comes as an array
    assert of_array.T.shape == expected.shape


@pytest.mark.slow
def test_monai_deploys_own_reader_understands_torchscript(packed, frame, expected, tmp_path, monkeypatch):
    """Its functions for bundles, out of its source: the module itself wants a GPU's libraries."""
    sdk = Path(os.environ.get("POLYP_TEST_DEPLOY") or pytest.skip("POLYP_TEST_DEPLOY is not set"))
    source = (sdk / "monai/deploy/operators/monai_bundle_inference_operator.py").read_text()
    wanted = ("get_bundle_config", "_read_directory_bundle_config", "filter_compose", "DISALLOW_LOAD_SAVE")
    tree = ast.parse(source)
    tree.body = [n for n in tree.body if getattr(n, "name", None) in wanted or wanted[-1] in ast.unparse(n)[:30]]
    names = {"ConfigParser": ConfigParser, "Path": Path, "Union": Union, "List": list, "deepcopy": copy.deepcopy}
    names |= {"os": os, "json": json, "logging": logging, "tempfile": tempfile, "zipfile": zipfile}
    exec(compile(tree, "monai_bundle_inference_operator.py", "exec"), names)
    monkeypatch.chdir(tmp_path)
    file = packed / "models/model.ts"
    parser = names["get_bundle_config"](str(file), ["inference"])
    pre, post = (
        names["filter_compose"](parser.get_parsed_content(part), names["DISALLOW_LOAD_SAVE"])
        for part in ("preprocessing", "postprocessing")
    )
    network = torch.jit.load(file, map_location="cpu").eval()
    turned = np.array(Image.open(frame)).transpose(1, 0, 2)  # (W, H, 3), as our own run sees it
    sample = pre({"image": turned})
    with torch.no_grad():
        sample["pred"] = parser.get_parsed_content("inferer")(sample["image"][None], network)[0]
    assert (np.asarray(post(sample)["pred"]).T.astype(bool) == expected).all()
