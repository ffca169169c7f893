"""Bundles from elsewhere on the command line: looked at, trusted by their digest, packed and fetched."""

from __future__ import annotations

import json
import shutil

import pytest

from polyp_monai.cli.grammar import Parser
from polyp_monai.cli.main import COMMANDS, _declared, main
from polyp_monai.sharing import trust
from polyp_monai.sharing.inspection import inspect
from tests.cli.conftest import fails


@pytest.fixture
def strange(trained, tmp_path, monkeypatch):
    """A trained bundle that brings code of its own."""
    monkeypatch.setattr(trust, "_given", set())
    monkeypatch.setenv(trust.FOLDER, str(tmp_path / "home"))
    root = shutil.copytree(trained, tmp_path / "strange")
    (root / "scripts").mkdir()
    (root / "scripts/net.py").write_text("import torch\n")
    return root


def test_every_command_that_runs_a_bundle_takes_its_digest():
    def takes(name):
        return "trust" in _declared(Parser(prog=f"polyp {name}"), name, []).known

    assert [name for name in COMMANDS if takes(name)] == [
        *("train", "sweep", "evaluate", "predict", "export", "video", "pack", "card", "fetch")
    ]


def test_what_is_unknown_is_used_by_its_digest_and_then_remembered(strange, dataset, tmp_path, capsys, monkeypatch):
    words = ["predict", strange, dataset / "images", "--out", tmp_path / "masks", "--device", "cpu"]
    digest = inspect(strange).digest
    assert f"--trust {digest}" in fails(capsys, *words)
    assert "--trust abc: expected the 64 digits" in fails(capsys, "fetch", "sent.zip", "--trust", "abc")
    assert main([*map(str, words), "--trust", digest]) == 0
    monkeypatch.setattr(trust, "_given", set())
    assert main([*map(str, words), "--overwrite"]) == 0


def test_a_bundle_is_packed_pushed_looked_at_and_fetched(trained, dataset, tmp_path, capsys, monkeypatch):
    def result(*words):
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(trained, tmp_path / "mine")
    assert main(["evaluate", "mine", "--data", str(dataset), "--device", "cpu"]) == 0
    card = result("card", "mine", "mine/eval/test")
    assert 0 <= card["eval_metrics"]["mean_dice"] <= 1
    assert "| scored on |" in (root / "docs/README.md").read_text()
    packed = result("pack", "mine")
    (tmp_path / "shelf").mkdir()
    assert result("push", "mine.zip", "shelf")["sha256"] == packed["sha256"]
    assert result("inspect", "shelf/mine.zip")["level"] == "known"
    fetched = result("fetch", "shelf/mine.zip", "--sha256", packed["sha256"], "--out", "theirs")
    assert fetched["bundle"] == str(tmp_path / "theirs")
    assert "another --out" in fails(capsys, "pack", "mine")
    assert "exists already" in fails(capsys, "fetch", "shelf/mine.zip", "--out", "theirs")
    assert "no such export; known are onnx" in fails(capsys, "pack", "mine", "--out", "b.zip", "--with", "tflite")


def test_what_is_no_bundle_is_not_called_clean(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    shutil.make_archive(str(tmp_path / "empty"), "zip", tmp_path / "folder")
    for name in ("folder", "empty.zip"):
        assert "holds no bundle" in fails(capsys, "inspect", tmp_path / name)
