"""Fixtures that several rooms share. Real images come only from the folder that POLYP_TEST_DATA names."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import absl.logging
import hypothesis
import pytest

# a first example imports what it needs, and machines are shared: a test is not a measurement of time
hypothesis.settings.register_profile("polyp_monai", deadline=None)
hypothesis.settings.load_profile("polyp_monai")

# absl, which comes with tensorboard and OpenVINO, logs to what sys.stderr is at its import, and closes that when
# MONAI's logging.conf takes the handlers down: pytest's own capture, whose report would be lost with it
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

SMALL = {  # a network and an image size that train in seconds
    "image_size": "64",
    "batch_size": "4",
    "network_def::body::channels": "[4, 8, 16]",
    "network_def::body::strides": "[2, 2]",
    "device": "cpu",
}


def pytest_collection_modifyitems(items):
    if not os.environ.get("POLYP_TEST_DATA"):
        for item in items:
            if "real" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="POLYP_TEST_DATA is not set"))


@pytest.fixture(scope="session", autouse=True)
def config_home(tmp_path_factory) -> Path:
    """Settings of this run alone, and none of the user's: also for commands in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("config")
        patch.setenv("POLYP_CONFIG_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    return Path(os.environ["POLYP_TEST_DATA"])


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A prepared synthetic set of 20 frames."""
    from polyp_monai.cli.main import main

    out = tmp_path_factory.mktemp("data") / "synthetic"
    assert main(["prepare", "synthetic", "--count", "20", "--seed", "3", "--out", str(out)]) == 0
    return out


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bare copy of the shipped unet, as `cp -r` makes it."""
    from polyp_monai.bundle.locate import shipped

    ignore = shutil.ignore_patterns("*.pt", "eval")
    return Path(shutil.copytree(shipped()["unet"], tmp_path / "unet", ignore=ignore))


@pytest.fixture
def sees_red(bundle) -> Path:
    """A bundle whose only layer gives a large logit to red pixels."""
    import torch
    import yaml

    path = bundle / "configs/model.yaml"
    model = yaml.safe_load(path.read_text())
    body = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    model["network_def"] = {"_target_": "polyp_monai.networks.FrameNetwork", "body": body, "divisor": 32}
    model["image_size"] = 96
    path.write_text(yaml.safe_dump(model))
    state = {"body.weight": torch.tensor([4.0, -4.0, -4.0]).view(1, 3, 1, 1), "body.bias": torch.tensor([-6.0])}
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(state, bundle / "models/model.pt")
    return bundle


def small_options(**more: str) -> list[str]:
    """`SMALL` and more as command line words."""
    return [word for key, value in {**SMALL, **more}.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, dataset) -> Path:
    """A small unet bundle after two epochs."""
    from polyp_monai.cli.main import main

    out = tmp_path_factory.mktemp("runs") / "unet"
    assert main(["train", "unet", "--data", str(dataset), "--out", str(out), *small_options(epochs="2")]) == 0
    return out


class Bucket(str):
    """The address of a bucket on an S3 server of this process; what is in it outlives the server's stop."""

    server: Any

    def start(self, port: int = 0) -> None:
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(port=port or self.port, verbose=False)
        self.server.start()

    port = 0


@pytest.fixture
def bucket(monkeypatch):
    """A `Bucket` for this process and those that it starts."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    made = Bucket(f"s3://polyps-{secrets.token_hex(4)}")  # the server's contents outlive a test
    made.start()
    host, made.port = made.server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{made.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(made)
    yield made
    made.server.stop()
    s3fs.S3FileSystem.clear_instance_cache()
