"""How mistakes reach the user, and the exit status."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from polyp_monai.data.files import MaskError
from polyp_monai.errors import CombinedError, PolypError, counted, exit_status, shortened, shown


def raising(error: BaseException):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (PolypError("a.png: is\n  damaged"), 1, ["polyp: error: a.png: is\\n  damaged"]),
        (CombinedError(["one", "two"]), 1, ["polyp: error: one", "polyp: error: two"]),
        (CombinedError(["one"], 2), 2, ["polyp: error: one"]),
        (KeyboardInterrupt(), 130, ["polyp: interrupted; nothing is half-written"]),
        (OSError(errno.EACCES, "Permission denied", "a"), 1, ["polyp: error: a: Permission denied"]),
        (
            OSError(errno.ENOSPC, "No space", "a"),
            1,
            ["polyp: error: a: the disk is full; free some space and run it again"],
        ),
    ],
)
def test_a_mistake_is_a_line_and_a_status(error, status, lines, capsys):
    assert exit_status(raising(error)) == status
    assert capsys.readouterr().err.splitlines() == lines


def test_a_rename_that_fails_names_its_target(tmp_path, capsys):
    """The other name is a temporary one, which the user never gave."""
    (tmp_path / ".partial-x").touch()
    target = tmp_path / ("y" * 300)
    assert exit_status(lambda: os.replace(tmp_path / ".partial-x", target)) == 1
    error = capsys.readouterr().err
    assert str(target) in error
    assert ".partial" not in error


def test_what_is_no_mistake_of_the_user_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: 1 // 0)


def test_a_reader_that_goes_away_ends_it_without_a_word():
    code = "from polyp_monai.errors import exit_status\nexit(exit_status(lambda: print('x' * 999_999)))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": Path(__file__).parents[1]}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_counts_and_lists():
    assert [counted(n, "frame") for n in (0, 1, 1200)] == ["0 frames", "1 frame", "1,200 frames"]
    assert shortened(["a", "b", "c"], 2) == "a, b and 1 more"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("höhe ü 腸.jpg\t", "höhe ü 腸.jpg\t"),
        ("a\x1b[2Jb", r"a\u001b[2Jb"),
        ("a\nb\rc", r"a\nb\rc"),
        ("a\x9b31m", r"a\u009b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u2028b\x7f", r"a\u2028b\u007f"),
    ],
)
def test_a_terminal_gets_no_character_that_it_would_obey(name, text, capsys):
    assert shown(name) == text

    def fail():
        raise PolypError(f"{name}: no such file")

    assert exit_status(fail) == 1
    assert capsys.readouterr().err == f"polyp: error: {text}: no such file\n"


def test_an_error_is_the_same_in_another_process():
    refused = pickle.loads(pickle.dumps(MaskError("dim-mask", "m.png", "is dark")))
    assert (str(refused), refused.code) == ("m.png: is dark", "dim-mask")
    several = pickle.loads(pickle.dumps(CombinedError(["one", "two"], 2)))
    assert (several.lines, several.status) == (["one", "two"], 2)
