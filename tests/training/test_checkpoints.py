"""Weights as anybody may hand them over."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints


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


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04" + bytes(50)])
def test_a_damaged_file_is_called_damaged(content, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(PolypError, match="not a readable checkpoint; it is damaged"):
        checkpoints.read(tmp_path / "w.pt")
