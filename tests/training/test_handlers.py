"""What the handlers do to an engine, each by itself."""

from __future__ import annotations

import csv
import logging
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.transforms import Randomizable
from torch import nn

from polyp_monai.errors import PolypError
from polyp_monai.training import checkpoints
from polyp_monai.training.handlers import Checkpointer, EarlyStop, EpochSeed, GradientClip, TrainingProgress


class Draws(Randomizable):
    """A random transform that keeps what it drew."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def draw(self) -> None:
        self.drawn.append(float(self.R.random()))


def validator(best: float = -1.0, epoch: int = -1, **metrics: float) -> SimpleNamespace:
    """What the handlers read of an evaluator."""
    state = SimpleNamespace(
        epoch=epoch, best_metric=best, best_metric_epoch=epoch, key_metric_name="dice", metrics=metrics
    )
    return SimpleNamespace(state=state)


def engine(step=lambda engine, batch: {"loss": 1.0}) -> Engine:
    made = Engine(step)
    made.state.device = torch.device("cpu")  # as MONAI's trainers have it
    return made


def test_an_epoch_draws_the_same_wherever_the_run_began():
    def drawn(first: int) -> list[tuple[float, float]]:
        transform, seen = Draws(), []
        run = engine(lambda engine, batch: transform.draw() or seen.append(torch.rand(1).item()))
        run.add_event_handler(Events.STARTED, lambda: setattr(run.state, "epoch", first))
        EpochSeed(7, transform).attach(run)
        run.run([0, 1], max_epochs=3)
        return list(zip(transform.drawn, seen, strict=True))

    whole = drawn(first=0)
    assert len(set(whole)) == 6
    assert drawn(first=1) == whole[2:]


def test_another_seed_draws_something_else():
    drawn = []
    for seed in (0, 1):
        run = engine(lambda engine, batch: drawn.append(torch.rand(1).item()))
        EpochSeed(seed, Draws()).attach(run)
        run.run([0], max_epochs=1)
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(("gradient", "clipped"), [((3.0, 4.0), (0.6, 0.8)), ((0.3, 0.4), (0.3, 0.4))])
def test_a_gradient_is_clipped_to_its_norm(gradient, clipped):
    network = nn.Linear(2, 1, bias=False)
    network.weight.grad = torch.tensor([gradient])
    GradientClip(network, 1.0)(SimpleNamespace(scaler=None))
    torch.testing.assert_close(network.weight.grad, torch.tensor([clipped]), atol=1e-5, rtol=0)


def test_the_loss_scale_is_taken_out_before_the_norm():
    network = nn.Linear(2, 1, bias=False)
    network.weight.grad = torch.tensor([[300.0, 400.0]])

    class Scaler:
        def unscale_(self, optimizer) -> None:
            network.weight.grad /= 1000

    GradientClip(network, 1.0)(SimpleNamespace(scaler=Scaler(), optimizer=None))
    torch.testing.assert_close(network.weight.grad, torch.tensor([[0.3, 0.4]]))


def test_training_stops_after_so_many_epochs_without_a_better_one():
    best = {1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4}  # epoch -> the best one so far
    judge, run = validator(), engine()
    run.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: setattr(judge.state, "best_metric_epoch", best[run.state.epoch])
    )
    EarlyStop(judge, patience=2).attach(run)
    assert run.run([0], max_epochs=20).epoch == 6


def test_training_does_not_stop_before_the_first_validation():
    run = engine()
    EarlyStop(validator(), patience=1).attach(run)
    assert run.run([0], max_epochs=5).epoch == 5


def checkpointer(folder, network, judge=None, recipe=None, **more) -> Checkpointer:
    settings = {"epochs": 4, "seed": 0} if recipe is None else recipe
    return Checkpointer(str(folder), network, {"network": network}, judge or validator(0.5, 1), settings, **more)


def train(keep: Checkpointer, epochs: int, length: int = 2) -> Engine:
    """Each epoch adds one to the weight."""
    run = engine()
    run.add_event_handler(Events.EPOCH_STARTED, lambda: keep.model.weight.data.add_(1))
    keep.attach(run)
    run.run(list(range(length)), max_epochs=epochs)
    return run


@pytest.fixture
def network():
    made = nn.Linear(1, 1)
    nn.init.zeros_(made.weight)
    return made


def test_a_run_goes_on_where_it_ended(tmp_path, network):
    train(checkpointer(tmp_path, network), epochs=2)
    again, judge = nn.Linear(1, 1), validator()
    run = train(checkpointer(tmp_path, again, judge, resume=True), epochs=4)
    assert (run.state.epoch, run.state.iteration) == (4, 8)
    assert again.weight.item() == 4
    assert (judge.state.best_metric, judge.state.best_metric_epoch) == (0.5, 1)


def test_weights_of_an_epoch_without_validation_are_not_shipped(tmp_path, network):
    train(checkpointer(tmp_path, network, validator(0.5, 1, dice=0.5)), epochs=3)
    assert checkpoints.read(tmp_path / "model.pt")["weight"].item() == 1
    assert checkpoints.read(tmp_path / "last.pt")["progress"]["epoch"] == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"recipe": {"epochs": 9, "seed": 0}}, "was trained with epochs 4; resume with the same"),
        ({"recipe": {"epochs": 4, "seed": 3}}, "was trained with seed 0; resume with the same"),
        ({"length": 3}, "is of another run .2 iterations an epoch, here 3"),
        ({"network": nn.Linear(2, 2)}, "is of another network or recipe"),
    ],
)
def test_another_training_is_not_gone_on_with(tmp_path, network, change, text):
    train(checkpointer(tmp_path, network), epochs=1)
    keep = checkpointer(tmp_path, change.get("network", network), recipe=change.get("recipe"), resume=True)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(PolypError, match=text):
        train(keep, epochs=4, length=change.get("length", 2))
    assert (tmp_path / "last.pt").read_bytes() == before


def test_another_loss_is_told_without_its_definition(tmp_path, network):
    train(checkpointer(tmp_path, network, recipe={"loss": "DiceLoss()"}), epochs=1)
    with pytest.raises(PolypError, match="was trained with another loss;"):
        train(checkpointer(tmp_path, network, recipe={"loss": "FocalLoss()"}, resume=True), epochs=2)


def test_weights_alone_cannot_be_gone_on_with(tmp_path, network):
    checkpoints.save(tmp_path / "model.pt", network.state_dict())
    with pytest.raises(PolypError, match=r"the state of their training \(last\.pt\) is not there"):
        train(checkpointer(tmp_path, network, resume=True), epochs=1)
    assert (tmp_path / "model.pt").is_file()


def test_an_earlier_run_is_neither_overwritten_nor_taken_for_this_one(tmp_path, network):
    train(checkpointer(tmp_path, network, validator(0.5, 1, dice=0.5)), epochs=1)
    (tmp_path / ".partial-1.pt").touch()  # of a run that was killed while writing
    with pytest.raises(PolypError, match="holds an earlier training"):
        checkpointer(tmp_path, network)
    train(checkpointer(tmp_path, network, overwrite=True), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]  # nothing was validated


def test_an_earlier_run_stays_where_the_first_step_fails(tmp_path, network):
    train(checkpointer(tmp_path, network, validator(0.5, 1, dice=0.5)), epochs=1)
    run = engine(lambda *_: 1 / 0)
    checkpointer(tmp_path, network, overwrite=True).attach(run)
    with pytest.raises(ZeroDivisionError):
        run.run([0])
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "model.pt"}


def test_a_run_whose_best_weights_are_gone_is_not_gone_on_with(tmp_path, network):
    train(checkpointer(tmp_path, network, validator(0.5, 1, dice=0.5)), epochs=1)
    (tmp_path / "model.pt").unlink()
    with pytest.raises(PolypError, match=r"model.pt: is gone, the best weights so far, of epoch 1; put it back"):
        checkpoints.check_resumable(tmp_path, {"epochs": 4, "seed": 0}, network)


def test_ranks_that_only_load_write_nothing(tmp_path, network):
    train(checkpointer(tmp_path, network, save=False), epochs=1)
    assert list(tmp_path.iterdir()) == []


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def progress(path, judge, first: int = 0, epochs: int = 3, losses=(1.0, 3.0)) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.125)
    run = engine(lambda engine, batch: [{"loss": batch}])
    run.add_event_handler(Events.STARTED, lambda: setattr(run.state, "epoch", first))
    TrainingProgress(judge, optimizer, str(path)).attach(run)
    run.run(list(losses), max_epochs=epochs)


def test_a_row_an_epoch(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    progress(tmp_path / "training.csv", validator(0.75, 2, dice=0.7, val_mean_dice=0.7))
    found = rows(tmp_path / "training.csv")
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert {(row["loss"], row["validation"], row["learning_rate"]) for row in found} == {
        ("2.00000", "0.70000", "1.250e-01")
    }
    assert "epoch 3/3  loss 2.00000  Dice 0.700 (best 0.750 in epoch 2)" in caplog.text


def test_epochs_that_are_trained_again_replace_their_rows(tmp_path):
    path = tmp_path / "training.csv"
    progress(path, validator(), epochs=4, losses=(1.0,))
    progress(path, validator(), first=2, epochs=3, losses=(9.0,))
    assert [(row["epoch"], row["loss"], row["validation"]) for row in rows(path)] == [
        ("1", "1.00000", ""),
        ("2", "1.00000", ""),
        ("3", "9.00000", ""),
    ]


def test_an_error_in_the_training_comes_out(tmp_path):
    run = engine(lambda engine, batch: 1 / 0)
    TrainingProgress(validator(), SimpleNamespace(param_groups=[{"lr": 0.1}]), str(tmp_path / "a.csv")).attach(run)
    with pytest.raises(ZeroDivisionError):
        run.run([0], max_epochs=1)
