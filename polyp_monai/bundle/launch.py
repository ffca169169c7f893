"""One training in several processes, on one machine or on several: torchrun on the stock bundle.

What runs is what `torchrun_line` prints: `torchrun -m monai.bundle run` in the bundle's folder, with
configs/multi_gpu_train.yaml laid over configs/train.yaml.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from polyp_monai.bundle.read import check_hashes
from polyp_monai.errors import PolypError

CONFIGS = "['configs/train.yaml','configs/multi_gpu_train.yaml']"
NODE_RANK, HOST = "$NODE_RANK", "$MASTER_ADDR"  # in the printed line, what only the machine itself knows
PORT = "29500"
LOST = ("Connection closed by peer", "Connection reset", "DistBackendError", "ProcessGroup", "Broken pipe")


class World(NamedTuple):
    """Which processes train together: `processes` on each of `nodes` machines.

    Attributes:
        node_rank: number of this machine, from 0; the machine 0 writes checkpoints and logs.
        rdzv: "HOST:PORT" at which machine 0 can be reached by the others; None for one machine.
    """

    processes: int
    nodes: int = 1
    node_rank: int = 0
    rdzv: str | None = None

    @property
    def size(self) -> int:
        return self.processes * self.nodes


def check(world: World, batch_size: Any, device: str | None, here: bool = True) -> None:
    """Raises PolypError when a training in these processes cannot start. `here`: whether this machine takes part."""
    from polyp_monai.training.ranks import share_of_batch

    if here and world.nodes > 1 and not world.rdzv:
        raise PolypError("--nodes: needs --rdzv HOST:PORT too, where the first machine can be reached by all")
    if world.nodes == 1 and (world.node_rank or world.rdzv):
        raise PolypError(f"--{'node-rank' if world.node_rank else 'rdzv'}: is of several machines; give --nodes too")
    if world.node_rank >= world.nodes:
        raise PolypError(f"--node-rank {world.node_rank}: the {world.nodes} machines are numbered from 0")
    if isinstance(batch_size, int):
        share_of_batch(batch_size, world.size)
    if device and device != "cpu":
        raise PolypError(f"--device {device}: each process has a GPU of its own; leave it out, or give cpu")
    if here and device != "cpu":
        _check_gpus(world)


def _check_gpus(world: World) -> None:
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else world.processes
    if world.processes > there:
        raise PolypError(f"--processes {world.processes}: one needs a GPU each, and there are {there} here")


def torchrun_words(world: World, given: Mapping[str, Any]) -> list[str]:
    """Arguments of torchrun, for the bundle's folder as working folder. `given`: overrides of configs/train.yaml."""
    words = [f"--nnodes={world.nodes}", f"--nproc-per-node={world.processes}"]
    if world.nodes > 1:
        host, _, port = (world.rdzv or f"{HOST}:{PORT}").rpartition(":")
        words += [f"--node-rank={world.node_rank}", f"--master-addr={host}", f"--master-port={port}"]
    else:
        words += ["--standalone"]
    return [*words, "-m", "monai.bundle", "run", "--config_file", CONFIGS, *_keys(given)]


def torchrun_line(root: Path, world: World, given: Mapping[str, Any]) -> str:
    """A line for a shell, a SLURM script or a Kubernetes job, the same for every machine.

    Each says which it is by the variable NODE_RANK and, without `world.rdzv`, where the first one is by MASTER_ADDR.
    """
    words = torchrun_words(world, given)
    if world.nodes > 1:
        words[words.index(f"--node-rank={world.node_rank}")] = f"--node-rank={NODE_RANK}"
    return f"cd {_quoted(str(root))} && torchrun {' '.join(map(_quoted, words))}"


def _quoted(word: str) -> str:
    if word.endswith((f"={NODE_RANK}", f"={HOST}")):
        return word
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _keys(given: Mapping[str, Any]) -> list[str]:
    """Overrides as words that `monai.bundle` reads as the same values."""
    from fire.parser import DefaultParseValue

    words = []
    for key, value in given.items():
        # MONAI passes over an override that is None; an expression that gives None it takes
        value = "$None" if value is None else value
        plain = isinstance(value, str) and DefaultParseValue(value) == value
        words += [f"--{key}", value if plain else repr(value)]
    return words


def run(root: Path, world: World, given: Mapping[str, Any]) -> None:
    """Train the bundle in `root`; returns when every process of this machine is done.

    What rank 0 logs goes to stderr; what the others write is kept for the case that they fail.

    Raises:
        PolypError: a process failed or was killed, in one line; the others have been ended by then.
    """
    check_hashes({"bundle": str(root), **given})
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    with tempfile.TemporaryDirectory(prefix="polyp-ranks-") as logs, _of_this_run(root):
        args = parse_args([f"--log-dir={logs}", "--redirects=3", *torchrun_words(world, given)])
        if args.standalone:  # as `torch.distributed.run.run` has it
            args.rdzv_backend, args.rdzv_endpoint, args.rdzv_id = "c10d", "localhost:0", Path(logs).name
            args.local_addr = args.local_addr or "localhost"
        config, command, words = config_from_args(args)
        try:
            with _shown(Path(logs), quiet=world.node_rank > 0):
                elastic_launch(config, command)(*words)
        except ChildFailedError as error:
            raise PolypError(_reason(error, Path(logs), world)) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise PolypError(f"ended by {error.sigval.name}; add --resume to go on") from None
        except (RuntimeError, OSError, ValueError) as error:  # of the store at which the machines meet
            place = f"{world.rdzv}: the machines did not meet there" if world.rdzv else "the processes did not start"
            raise PolypError(f"{place} ({type(error).__name__}: {str(error).splitlines()[0]})") from error


@contextmanager
def _of_this_run(root: Path) -> Iterator[None]:
    """The working folder, the environment, the handling of signals and torchrun's logging as a run needs them."""
    before, handlers = os.getcwd(), {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    environment, home = dict(os.environ), str(Path(__file__).resolve().parents[2])
    elastic = [logging.getLogger(name) for name in ("torch.distributed.elastic", "torch.distributed.run")]
    levels = [logger.level for logger in elastic]
    try:
        os.chdir(root)
        # the workers work in the bundle's folder: a checkout is found all the same
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, environment.get("PYTHONPATH")]))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("PYTHONWARNINGS", "ignore:parsing config_file")  # MONAI's, of every config
        for logger in elastic:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
        for logger, level in zip(elastic, levels, strict=True):
            logger.setLevel(level)
        for number, handler in handlers.items():
            with suppress(ValueError):  # not in the main thread, where nothing has changed them
                signal.signal(number, handler)


@contextmanager
def _shown(logs: Path, quiet: bool) -> Iterator[None]:
    """Passes on what the first rank writes to stderr, but for the traceback with which it ends."""
    over = threading.Event()

    def follow() -> None:
        while not (found := _log(logs, 0)):
            if over.wait(0.05):
                return
        with open(found, errors="replace") as file:
            while True:
                line = file.readline()
                if "Traceback (most recent call last)" in line:
                    return
                if line:
                    print(line, end="", file=sys.stderr)
                elif over.is_set():
                    return
                else:
                    over.wait(0.05)

    thread = threading.Thread(target=follow, daemon=True)
    if not quiet:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if not quiet:
            thread.join()


def _log(logs: Path, local_rank: int) -> Path | None:
    return next(logs.glob(f"*/attempt_*/{local_rank}/stderr.log"), None)


def _reason(error: Any, logs: Path, world: World) -> str:
    """What ended a training, in a line: a mistake that a rank names, else a kill, else the first failure."""
    texts = {rank: _text(logs, failure.local_rank) for rank, failure in error.failures.items()}
    for text in texts.values():
        if mistake := re.search(r"^polyp_monai\.errors\.\w+: (.*)$", text, re.MULTILINE):
            return mistake[1]
    killed = [rank for rank, failure in error.failures.items() if failure.exitcode < 0]
    first, _ = error.get_first_failure()
    rank = killed[0] if killed else first
    who = f"process {rank} of {world.size}, on {socket.gethostname()},"
    go_on = "the others were ended; add --resume to go on after the last finished epoch"
    if killed:
        return f"{who} was killed ({error.failures[rank].signal_name()}; SIGKILL can mean out of memory); {go_on}"
    named = re.findall(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*$", texts[rank], re.MULTILINE)
    if any(word in line for word in LOST for line in named):
        return f"{who} lost another process, which failed or was killed; {go_on}"
    print(texts[rank], end="", file=sys.stderr)
    return f"{who} failed with {named[-1] if named else f'status {error.failures[rank].exitcode}'}; {go_on}"


def _text(logs: Path, local_rank: int) -> str:
    """What a rank wrote to stderr, without the name of the rank that torch puts before each line of a traceback."""
    path = _log(logs, local_rank)
    return re.sub(r"^\[rank\d+\]: ?", "", path.read_text(errors="replace"), flags=re.MULTILINE) if path else ""


def train_rank(settings: dict[str, Any]) -> None:
    """One process of a training that another launcher started, such as Ray Train's `TorchTrainer`.

    Args:
        settings: `bundle_root`, the folder of a bundle, and overrides of configs/train.yaml: `dataset_dir`,
            `resume` ... The launcher has set RANK and the like, or made the process group.
    """
    from monai.bundle import run as run_bundle

    root, given = Path(settings["bundle_root"]), {k: v for k, v in settings.items() if k != "bundle_root"}
    os.chdir(root)
    configs = [str(root / "configs" / name) for name in ("train.yaml", "multi_gpu_train.yaml")]
    # whoever made the process group ends it
    run_bundle(config_file=configs, **{**given, "finalize": "$None"})
