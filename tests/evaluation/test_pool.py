"""Worker processes: results in order, few calls in flight, one line when one dies, and none that stays behind."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from polyp_monai.data import files
from polyp_monai.errors import PolypError
from polyp_monai.evaluation import external, pool
from polyp_monai.evaluation.pool import FEW, IN_FLIGHT, Pool

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals and /proc of Linux")


@pytest.fixture(scope="module")
def two():
    with Pool(FEW, processes=2) as workers:
        yield workers


def gone(pid: int) -> bool:
    """Whether the process ended, within ten seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_results_are_those_of_the_calls_in_other_processes(two):
    futures = [two.submit(operator.mul, number, 2) for number in range(40)]
    assert [future.result() for future in futures] == list(range(0, 80, 2))
    assert two.submit(os.getpid).result() != os.getpid()


def test_few_calls_stay_in_this_process():
    with Pool(FEW - 1) as workers:
        assert workers.submit(os.getpid).result() == os.getpid()


def test_few_calls_are_in_flight(two):
    futures = []
    for _ in range(20):
        futures.append(two.submit(time.sleep, 0.02))
        assert sum(not future.done() for future in futures) <= 2 * IN_FLIGHT


def heavy_after_scoring(folder: Path) -> set[str]:
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 1
    files.write_mask(folder / "mask.png", mask)
    (found,), _, _ = external.match(folder, folder)
    assert next(external.score_all([found], external.ScoreOptions())).row["hd95"] == 0
    return set(sys.modules) & {"torch", "monai", "py_sod_metrics", "skimage"}


def test_workers_need_neither_torch_nor_monai(two, tmp_path):
    assert two.submit(heavy_after_scoring, tmp_path).result() == set()


def test_prints_of_a_worker_do_no_harm(two):
    assert two.submit(print, "hello").result() is None
    assert two.submit(os.write, 1, b"hello").result() == 5


def test_a_mistake_in_a_file_stops_what_follows(tmp_path):
    with Pool(FEW, processes=2) as workers:
        first = workers.submit(files.read_picture, tmp_path / "missing.png")
        with pytest.raises(PolypError, match=r"missing\.png: no such file"):
            first.result()
        with pytest.raises(PolypError, match=r"missing\.png: no such file"):
            workers.submit(operator.neg, 1)


@needs_posix
def test_a_killed_worker_is_said_in_one_line():
    with Pool(FEW, processes=2) as workers:
        future = workers.submit(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(PolypError, match=r"a worker process was killed, .* memory runs out"):
            future.result()


@needs_posix
def test_closing_ends_workers_at_once():
    with Pool(FEW, processes=2) as workers:
        pids = [workers.submit(os.getpid).result() for _ in range(2)]
        workers.submit(time.sleep, 60)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert all(map(gone, pids))


SCRIPT = f"""
import os, time
from polyp_monai.errors import exit_status
from {pool.__name__} import FEW, Pool

def main():
    with Pool(FEW, processes=2) as workers:
        print(workers.submit(os.getpid).result(), flush=True)
        for _ in range(20):
            workers.submit(time.sleep, 1)

raise SystemExit(exit_status(main))
"""


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_survives_its_parent(number):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], start_new_session=True, **pipes) as parent:
        worker = int(parent.stdout.readline())
        # a terminal sends Ctrl-C to all of its processes
        os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
        _, error = parent.communicate(timeout=5)
    interrupted = (130, "polyp: interrupted; nothing is half-written\n")
    assert (parent.returncode, error) == (interrupted if number == signal.SIGINT else (-number, ""))
    assert gone(worker)
