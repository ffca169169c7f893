"""A sweep: checked before it starts, shared by workers, finished when one of them dies."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyp_monai.bundle.locate import shipped
from polyp_monai.cli.main import main
from polyp_monai.errors import CombinedError, PolypError
from polyp_monai.report.sweep import write_sweep
from polyp_monai.sweep import space
from tests.cli.conftest import mistakes
from tests.conftest import small_options

optuna = pytest.importorskip("optuna")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def words(dataset: Path, folder: Path, trials: int, text: str, *more: str) -> list[str]:
    file = write(folder / "space.yaml", text)
    given = ["--data", str(dataset), "--space", str(file), "--trials", str(trials), "--out", str(folder / "out")]
    return ["sweep", "unet", *given, *small_options(epochs="2"), *more]


def test_a_space_is_read(tmp_path):
    file = write(
        tmp_path / "space.yaml",
        "learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "batch_size: {low: 4, high: 16, step: 4}\n"
        "loss: [dice, tversky]\n",
    )
    found = space.read(file, shipped()["unet"])
    assert found["learning_rate"] == space.Range(1e-4, 1e-2, log=True)
    assert found["batch_size"] == space.Range(4, 16, step=4)
    assert found["loss"] == space.Choice(("dice", "tversky"))


def test_an_option_stands_there_once(tmp_path):
    with pytest.raises(PolypError, match=r"space.yaml: cannot be read \(line 2\): the key 'seed' stands there twice"):
        space.read(write(tmp_path / "space.yaml", "seed: [1]\nseed: [2]\n"), shipped()["unet"])


def test_all_that_is_wrong_with_a_space_is_said(tmp_path):
    text = "learning_rates: [1]\nthreshold: {low: 0.5, high: 2}\nepochs: {low: 9, high: 3}\n"
    text += "fold: [1/2]\nseed: 3\nloss: [dise]\n"
    with pytest.raises(CombinedError) as error:
        space.read(write(tmp_path / "space.yaml", text), shipped()["unet"])
    lines = error.value.lines
    assert len(lines) == 6
    assert all(line.startswith(f"{tmp_path}/space.yaml: ") for line in lines)
    for part in ("did you mean", "expected 0 to 1", "low below high", "sweep itself", "list of values", "no such loss"):
        assert any(part in line for line in lines), part


def test_a_key_in_both_places_and_no_data(tmp_path, capsys, dataset):
    lines = mistakes(capsys, *words(dataset, tmp_path, 1, "epochs: [1, 2]\n"), status=1)
    assert any("--epochs: is in" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_trials_do_not_go_into_a_data_set(tmp_path, capsys, dataset):
    before = sorted(dataset.rglob("*"))
    given = words(dataset, tmp_path, 1, "seed: [1, 2]\n", "--out", str(dataset / "sweep"))
    assert "lies in the data set" in mistakes(capsys, *given, status=1)[0]
    assert sorted(dataset.rglob("*")) == before


def test_the_page_of_a_sweep(tmp_path):
    options = [{"lr": 0.1 * n, "loss": "ab"[n % 2]} for n in range(4)]
    rows = [
        {
            "trial": n,
            "state": "complete",
            "score": 0.5 + 0.1 * n,
            "steps": 2,
            "seconds": 3.0,
            "folder": "",
            "options": o,
        }
        for n, o in enumerate(options)
    ]
    rows.append({**rows[0], "trial": 4, "state": "pruned", "score": None})
    content = {"study": "<unet>", "trials": rows, "best": rows[3], "importances": {"lr": 0.7, "loss": 0.3}}
    page = write_sweep(content, tmp_path / "report.html").read_text()
    assert "Sweep &lt;unet&gt;" in page
    assert page.count("<svg viewBox") >= 3
    assert "4 complete, 1 pruned" in page


@pytest.mark.slow
def test_trials_by_one_worker_and_more_later(tmp_path, dataset, capsys):
    text = "learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
    assert main(words(dataset, tmp_path, 2, text)) == 0
    assert main(words(dataset, tmp_path, 3, text)) == 0
    content = json.loads((tmp_path / "out/summary.json").read_text())
    assert [trial["state"] for trial in content["trials"]] == ["complete"] * 3
    best = max(content["trials"], key=lambda trial: trial["score"])
    assert content["best"] == best
    log = csv.DictReader((tmp_path / "out" / best["folder"] / "eval/training.csv").open())
    assert max(float(row["validation"]) for row in log) == pytest.approx(best["score"])
    assert len(list(csv.DictReader((tmp_path / "out/trials.csv").open()))) == 3
    other = words(dataset, tmp_path, 4, "learning_rate: [0.1]\n")
    assert "was made with another space" in mistakes(capsys, *other, status=1)[0]


@pytest.mark.slow
def test_folds_are_averaged(tmp_path, dataset):
    assert main(words(dataset, tmp_path, 1, "seed: [1]\n", "--folds", "2")) == 0
    (trial,) = json.loads((tmp_path / "out/summary.json").read_text())["trials"]
    assert trial["steps"] == 2
    best = []
    for fold in ("fold-1", "fold-2"):
        log = csv.DictReader((tmp_path / "out" / trial["folder"] / fold / "eval/training.csv").open())
        best.append(max(float(row["validation"]) for row in log))
    assert trial["score"] == pytest.approx(sum(best) / 2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the training of a killed worker ends on Linux")
@pytest.mark.parametrize("kind", ["sqlite:///{}/study.db", "journal:{}/study.log"])
def test_two_workers_of_which_one_is_killed(tmp_path, dataset, kind):
    storage = ["--storage", kind.format(tmp_path), "--heartbeat", "2"]
    command = words(dataset, tmp_path, 4, "learning_rate: {low: 1e-4, high: 1e-2, log: true}\n", *storage)
    polyp = [sys.executable, "-m", "polyp_monai"]
    both = [subprocess.Popen([*polyp, *command], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 300
    while not list((tmp_path / "out").glob("trial-*/models/last.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(both[0].pid, signal.SIGKILL)
    shown = both[1].communicate(timeout=600)[1]
    both[0].communicate()
    assert both[1].returncode == 0, shown
    assert main(command) == 0  # nothing is left to do
    trials = json.loads((tmp_path / "out/summary.json").read_text())["trials"]
    states = [trial["state"] for trial in trials]
    assert states.count("complete") + states.count("pruned") == 4
    assert "running" not in states
    assert "waiting" not in states
    lost = [trial for trial in trials if trial["state"] == "fail"]
    assert len(lost) == 1
    assert [t["options"] for t in trials if t["folder"] == lost[0]["folder"]] == [lost[0]["options"]] * 2
