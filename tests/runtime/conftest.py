"""A bundle whose network is one convolution: it exports in seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from polyp_monai.bundle.locate import shipped
from polyp_monai.training import checkpoints

MODEL = {
    "network_def": {
        "_target_": "polyp_monai.networks.FrameNetwork",
        "divisor": 8,
        "body": {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 3, "padding": 1},
    },
    "image_size": 64,
}


def save_weights(root: Path, redness: float = 1.0) -> None:
    """Weights of a network that calls red pixels polyp."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, :, 1, 1] = torch.tensor([redness, -2.0, -1.0])
    checkpoints.save(root / "models/model.pt", {"body.weight": weight, "body.bias": torch.tensor([-2.0])})


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(shipped()["unet"], root, ignore=shutil.ignore_patterns("*.pt", "eval"))
    path = root / "configs/model.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | MODEL))
    save_weights(root)
    return root


@pytest.fixture
def tiny(tiny_home, tmp_path) -> Path:
    """A copy of the tiny bundle that a test may change; its folder has the same name."""
    return Path(shutil.copytree(tiny_home, tmp_path / "bundle/tiny"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("POLYP_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def files(tiny_home, tmp_path_factory) -> dict[str, Path]:
    """Suffix -> an export of the tiny bundle, of each format that a CPU runs."""
    from polyp_monai.export.export import export
    from polyp_monai.runtime.formats import FORMATS

    folder = tmp_path_factory.mktemp("exports")
    forms = ("onnx", "openvino", "torch-export", "torchscript")
    for form in forms:
        export(tiny_home, form, out=folder / f"tiny{FORMATS[form].suffix}")
    return {FORMATS[form].suffix: folder / f"tiny{FORMATS[form].suffix}" for form in forms}


@pytest.fixture(scope="session")
def frames(dataset) -> list[str]:
    return [str(path) for path in sorted((dataset / "images").iterdir())[:5]]


def change_version(root: Path, version: str) -> None:
    path = root / "configs/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
