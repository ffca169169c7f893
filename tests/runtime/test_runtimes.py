"""Which runtime runs, what it is given, and that they all say the same."""

from __future__ import annotations

import ctypes
import gc
import logging
import shutil
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyp_monai import provenance, runtime
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.export import agreement, writers
from polyp_monai.export.export import checked_onnx
from polyp_monai.networks import FrameNetwork
from polyp_monai.runtime import openvino_runtime
from polyp_monai.runtime.exported import same_logits
from tests.runtime.conftest import change_version, save_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

CPU = torch.device("cpu")


def definition() -> FrameNetwork:
    return FrameNetwork(torch.nn.Conv2d(3, 1, 3, padding=1), divisor=8)


def network(name: str, root: Path, weights: Path | None = None) -> torch.nn.Module:
    return runtime.network(name, definition(), weights or root / "models/model.pt", root, CPU, checked_onnx)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_a_presence_is_asked_for_on_top_of_the_networks_own(tiny, name):
    weights, x = tiny / "models/model.pt", torch.rand(2, 3, 64, 96)
    plain = network(name, tiny).eval()(x)
    asking = runtime.network(name, definition(), weights, tiny, CPU, checked_onnx, presence=2.0).eval()(x)
    highest = plain.amax((2, 3), keepdim=True)
    torch.testing.assert_close(asking, torch.minimum(plain, highest - 2))


def predict(root: Path, frames: list[str], out: Path, *words: str) -> np.ndarray:
    """All masks, one after the other."""
    assert main(["predict", str(root), *frames, "--out", str(out), "--device", "cpu", *words]) == 0
    return np.concatenate([np.asarray(Image.open(path)).ravel() for path in sorted(out.glob("*.png"))])


def test_torch_is_the_network_itself_with_its_weights(tiny):
    own = definition()
    found = runtime.network("torch", own, tiny / "models/model.pt", tiny, CPU)
    assert found is own
    assert found.description.startswith("PyTorch")
    assert found.body.bias.item() == -2


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "auto"])
def test_predict_writes_the_same_masks_on_every_runtime(tiny, frames, tmp_path, name):
    expected = predict(tiny, frames, tmp_path / "torch")
    assert 0 < expected.mean() < 255
    found = predict(tiny, frames, tmp_path / name, "--runtime", name)
    assert (found != expected).mean() < 1e-4


@pytest.mark.parametrize(("name", "shown"), [("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_it_says_what_it_does(tiny, caplog, name, shown):
    caplog.set_level(logging.INFO, "polyp_monai")
    assert network(name, tiny).description.startswith(f"{shown} 2" if name == "openvino" else f"{shown} 1")
    assert caplog.text.count(f"exporting for {name}, once") == 1
    assert caplog.text.count(f"network: {shown} ") == 1


def members(path: Path) -> list[bytes] | None:
    """The contents of a zip; None of a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, zlib.error):
        return None


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".ts"])
def test_predict_takes_an_exported_file_as_weights(tiny, files, frames, tmp_path, suffix):
    expected = predict(tiny, frames, tmp_path / "torch")
    found = predict(tiny, frames, tmp_path / "file", "--weights", str(files[suffix]))
    assert (found != expected).mean() < 1e-4


def test_evaluate_says_what_ran(tiny, files, dataset, tmp_path):
    words = ["--data", str(dataset), "--out", str(tmp_path / "e"), "--weights", str(files[".onnx"])]
    assert main(["evaluate", str(tiny), *words, "--runtime", "onnxruntime", "--device", "cpu"]) == 0
    assert "ONNX Runtime" in (tmp_path / "e/summary.json").read_text()


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".ts"])
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 97, 131), (1, 3, 200, 77)])
@torch.no_grad()
def test_a_file_takes_any_batch_and_size(tiny, files, suffix, shape):
    batch = torch.rand(shape)
    expected = network("torch", tiny)(batch).sigmoid()
    for name in runtime.READERS[suffix]:
        found = runtime.load(name, files[suffix], CPU)(batch)
        assert found.shape == expected.shape
        assert (found.sigmoid() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".ts"])
def test_a_file_says_what_it_is(tiny, files, suffix):
    for name in runtime.READERS[suffix]:
        facts = runtime.load(name, files[suffix], CPU).about
        assert (facts.bundle, facts.bundle_version, facts.precision) == ("tiny", "0.1.0", "fp32")
        assert (facts.image_size, facts.fit, facts.crop, facts.threshold) == (64, "stretch", False, 0.5)
        assert facts.weights_sha256 == provenance.digest(tiny / "models/model.pt")
        assert list(facts.classes) == ["background", "polyp"]


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".ts"])
def test_a_file_of_another_bundle_or_version_is_refused(tiny, files, tmp_path, suffix):
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    with pytest.raises(PolypError, match=r"exported from the bundle tiny 0\.1\.0; this is other 0\.1\.0"):
        network("auto", other, files[suffix])
    change_version(tiny, "0.2.0")
    with pytest.raises(PolypError, match=r"tiny 0\.1\.0; this is tiny 0\.2\.0"):
        network("auto", tiny, files[suffix])


def test_a_file_of_older_weights_is_used_with_a_word(tiny, files, caplog):
    save_weights(tiny, redness=3)
    network("auto", tiny, files[".onnx"])
    assert "was exported from other weights" in caplog.text


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2", ".ts"])
def test_a_flipped_bit_anywhere_is_noticed_in_a_file_that_can_still_be_read(files, tmp_path, suffix):
    folder = shutil.copytree(files[suffix].parent, tmp_path / "exports")
    path, content = folder / files[suffix].name, files[suffix].read_bytes()
    for place in range(len(content) // 10, len(content), len(content) // 5):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        if suffix in (".pt2", ".ts") and members(path) == members(files[suffix]):
            continue  # between the members of a zip nothing is stored
        with pytest.raises(PolypError, match=r"is damaged: its content is not what its checksum says"):
            runtime.file("auto", path, CPU)


def test_a_file_of_before_there_were_checksums_is_taken(files, tmp_path):
    import onnx

    model = onnx.load(files[".onnx"])
    texts = {text.key: text.value for text in model.metadata_props if not text.key.endswith("onnx_sha256")}
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, tmp_path / "tiny.onnx")
    assert runtime.file("onnxruntime", tmp_path / "tiny.onnx", CPU).about.precision == "fp32"


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".bin", ".pt2", ".ts"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_file_gets_one_line(tiny, files, tmp_path, suffix, damage):
    folder = shutil.copytree(files[".onnx"].parent, tmp_path / "files")
    path = folder / f"tiny{suffix}"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"\x07" * len(whole), "empty": b""}[damage])
    name = path.with_suffix(".xml") if suffix == ".bin" else path
    for reader in runtime.READERS[name.suffix]:
        with pytest.raises(PolypError, match=r"damaged|export it again") as caught:
            network("torch" if reader == "torch" else reader, tiny, name)
        assert str(path.with_suffix("")) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_bin_that_is_missing_or_of_another_export(tiny, files, tmp_path):
    folder = Path(shutil.copytree(files[".xml"].parent, tmp_path / "files"))
    numbers = bytearray((folder / "tiny.bin").read_bytes())
    numbers[:4] = np.float32(0.25).tobytes()
    (folder / "tiny.bin").write_bytes(numbers)
    with pytest.raises(PolypError, match=r"tiny\.bin: is damaged, or does not belong"):
        network("auto", tiny, folder / "tiny.xml")
    (folder / "tiny.bin").unlink()
    with pytest.raises(PolypError, match=r"tiny\.bin: is missing"):
        network("auto", tiny, folder / "tiny.xml")


def foreign(path: Path, names: tuple[str, str], shape: list, props: dict[str, str] | None = None) -> Path:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]
    graph = helper.make_graph([helper.make_node("Identity", [names[0]], [names[1]])], "g", [ends[0]], [ends[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, props or {})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("reader", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("names", "shape", "text"),
    [
        (("data", "prob"), [1, 3, 224, 224], r"takes data \(1, 3, 224, 224\) and gives prob .* expected image"),
        (("image", "logits"), ["b", 3, 352, 352], r"takes image \(\?, 3, 352, 352\)"),
        (("image", "logits"), ["b", "c", "h", "w"], r"takes image \(\?, \?, \?, \?\)"),
        (("image", "logits"), ["b", 3, "h", "w"], "was not written by `polyp export`: its metadata has no bundle"),
    ],
)
def test_a_foreign_network_is_refused(tiny, tmp_path, reader, names, shape, text):
    with pytest.raises(PolypError, match=text):
        network(reader, tiny, foreign(tmp_path / "theirs.onnx", names, shape))


def test_metadata_that_cannot_be_read(tiny, files, tmp_path):
    props = {**runtime.load("onnxruntime", files[".onnx"], CPU).about.texts(), "image_size": "wide"}
    path = foreign(tmp_path / "theirs.onnx", ("image", "logits"), ["b", 3, "h", "w"], props)
    with pytest.raises(PolypError, match="its metadata cannot be read"):
        network("onnxruntime", tiny, path)


def test_a_runtime_that_does_not_read_the_file(tiny, files):
    with pytest.raises(PolypError, match=r"--runtime onnxruntime does not read it; openvino can"):
        network("onnxruntime", tiny, files[".xml"])


def test_unknown_runtime_and_missing_files(tiny, tmp_path):
    with pytest.raises(PolypError, match="--runtime tvm: no such runtime; known are auto, torch"):
        network("tvm", tiny)
    with pytest.raises(PolypError, match=r"none\.onnx: no such file"):
        network("auto", tiny, tmp_path / "none.onnx")
    with pytest.raises(PolypError, match=r"none\.pt: no such weights"):
        network("openvino", tiny, tmp_path / "none.pt")


def test_the_cache_is_used_again_and_serves_both_runtimes(tiny, cache, monkeypatch):
    network("openvino", tiny)
    kept = list(cache.iterdir())
    assert [path.suffix for path in kept] == [".onnx"]
    monkeypatch.setattr(writers, "onnx", None)
    for name in ("openvino", "onnxruntime", "auto"):
        assert name == "auto" or name in network(name, tiny).description.lower().replace(" ", "")
    assert list(cache.iterdir()) == kept


def test_other_weights_are_exported_anew(tiny, cache):
    batch = torch.rand(1, 3, 64, 64)
    first = network("onnxruntime", tiny)(batch)
    save_weights(tiny, redness=3)
    second = network("onnxruntime", tiny)(batch)
    assert len(list(cache.iterdir())) == 2
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("stale", [False, True])
def test_a_cached_file_that_is_damaged_or_of_other_code_is_made_anew(tiny, files, cache, tmp_path, stale):
    network("onnxruntime", tiny)
    (kept,) = cache.iterdir()
    if stale:
        save_weights(tiny, redness=3)
        facts = runtime.load("onnxruntime", kept, CPU).about
        writers.onnx(network("torch", tiny), kept, facts)
        save_weights(tiny)
    else:
        kept.write_bytes(kept.read_bytes()[:100])
    found = network("onnxruntime", tiny)
    assert same_logits(found, network("torch", tiny))
    assert same_logits(runtime.load("onnxruntime", kept, CPU), network("torch", tiny))


def test_an_export_beside_its_weights_is_used_and_one_of_other_weights_is_not(tiny, cache):
    network("onnxruntime", tiny)
    (made,) = cache.iterdir()
    beside = tiny / "models/model.onnx"
    made.rename(beside)
    assert agreement.same_logits(network("onnxruntime", tiny), network("torch", tiny))
    assert list(cache.iterdir()) == []
    save_weights(tiny, redness=3)
    assert agreement.same_logits(network("onnxruntime", tiny), network("torch", tiny))
    assert len(list(cache.iterdir())) == 1


def test_an_export_that_differs_is_not_kept(tiny, cache, monkeypatch, caplog):
    monkeypatch.setattr(agreement, "TOLERANCE", -1)
    with pytest.raises(PolypError, match=r"the export in OpenVINO .*: its probabilities differ"):
        network("openvino", tiny)
    assert list(cache.iterdir()) == []
    assert network("auto", tiny).description.startswith("PyTorch")
    assert caplog.text.count("not with ") == 2


def test_a_cache_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("POLYP_CACHE", str(tmp_path / "file"))
    assert network("auto", tiny).description.startswith("PyTorch")
    with pytest.raises(PolypError, match="POLYP_CACHE"):
        network("openvino", tiny)


@pytest.mark.parametrize("missing", ["openvino", "onnxscript"])
def test_a_package_that_is_not_installed(tiny, monkeypatch, caplog, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PolypError, match=rf"needs {missing}, not installed here; pip install 'polyp_monai\[runtime\]'"):
        network("openvino", tiny)
    caplog.set_level(logging.INFO, "polyp_monai")
    expected = "ONNX Runtime" if missing == "openvino" else "PyTorch"
    assert network("auto", tiny).description.startswith(expected)
    assert f"network: {expected}" in caplog.text


def test_a_file_goes_to_what_is_installed(tiny, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert network("torch", tiny, files[".onnx"]).description.startswith("ONNX Runtime")
    with pytest.raises(PolypError, match=r"pip install 'polyp_monai\[runtime\]'"):
        network("auto", tiny, files[".xml"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PolypError, match=r"pip install 'polyp_monai\[runtime\]'"):
        network("auto", tiny, files[".onnx"])


def test_a_cuda_device_gets_torch(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr("polyp_monai.runtime.torch_network.ready", lambda *args: asked.append(args[1]) or definition())
    monkeypatch.setattr(torch.nn.Module, "description", "PyTorch", raising=False)
    runtime.network("auto", definition(), tiny / "models/model.pt", tiny, "cuda:0")
    assert asked == [torch.device("cuda:0")]


class SignalStack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's stack_t")
def test_a_signal_finds_its_stack_when_another_thread_let_go_of_openvino(files):
    """On processors with AMX OpenVINO sets the stack of this thread's signals: it must not be freed."""
    held = [openvino_runtime.load(files[".xml"], CPU)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    if stack.start:
        mapped = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
        assert any(int(low, 16) <= stack.start and stack.start + stack.size <= int(high, 16) for low, high in mapped)
