"""What stock MONAI makes of a bare copy of a bundle's folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigWorkflow

from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.recipe import stale_copies
from tests.conftest import SMALL

NAMES = sorted(shipped())


def stock(*words: str, cwd) -> subprocess.CompletedProcess:
    """`python -m monai.bundle ...` as a user types it."""
    command = [sys.executable, "-m", "monai.bundle", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def options(**more: str) -> list[str]:
    return [word for key, value in {**SMALL, **more}.items() if "::" not in key for word in (f"--{key}", str(value))]


def test_every_bundle_carries_the_recipe():
    assert [str(copy) for copy in stale_copies()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_copied_config_says_so(name):
    for path in sorted((shipped()[name] / "configs").iterdir()):
        own = path.name in ("model.yaml", "metadata.json")
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert own or first.startswith(f"# Copied from bundles/recipe/configs/{path.name} by `make recipe`"), path


MAY_DIFFER = {  # hyper-parameters and settings that a resumed run need not share
    "weights", "pretrained", "pretrained_sha256",  # where a training starts; a resumed one has started
    "threshold", "tta", "val_interval", "patience",  # what is validated, and when it stops
    "resume", "overwrite", "num_workers", "cache_rate", "cache_dir", "compile",
    "network_def",  # a checkpoint of another network is refused by itself
}  # fmt: skip


def test_every_setting_of_a_training_is_in_the_recipe_or_may_differ():
    config = yaml.safe_load((shipped()["unet"] / "configs/train.yaml").read_text(encoding="utf-8"))
    keys = list(config)
    settings = set(keys[keys.index("epochs") : keys.index("recipe")])
    assert settings - config["recipe"].keys() == MAY_DIFFER
    assert [key for key, value in config["recipe"].items() if value not in (f"@{key}", f"$str(@{key})")] == ["data"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_has_what_the_zoo_asks_for(name):
    root = shipped()[name]
    metadata = json.loads((root / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert (root / "LICENSE").is_file()
    assert (root / "docs/README.md").is_file()
    assert {"network_def", "loss", "image_size", "epochs"} <= yaml.safe_load(
        (root / "configs/model.yaml").read_text()
    ).keys()


def test_no_config_value_holds_what_the_config_language_breaks():
    def values(node):
        if isinstance(node, dict):
            node = node.values()
        elif not isinstance(node, list):
            yield node
            return
        for child in node:
            yield from values(child)

    for path in sorted(shipped()["unet"].parent.glob("*/configs/*.yaml")):
        for value in values(yaml.safe_load(path.read_text())):
            assert "#" not in str(value), path
            assert "lambda" not in str(value), path


def test_train_evaluate_predict_and_their_properties(bundle, dataset, monkeypatch):
    """The stock workflow in one process: properties are complete, and each step finds what the one before wrote."""
    monkeypatch.chdir(bundle)
    small = {"dataset_dir": str(dataset), "image_size": 64, "batch_size": 4, "epochs": 1, "device": "cpu"}
    train = ConfigWorkflow("configs/train.yaml", workflow_type="train", **small)
    train.initialize()
    assert train.check_properties() == []
    train.run()
    train.finalize()
    assert (bundle / "models/model.pt").is_file()

    small = {"dataset_dir": str(dataset), "image_size": 64, "device": "cpu"}
    # alone, or laid over train.yaml as in MONAI's model zoo
    for config in ("configs/evaluate.yaml", ["configs/train.yaml", "configs/evaluate.yaml"]):
        evaluate = ConfigWorkflow(config, workflow_type="train", overwrite=True, **small)
        evaluate.initialize()
        evaluate.run()
    summary = json.loads((bundle / "eval/test/summary.json").read_text())
    assert summary["frames"] == 2
    assert summary["leakage"]["by_weights"] == 0
    evaluate = ConfigWorkflow("configs/evaluate.yaml", workflow_type="train", split="all", **small)
    evaluate.initialize()
    evaluate.run()
    leaks = json.loads((bundle / "eval/all/summary.json").read_text())["leakage"]
    assert (leaks["by_weights"], leaks["leaked"]) == (16, True)  # those of the training split
    assert len(list((bundle / "eval/test/masks").glob("*.png"))) == 2

    infer = ConfigWorkflow("configs/inference.yaml", workflow_type="infer", **small)
    infer.initialize()
    assert infer.check_properties() == []
    infer.run()
    infer.finalize()
    assert len(list((bundle / "predictions").rglob("*.png"))) == 2 * 20  # images and masks are both frames here


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "unet"])
def test_every_bundle_trains_evaluates_and_predicts(name, dataset, tmp_path, monkeypatch):
    ignored = shutil.ignore_patterns("models")
    monkeypatch.chdir(shutil.copytree(shipped()[name], tmp_path / name, ignore=ignored))
    small = {"dataset_dir": str(dataset), "image_size": 64, "device": "cpu"}
    for config, kind, more in (
        ("train", "train", {"batch_size": 4, "epochs": 1}),
        ("evaluate", "train", {"tta": "flip"}),
        ("inference", "infer", {}),
    ):
        workflow = ConfigWorkflow(f"configs/{config}.yaml", workflow_type=kind, **small, **more)
        workflow.initialize()
        assert config == "evaluate" or workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    assert json.loads(Path("eval/test/summary.json").read_text())["frames"] == 2
    assert len(list(Path("predictions").rglob("*.png"))) == 2 * 20
    result = stock(
        "ckpt_export", "--net_id", "network_def", "--filepath", "models/model.ts", "--ckpt_file", "models/model.pt",
        "--meta_file", "configs/metadata.json", "--config_file", "configs/inference.yaml", cwd=tmp_path / name,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_command_lines_of_the_model_card(bundle, dataset):
    result = stock(
        "run", "--config_file", "configs/train.yaml", "--dataset_dir", str(dataset), *options(epochs="1"), cwd=bundle
    )
    assert result.returncode == 0, result.stderr
    for config in ("evaluate", "inference"):
        words = ["--dataset_dir", str(dataset), "--image_size", "64"]
        result = stock("run", "--config_file", f"configs/{config}.yaml", *words, cwd=bundle)
        assert result.returncode == 0, result.stderr
    assert (bundle / "eval/test/frames.csv").is_file()
    result = stock(
        "ckpt_export", "--net_id", "network_def", "--filepath", "models/model.ts", "--ckpt_file", "models/model.pt",
        "--meta_file", "configs/metadata.json", "--config_file", "configs/inference.yaml", cwd=bundle,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (bundle / "models/model.ts").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_verify_net_in_out(name):
    words = ["verify_net_in_out", "--net_id", "network_def", "--meta_file", "configs/metadata.json"]
    result = stock(*words, "--config_file", "configs/inference.yaml", "--any", "97", cwd=shipped()[name])
    assert result.returncode == 0, result.stderr


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_verify_metadata(name, real_data, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_bytes((real_data / "monai/meta_schema_20240725.json").read_bytes())
    words = ["verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", str(schema)]
    result = stock(*words, cwd=shipped()[name])
    assert result.returncode == 0, result.stderr
    assert "verified" in result.stdout + result.stderr


@pytest.mark.slow
def test_two_processes_train_as_one(bundle, dataset, tmp_path):
    """gloo on CPU: the same learning rate, weights and number of samples on both ranks, and as one process."""
    (bundle / "configs/probe.yaml").write_text(
        "+imports: [$import json]\n"
        "+run:\n"
        "- \"$torch.save({'lr': @optimizer.param_groups[0]['lr'], 'iterations': @train::trainer.state.iteration,"
        " 'batch': @train::dataloader.batch_size, 'weights': @network.state_dict()},"
        " '" + str(tmp_path) + "/rank' + str(@rank) + '.pt')\"\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    configs = ["configs/train.yaml", "configs/multi_gpu_train.yaml", "configs/probe.yaml"]
    words = ["--dataset_dir", str(dataset), *options(epochs="2")]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "monai.bundle",
    ]
    result = subprocess.run(
        [*command, "run", "--config_file", str(configs), *words],
        cwd=bundle, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    rows = (bundle / "eval/training.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2"]  # one process writes them
    one = ["run", "--config_file", str([configs[0], configs[2]]), "--ckpt_dir", str(tmp_path / "one"), *words]
    (tmp_path / "rank0.pt").rename(tmp_path / "two0.pt")
    result = stock(*one, cwd=bundle)
    assert result.returncode == 0, result.stderr[-3000:]

    import torch

    two = [torch.load(tmp_path / name, weights_only=True) for name in ("two0.pt", "rank1.pt")]
    single = torch.load(tmp_path / "rank0.pt", weights_only=True)
    assert two[0]["lr"] == two[1]["lr"] == single["lr"]
    assert two[0]["weights"].keys() == two[1]["weights"].keys()
    assert all(torch.equal(value, two[1]["weights"][key]) for key, value in two[0]["weights"].items())
    samples = [run["iterations"] * run["batch"] for run in two]
    assert sum(samples) == single["iterations"] * single["batch"]
    assert (bundle / "models/model.pt").is_file()
