"""A hostile bundle is called dangerous, and nothing in it runs; ours and well-behaved ones are not."""

from __future__ import annotations

import json
import shutil
from importlib import metadata

import pytest

from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.data import lock
from polyp_monai.sharing import names
from polyp_monai.sharing.findings import Level
from polyp_monai.sharing.inspection import inspect
from tests.sharing import hostile, zoo


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return hostile.plain_bundle(tmp_path_factory.mktemp("plain") / "plain")


@pytest.fixture
def copy(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "plain")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_bundles_are_clean(name):
    found = inspect(shipped()[name])
    assert found.status == 0, [str(f) for f in found.findings if f.level]


def test_a_plain_bundle_is_clean_and_described(plain):
    found = inspect(plain)
    assert found.status == 0, [str(f) for f in found.findings if f.level]
    assert "UNet" in found.about["network"]
    assert "all finite" in found.weights["models/model.pt"]
    assert {"UNet", "reader: PILReader", "$import glob"} <= {f.what for f in found.of(Level.KNOWN)}


def test_the_lock_of_a_run_that_was_killed_is_no_finding(plain, tmp_path):
    root = shutil.copytree(plain, tmp_path / "plain")
    for place in (root, root / "eval/test"):
        place.mkdir(parents=True, exist_ok=True)
        (place / lock.NAME).write_text("process 1")
    assert inspect(root).status == 0


@pytest.mark.parametrize("name", zoo.NAMES)
def test_bundles_in_the_zoos_style_are_not_dangerous(name, tmp_path):
    found = inspect(zoo.write(name, tmp_path / name))
    assert found.status == 3, found.lines()
    assert not found.of(Level.DANGEROUS)


def test_weights_that_are_not_finite_are_said(plain, tmp_path):
    import torch

    root = shutil.copytree(plain, tmp_path / "plain")
    torch.save({"a": torch.tensor([1.0, float("nan")])}, root / "models/model.pt")
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16)}, root / "models/half.pt")
    found = inspect(root)
    assert found.status == 3
    assert "NOT all finite" in found.weights["models/model.pt"]
    assert "all finite" in found.weights["models/half.pt"]


def test_what_does_not_belong_is_said(plain, tmp_path):
    root = shutil.copytree(plain, tmp_path / "plain")
    (root / "notes.docx").write_text("x")
    (root / "models/holiday.jpg").write_text("x")
    assert {f.place for f in inspect(root).of(Level.UNKNOWN)} == {"notes.docx", "models/holiday.jpg"}


def test_what_cannot_be_read_is_unknown(plain, tmp_path):
    root = shutil.copytree(plain, tmp_path / "plain")
    (root / "configs/broken.json").write_text("{")
    (root / "configs/other.yaml").write_bytes(b"a: \xff\xfe")
    (root / "models/cut.pt").write_bytes((root / "models/model.pt").read_bytes()[:100])
    (root / "models/cut.safetensors").write_bytes(b"123")
    (root / "models/cut.onnx").write_bytes(b"\x3a\xff")
    found = {f.place for f in inspect(root).of(Level.UNKNOWN)}
    names = {"configs/broken.json", "configs/other.yaml", "models/cut.pt", "models/cut.safetensors", "models/cut.onnx"}
    assert names <= found


def test_every_known_name_is_there_and_no_module():
    """A name on the list that does not exist helps nobody, and a module on it would bring along all that it imports."""
    from pydoc import locate
    from types import ModuleType

    for name in sorted(names.known_names()):
        if "." in name:
            found = locate(name)
            assert found is not None, name
            assert not isinstance(found, ModuleType), name


def test_there_are_enough_tricks():
    assert len(hostile.HOSTILE) >= 130


def test_what_is_made_to_break_the_inspection_is_said(copy, capsys):
    """Long, deep and unpaired texts, each in a config of its own."""
    many = 30_000
    texts = {"long": "1" + " + 1" * many, "deep": "(" * 5_000, "minus": "-" * many + "1", "dots": "a" + ".b" * many}
    for name, text in texts.items():
        (copy / f"configs/{name}.json").write_text(json.dumps({"a": f"${text}"}))
    (copy / "configs/half.json").write_text('{"a": "$\\ud800", "b\\udfff": "$open"}')
    (copy / "configs/digits.json").write_text('{"a": ' + "1" * 6_000 + "}")
    assert main(["inspect", str(copy), "--json"]) == 4
    found = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["level"] != "known"]
    places = {f["place"].partition("::")[0] for f in found}
    assert {f"configs/{name}.json" for name in ("deep", "dots", "half", "digits")} <= places
    assert main(["inspect", str(copy)]) == 4


def test_requirements_of_known_packages_are_clean_and_others_to_look_at(copy):
    (copy / "requirements.txt").write_text("torch==2.13.0  # pinned\n\nPyYAML>=6,<7\n")
    assert inspect(copy).status == 0
    ours = [line for line in metadata.requires("polyp_monai") if "extra ==" not in line]
    (copy / "requirements.txt").write_text("\n".join(ours))
    assert inspect(copy).status == 0
    (copy / "requirements.txt").write_text("t0rch==2.13.0\n")
    assert inspect(copy).status == 3


def test_weights_by_the_name_of_pth_are_weights(copy):
    shutil.copyfile(copy / "models/model.pt", copy / "models/model.pth")
    assert inspect(copy).status == 0


@pytest.mark.parametrize("name", sorted(hostile.HOSTILE))
def test_hostile_bundles_are_dangerous_and_do_not_run(name, copy, tmp_path):
    canary = tmp_path / "canary"
    hostile.HOSTILE[name](copy, canary)
    found = inspect(copy)
    assert found.status == 4, found.lines()
    assert not canary.exists()
    found.to_dict()
