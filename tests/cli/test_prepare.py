"""`polyp prepare`: its options, its result as JSON, and what it replaces."""

from __future__ import annotations

import json

import pytest

from polyp_monai.cli.main import main
from tests.cli.conftest import fails, mistakes


def test_json_is_the_summary(tmp_path, capsys):
    out = tmp_path / "data"
    assert main(["prepare", "synthetic", "--count", "20", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["out"], sum(found["counts"].values())) == ("synthetic", str(out), 20)
    assert found["protocol"]["name"] == "ratio"
    assert isinstance(found["findings"], list)


@pytest.mark.slow
def test_another_split_takes_the_place_of_the_first_only_when_asked(tmp_path, capsys):
    out = tmp_path / "data"
    words = ["prepare", "synthetic", "--count", "20", "--out", str(out)]
    assert main(words) == 0
    before = (out / "datalist.json").read_bytes()
    for other in (["--seed", "1"], ["--protocol", "kfold"], ["--ratios", "0.6,0.2,0.2"]):
        assert "another protocol; give another --out or --overwrite" in fails(capsys, *words, *other)
    assert (out / "datalist.json").read_bytes() == before
    assert main(words) == 0  # the same again changes nothing
    assert main([*words, "--protocol", "kfold", "--overwrite"]) == 0
    assert json.loads((out / "datalist.json").read_text())["protocol"]["name"] == "kfold"


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["synthetic", "--count", "1000000000"], ["--count 1000000000: expected 1 to 100000"]),
        (["synthetic", "--count", "100001"], ["expected 1 to 100000"]),
        (["synthetic", "--seed", "-1"], ["--seed -1: expected 0 to 4294967295"]),
        (["syntetic"], ["did you mean synthetic?"]),
        (["synthetic", "--folds", "1", "--seed", "x", "--protocol", "no"], ["--folds 1", "--seed x", "--protocol no"]),
        (["kvasir-seg", "--count", "5", "--protocol", "no"], ["--count is not an option", "--protocol no"]),
    ],
)
def test_mistakes_are_named_at_once_and_nothing_is_written(words, texts, tmp_path, capsys):
    lines = mistakes(capsys, "prepare", *words, "--out", tmp_path / "out", status=1)
    assert len(lines) == len(texts)
    assert all(any(text in line for line in lines) for text in texts)
    assert list(tmp_path.iterdir()) == []
