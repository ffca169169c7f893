"""Old names are refused with the new one, and are no aliases."""

from __future__ import annotations

import pytest

from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.options import options
from polyp_monai.cli import renamed
from polyp_monai.cli.grammar import Parser
from polyp_monai.cli.main import COMMANDS, _declared
from tests.cli.conftest import fails, mistakes

WORDS = {  # what each command needs besides
    "train": ["unet", "--data", "x"],
    "prepare": ["synthetic", "--out", "x"],
    "calibrate": ["x"],
    "score": ["--pred", "x", "--truth", "x", "--out", "y"],
    "video": ["x.mp4"],
    "score-video": ["--pred", "x", "--truth", "y"],
}


@pytest.mark.parametrize(("old", "new"), renamed.COMMANDS.items())
def test_an_old_command_names_the_new_one(old, new, capsys):
    assert fails(capsys, old, "--pred", "x", status=2) == f"polyp: error: {old}: is called {new} now"
    assert new in COMMANDS


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(command, old, new) for command, flags in renamed.FLAGS.items() for old, new in flags.items()],
)
def test_an_old_flag_names_the_new_one(command, old, new, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error, *_ = mistakes(capsys, command, *WORDS[command], f"--{old}", "3", status=2)
    assert error == f"polyp: error: --{old}: is called {new} now"
    parser = _declared(Parser(prog=f"polyp {command}"), command, [])
    assert new[2:].replace("-", "_") in parser.known


@pytest.mark.parametrize(("old", "new"), renamed.KEYS.items())
def test_an_old_key_names_the_new_one_where_it_is_no_key(old, new):
    assert renamed.renamed(f"--{old}") == f"is called {new} now"
    assert renamed.renamed(old.replace("_", "-"), "train") == f"is called {new} now"


def test_a_name_that_is_known_is_not_refused():
    known = {**options(shipped()["unet"], "train"), **options(shipped()["unet"], "evaluate")}
    parser = Parser(prog="polyp train")
    parser.keys({name: option for name, option in known.items() if name in renamed.KEYS}, "train.yaml")
    for name in parser.known:
        parser.read([f"--{name}=true"])[1].check()
