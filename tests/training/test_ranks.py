"""Several processes train one network: equal on all of them, exact in validation, resumable after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from polyp_monai.cli.main import main
from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints, ranks
from tests.cli.conftest import fails
from tests.conftest import small_options
from tests.training.test_training import assert_equal, curve, train, weights

POLYP = [sys.executable, "-m", "polyp_monai"]
PROBE = """
+run:
- "$torch.save({'network': @network.module.state_dict(), 'ema': @ema.ema_model.state_dict(), 'lr':
  @optimizer.param_groups[0]['lr']}, '%s/rank' + str(@rank) + '.pt')"
"""
VALIDATE = """
run:
- $@validate::evaluator.run()
- "$torch.save(dict(@validate::evaluator.state.metrics), '%s')"
"""


@pytest.fixture
def small(tmp_path, dataset) -> Path:
    """A bundle as `polyp train --print` makes it for torchrun: untrained, with a small network and a batch of six."""
    words = ["train", "unet", "--data", dataset, "--out", tmp_path / "small", *small_options(batch_size="6"), "--print"]
    assert main([*map(str, words)]) == 0
    return tmp_path / "small"


def torchrun(bundle: Path, processes: int, probe: str, *words: str) -> None:
    """`polyp train --print` shows the same line, without the probe."""
    (bundle / "configs/probe.yaml").write_text(probe)
    configs = ["configs/train.yaml", *["configs/multi_gpu_train.yaml"] * (processes > 1), "configs/probe.yaml"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] * (processes > 1)
    command = [sys.executable, *launcher, "-m", "monai.bundle", "run", "--config_file", str(configs), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, [line for line in result.stderr.splitlines() if "Error" in line]


def odd(dataset: Path, folder: Path, frames: int) -> Path:
    """The set with `frames` validation frames, two of them without a polyp."""
    from polyp_monai.data import files

    shutil.copytree(dataset, folder)
    content = json.loads((folder / "datalist.json").read_text())
    every = [entry for split in ("training", "validation", "test") for entry in content[split]]
    for entry in every[:2]:
        entry["polyp_area"] = 0
        mask = files.read_mask(folder / entry["label"])
        files.write_mask(folder / entry["label"], mask * 0)
    content |= {"validation": every[:frames], "training": every[frames:], "test": []}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def test_two_processes_by_one_command(tmp_path, dataset, capfd):
    out = tmp_path / "run"
    assert train(out, dataset, epochs="1", processes="2", fold="2/5") == 0
    assert [row[0] for row in curve(out)] == ["1"]  # one process writes them
    assert "epoch 1/1" in capfd.readouterr().err
    assert checkpoints.read(out / "models/last.pt")["progress"]["recipe"]["fold"] == "2/5"
    assert not list(out.glob(".polyp-lock"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--processes", "3"], "batch_size 4 cannot be shared by 3 processes; it is that of all together, and 3 can"),
        (["--processes", "2", "--nodes", "2"], "needs --rdzv HOST:PORT"),
        (["--nodes", "2", "--node-rank", "2", "--rdzv", "a:1"], "numbered from 0"),
        (["--node-rank", "1"], "--node-rank: is of several machines; give --nodes too"),
        (["--rdzv", "a:1"], "--rdzv: is of several machines; give --nodes too"),
        (["--processes", "2", "--rdzv", "here"], "expected HOST:PORT"),
        (["--processes", "2", "--device", "cuda"], "no CUDA device"),
    ],
)
def test_worlds_that_cannot_be(tmp_path, dataset, capsys, words, text):
    options = [word for word in small_options() if "--device" not in words or word not in ("--device", "cpu")]
    assert text in fails(capsys, "train", "unet", "--data", dataset, "--out", tmp_path / "run", *options, *words)
    assert not (tmp_path / "run").exists()


def test_gpus_is_called_processes(tmp_path, dataset, capsys):
    assert "--processes" in fails(capsys, "train", "unet", "--data", dataset, "--gpus", "8", status=2)


def test_the_batch_is_shared_whole():
    assert ranks.share_of_batch(12, 3) == 4
    with pytest.raises(PolypError, match="and 14 can"):
        ranks.share_of_batch(13, 7)


def test_the_learning_rate_follows_the_batch(tmp_path, dataset):
    assert train(tmp_path / "run", dataset, epochs="1", learning_rate="0.01", lr_batch_size="1", warmup="0") == 0
    assert checkpoints.read(tmp_path / "run/models/last.pt")["lr_scheduler"]["base_lrs"][0] == 0.02  # of 4 frames


def test_print_shows_the_line_and_trains_nothing(tmp_path, dataset, capsys):
    words = ["train", "unet", "--data", dataset, "--out", tmp_path / "run", *small_options(), "--processes", "8"]
    words += ["--nodes", "2", "--batch-size", "32", "--print"]
    capsys.readouterr()
    assert main([*map(str, words)]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"cd {tmp_path}/run && torchrun --nnodes=2 --nproc-per-node=8 --node-rank=$NODE_RANK ")
    assert "--config_file \"['configs/train.yaml','configs/multi_gpu_train.yaml']\"" in line
    assert not (tmp_path / "run/models").exists()
    assert "batch_size: 32\n" in (tmp_path / "run/configs/model.yaml").read_text()


def test_another_data_list_is_not_resumed(tmp_path, dataset, capsys):
    assert train(tmp_path / "run", dataset, epochs="1") == 0
    other = odd(dataset, tmp_path / "other", 4)  # as many training frames
    assert train(tmp_path / "run", other, epochs="1", resume="true") == 1
    assert "was trained with another data list; resume with the same" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_weights_are_equal_on_all_ranks(small, dataset, tmp_path, processes):
    data = odd(dataset, tmp_path / "odd", 5)
    torchrun(small, processes, PROBE % tmp_path, "--dataset_dir", str(data), "--epochs", "2", "--device", "cpu")
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]
    assert len({run["lr"] for run in found}) == 1
    for other in found[1:]:
        assert_equal(found[0]["network"], other["network"])
        assert_equal(found[0]["ema"], other["ema"])


@pytest.mark.slow
def test_validation_is_that_of_one_process(small, dataset, tmp_path, trained):
    data = odd(dataset, tmp_path / "odd", 7)
    words = ["--dataset_dir", str(data), "--device", "cpu", "--weights", str(trained / "models/model.pt")]
    found = {}
    for processes in (1, 2, 3):
        torchrun(small, processes, VALIDATE % (tmp_path / "metrics.pt"), *words, "--overwrite", "true")
        found[processes] = torch.load(tmp_path / "metrics.pt", weights_only=True)
    assert 0 < found[1]["val_score"] < 1
    for processes in (2, 3):
        assert found[processes] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.slow
def test_too_few_validation_frames_for_all_ranks(tmp_path, dataset, capsys):
    data = odd(dataset, tmp_path / "odd", 2)
    assert train(tmp_path / "run", data, epochs="1", batch_size="6", processes="3") == 1
    assert "2 validation frames cannot be shared by 3 processes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def workers(launcher: int) -> dict[int, int]:
    """Rank -> process, of the processes that a launcher started."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(item.split("=", 1) for item in (entry / "environ").read_text().split("\0") if "=" in item)
        except (OSError, ValueError):
            continue
        if parent == launcher and "RANK" in variables:
            found[int(variables["RANK"])] = int(entry.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_rank_ends_all_and_resumes_to_the_same(tmp_path, dataset):
    options = {"epochs": "5", "processes": "2"}
    assert train(tmp_path / "whole", dataset, **options) == 0
    words = ["train", "unet", "--data", str(dataset), "--out", str(tmp_path / "broken"), *small_options(**options)]
    process = subprocess.Popen([*POLYP, *words], stderr=subprocess.PIPE, text=True)
    last, deadline = tmp_path / "broken/models/last.pt", time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running = workers(process.pid)
    os.kill(running[1], signal.SIGKILL)
    shown = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    errors = [line for line in shown.splitlines() if line.startswith("polyp: error:")]
    assert len(errors) == 1
    assert "process 1 of 2" in errors[0]
    assert "was killed (SIGKILL" in errors[0]
    assert "--resume" in errors[0]
    assert "Traceback" not in shown
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    assert train(tmp_path / "broken", dataset, **options, resume="true") == 0
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "broken")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_machines_meet_at_one_address(tmp_path, dataset):
    """Two launchers on the loopback: one training, whose first machine writes."""
    out, address = tmp_path / "run", f"127.0.0.1:{free_port()}"
    words = ["train", "unet", "--data", str(dataset), "--out", str(out), *small_options(epochs="2"), "--processes", "1"]
    both = [
        subprocess.Popen(
            [*POLYP, *words, "--nodes", "2", "--node-rank", str(rank), "--rdzv", address],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (1, 0)  # the second machine may come first
    ]
    shown = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], shown
    assert "epoch 2/2" in shown[1]
    assert "epoch" not in shown[0].replace("epochs:", "")
    assert [row[0] for row in curve(out)] == ["1", "2"]
    assert train(tmp_path / "two", dataset, epochs="2", processes="2") == 0
    assert_equal(weights(out), weights(tmp_path / "two"))


@pytest.mark.slow
def test_ray_train_is_a_second_way_in(small, dataset, tmp_path, monkeypatch):
    ray_torch = pytest.importorskip("ray.train.torch")
    import ray
    from ray.train import RunConfig, ScalingConfig

    from polyp_monai.bundle.launch import train_rank

    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_AUTH_MODE", "disabled"),
        ("RAY_memory_monitor_refresh_ms", "0"),  # whatever else fills this machine
    ):
        monkeypatch.setenv(name, value)
    home = str(Path(__file__).resolve().parents[2])
    ray.init(address="local", num_cpus=4, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": home}})
    try:
        ray_torch.TorchTrainer(
            train_rank,
            train_loop_config={"bundle_root": str(small), "dataset_dir": str(dataset), "epochs": 1, "device": "cpu"},
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=str(tmp_path / "ray")),
        ).fit()
    finally:
        ray.shutdown()
    assert [row[0] for row in curve(small)] == ["1"]
    assert (small / "models/model.pt").is_file()
