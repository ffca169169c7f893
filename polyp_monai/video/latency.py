"""How long each stage takes, over any number of frames, in memory that does not grow."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# 2 % wide steps from 10 microseconds to 100 seconds
_EDGES = np.geomspace(1e-5, 1e2, round(np.log(1e7) / np.log(1.02)))
PERCENTILES = (50, 95, 99)


class Latency:
    """Durations by stage in seconds, kept as histograms. Threads may share it."""

    def __init__(self) -> None:
        self._counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(_EDGES) + 1, np.int64))
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._counts[stage][np.searchsorted(_EDGES, seconds)] += 1

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds what the block takes."""
        began = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - began)

    def percentile(self, stage: str, percent: float) -> float:
        """Milliseconds below which `percent` of the frames stay, within 2 %; NaN for a stage without a frame."""
        counts = self._counts.get(stage)
        if counts is None:
            return float("nan")
        at = int(np.searchsorted(counts.cumsum(), counts.sum() * percent / 100))
        return float(_EDGES[min(at, len(_EDGES) - 1)] * 1e3)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Stage -> {"p50", "p95", "p99"} in ms."""
        return {s: {f"p{p}": round(self.percentile(s, p), 2) for p in PERCENTILES} for s in self._counts}

    def table(self) -> str:
        """One line a stage."""
        lines = [f"{'ms a frame':<12}" + "".join(f"{f'p{p}':>9}" for p in PERCENTILES)]
        for stage in self._counts:
            lines.append(f"{stage:<12}" + "".join(f"{self.percentile(stage, p):9.1f}" for p in PERCENTILES))
        return "\n".join(lines)
