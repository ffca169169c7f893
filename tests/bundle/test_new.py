"""`polyp new`: a bundle for one's own network that passes what the shipped ones pass."""

from __future__ import annotations

import pytest
import yaml
from monai.bundle import ConfigWorkflow

from polyp_monai.cli.main import main

NETWORK = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, width=8, classes=1):
        super().__init__()
        self.down = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(width, classes, 2, stride=2)
    def forward(self, x):
        return self.up(torch.relu(self.down(x)))

class Stumbles(Tiny):
    def forward(self, x):
        return undefined

class Shrinks(Tiny):
    def forward(self, x):
        return self.down(x)[:, :1]

class EndsInASigmoid(Tiny):
    def forward(self, x):
        return super().forward(x).sigmoid()

class Ends(Tiny):
    def __init__(self):
        raise SystemExit(0)

class EndsLater(Tiny):
    def forward(self, x):
        raise SystemExit(0)

def nothing():
    return None

class Breaks(Tiny):
    def forward(self, x):
        raise ValueError("no such size")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(NETWORK)
    return path


def test_a_network_in_a_file_becomes_a_bundle_that_trains(file, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine", "--network", f"{file}:Tiny", "--divisor", "2", "--width", "4"]) == 0
    assert "mine" in capsys.readouterr().out
    body = yaml.safe_load((tmp_path / "mine/configs/model.yaml").read_text())["network_def"]["body"]
    assert body == {"_target_": "scripts.my_net.Tiny", "width": 4}
    small = ["--image_size", "64", "--epochs", "1", "--device", "cpu"]
    assert main(["train", "mine", "--data", str(dataset), *small]) == 0
    assert (tmp_path / "mine/models/model.pt").is_file()
    assert main(["evaluate", "mine", "--data", str(dataset), "--device", "cpu"]) == 0


def test_stock_monai_takes_it(dataset, tmp_path, monkeypatch):
    network = ["--network", "monai.networks.nets.SegResNet", "--divisor", "8", "--spatial_dims", "2"]
    assert main(["new", "seg", *network, "--in_channels", "3", "--init_filters", "4", "--out", str(tmp_path)]) == 1
    channels = ["--in_channels", "3", "--out_channels", "1", "--init_filters", "8"]
    assert main(["new", "seg", *network, *channels, "--out", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path / "seg")
    small = {"dataset_dir": str(dataset), "image_size": 64, "epochs": 1, "device": "cpu"}
    train = ConfigWorkflow("configs/train.yaml", workflow_type="train", **small)
    train.initialize()
    assert train.check_properties() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mine", "--network", "{file}:Shrinks"], "expected (2, 1, 64, 96)"),
        (["mine", "--network", "{file}:Breaks"], "no such size"),
        (["mine", "--network", "{file}:EndsInASigmoid"], "expected logits"),
        (["mine", "--network", "{file}:Absent"], "cannot be built"),
        (["mine", "--network", "{file}:Tiny", "--classes", "2"], "expected (2, 1, 64, 96)"),
        (["mine", "--network", "{file}:Tiny", "--divisor", "0"], "expected 1 or more"),
        (["mine", "--network", "{file}:Stumbles"], "the network fails: NameError"),
        (["mine", "--network", "{broken}:Tiny"], "cannot be built"),
        (["mine", "--network", "{file}:Tiny", "--depth", "3"], "depth"),
        (["mine", "--network", "{file}:Tiny", "--width", "$open('ran', 'w')"], "holds an expression of MONAI"),
        (["mine", "--network", "{file}:Tiny", "--width", "[{{'_target_': 'os.getcwd'}}]"], "--width"),
        (["mine", "--network", "{file}:Tiny", "--_target_", "os.getcwd"], "which can run code; write it into configs/"),
        (["mine", "--network", "nowhere.py:Tiny"], "nowhere.py: no such file"),
        (["mine", "--network", "no.such.Network"], "cannot be built"),
        (["my-net", "--network", "{file}:Tiny"], "letters, digits and _"),
        (["mine", "--network", "{file}:"], "my_net.py:CLASS"),
        (["mine", "--network", "{file}:nothing"], "is no network: it gives NoneType, expected a torch.nn.Module"),
        (["mine", "--network", "{file}:Ends"], "code that it ran ended the program (SystemExit 0)"),
        (["mine", "--network", "{file}:EndsLater"], "code that it ran ended the program (SystemExit 0)"),
        (["mine", "--network", "{file}:Tiny", "--out", "{broken}"], "broken.py: is a file; give the name of a folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(words, says, file, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_package")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main(["new", *(word.format(file=file, broken=broken) for word in words)]) == 1
    error = capfd.readouterr().err.strip()
    assert says in error
    assert "Traceback" not in error
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_an_existing_folder_stays(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").write_text("mine")
    assert main(["new", "mine", "--network", f"{file}:Tiny"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "mine/precious.txt").read_text() == "mine"
