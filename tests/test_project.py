"""What the files around the code say is true: versions, pins, copies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import polyp_monai
from polyp_monai.bundle.locate import shipped

HOME = Path(__file__).resolve().parents[1]
PINNED_FOR = {"python_version": "3.11"}  # what the bundles were measured with


def requirements(name: str) -> dict[str, Requirement]:
    """Package -> its line in a requirements file, of those lines that hold for `PINNED_FOR`."""
    lines = (HOME / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    return {one.name: one for one in found if one.marker is None or one.marker.evaluate(PINNED_FOR)}


def pins() -> dict[str, str]:
    """Package -> the version that requirements.txt pins."""
    return {name: str(one.specifier).removeprefix("==") for name, one in requirements("requirements.txt").items()}


@pytest.mark.parametrize("name", sorted(p.name for p in HOME.glob("requirements*.txt")))
def test_every_requirement_is_pinned(name):
    assert [str(one) for one in requirements(name).values() if not re.fullmatch(r"==[\w.]+", str(one.specifier))] == []


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_bundle_names_the_versions_that_are_pinned(name):
    metadata = json.loads((shipped()[name] / "configs/metadata.json").read_text(encoding="utf-8"))
    said = metadata["required_packages_version"] | {
        "torch": metadata["pytorch_version"],
        "monai": metadata["monai_version"],
        "numpy": metadata["numpy_version"],
    }
    known = pins() | {"polyp_monai": polyp_monai.__version__}
    assert said == {package: known.get(package) for package in said}


def test_the_changelog_begins_with_this_version():
    text = (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## ([\d.]+)", text, re.MULTILINE)[1] == polyp_monai.__version__
    assert f"version: {polyp_monai.__version__}" in (HOME / "CITATION.cff").read_text(encoding="utf-8")
