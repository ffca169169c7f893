"""Weights on disk: whole or not there, and never of another network."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


def test_what_is_saved_is_read(network, tmp_path):
    checkpoints.save(tmp_path / "deep/model.pt", network.state_dict())
    read = checkpoints.read(tmp_path / "deep/model.pt")
    assert read.keys() == network.state_dict().keys()
    assert all(torch.equal(value, read[key]) for key, value in network.state_dict().items())


def test_weights_go_into_the_network(network, tmp_path):
    checkpoints.save(tmp_path / "model.pt", network.state_dict())
    other = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    assert checkpoints.load_weights(other, tmp_path / "model.pt") is other
    assert torch.equal(other[0].weight, network[0].weight)


def test_a_save_that_fails_leaves_the_old_file(network, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    checkpoints.save(path, network.state_dict())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, {"other": torch.zeros(3)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(PolypError, match=r"none\.pt: no such weights; train the bundle first"):
        checkpoints.read(tmp_path / "none.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(50), "cut"])
def test_a_damaged_file_is_named(network, tmp_path, content):
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    path = tmp_path / "model.pt"
    path.write_bytes(buffer.getvalue()[:200] if content == "cut" else content)
    with pytest.raises(PolypError, match=r"model\.pt: not a readable checkpoint"):
        checkpoints.read(path)


def test_a_flipped_bit_of_the_numbers_is_noticed(network, tmp_path):
    checkpoints.save(path := tmp_path / "model.pt", network.state_dict())
    with zipfile.ZipFile(path) as archive:
        place = next(info for info in archive.infolist() if "/data/" in info.filename).header_offset + 128
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(PolypError, match=r"model\.pt: is damaged"):
        checkpoints.read(path)


class Payload:
    def __reduce__(self):
        return os.system, ("touch /tmp/polyp-was-here",)


@pytest.mark.parametrize(
    ("content", "named"),
    [(Payload(), "system"), (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear")],
)
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_python_objects_are_called_so_and_nothing_is_run(content, named, write, tmp_path):
    write(content, tmp_path / "w.pt")
    with pytest.raises(PolypError, match=r"w\.pt: holds Python objects \(.*\), which can run code") as error:
        checkpoints.read(tmp_path / "w.pt")
    assert named.rpartition(".")[2] in str(error.value)
    assert not os.path.exists("/tmp/polyp-was-here")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("0.weight"), "1 tensors missing, 0 unknown, 0 of another shape, such as 0.weight"),
        (lambda state: state.update({"9.weight": torch.zeros(1)}), "0 tensors missing, 1 unknown"),
        (lambda state: state.update({"0.bias": torch.zeros(5)}), "1 of another shape, such as 0.bias"),
        (lambda state: state.update({"0.bias": torch.tensor([0.0, torch.nan])}), "not finite, such as in 0.bias"),
        (lambda state: state.update({"0.bias": "text"}), "holds no plain state dict"),
    ],
)
def test_weights_of_another_network_are_refused_and_none_is_taken(network, tmp_path, change, text):
    state = dict(network.state_dict())
    change(state)
    checkpoints.save(tmp_path / "model.pt", state)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(PolypError, match=text):
        checkpoints.load_weights(network, tmp_path / "model.pt")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_an_earlier_training_is_in_the_way(tmp_path):
    checkpoints.check_free(tmp_path / "new")
    (tmp_path / "model.pt").touch()
    with pytest.raises(PolypError, match=r"model\.pt: holds an earlier training; add (?!.*resume)"):
        checkpoints.check_free(tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(PolypError, match=r"last\.pt: holds an earlier training; add --resume"):
        checkpoints.check_free(tmp_path)
