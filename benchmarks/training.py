"""The trainer of the unet bundle against a plain PyTorch loop over tensors in memory: images/s on the CPU.

    python benchmarks/training.py [--count 240] [--rounds 5] [--image_size W] [--batch_size B]

Ours is the `SupervisedTrainer` that `polyp train` builds from configs/train.yaml with everything on it: cached frames,
random transforms, collation, gradient clipping, learning rate schedule, averaged weights, progress, TensorBoard. The
plain loop has the same network (a copy), loss, optimizer, batches of the same shape, channels_last and threads, and
nothing else: no data to fetch, no handler. So the ratio is the share of the machine that the network gets.

Both are timed over whole epochs in turn: an epoch of the trainer up to its last iteration, then as many batches of the
plain loop. Start-up, validation and checkpoints, which come once an epoch however long it is, are not counted.

Beside them: what the data alone reach (frames out of the cache, transformed and collated, for no network), what steps
on one fixed batch reach, and utilization, the time of a step with real data over that of a step with the fixed batch.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from common import find_pairs, report, scratch_bundle, seconds, verdict, write_datalist
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from torch import Tensor, nn

TARGET = 0.90
OURS, PLAIN = "trainer of the bundle, with its data", "plain PyTorch loop, tensors in memory"
DATA, FIXED = "data alone", "steps on one fixed batch"
UTILIZATION = 1.10  # at most


class PlainLoop:
    """What a user would write in ten lines, on batches that are there already."""

    def __init__(self, network: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
        self.network = copy.deepcopy(network).train()
        self.loss = loss
        settings = {key: optimizer.defaults[key] for key in ("lr", "weight_decay", "fused")}
        self.optimizer = type(optimizer)(self.network.parameters(), **settings)
        self.batches: list[tuple[Tensor, Tensor]] = batches

    def __call__(self) -> None:
        self.step(self.batches)

    def fixed(self) -> None:
        """As many steps, all on the first batch."""
        self.step(self.batches[:1] * len(self.batches))

    def step(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        for image, label in batches:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.network(image), label).backward()
            self.optimizer.step()


class InTurn:
    """Times every epoch of a trainer, and an epoch of the plain loop after it."""

    def __init__(self, plain: PlainLoop) -> None:
        self.plain = plain
        self.taken: dict[str, list[float]] = {OURS: [], PLAIN: [], DATA: [], FIXED: []}
        self.started = self.latest = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iterate)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._turn)

    def _start(self) -> None:
        self.started = time.perf_counter()

    def _iterate(self) -> None:
        self.latest = time.perf_counter()

    def _turn(self, engine: Engine) -> None:
        self.taken[OURS].append(self.latest - self.started)
        self.taken[PLAIN].append(seconds(self.plain))
        self.taken[DATA].append(seconds(lambda: [None for _ in engine.data_loader]))
        self.taken[FIXED].append(seconds(self.plain.fixed))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=240, help="images of an epoch (240)")
    options.add_argument("--rounds", type=int, default=5, help="epochs that count (5)")
    options.add_argument("--image_size", type=int, help="side of the network's input in pixels (the bundle's)")
    options.add_argument("--batch_size", type=int, help="images of a batch (the bundle's)")
    args = options.parse_args()
    changed = {key: value for key in ("image_size", "batch_size") if (value := getattr(args, key)) is not None}
    with scratch_bundle() as (folder, _):
        pairs, kind = find_pairs(folder, args.count)
        workflow = ConfigWorkflow(
            config_file="configs/train.yaml",
            workflow_type="train",
            dataset_dir=str(write_datalist(folder / "data", pairs)),
            device="cpu",
            epochs=args.rounds + 1,
            val_interval=args.rounds + 2,
            **changed,
        )
        workflow.initialize()
        parts = {name: workflow.parser.get_parsed_content(name) for name in ("network", "loss", "optimizer")}
        trainer = workflow.parser.get_parsed_content("train::trainer")
        batches = [
            (batch["image"].contiguous(memory_format=torch.channels_last), batch["label"])
            for batch in trainer.data_loader
        ]
        clock = InTurn(PlainLoop(**parts, batches=batches))
        clock.attach(trainer)  # after all others, so that their time is in
        workflow.run()
    images = sum(len(image) for image, _ in batches)
    size = "batches of " + " x ".join(str(n) for n in batches[0][0].shape)
    title = f"Training on {kind}, {size}, {torch.get_num_threads()} threads"
    taken = {side: times[1:] for side, times in clock.taken.items()}
    report(title, images, taken, PLAIN, TARGET)
    utilization = statistics.median(ours / fixed for ours, fixed in zip(taken[OURS], taken[FIXED], strict=True))
    print(f"utilization {utilization:.2f}; at most {UTILIZATION:.2f}: {verdict(utilization <= UTILIZATION)}")


if __name__ == "__main__":
    main()
