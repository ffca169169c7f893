"""A hostile bundle is called dangerous, and nothing in it runs; ours and well-behaved ones are not."""

from __future__ import annotations

import shutil

import pytest

from polyp_monai.bundle.locate import shipped
from polyp_monai.sharing.findings import Level
from polyp_monai.sharing.inspection import inspect
from tests.sharing import hostile


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
    assert "UNet" in found.about["network"] and "all finite" in found.weights["models/model.pt"]
    assert {f.what for f in found.findings} >= {"UNet", "PILReader"} or found.of(Level.KNOWN)


def test_there_are_enough_tricks():
    assert len(hostile.HOSTILE) >= 60


@pytest.mark.parametrize("name", sorted(hostile.HOSTILE))
def test_hostile_bundles_are_dangerous_and_do_not_run(name, copy, tmp_path):
    canary = tmp_path / "canary"
    hostile.HOSTILE[name](copy, canary)
    found = inspect(copy)
    assert found.status == 4, found.text()
    assert not canary.exists()
    found.to_dict()
