"""One training of a trial: `polyp train` in a process of its own, whose log is read while it writes it."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

LOOK = 0.5  # seconds between two looks at the log
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # found before a fork, after which little is allowed


class TrainingFailedError(Exception):
    """A training ended with an error, which is the text: a line."""


class Training:
    """A training that goes on where an earlier one in the folder `out` stopped.

    Args:
        words: of `polyp train`, without --out and --resume.
        out: folder of the run.
    """

    def __init__(self, words: Sequence[str], out: Path) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        self.out = out
        self._log = open(out.parent / f"{out.name}.log", "w+b")  # noqa: SIM115  closed by `end`
        command = [sys.executable, "-m", "polyp_monai", "train", *words, f"--out={out}", "--resume"]
        # its process group is its own, so that Ctrl-C reaches the sweep first
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_die_with_parent if _libc else None,
        )

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def epochs(self) -> Iterator[tuple[int, float]]:
        """(epoch, validation score) of each validated epoch, while it trains.

        Raises:
            TrainingFailedError: it ended with an error.
        """
        seen = 0
        while True:
            ended = self._process.poll() is not None
            for epoch, score in self.scores():
                if epoch > seen:
                    seen = epoch
                    yield epoch, score
            if ended:
                break
            time.sleep(LOOK)
        if self._process.returncode:
            raise TrainingFailedError(self._last_line())

    def scores(self) -> list[tuple[int, float]]:
        """What the log of the run holds so far."""
        with contextlib.suppress(OSError, KeyError, ValueError):
            text = (self.out / "eval/training.csv").read_text(encoding="utf-8")
            rows = csv.DictReader(text.splitlines())
            return [(int(row["epoch"]), float(row["validation"])) for row in rows if row["validation"]]
        return []

    def end(self) -> None:
        """Have it end now, if it has not; what its last finished epoch left stays."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._log.close()

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        errors = [line.removeprefix("polyp: error: ") for line in lines if line.startswith("polyp: error: ")]
        code = self._process.returncode
        killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return (errors or [*lines[-1:], ""])[0] or killed


def _die_with_parent() -> None:
    """A sweep that is killed leaves no training behind, which would hold the folder."""
    if _libc:
        _libc.prctl(_DEATH_SIGNAL, signal.SIGTERM)
