"""A result says what made it."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from importlib import metadata

import pytest

from polyp_monai import provenance
from polyp_monai.bundle.locate import shipped


def test_a_run_says_its_command_time_and_versions(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/polyp", "evaluate", "my bundle", "--data", "a"])
    found = provenance.of_run()
    assert found["command"] == "polyp evaluate 'my bundle' --data a"
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["created"])
    assert timedelta(seconds=-1) <= age < timedelta(minutes=1)
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["packages"]["python"] == sys.version.split()[0]


def test_a_bundle_its_weights_and_its_data_are_known_again(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "datalist.json").write_bytes(b"{}")
    root = shipped()["unet"]
    found = provenance.of_bundle(root, tmp_path / "model.pt", tmp_path)
    assert found["bundle"] == "unet"
    assert found["bundle_version"] == json.loads((root / "configs/metadata.json").read_text())["version"]
    assert found["weights"] == str(tmp_path / "model.pt")
    assert found["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert found["datalist_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_other_bytes_have_another_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert provenance.digest(tmp_path / "a") != provenance.digest(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        provenance.digest(tmp_path / "c")


def test_weights_are_as_old_as_they_say_and_not_as_their_file(tmp_path):
    """A clone or an installation writes every file anew."""
    (tmp_path / "model.pt").write_bytes(b"weights")
    assert f"in a file of {datetime.now(timezone.utc):%Y-%m-%d}" in str(provenance.of_weights(tmp_path / "model.pt"))
    noted = {"created": "2024-02-03T04:05:06+00:00", "sets": [{"name": "a", "frames": 3}]}
    (tmp_path / provenance.TRAINED_ON).write_text(json.dumps(noted))
    assert "trained on a (3 frames), of 2024-02-03, sha256" in str(provenance.of_weights(tmp_path / "model.pt"))
    assert provenance.of_weights(shipped()["efficient_unet"] / "models/model.pt").created.startswith("2026-11-2")
