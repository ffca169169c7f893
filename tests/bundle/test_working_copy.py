"""The folder that a training works in: its own, whole, and writable."""

from __future__ import annotations

import shutil

import pytest

from polyp_monai.bundle import locate
from polyp_monai.data import lock
from polyp_monai.errors import PolypError


def test_a_copy_of_a_read_only_bundle_is_writable(bundle, tmp_path):
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with locate.working_copy(str(bundle), str(tmp_path / "run")) as root:
        assert {p.relative_to(root) for p in root.rglob("*") if p.is_file() and p.name != lock.NAME} == {
            p.relative_to(bundle) for p in bundle.rglob("*") if p.is_file()
        }
        assert all(path.stat().st_mode & 0o200 for path in (root, *root.rglob("*")))
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o755)


def test_a_copy_that_cannot_be_made_leaves_nothing(bundle, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"), locate.working_copy(str(bundle), str(tmp_path / "run")):
        pass
    assert not (tmp_path / "run").exists()


def test_two_trainings_do_not_meet(bundle, tmp_path):
    """The second would write its settings into the first one's bundle."""
    with locate.working_copy(str(bundle), str(tmp_path / "run")) as root:
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for name in (str(bundle), str(root)):
            second = locate.working_copy(name, str(tmp_path / "run"))
            with pytest.raises(PolypError, match="another run is writing there"), second:
                pass
        assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
        (root / "models").mkdir()
        (root / "models/model.pt").touch()
    assert (root / "configs/train.yaml").is_file()
    assert not (root / lock.NAME).exists()
