"""One tester for every network by name: what a shipped bundle's `network_def` builds keeps the network contract."""

from __future__ import annotations

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from polyp_monai.bundle.locate import shipped
from polyp_monai.networks import FrameNetwork

# parameters, pinned; the source of each figure beside it
PARAMETERS = {
    "unet": 3_658_662,  # MONAI UNet of these channels, counted layer by layer in test_unet_parameters
}


def build(name: str) -> torch.nn.Module:
    config = yaml.safe_load((shipped()[name] / "configs/model.yaml").read_text())
    torch.manual_seed(0)
    return ConfigParser({"network_def": config["network_def"]}).get_parsed_content("network_def")


@pytest.fixture(params=sorted(shipped()))
def name(request) -> str:
    return request.param


@pytest.fixture
def network(name) -> torch.nn.Module:
    return build(name).eval()


@pytest.mark.parametrize("size", [(32, 32), (97, 131), (64, 200)])
@torch.no_grad()
def test_logits_have_the_size_of_the_frame(network, size):
    assert network(torch.rand(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.slow
@torch.no_grad()
def test_a_full_hd_frame(network):
    assert network(torch.rand(1, 3, 1080, 1920)).shape == (1, 1, 1080, 1920)


@torch.no_grad()
def test_the_result_does_not_depend_on_the_batch(network):
    frames = torch.rand(3, 3, 64, 96)
    together = network(frames)
    for i in range(3):
        assert torch.allclose(network(frames[i : i + 1]), together[i : i + 1], atol=1e-4)


def test_every_parameter_learns(network):
    network.train()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert sum(bool(p.grad.any()) for p in network.parameters()) > 0.9 * len(list(network.parameters()))


@torch.no_grad()
def test_weights_survive_a_file(name, network, tmp_path):
    from polyp_monai import checkpoints

    checkpoints.save(tmp_path / "model.pt", network.state_dict())
    other = checkpoints.load_weights(build(name), tmp_path / "model.pt").eval()
    frames = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(frames), other(frames))


@torch.no_grad()
def test_bfloat16(network):
    frames = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(frames)
    assert (low.float().sigmoid() - network(frames).sigmoid()).abs().max() < 0.05


def test_parameter_count(name, network):
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_unet_parameters():
    """Counted from the layer list of Kerfoot et al. 2018 as MONAI builds it: residual units down, one unit up."""
    channels = yaml.safe_load((shipped()["unet"] / "configs/model.yaml").read_text())["network_def"]["body"]["channels"]

    def conv(inp, out, kernel=3):
        return inp * out * kernel * kernel + out

    def adn(out):  # batch norm (weight, bias) and PReLU (one slope)
        return 2 * out + 1

    def unit(inp, out):  # two convolutions and the strided or widening shortcut
        return conv(inp, out) + adn(out) + conv(out, out) + adn(out) + conv(inp, out)

    total, inp = 0, 3
    for out in channels[:-1]:
        total += unit(inp, out)
        inp = out
    top = channels[-1]
    total += (
        conv(inp, top) + adn(top) + conv(top, top) + adn(top) + conv(inp, top, kernel=1)
    )  # not strided: 1x1 shortcut
    for level in range(len(channels) - 2, -1, -1):
        below = channels[level] + channels[level + 1] if level == len(channels) - 2 else 2 * channels[level]
        out = channels[level - 1] if level else 1
        total += conv(below, out) + adn(out)
        total += conv(out, out) + (adn(out) if level else 0)  # identity shortcut; the last one ends in logits
    assert sum(p.numel() for p in build("unet").parameters()) == total


@pytest.mark.slow
def test_onnx_agrees_for_any_batch_and_size(network, tmp_path):
    import onnxruntime

    batch, height, width = (
        torch.export.Dim(n, min=1 if n == "batch" else 32, max=4096) for n in ("batch", "height", "width")
    )
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        network,
        (torch.rand(2, 3, 97, 131),),
        path,
        dynamic_shapes=({0: batch, 2: height, 3: width},),
        input_names=["image"],
        output_names=["pred"],
        dynamo=True,
    )
    session = onnxruntime.InferenceSession(path)
    for shape in ((1, 3, 64, 64), (3, 3, 97, 131), (1, 3, 200, 77)):
        frames = torch.rand(shape)
        with torch.no_grad():
            expected = network(frames).sigmoid()
        got = torch.from_numpy(session.run(None, {"image": frames.numpy()})[0]).sigmoid()
        assert got.shape == expected.shape
        assert (got - expected).abs().max() < 1e-4


@pytest.mark.slow
def test_torch_export(network):
    batch, height, width = (
        torch.export.Dim(n, min=1 if n == "batch" else 32, max=4096) for n in ("batch", "height", "width")
    )
    program = torch.export.export(
        network, (torch.rand(2, 3, 97, 131),), dynamic_shapes=({0: batch, 2: height, 3: width},)
    ).module()
    frames = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        assert torch.allclose(program(frames), network(frames), atol=1e-4)


def test_statistics_are_the_first_step():
    network = FrameNetwork(torch.nn.Identity(), divisor=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    frames = torch.full((1, 3, 33, 41), 0.75)
    assert torch.allclose(network(frames), torch.ones(1, 3, 33, 41))
