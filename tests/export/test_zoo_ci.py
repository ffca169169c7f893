"""The checks that MONAI's model zoo makes of a bundle (its ci/verify_bundle.py and unit tests), offline, of ours."""

from __future__ import annotations

import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.export import pack
from polyp_monai.sharing import archive

REQUIRED = (  # by eval/schema.json, and what verify_bundle.py asks for besides
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format", "changelog", "name"),
)
OF_A_PORT = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
LARGE = 25_000_000  # bytes, above which the zoo keeps a file elsewhere


def with_weights(name: str, root: Path) -> Path:
    """A copy of the shipped bundle, with weights as drawn where it has none."""
    shutil.copytree(shipped()[name], root, ignore=shutil.ignore_patterns("eval", "predictions", "*.onnx"))
    if not (root / "models/model.pt").is_file():
        torch.manual_seed(1)
        (root / "models").mkdir(exist_ok=True)
        torch.save(BundleConfig(root)["network_def"].state_dict(), root / "models/model.pt")
    return root


# two of them quickly: packing takes its time
QUICK = ("efficient_unet", "unet")
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(shipped())]


@pytest.fixture(scope="module", params=EACH)
def packed(request, tmp_path_factory) -> Path:
    """Each of our bundles, as its receiver has it."""
    name, folder = request.param, tmp_path_factory.mktemp("zoo")
    zipped = pack.pack(with_weights(name, folder / "repo" / name), folder / f"{name}.zip")
    return archive.unpack(zipped, folder / name)


@pytest.fixture
def about(packed) -> dict:
    return json.loads((packed / "configs/metadata.json").read_text())


def test_what_the_zoo_wants_is_there(packed, about):
    for file in ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md"):
        assert (packed / file).is_file()
    assert about.keys() >= set(REQUIRED)
    assert about["version"] in about["changelog"]
    for ports in about["network_data_format"].values():
        assert all(port.keys() >= set(OF_A_PORT) for port in ports.values())
    ends = about["network_data_format"]
    assert (next(iter(ends["inputs"])), next(iter(ends["outputs"]))) == ("image", "pred")
    assert not list(packed.glob("large_files.*"))
    large = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.stat().st_size > LARGE}
    assert large <= {"models/model.pt", "models/model.safetensors"}  # of the networks of more than 6 M parameters


def test_its_packages_can_be_installed_by_name_and_version(about):
    pairs = {**about.get("optional_packages_version", {}), **about["required_packages_version"]}
    assert "polyp_monai" not in pairs
    for name, version in pairs.items():
        assert Requirement(f"{name}=={version}").specifier.contains(metadata.version(name).partition("+")[0])


def test_it_names_no_place_of_the_machine_that_packed_it(packed):
    texts = [p for p in packed.rglob("*") if p.suffix in (".json", ".yaml", ".md", ".txt", ".conf") and p.is_file()]
    for path in texts:
        assert not re.search(rf"/home/|/Users/|/root/|{re.escape(str(Path.cwd()))}", path.read_text()), path


@pytest.mark.real
def test_its_metadata_fits_the_official_schema(packed, real_data):
    from monai.bundle import verify_metadata

    schema = real_data / "monai/meta_schema_20240725.json"
    verify_metadata(meta_file=str(packed / "configs/metadata.json"), filepath=str(schema))


def test_its_network_takes_and_gives_what_its_metadata_says(packed):
    from monai.bundle import verify_net_in_out

    files = {"config_file": str(packed / "configs/inference.json"), "meta_file": str(packed / "configs/metadata.json")}
    verify_net_in_out(net_id="network_def", device="cpu", **files)


@pytest.mark.slow
def test_its_network_can_be_exported_by_monai(packed, tmp_path):
    from monai.bundle import ckpt_export
    from monai.data import load_net_with_metadata

    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(packed / "models/model.pt"),
        meta_file=str(packed / "configs/metadata.json"),
        config_file=str(packed / "configs/inference.json"),
    )
    network, about, _ = load_net_with_metadata(str(tmp_path / "model.ts"))
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)
    assert about["version"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "evaluate", "inference"])
def test_its_workflows_run_as_the_zoos_unit_tests_run_them(packed, kind, dataset, tmp_path, monkeypatch):
    """`ci/unit_tests/utils.py check_workflow`: initialize, no property missing, run, finalize."""
    from monai.bundle import ConfigWorkflow

    root = shutil.copytree(packed, tmp_path / packed.name)
    monkeypatch.chdir(root)
    frames = dataset / "images" if kind == "inference" else dataset
    options = {"dataset_dir": str(frames), "output_dir": str(tmp_path / "out"), "bundle_root": str(root)}
    options |= {"device": "cpu", "image_size": 64}
    if kind == "train":
        options |= {"epochs": 1, "ckpt_dir": str(tmp_path), "batch_size": 4, "num_workers": 0}
    workflow = ConfigWorkflow(
        config_file=f"configs/{kind}.json",
        meta_file="configs/metadata.json",
        logging_file=False,
        workflow_type={"train": "train", "inference": "infer"}.get(kind),  # MONAI has no properties of evaluations
        **options,
    )
    workflow.initialize()
    assert not workflow.check_properties()
    workflow.run()
    workflow.finalize()
    assert list((tmp_path / "out").rglob("*"))
