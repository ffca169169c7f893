"""A packed bundle is the same bundle wherever it is opened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

from polyp_monai.bundle import locate
from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.export import pack
from polyp_monai.sharing import archive, sums, transfer
from polyp_monai.sharing.inspection import inspect
from tests.cli.conftest import fails


@pytest.fixture(scope="module")
def zipped(trained, tmp_path_factory) -> Path:
    return pack.pack(trained, tmp_path_factory.mktemp("packed") / "my_unet.zip")


@pytest.fixture
def unpacked(zipped, tmp_path) -> Path:
    return archive.unpack(zipped, tmp_path / "shelf/my_unet")


def test_packing_twice_gives_equal_bytes(zipped, trained, tmp_path):
    assert pack.pack(trained, tmp_path / "my_unet.zip").read_bytes() == zipped.read_bytes()


def test_what_is_no_part_of_a_card_is_named(trained, tmp_path, caplog):
    root = shutil.copytree(trained, tmp_path / "own")
    (root / "docs/patients.csv").write_text("name\n")
    with pytest.raises(PolypError, match=r"x\.zip: lies in the bundle itself"):
        pack.pack(root, root / "x.zip")
    pack._stage(root, tmp_path / "staged")
    assert "goes into the zip too: docs/patients.csv" in caplog.text


def test_packing_what_was_unpacked_gives_equal_bytes(zipped, unpacked, tmp_path):
    assert pack.pack(unpacked, tmp_path / "again/my_unet.zip").read_bytes() == zipped.read_bytes()


def test_a_changed_byte_anywhere_is_noticed(unpacked):
    sums.check(unpacked)
    for name in sums.names(unpacked):
        raw = (unpacked / name).read_bytes()
        if raw:
            (unpacked / name).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
            with pytest.raises(PolypError, match="changed"):
                sums.check(unpacked)
            (unpacked / name).write_bytes(raw)


def test_it_is_clean_for_its_receiver(unpacked):
    found = inspect(unpacked)
    assert found.status == 0, [str(f) for f in found.findings if f.level]


def test_what_another_version_packed_is_fetched_and_looked_at(zipped, unpacked, tmp_path):
    """Its carried code differs from that installed here, and uses what other files of that use."""
    path = unpacked / "scripts/lib/polyp_monai/errors.py"
    path.write_text(path.read_text() + "\nimport tempfile\n")
    (unpacked / sums.NAME).write_text(sums.text(unpacked))
    archive.write(archive.files_below(unpacked), tmp_path / "newer.zip", "newer")
    root = transfer.fetch(str(tmp_path / "newer.zip"), tmp_path / "newer")
    assert inspect(root).status == 3
    path.write_text(path.read_text() + "\nimport os\nos.system('true')\n")
    assert inspect(unpacked).status == 4


def test_a_name_that_a_receiver_does_not_know_is_not_in_a_message(unpacked, tmp_path, capsys):
    """Of a zip that is unpacked for a look, the zip is named."""
    (unpacked / "LICENSE").write_text("another")
    path = tmp_path / "sent.zip"
    archive.write(archive.files_below(unpacked), path, "sent")
    (tmp_path / "shared").mkdir()
    for words in (["fetch", path], ["push", path, tmp_path / "shared"]):
        assert fails(capsys, *words) == f"polyp: error: {path}: LICENSE was changed since SHA256SUMS was written"
    (tmp_path / "signers").touch()
    assert f"{path}: is not signed" in fails(capsys, "inspect", path, "--verify", tmp_path / "signers")


@pytest.mark.parametrize("name", ["models/model.pt", "configs/inference.json"])
def test_a_damaged_bundle_is_called_damaged(unpacked, name):
    path = unpacked / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PolypError, match=f"is damaged: {name}: .*; get it again from where it came") as error:
        locate.find(str(unpacked))
    assert "--trust" not in str(error.value)


def test_carried_code_that_was_changed_is_not_clean(unpacked):
    path = unpacked / "scripts/lib/polyp_monai/errors.py"
    path.write_text(path.read_text() + "\n")
    assert inspect(unpacked).status == 3
    path.write_text(path.read_text() + "\nimport subprocess\n")
    assert inspect(unpacked).status == 4


def test_what_another_version_carries_is_to_look_at_and_not_dangerous(unpacked):
    for path in (unpacked / "scripts/lib").rglob("*.py"):
        path.write_text(path.read_text() + "\n# of another version\n")
    assert inspect(unpacked).status == 3


def test_it_holds_what_the_zoo_asks_for(unpacked):
    about = json.loads((unpacked / "configs/metadata.json").read_text())
    assert about["version"] in about["changelog"]
    assert "polyp_monai" not in about["required_packages_version"]
    assert {"fire", "pytorch-ignite", "opencv-python-headless"} <= about["required_packages_version"].keys()
    for name in ("LICENSE", "models/model.pt", "configs/inference.json", "configs/train.json", "docs/README.md"):
        assert (unpacked / name).is_file()
    for path in (unpacked / "configs").glob("*.json"):
        assert '"%' not in path.read_text()


@pytest.mark.real
def test_its_metadata_fits_the_official_schema(unpacked, real_data):
    from monai.bundle import verify_metadata

    schema = real_data / "monai/meta_schema_20240725.json"
    verify_metadata(meta_file=str(unpacked / "configs/metadata.json"), filepath=str(schema))


def test_safetensors_hold_the_same_numbers(unpacked):
    safetensors = pytest.importorskip("safetensors.torch")
    expected = torch.load(unpacked / "models/model.pt", weights_only=True)
    found = safetensors.load_file(unpacked / "models/model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_monai_reads_its_configs_from_the_zip(zipped):
    from monai.bundle import load_bundle_config

    parser = load_bundle_config(str(zipped), "inference.json")
    assert parser["network_def"]["_target_"] == "polyp_monai.networks.FrameNetwork"
    assert parser["_meta_"]["version"]


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_monai_loads_its_network_from_any_folder_and_leaves_no_traces(unpacked, kind, tmp_path, monkeypatch):
    from monai.bundle import load

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = sums.text(unpacked)
    network = load("my_unet", bundle_dir=str(unpacked.parent), source="github", workflow_type=kind, device="cpu")
    expected = torch.load(unpacked / "models/model.pt", weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert sums.text(unpacked) == before
    assert not list(elsewhere.iterdir())


def test_polyp_predicts_with_it(unpacked, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(unpacked), str(dataset / "images"), "--out", "masks", "--device", "cpu"]) == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "models/model.pt").unlink(), "train it first"),
        (lambda root: (root / "LICENSE").unlink(), "needs it"),
        (
            lambda root: (root / "scripts").mkdir() or (root / "scripts/a.py").write_text("import subprocess"),
            "not packed",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_and_nothing_written(trained, tmp_path, change, message):
    root = shutil.copytree(trained, tmp_path / "unet")
    change(root)
    with pytest.raises(PolypError, match=message):
        pack.pack(root, tmp_path / "out/unet.zip")
    assert not (tmp_path / "out").exists()


def test_names_that_monai_cannot_find_are_refused(trained, tmp_path):
    for name in ("unet_v0.1.zip", "my unet.zip", "unet.tar"):
        with pytest.raises(PolypError, match=r"NAME\.zip"):
            pack.pack(trained, tmp_path / name)
    (tmp_path / "unet.zip").touch()
    with pytest.raises(PolypError, match="exists"):
        pack.pack(trained, tmp_path / "unet.zip")


def test_the_entries_look_alike_on_every_machine(zipped):
    with zipfile.ZipFile(zipped) as opened:
        infos = opened.infolist()
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {(info.date_time, info.compress_type, info.external_attr >> 16) for info in infos} == {
        (archive.WHEN, zipfile.ZIP_STORED, 0o100644)
    }


@pytest.fixture(scope="module")
def stock_python(tmp_path_factory) -> Path:
    """A Python with MONAI and what it needs, where polyp_monai is not installed."""
    home = tmp_path_factory.mktemp("stock") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in there do not count
    python = home / "bin/python"
    found = subprocess.run([python, "-I", "-c", "import monai, polyp_monai"], capture_output=True, text=True)
    if "No module named 'polyp_monai'" not in found.stderr:
        pytest.skip("polyp_monai is installed beside MONAI, not in development mode")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_stock_monai_alone_predicts_the_same_masks(name, stock_python, dataset, tmp_path):
    from polyp_monai.bundle.read import BundleConfig

    root = shutil.copytree(shipped()[name], tmp_path / "repo" / name)
    frames = Path(os.environ.get("POLYP_TEST_FRAMES") or dataset / "images")
    if not (root / "models/model.pt").is_file():
        torch.manual_seed(1)
        network = BundleConfig(root)["network_def"]
        (root / "models").mkdir()
        torch.save(network.state_dict(), root / "models/model.pt")
    assert main(["predict", str(root), str(frames), "--out", str(tmp_path / "expected"), "--device", "cpu"]) == 0
    moved = archive.unpack(pack.pack(root, tmp_path / f"{name}.zip"), tmp_path / "moved" / name)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"CUDA_VISIBLE_DEVICES": ""}
    for config in ("json", "yaml"):
        words = ["run", "--config_file", f"configs/inference.{config}", "--dataset_dir", str(frames)]
        words += ["--output_dir", str(tmp_path / config)]
        command = [stock_python, "-m", "monai.bundle", *words]
        done = subprocess.run(command, cwd=moved, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").glob("*.png")}
        assert {path.name: path.read_bytes() for path in (tmp_path / config).glob("*.png")} == expected
    assert len(set(expected.values())) > 1  # frames of other content have other masks
    code = f"import sys; from monai.bundle import load; n = load({name!r}, bundle_dir='..', source='github')\n"
    code += "print(type(n).__name__, sys.modules['polyp_monai'].__file__)"
    for kind in ("train", "inference"):
        of_kind = code.replace("source=", f"workflow_type={kind!r}, source=")
        done = subprocess.run([stock_python, "-c", of_kind], cwd=moved, env=environment, capture_output=True, text=True)
        assert f"FrameNetwork {moved}" in done.stdout, done.stderr[-2000:]
