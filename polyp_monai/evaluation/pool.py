"""Calls of functions in worker processes: few in flight at a time, and no process outlives its pool.

`multiprocessing` is not used because its workers import the main module again. Under `python -m monai.bundle` that is
MONAI and torch, hundreds of megabytes and seconds in each; and in a user's script without a main guard it is the whole
script. These workers import what the function needs, on one thread each.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from polyp_monai.errors import PolypError, summary
from polyp_monai.training import malloc

FEW = 24  # calls that are done sooner than processes start
IN_FLIGHT = 2  # calls a process that are begun or wait: one is worked on while the next is on its way
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Worker processes, started when there is work; `close`, or leaving the `with` block, ends them at once.

    Args:
        calls: how many there will be; few are made in this process.
        processes: how many; by default one a core.
    """

    def __init__(self, calls: int, processes: int | None = None) -> None:
        processes = processes or cores()
        self._here = calls < FEW or processes == 1
        self._free = threading.Semaphore(processes * IN_FLIGHT)
        self._failed: Future | None = None
        self._workers: list[_Worker] = []
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(processes, "polyp-pool")  # each feeds a process of its own
        self.close = weakref.finalize(self, _close, self._threads, self._workers)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, function: Callable[..., Any], *arguments: Any, **words: Any) -> Future:
        """Have a process call `function`, which it must be able to import. Waits while enough calls are in flight.

        Raises:
            Exception: what a former call raised, or PolypError when its process died.
        """
        function = partial(function, **words) if words else function
        if self._here:
            future: Future = Future()
            future.set_result(function(*arguments))
            return future
        self._free.acquire()
        if self._failed is not None:
            self._failed.result()
        future = self._threads.submit(self._call, function, arguments)
        future.add_done_callback(self._done)
        return future

    def _call(self, function: Callable[..., Any], arguments: tuple) -> Any:
        if not hasattr(self._own, "worker"):
            self._own.worker = _Worker()
            self._workers.append(self._own.worker)
        return self._own.worker.call(function, arguments)

    def _done(self, future: Future) -> None:
        if self._failed is None and not future.cancelled() and future.exception() is not None:
            self._failed = future
        self._free.release()


def _close(threads: ThreadPoolExecutor, workers: list[_Worker]) -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.kill()  # on which the thread that feeds it ends
    threads.shutdown()
    for worker in workers:
        worker.kill()  # one that was being started
        worker.bury()


class _Worker:
    """One process: it reads calls from its standard input, writes answers to its output, and ends when the input does,
    which is also when the process that started it dies."""

    def __init__(self) -> None:
        # sys.path is set before anything else is imported: the working folder may hold a module of any name
        start = f"import sys; sys.path[:] = {_path()!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None  # they are pipes
        assert self._process.stdout is not None
        self._calls, self._answers = self._process.stdin, self._process.stdout

    def call(self, function: Callable[..., Any], arguments: tuple) -> Any:
        try:
            pickle.dump((function, arguments), self._calls, protocol=5)
            self._calls.flush()
            answer, error = pickle.load(self._answers)
        except (OSError, EOFError, pickle.UnpicklingError) as reason:
            raise PolypError(f"a worker process {self._fate()}") from reason
        if error is not None:
            raise error
        return answer

    def _fate(self) -> str:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "does not answer"
        if status == -getattr(signal, "SIGKILL", 9):
            return "was killed, as systems do when memory runs out: free some and run it again"
        return f"ended with status {status}; what it said stands above"

    def kill(self) -> None:
        self._process.kill()

    def bury(self) -> None:
        self._process.wait()
        for pipe in (self._calls, self._answers):
            with contextlib.suppress(OSError):  # what is still buffered cannot be written any more
                pipe.close()


def _path() -> list[str]:
    """Where a worker looks for modules: as this process does, and surely for this very package."""
    here, places = str(Path(__file__).resolve().parents[2]), [os.path.abspath(place) for place in sys.path if place]
    return places if here in places else [here, *places]


def serve() -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the pool ends this one
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    malloc.keep_freed()
    import cv2

    cv2.setNumThreads(1)
    try:
        while True:
            answers.write(_answer(*pickle.load(calls)))
            answers.flush()
    except (EOFError, OSError, pickle.UnpicklingError):  # the pool is gone, perhaps in the middle of a call
        os._exit(0)


def _answer(function: Callable[..., Any], arguments: tuple) -> bytes:
    """(result, None) or (None, exception), pickled."""
    try:
        return pickle.dumps((function(*arguments), None))
    except Exception as error:
        if not isinstance(error, (PolypError, OSError)):
            traceback.print_exc()  # a defect: the traceback does not travel with the exception
        try:
            answer = pickle.dumps((None, error))
            pickle.loads(answer)
        except Exception:  # an exception that cannot be built again elsewhere
            answer = pickle.dumps((None, RuntimeError(summary(error))))
        return answer
