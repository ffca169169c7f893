"""The grammar that all commands share, on a command of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyp_monai.bundle import values
from polyp_monai.bundle.options import Option
from polyp_monai.cli.grammar import Mistakes, Parser
from polyp_monai.errors import CombinedError, PolypError

KEYS = {
    "overlay": Option("overlay", False, "draw"),
    "balance": Option("balance", True, ""),
    "learning_rate": Option("learning_rate", 0.1, "step"),
    "network_def": Option("network_def", {"body": {"bias": True, "width": 4}}, ""),
}


@pytest.fixture
def parser() -> Parser:
    found = Parser(prog="polyp thing")
    found.add_argument("inputs", nargs="+")
    found.option("out", "DIR", "where", Path)
    found.option("max-miss-rate", "SHARE", "share", values.number(0, 1), default=0.1)
    found.option("data", "DIR", "several", action="append")
    found.option("smooth", "", "how", values.one_of("none", "flow"), default="flow")
    found.flag("overwrite", "replace")
    found.flag("no-crop", "keep the border")
    found.keys(KEYS, "configs/thing.yaml")
    return found


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--overwrite"], "overwrite", True),
        (["--overwrite", "true"], "overwrite", True),
        (["--overwrite", "false"], "overwrite", False),
        (["--overwrite=TRUE"], "overwrite", True),
        (["--no-overwrite"], "overwrite", False),
        (["--no-overwrite", "false"], "overwrite", True),
        (["--overwrite", "--no-overwrite"], "overwrite", False),
        ([], "crop", True),
        (["--no-crop"], "crop", False),
        (["--crop", "false"], "crop", False),
        (["--max-miss-rate", "0.2"], "max_miss_rate", 0.2),
        (["--max_miss_rate=0.2"], "max_miss_rate", 0.2),
        (["--out", "-"], "out", Path("-")),
        (["--data", "a", "--data", "b"], "data", ["a", "b"]),
    ],
)
def test_the_forms_of_an_option(parser, words, name, value):
    args, mistakes = parser.read([*words, "photo.jpg"])
    assert (getattr(args, name), args.inputs, mistakes.lines) == (value, ["photo.jpg"], [])


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--overlay"], {"overlay": "true"}),
        (["--overlay", "false"], {"overlay": "false"}),
        (["--no-overlay"], {"overlay": "false"}),
        (["--no_balance"], {"balance": "false"}),
        (["--learning-rate", "-3"], {"learning_rate": "-3"}),
        (["--learning_rate=1"], {"learning_rate": "1"}),
        (["--network-def::body::bias"], {"network_def::body::bias": "true"}),
        (["--network_def::body::width", "8"], {"network_def::body::width": "8"}),
        (["--network_def#body#width", "8"], {"network_def::body::width": "8"}),
    ],
)
def test_the_forms_of_a_key(parser, words, given):
    """A flag before an input does not swallow it."""
    args, mistakes = parser.read([*words, "photo.jpg"])
    assert (args.given, args.inputs, mistakes.lines) == (given, ["photo.jpg"], [])


@pytest.mark.parametrize("name", ["--max-miss-rate", "--learning-rate"])
def test_an_option_that_is_given_twice_is_said(name, parser, capsys):
    parser.read(["photo.jpg", name, "0.2", name, "0.3", "--data", "a", "--data", "b"])
    assert capsys.readouterr().err == f"polyp: {name}: is given twice, 0.3 counts\n"


def test_words_after_two_dashes_are_inputs(parser):
    assert parser.read(["a", "--", "--overlay"])[0].inputs == ["a", "--overlay"]


def test_inputs_may_stand_on_both_sides_of_options(parser):
    args, mistakes = parser.read(["a", "--out", "x", "b", "--overlay", "c"])
    assert (args.inputs, mistakes.lines) == (["a", "b", "c"], [])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--overlai", "a"], "did you mean --overlay?"),
        (["--learning-rat", "3", "a"], "did you mean --learning-rate?"),
        (["a", "--out"], "--out: a value is missing"),
        (["--out", "--overwrite", "a"], "--out: a value is missing"),
        (["--zebra", "1", "a"], "no such option of `polyp thing`; see `polyp thing --help`"),
        (["--no-out", "x", "a"], "--no-out: no such option"),
        (["--no-learning-rate", "3", "a"], "no such option"),
    ],
)
def test_words_that_cannot_be_understood(parser, words, text):
    args, mistakes = parser.read(words)
    assert args.inputs == ["a"]  # what is left over of a mistake is no second mistake
    assert len(mistakes.lines) == 1
    assert text in mistakes.lines[0]
    assert mistakes.status == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--max-miss-rate", "2"], "--max-miss-rate 2: expected 0 to 1"),
        (["--smooth", "flaw"], "expected none or flow; did you mean flow?"),
        (["--overwrite=maybe"], "--overwrite maybe: expected true or false"),
    ],
)
def test_values_that_are_wrong(parser, words, text):
    _, mistakes = parser.read([*words, "a"])
    assert (len(mistakes.lines), mistakes.status) == (1, 1)
    assert text in mistakes.lines[0]


def test_a_folder_is_of_this_machine(parser, tmp_path):
    args, mistakes = parser.read(["--out", "s3://bucket/x", "--data", "http://host/x", "a"])
    assert [line.partition(": ")[0] for line in mistakes.lines] == ["--out s3://bucket/x", "--data http://host/x"]
    assert "only `polyp predict --engine ray` writes to an address" in mistakes.lines[0]
    assert args.out is None
    assert parser.read(["--out", f"file://{tmp_path}", "a"])[0].out == tmp_path


def test_a_word_after_a_flag_that_is_no_input_may_have_been_its_value(parser):
    _, mistakes = parser.read(["photo.jpg", "--crop", "maybe"])
    mistakes.lines = ["/here/maybe: no such file", "photo.jpg: no such file"]
    with pytest.raises(CombinedError) as caught:
        mistakes.check()
    assert caught.value.lines == [
        "/here/maybe: no such file; of --crop the value is true or false",
        "photo.jpg: no such file",
    ]


def test_missing_arguments_are_named_with_the_other_mistakes(parser):
    with pytest.raises(CombinedError) as caught:
        parser.read(["--smooth", "flaw", "--zebra"])
    assert len(caught.value.lines) == 3
    assert "missing: inputs" in caught.value.lines[-1]
    assert caught.value.status == 2


def test_mistakes_are_collected():
    mistakes = Mistakes()
    with mistakes.collecting():
        raise PolypError("one")
    with mistakes.collecting():
        raise CombinedError(["two", "one"])
    with pytest.raises(CombinedError) as caught:
        mistakes.check()
    assert (caught.value.lines, caught.value.status) == (["one", "two"], 1)


def test_the_help_shows_comments_and_defaults(parser):
    shown = parser.format_help()
    assert "step (0.1)" in shown
    assert "--overlay" in shown
    assert "--no-crop" in shown
