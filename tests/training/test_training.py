"""Training: repeatable, resumable after a kill, and sparing of what is there."""

from __future__ import annotations

import csv
import itertools
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from polyp_monai.cli.main import main
from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints
from polyp_monai.training.handlers import Checkpointer
from tests.conftest import small_options


def train(out: Path, dataset: Path, *words: str, **options: str) -> int:
    return main(["train", "unet", "--data", str(dataset), "--out", str(out), *words, *small_options(**options)])


NO_LEARNING = "--set", "peak_lr=0.0"  # the option learning_rate refuses 0


def weights(out: Path, name: str = "model.pt") -> dict:
    return checkpoints.read(out / "models" / name)


def assert_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert [k for k in one if not torch.equal(one[k], other[k])] == []


def curve(out: Path) -> list[tuple]:
    with open(out / "eval/training.csv", newline="") as file:
        return [(r["epoch"], r["loss"], r["validation"], r["learning_rate"]) for r in csv.DictReader(file)]


def test_a_trained_bundle_is_complete(trained):
    assert {p.name for p in (trained / "models").iterdir()} == {"model.pt", "last.pt", "trained_on.json"}
    assert [row[0] for row in curve(trained)] == ["1", "2"]
    recorded = EventAccumulator(str(trained / "eval/tensorboard")).Reload().Tags()["scalars"]
    assert {"train_loss", "val_mean_dice"} <= set(recorded)
    assert "image_size: 64\n" in (trained / "configs/model.yaml").read_text()  # what belongs to the weights travels
    assert all(isinstance(v, torch.Tensor) for v in weights(trained).values())


def test_one_seed_gives_the_same_weights(tmp_path, dataset, trained):
    assert train(tmp_path / "again", dataset, epochs="2") == 0
    assert_equal(weights(tmp_path / "again"), weights(trained))
    assert train(tmp_path / "other", dataset, epochs="2", seed="1") == 0
    assert not torch.equal(next(iter(weights(tmp_path / "other").values())), next(iter(weights(trained).values())))


@pytest.mark.parametrize("share", ["0", "0.25", "1"])
def test_the_learning_rate_falls_to_its_lowest_ratio(tmp_path, dataset, share):
    assert train(tmp_path / "run", dataset, epochs="2", learning_rate="0.01", min_lr_ratio=share) == 0
    angle = math.acos(2 * float(share) - 1)  # of the cosine at the end; the eighth of eight steps is one before it
    assert float(curve(tmp_path / "run")[-1][-1]) == pytest.approx(0.005 * (1 + math.cos(angle * 7 / 8)), rel=1e-3)


def test_one_seed_gives_the_same_weights_with_loader_workers(tmp_path, dataset):
    for name in ("one", "two"):
        assert train(tmp_path / name, dataset, epochs="2", num_workers="2") == 0
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_killed_and_resumed_equals_unbroken(tmp_path, dataset):
    assert train(tmp_path / "whole", dataset, epochs="5") == 0
    words = ["train", "unet", "--data", str(dataset), "--out", str(tmp_path / "broken"), *small_options(epochs="5")]
    process = subprocess.Popen([sys.executable, "-m", "polyp_monai", *words], stderr=subprocess.DEVNULL)
    last = tmp_path / "broken/models/last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert last.exists()
    finished = checkpoints.read(last)["progress"]["epoch"]
    assert train(tmp_path / "broken", dataset, epochs="5", resume="true") == 0
    whole, broken = weights(tmp_path / "whole", "last.pt"), weights(tmp_path / "broken", "last.pt")
    assert 1 <= finished <= 5
    assert whole["progress"] == broken["progress"]
    for split in ("network", "ema"):
        assert_equal(whole[split], broken[split])
    assert whole["lr_scheduler"]["last_epoch"] == broken["lr_scheduler"]["last_epoch"]
    for index, state in whole["optimizer"]["state"].items():
        assert_equal(state, broken["optimizer"]["state"][index])
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "broken")


def test_resume_before_the_first_epoch_starts_from_the_beginning(tmp_path, dataset, trained):
    assert train(tmp_path / "new", dataset, epochs="2", resume="true") == 0
    assert_equal(weights(tmp_path / "new"), weights(trained))


def test_an_earlier_training_is_not_overwritten(trained, dataset, capsys):
    before = (trained / "models/model.pt").read_bytes(), (trained / "configs/model.yaml").read_bytes()
    assert train(trained, dataset, epochs="3", image_size="96") == 1
    assert "--resume to go on" in capsys.readouterr().err
    assert before == ((trained / "models/model.pt").read_bytes(), (trained / "configs/model.yaml").read_bytes())


def test_resume_with_other_data_is_refused(tmp_path, dataset, capsys):
    assert train(tmp_path / "run", dataset, epochs="1") == 0
    before = contents(tmp_path / "run")
    for other, said in (
        ({"batch_size": "8"}, "was trained with"),
        ({"learning_rate": "0.5"}, "was trained with"),
        ({"network_def::body::channels": "[4, 8, 8]"}, "is of another network"),
    ):
        assert train(tmp_path / "run", dataset, **({"epochs": "1", "resume": "true"} | other)) == 1
        assert said in capsys.readouterr().err
        assert contents(tmp_path / "run") == before


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def relisted(dataset: Path, out: Path, edit) -> Path:
    """A copy of the set, its data list and files changed by `edit(list, folder)`."""
    shutil.copytree(dataset, out)
    content = json.loads((out / "datalist.json").read_text())
    edit(content, out)
    (out / "datalist.json").write_text(json.dumps(content))
    return out


def test_frames_that_train_and_validate_are_said(tmp_path, dataset, capsys):
    leaky = relisted(dataset, tmp_path / "data", lambda c, _: c.update(validation=c["training"][:2]))
    assert train(tmp_path / "run", leaky, epochs="1") == 0
    said = capsys.readouterr().err
    assert "validation: 2 of 2 frames, such as " in said
    assert "have a look-alike or their sequence in training" in said


def repainted(value: int, masks: slice):
    """An edit that fills these masks of the training split with one value."""

    def edit(content, folder):
        for entry in content["training"][masks]:
            path = folder / entry["label"]
            files.write_png(path, np.full(files.read_mask(path).shape, value, np.uint8))

    return edit


def test_a_set_without_a_polyp_trains_nothing(tmp_path, dataset, capsys):
    empty = relisted(dataset, tmp_path / "data", repainted(0, slice(None)))
    assert train(tmp_path / "run", empty, epochs="1") == 1
    assert "none of the 16 training frames shows a polyp, such as " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_inverted_mask_is_refused_unless_the_set_was_prepared_with_it(tmp_path, dataset, capsys):
    inverted = relisted(dataset, tmp_path / "data", repainted(255, slice(1)))
    assert train(tmp_path / "run", inverted, epochs="1") == 1
    assert "polyp on 100% of the mask and along its edge: is the polyp black?" in capsys.readouterr().err
    kept = relisted(inverted, tmp_path / "kept", lambda c, _: c["training"][0].update(polyp_area=1.0))
    assert train(tmp_path / "run", kept, epochs="1") == 0


@pytest.mark.parametrize("strides", ["[3, 3]", "[0, 0]"])
def test_strides_that_do_not_fit_are_one_line(tmp_path, dataset, capsys, strides):
    assert train(tmp_path / "run", dataset, **{"network_def::body::strides": strides}) == 1
    assert "network_def: cannot segment 64 x 64 pixels (RuntimeError" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network_def::body::out_channels", "2"], "network_def: gives 2 channels; expected one for each of polyp"),
        (["--set", "loss=$None"], "loss: cannot be taken of logits and masks of (1, 1, 64, 64) (TypeError"),
        (["--set", "loss={'_target_': 'torch.nn.NLLLoss'}"], "loss: cannot be taken"),
    ],
)
def test_what_cannot_be_trained_leaves_the_weights_that_it_would_replace(
    tmp_path, dataset, trained, capsys, words, said
):
    run = shutil.copytree(trained, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", str(run), "--data", str(dataset), "--overwrite", "--device", "cpu", *words]) == 1
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_fine_tuning_goes_on_from_trained_weights(tmp_path, dataset, trained, capsys):
    """Without learning only the batch-norm statistics move, so that the start is to be read off the weights."""
    start = str(trained / "models/model.pt")
    other = tmp_path / "other_set"
    shutil.copytree(dataset, other)
    content = json.loads((other / "datalist.json").read_text())
    (other / "datalist.json").write_text(json.dumps(content | {"name": "other"}))
    assert train(tmp_path / "run", other, *NO_LEARNING, epochs="1", weights=start) == 0
    learnt = {k: v for k, v in weights(tmp_path / "run", "last.pt")["network"].items() if k.endswith(".weight")}
    assert_equal(learnt, {k: v for k, v in weights(trained).items() if k in learnt})
    remembered = json.loads((tmp_path / "run/models/trained_on.json").read_text())
    assert [s["name"] for s in remembered["sets"]] == [content["name"], "other"]
    (tmp_path / "torn.pt").write_bytes(b"no weights")
    assert train(tmp_path / "torn", dataset, epochs="1", weights=str(tmp_path / "torn.pt")) == 1
    assert "torn.pt: not a readable checkpoint" in capsys.readouterr().err
    assert train(tmp_path / "torn", dataset, epochs="1", weights="efficient_unet") == 1  # a shipped bundle's
    assert "weights of another network" in capsys.readouterr().err
    assert not (tmp_path / "torn").exists()


def test_weights_elsewhere_leave_the_bundle_in_place(tmp_path, dataset):
    assert train(tmp_path / "run", dataset, epochs="1", ckpt_dir=str(tmp_path / "weights")) == 0
    assert (tmp_path / "weights/model.pt").is_file()
    assert (tmp_path / "run/eval/training.csv").is_file()


def test_the_latest_of_the_weights_that_validate_alike_are_kept(tmp_path):
    network = torch.nn.Linear(1, 1)
    validated = SimpleNamespace(epoch=0, best_metric=0.0, best_metric_epoch=0, key_metric_name="dice", metrics={})
    keep = Checkpointer(str(tmp_path), network, {}, SimpleNamespace(state=validated), {})
    for epoch, dice in enumerate((0.70, 0.90, 0.895, 0.85), start=1):
        torch.nn.init.constant_(network.weight, epoch)
        validated.epoch, validated.metrics = epoch, {"dice": dice}
        validated.best_metric = max(validated.best_metric, dice)
        keep.store(SimpleNamespace(state=SimpleNamespace(epoch=epoch, epoch_length=1)))
    assert checkpoints.read(tmp_path / "model.pt")["weight"].item() == 3


@pytest.mark.parametrize("resume", [False, True])
def test_loading_changes_no_file_and_removing_says_what_it_removes(tmp_path, caplog, resume):
    caplog.set_level(logging.INFO, "polyp_monai")
    names = ["last.pt", "model.pt"]
    keep = Checkpointer(str(tmp_path), torch.nn.Linear(1, 1), {}, SimpleNamespace(), {}, resume=resume, overwrite=True)
    for name in (*names, ".partial-1.pt"):
        (tmp_path / name).write_bytes(b"earlier")
    with pytest.raises(PolypError) if resume else nullcontext():  # what it would go on with cannot be read
        keep.load(SimpleNamespace(state=SimpleNamespace(device="cpu")))
    assert len(list(tmp_path.iterdir())) == 3
    keep.prepare()
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    keep.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == (names if resume else [])
    assert caplog.text.count("of the earlier training, is removed") == (0 if resume else 2)


def test_early_stopping(tmp_path, dataset):
    """Without learning only the batch-norm statistics move, so the Dice settles and training stops by itself."""
    assert train(tmp_path / "run", dataset, *NO_LEARNING, epochs="40", patience="1") == 0
    dice = [float(row[2]) for row in curve(tmp_path / "run")]
    assert 2 <= len(dice) < 40
    assert all(later > earlier for earlier, later in itertools.pairwise(dice[:-1]))
    assert dice[-1] <= dice[-2]


def test_aspect_kept(tmp_path, dataset):
    out = tmp_path / "run"
    assert train(out, dataset, epochs="1", fit="windows") == 0
    assert main(["evaluate", str(out), "--data", str(dataset), "--device", "cpu"]) == 0
