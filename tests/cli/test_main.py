"""The command `polyp`: what a user types, sees, and gets wrong, whatever the command."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.options import options
from polyp_monai.cli.main import COMMANDS, main
from tests.cli.conftest import fails, mistakes

POLYP = [sys.executable, "-m", "polyp_monai"]
HEAVY = {"torch", "monai", "numpy", "cv2", "skimage"}


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_light(words):
    """No import of what takes long: `polyp --help` in a fifth of a second."""
    code = (
        "import sys; from polyp_monai.cli.main import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        f"assert not {HEAVY} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("ask", [lambda name: [name, "--help"], lambda name: ["help", name]])
def test_every_command_has_help_with_an_example(command, ask, capsys):
    with pytest.raises(SystemExit) as stop:
        main(ask(command))
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"polyp {command} " in re.split("(?m)^examples?:", shown)[1]
    assert "--json" in shown
    assert max(map(len, shown.splitlines())) <= 120


@pytest.mark.parametrize(
    ("command", "config"), [("train", "train"), ("evaluate", "evaluate"), ("predict", "inference")]
)
def test_help_lists_the_options_of_the_bundle(command, config, capsys):
    with pytest.raises(SystemExit):
        main([command, "efficient_unet", "--help"])
    shown = capsys.readouterr().out
    for name, option in options(shipped()["efficient_unet"], config).items():
        if name not in ("dataset_dir", "split", "inputs", "bundle_root", "output_dir"):
            assert f"--{name.replace('_', '-')}" in shown
            assert option.about
    assert "(384)" in shown


def test_without_a_command_the_main_job_is_shown(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"polyp {name} " in shown for name in ("prepare", "train", "evaluate", "predict", "help"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trian"], "did you mean train?"),
        (["help", "trian"], "did you mean train?"),
        (["xyz"], "known are prepare, train"),
        (["--verbose"], "no such command"),
        (["report"], "missing: RUN (see `polyp report --help`)"),
        (["score", "--pred", "x"], "missing: --truth, --out"),
        (["train"], "missing: BUNDLE, --data"),
        (["bundles", "extra"], "'extra': is not expected here"),
        (["compare", "a", "b", "--outt", "x"], "did you mean --out?"),
    ],
)
def test_words_that_cannot_be_understood(words, text, capsys):
    assert text in fails(capsys, *words, status=2)


def test_python_m_is_the_same():
    assert subprocess.run([*POLYP, "--version"], capture_output=True, text=True).stdout.startswith("polyp_monai ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(capsys):
    from polyp_monai.errors import exit_status

    def write():
        with open("/dev/full", "w") as file:
            file.write("x")

    assert exit_status(write) == 1
    assert "disk is full" in capsys.readouterr().err


def test_bundles_lists_every_bundle(capsys):
    assert main(["bundles"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in listed for name in shipped())


def test_json_is_one_document_on_stdout():
    shown = subprocess.run([*POLYP, "bundles", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(shown.stdout)
    assert [bundle["bundle"] for bundle in found] == list(shipped())
    assert found[0].keys() >= {"parameters", "measured_dice", "weights"}


def test_a_reader_that_goes_away_is_no_error():
    shown = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m polyp_monai --help | true"],
        capture_output=True,
        text=True,
    )
    assert shown.stderr == ""


def test_names_that_the_terminal_cannot_show(tmp_path):
    """An ASCII terminal gets them escaped; a name that is no UTF-8 does not end a command either."""
    out = tmp_path / "höhe"
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    words = [*POLYP, "prepare", "synthetic", "--count", "5", "--out", out]
    shown = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "h\\xf6he" in shown.stdout
    assert (out / "datalist.json").is_file()


def test_an_over_long_name_is_one_line(tmp_path, capsys):
    assert "File name too long" in fails(
        capsys, "prepare", "synthetic", "--count", "5", "--out", tmp_path / ("x" * 300)
    )


def test_tab_completion(tmp_path):
    """Commands, options, keys of the bundle, bundles, and the values of an option."""
    pytest.importorskip("argcomplete")

    def complete(line: str) -> list[str]:
        answer = tmp_path / "answer"
        environment = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
        environment |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
        subprocess.run(POLYP, env=os.environ | environment, check=True)
        return [word.strip() for word in answer.read_text().split("\n")]

    assert {"train", "score-video"} <= set(complete("polyp "))
    assert complete("polyp ev") == ["evaluate"]
    assert {"--data", "--learning-rate", "--resume"} <= set(complete("polyp train unet --"))
    assert {"efficient_unet", "unet"} <= set(complete("polyp train "))
    assert complete("polyp export unet --format on") == ["onnx"]
    assert "dice_focal" in complete("polyp train unet --loss ")
    assert set(complete("polyp predict --runtime ")) == {"torch", "onnxruntime", "openvino", "auto"}


def test_names_cannot_write_to_the_terminal(tmp_path, capsys):
    """In the result, in JSON, in the log, and in an error: a line stays a line, and no color is set."""
    odd = tmp_path / "a\x1b[31m\nb\x9b"
    for name in ("masks", "maps"):
        (odd / name).mkdir(parents=True)
        Image.fromarray(np.eye(48, dtype=np.uint8) * 255).save(odd / name / "c\rd\u202e.png")
    (odd / "maps/e\x1b.txt").write_text("")
    words = ["score", "--pred", odd / "maps", "--truth", odd / "masks", "--out", odd / "out", "--quick"]
    capsys.readouterr()
    assert main([*map(str, words)]) == 0
    plain = capsys.readouterr()
    assert main([*map(str, words), "--overwrite", "--json"]) == 0
    as_json = capsys.readouterr()
    assert main(["score", *map(str, words[1:])]) == 1
    shown = plain.out + plain.err + as_json.out + as_json.err + capsys.readouterr().err
    assert not set(shown) & set("\x1b\x9b\r\u202e")
    assert r"e\u001b.txt" in plain.err
    assert r"a\u001b[31m\nb\u009b" in plain.out
    assert json.loads(as_json.out)["runs"][0]["out"] == str(odd / "out")
    with open(odd / "out/frames.csv", newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["c\rd\u202e"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["score", "--pred", "a", "--truth", "b", "--out", ""], "--out: a value is missing"),
        (["score", "--pred", "a", "--truth", "b", "--out="], "--out: a value is missing"),
        (["compare", "a", ""], "an argument is empty"),
        (["report", "-x"], "-x: no such option; a file of that name is ./-x"),
        (["predict", "-x.jpg"], "-x.jpg: no such option; a file of that name is ./-x.jpg"),
    ],
)
def test_words_that_a_shell_gave_by_mistake(words, text, capsys):
    assert text in mistakes(capsys, *words, status=2)[0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["score", "--pred", "ftp://x/y", "--truth", "t", "--out", "o"], "ftp://x/y: no address that can be read"),
        (["score", "--pred", "p", "--truth", "https://x/y", "--out", "o"], "https://x/y: no address that can be read"),
        (
            ["score", "--pred", "p", "--truth", "t", "--out", "s3://x/y"],
            "--out s3://x/y: expected a path of this machine",
        ),
        (["sweep", "unet", "--data", "d", "--space", "s3://x", "--trials", "1"], "--space s3://x: expected a path"),
    ],
)
def test_an_address_in_the_place_of_a_path(words, text, capsys):
    assert text in fails(capsys, *words)


def test_the_nearest_bundle_is_named(capsys):
    assert "no such bundle; did you mean efficient_unet?" in fails(capsys, "predict", "efficient_unt", __file__)
    assert "did you mean unet?" in fails(capsys, "export", "unett", "--format", "onnx")


@pytest.mark.parametrize(
    "words",
    [
        ["prepare", "synthetic", "--count", "5", "--out"],
        ["score", "--pred", "{maps}", "--truth", "{maps}", "--quick", "--out"],
        ["compare", "{run}", "{run}2", "--out"],
    ],
)
def test_a_file_or_a_dangling_link_in_the_way_is_named(words, tmp_path, capsys):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.eye(48, dtype=np.uint8) * 255).save(tmp_path / "maps/a.png")
    for name in ("run", "run2"):
        assert main([*map(str, ["score", "--pred", tmp_path / "maps", "--truth", tmp_path / "maps", "--quick"]),
                     "--out", str(tmp_path / name)]) == 0  # fmt: skip
    words = [word.format(maps=tmp_path / "maps", run=tmp_path / "run") for word in words]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    below = "a.json" if words[0] == "compare" else "a"
    for place, text in (("file", "is a file"), ("link", "is not there")):
        error = fails(capsys, *words, tmp_path / place / below)
        assert text in error
        assert ".partial-" not in error
        if words[0] != "compare":
            assert text in fails(capsys, *words, tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"
