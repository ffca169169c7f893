"""`polyp export`: what it refuses, what it checks, and that nothing is left of what fails."""

from __future__ import annotations

import copy
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from polyp_monai import runtime
from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.errors import PolypError
from polyp_monai.export import agreement, writers
from polyp_monai.export.export import export
from polyp_monai.training import checkpoints
from tests.runtime.conftest import save_weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def names(folder: Path) -> list[str]:
    """All files but, where something was written, the list of what was."""
    found = sorted(path.name for path in folder.iterdir())
    return found[1:] if len(found) > 1 and found[0] == ".polyp-export.json" else found


@pytest.mark.parametrize(("form", "name"), [("torchscript", "tiny.ts"), ("torch-export", "tiny.pt2")])
def test_formats_of_torch(tiny, here, form, name):
    assert re.match(rf"{name}: 0\.\d MB; probabilities differ from PyTorch's by \d", str(export(tiny, form)))
    assert names(here) == [name]


def test_a_file_in_the_way(tiny, here):
    (here / "tiny.ts").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(PolypError, match=r"tiny\.ts: is there already, and `polyp export` did not write it"):
            export(tiny, "torchscript", overwrite=overwrite)
    assert (here / "tiny.ts").read_text() == "mine"
    (here / "tiny.ts").unlink()
    export(tiny, "torchscript")
    with pytest.raises(PolypError, match=r"tiny\.ts: exists already; give another name, or --overwrite"):
        export(tiny, "torchscript")
    first = runtime.load("torch", here / "tiny.ts", CPU).about
    save_weights(tiny, redness=3)
    export(tiny, "torchscript", overwrite=True)
    assert runtime.load("torch", here / "tiny.ts", CPU).about.weights_sha256 != first.weights_sha256


def test_other_weights(tiny, here):
    Path(shutil.copy(tiny / "models/model.pt", here / "other.pt"))
    save_weights(tiny, redness=3)
    export(tiny, "torchscript", weights="other.pt", out=Path("sub/a.ts"))
    assert names(here / "sub") == ["a.ts"]
    assert runtime.load("torch", here / "sub/a.ts", CPU)(torch.ones(1, 3, 64, 64)).max() == pytest.approx(
        -7.248, abs=1e-3
    )
    with pytest.raises(PolypError, match="is an export already"):
        export(tiny, "torchscript", weights="sub/a.ts")


@pytest.mark.parametrize(
    ("form", "precision", "data", "text"),
    [
        ("tflite", "fp32", None, "--format tflite: no such format; known are onnx, openvino"),
        ("onnx", "bf16", "x", r"not with --format onnx \(ONNX Runtime cannot .* it takes fp32, fp16, int8"),
        ("torchscript", "int8", "x", "not with --format torchscript; it takes fp32, bf16"),
        ("torch-export", "fp16", "x", "seconds a frame"),
        ("openvino", "int8", None, "give --data DIR, a prepared set to calibrate and check it on"),
        ("openvino", "bf16", None, "give --data DIR, a prepared set to check it on"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny, here, form, precision, data, text):
    with pytest.raises(PolypError, match=text):
        export(tiny, form, precision, data=data)
    assert names(here) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_tensorrt_needs_cuda(tiny, here):
    with pytest.raises(PolypError, match="--format tensorrt: needs a CUDA device"):
        export(tiny, "tensorrt")
    assert names(here) == []


def test_a_wrong_suffix_and_missing_weights(tiny, here):
    with pytest.raises(PolypError, match=r"a file of torchscript ends in \.ts"):
        export(tiny, "torchscript", out=Path("a.onnx"))
    (tiny / "models/model.pt").unlink()
    with pytest.raises(PolypError, match="train the bundle first"):
        export(tiny, "torchscript")
    assert names(here) == []


def spoil(monkeypatch, name: str, change) -> None:
    """From now on the writer `name` of `writers` puts other weights into the file than the network has."""
    write = getattr(writers, name)

    def write_spoilt(network, path, facts) -> None:
        spoilt = copy.deepcopy(network)
        with torch.no_grad():
            change(spoilt.body)
        write(spoilt, path, facts)

    monkeypatch.setattr(writers, name, write_spoilt)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda layer: layer.weight.mul_(1.01), r"its probabilities differ from PyTorch's by \S+, more than 0\.0001"),
        (lambda layer: layer.weight[0, 2].neg_(), "its probabilities differ"),  # red and blue in the wrong order
        (lambda layer: layer.bias.fill_(torch.nan), "its probabilities differ from PyTorch's by nan"),
    ],
)
@pytest.mark.parametrize(("form", "writer"), [("torchscript", "torchscript"), ("torch-export", "torch_export")])
def test_an_export_with_other_weights_leaves_nothing(tiny, here, monkeypatch, form, writer, change, text):
    spoil(monkeypatch, writer, change)
    with pytest.raises(PolypError, match=text):
        export(tiny, form)
    assert list(here.iterdir()) == []


def test_wrong_logits_are_found_where_every_probability_is_next_to_0(tiny, here, monkeypatch):
    state = checkpoints.read(tiny / "models/model.pt")
    checkpoints.save(tiny / "models/model.pt", state | {"body.bias": torch.tensor([-60.0])})
    spoil(monkeypatch, "torchscript", lambda layer: layer.bias.fill_(-50))
    with pytest.raises(PolypError, match="its logits differ from PyTorch's by more than rounding does"):
        export(tiny, "torchscript")
    assert names(here) == []


@pytest.mark.usefixtures("onnx_packages")
def test_an_onnx_file_of_other_numbers_is_found(tiny, here, monkeypatch):
    write = writers.onnx

    def write_other(network, path, facts) -> None:
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.body.bias += 0.5
        write(other, path, facts)

    monkeypatch.setattr(writers, "onnx", write_other)
    with pytest.raises(PolypError, match="its probabilities differ from PyTorch's"):
        export(tiny, "onnx")
    assert names(here) == []


def test_a_lower_precision_is_held_against_the_dice(tiny, here, dataset, monkeypatch):
    assert "tiny.bf16.ts: 0.0 MB; mean Dice 0." in str(export(tiny, "torchscript", "bf16", data=str(dataset)))
    spoil(monkeypatch, "torchscript", lambda layer: layer.bias.fill_(-60))  # sees no polyp any more
    with pytest.raises(PolypError, match=r"mean Dice on 2 validation frames falls from 0\.\d+ to 0\.0000, by more"):
        export(tiny, "torchscript", "bf16", data=str(dataset), overwrite=True, out=Path("b.ts"))
    assert names(here) == ["tiny.bf16.ts"]


def test_a_network_that_cannot_be_exported(tiny, here, monkeypatch):
    monkeypatch.setattr(torch.jit, "script", lambda _: exec("raise ValueError('no\\nway')"))
    with pytest.raises(PolypError, match=r"tiny: its network cannot be exported as torchscript: ValueError: no$"):
        export(tiny, "torchscript")
    assert names(here) == []


def test_a_missing_package(tiny, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PolypError, match=r"needs onnxscript, not installed here; pip install 'polyp_monai\[runtime\]'"):
        export(tiny, "onnx")
    assert names(here) == []


@pytest.fixture
def onnx_packages():
    for name in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(name)


@pytest.mark.usefixtures("onnx_packages")
def test_int8(tiny, here, dataset, monkeypatch):
    said = str(export(tiny, "onnx", "int8", data=str(dataset)))
    assert "tiny.int8.onnx: 0.0 MB; mean Dice 0." in said
    for name in runtime.READERS[".onnx"]:
        assert runtime.load(name, here / "tiny.int8.onnx", CPU).about.precision == "int8"
    spoil(monkeypatch, "onnx", lambda layer: layer.bias.fill_(-60))  # of which the quantizer makes int8
    with pytest.raises(PolypError, match=r"falls from 0\.\d+ to 0\.0000, by more than 0\.005; the file is not kept"):
        export(tiny, "openvino", "int8", data=str(dataset))
    assert names(here) == ["tiny.int8.onnx"]


@pytest.mark.usefixtures("onnx_packages")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_openvino_writes_two_files(tiny, here, dataset, precision):
    stem = "tiny" if precision == "fp32" else f"tiny.{precision}"
    export(tiny, "openvino", precision, data=str(dataset))
    assert names(here) == [f"{stem}.bin", f"{stem}.xml"]
    assert precision in runtime.load("openvino", here / f"{stem}.xml", CPU).description
    with pytest.raises(PolypError, match="exists already"):
        export(tiny, "openvino", precision, data=str(dataset))


def seasoned(name: str, out: Path) -> Path:
    """A copy of a shipped bundle with weights: its own, or drawn ones whose batch norms have seen frames."""
    root = Path(shutil.copytree(shipped()[name], out / name))
    if not (root / "models/model.pt").is_file():
        torch.manual_seed(0)
        network = BundleConfig(root)["network_def"].train()
        frames = agreement.batches(agreement.synthetic_frames(), 96)[1]
        with torch.no_grad():
            for _ in range(5):
                network(frames)
        checkpoints.save(root / "models/model.pt", network.state_dict())
    return root


@pytest.mark.slow
@pytest.mark.usefixtures("onnx_packages")
@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_bundle_agrees_as_onnx_in_both_runtimes(name, here, tmp_path):
    root = seasoned(name, tmp_path)
    print(export(root, "onnx"))
    path = here / f"{name}.onnx"
    config = BundleConfig(root)
    network = checkpoints.load_weights(config["network_def"], root / "models/model.pt").eval()
    frames = agreement.batches(agreement.synthetic_frames(), config["image_size"])
    for reader in runtime.READERS[".onnx"]:
        found = agreement.check(network, runtime.load(reader, path, CPU), frames, f"{name} in {reader}")
        print(f"{name}: {path.stat().st_size / 1e6:.1f} MB, {reader} {found:.1e}")


@pytest.mark.usefixtures("onnx_packages")
def test_an_onnx_file_holds_no_path_of_this_machine(tiny, here):
    made = export(tiny, "onnx")
    assert str(Path(__file__).resolve().parents[2]).encode() not in made.path.read_bytes()
    for shipped_file in (shipped()["efficient_unet"] / "models").glob("*.onnx"):
        assert b"polyp_monai/networks" not in shipped_file.read_bytes()
