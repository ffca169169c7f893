"""One tester for every network by name: what a shipped bundle's `network_def` builds keeps the network contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

from polyp_monai.bundle.locate import shipped
from polyp_monai.networks import DeepLabV3Plus, FrameNetwork, ResUNet, ResUNetPlusPlus, contract
from polyp_monai.networks.encoders.efficientnet_lite import EfficientNetLite

# parameters of the shipped bundles, which are narrower than the papers' networks where the model card says so
PARAMETERS = {
    "attention_unet": 1_987_705,
    "basic_unet_plus_plus": 604_548,
    "deeplabv3_plus": 26_677_585,  # segmentation_models_pytorch 0.5: DeepLabV3Plus("resnet50", classes=1)
    "efficient_unet": 4_826_721,
    "efficient_unet_neopolyp": 4_826_818,  # a second row of the last layer: 96 weights and a bias
    "resunet": 516_881,
    "resunet_plus_plus": 1_019_006,
    "spatial_attention_unet": 2_313_133,
    "unet": 3_658_662,  # counted layer by layer in test_unet_parameters
}


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_resunet_has_the_papers_size():
    """Zhang et al. 2018, table II: 7.8 M, which leaves out the shortcuts' projections."""
    network = ResUNet()
    shortcuts = sum(count(m.shortcut) for m in network.modules() if hasattr(m, "shortcut"))
    assert count(network) - shortcuts == 7_789_313


def test_resunet_plus_plus_has_the_published_size():
    """Jha et al. 2024 (TransNetR), table 1: ResUNet++ of 4.06 M and 15.8 GMACs at 256 x 256."""
    network = ResUNetPlusPlus()
    assert round(count(network) / 1e6, 2) == 4.06
    assert gmacs(network, 256) == pytest.approx(15.8, abs=0.2)


def test_resnet50_has_torchvisions_size():
    """25 557 032 of torchvision's resnet50 less its classifier, 2048 * 1000 + 1000."""
    assert count(DeepLabV3Plus().encoder) == 25_557_032 - 2_049_000


@pytest.mark.parametrize(("size", "published"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_efficientnet_lite_has_the_published_size(size, published):
    """TensorFlow's EfficientNet-Lite less the last 1x1 convolution, its norm and the classifier."""
    encoder = EfficientNetLite(size)
    top = encoder.channels[-1] * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert count(encoder) + top == published


def gmacs(network: torch.nn.Module, side: int) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network.eval().to("meta")(torch.empty(1, 3, side, side, device="meta"))
    return flops.get_total_flops() / 2e9


def build(name: str) -> torch.nn.Module:
    config = yaml.safe_load((shipped()[name] / "configs/model.yaml").read_text())
    torch.manual_seed(0)
    return ConfigParser({"network_def": config["network_def"]}).get_parsed_content("network_def")


@pytest.fixture(params=sorted(shipped()))
def name(request) -> str:
    return request.param


@pytest.fixture
def channels(name) -> int:
    return len(yaml.safe_load((shipped()[name] / "configs/model.yaml").read_text())["classes"])


@pytest.fixture
def network(name) -> torch.nn.Module:
    return build(name).eval()


def test_the_contract_holds(network, channels):
    contract.check(network, channels)


@pytest.mark.slow
def test_training_on_channels_last_in_a_process_of_its_own():
    """Some strided 1x1 convolutions write past their memory there, which ends the process now or later."""
    code = (
        "import torch; from tests.networks.test_networks import build, shipped\n"
        "for name in shipped():\n"
        "    print(name, flush=True)\n"
        "    network = build(name).train().to(memory_format=torch.channels_last)\n"
        "    for _ in range(3):\n"
        "        output = network(torch.rand(2, 3, 64, 64))\n"
        "        (output[0] if isinstance(output, list) else output).mean().backward()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"


@pytest.mark.parametrize("size", [(32, 32), (97, 131), (64, 200)])
@torch.no_grad()
def test_logits_have_the_size_of_the_frame(network, channels, size):
    assert network(torch.rand(1, 3, *size)).shape == (1, channels, *size)


@pytest.mark.slow
@torch.no_grad()
def test_a_full_hd_frame(network, channels):
    assert network(torch.rand(1, 3, 1080, 1920)).shape == (1, channels, 1080, 1920)


@torch.no_grad()
def test_weights_survive_a_file(name, network, tmp_path):
    from polyp_monai.training import checkpoints

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


@torch.no_grad()
def test_torchscript_gives_the_same(network):
    """Which `monai.bundle ckpt_export` and MONAI Deploy take; a script follows less of Python than a trace."""
    frames = torch.rand(1, 3, 70, 64)
    assert torch.allclose(torch.jit.script(network)(frames), network(frames), atol=1e-4)


def test_the_figures_in_the_metadata(name, network):
    scores = json.loads((shipped()[name] / "configs/metadata.json").read_text())["network_stats"]
    assert count(network) == PARAMETERS[name] == scores["parameters"]
    assert scores["gmacs_352"] == round(gmacs(network, 352), 1)


def test_deep_supervision_trains_the_head_that_is_used_first():
    network = build("basic_unet_plus_plus")
    frames = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        heads = network.train()(frames)
        assert [tuple(head.shape) for head in heads] == [(2, 1, 64, 64)] * 4
        for module in network.modules():  # so that both modes see the same statistics
            if isinstance(module, torch.nn.BatchNorm2d):
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
        assert torch.allclose(network.eval()(frames), network.train()(frames)[0], atol=1e-5)


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
        torch.export.Dim(n, min=1 if n == "batch" else 33, max=4096) for n in ("batch", "height", "width")
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


def test_presence_empties_frames_without_a_sure_core_and_leaves_the_others_outlines():
    body = torch.nn.Conv2d(3, 1, 1, bias=False)
    torch.nn.init.constant_(body.weight, 1 / 3)
    network = FrameNetwork(body, divisor=8, mean=(0, 0, 0), std=(1, 1, 1), presence=1.0).eval()
    frames = (torch.rand(2, 1, 32, 40) * 1.5 - 0.6).expand(-1, 3, -1, -1).clone()  # logits of up to .9
    frames[1, :, 4:9, 4:9] = 3.0
    logits = body(frames)
    found = network(frames)
    assert not (found[0] >= 0).any()
    assert torch.equal(found[1] >= 0, logits[1] >= 0)
    assert torch.equal(network(frames[1:]), found[1:])  # whatever else is in the batch
    assert torch.equal(network.train()(frames), logits)
    with pytest.raises(ValueError, match="presence"):
        FrameNetwork(torch.nn.Identity(), presence=-1)
