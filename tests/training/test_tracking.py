"""`--tracking mlflow` on a real server."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from polyp_monai.cli.main import main
from polyp_monai.training import checkpoints
from tests.conftest import small_options

pytestmark = pytest.mark.slow
mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A client of an MLflow server on this machine, which the variable names."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address, folder = f"http://127.0.0.1:{port}", tmp_path / "mlflow"
    folder.mkdir()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", str(folder / "artifacts")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log)
    deadline = time.monotonic() + 600
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2)
            break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    yield mlflow.MlflowClient(address)
    process.terminate()
    process.wait(30)


def files(client, run: str, place: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run, place):
        found |= files(client, run, entry.path) if entry.is_dir else {entry.path}
    return found


def train(out: Path, dataset: Path, **options: str) -> None:
    words = ["train", "unet", "--data", dataset, "--out", out, "--tracking", "mlflow", *small_options(**options)]
    assert main([*map(str, words)]) == 0


def runs(client) -> list:
    (experiment,) = [e for e in client.search_experiments() if e.name == "polyp_monai"]
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def test_a_training_and_an_evaluation_are_on_the_server(server, tmp_path, dataset):
    out = tmp_path / "run"
    train(out, dataset, epochs="2")
    (run,) = runs(server)
    assert run.info.status == "FINISHED"
    assert run.data.params["data"] == checkpoints.read(out / "models/last.pt")["progress"]["recipe"]["data"]
    assert run.data.params["learning_rate"]
    rows = list(csv.DictReader((out / "eval/training.csv").open()))
    history = server.get_metric_history(run.info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in history] == [(int(r["epoch"]), float(r["loss"])) for r in rows]
    kept = files(server, run.info.run_id)
    assert {"bundle/configs/model.yaml", "bundle/models/model.pt", "bundle/LICENSE", "curves/training.csv"} <= kept
    assert "bundle/models/last.pt" not in kept
    assert main(["evaluate", str(out), "--data", str(dataset), "--device", "cpu", "--tracking", "mlflow"]) == 0
    evaluation = next(run for run in runs(server) if "evaluate" in run.info.run_name)
    assert "report/report.html" in files(server, evaluation.info.run_id)
    assert evaluation.data.params["datalist_sha256"]
    assert 0 <= evaluation.data.metrics["dice"] <= 1


def test_two_processes_make_one_run(server, tmp_path, dataset):
    train(tmp_path / "run", dataset, epochs="1", processes="2")
    train(tmp_path / "run", dataset, epochs="1", overwrite="true")
    assert [run.info.status for run in runs(server)] == ["FINISHED"] * 2
