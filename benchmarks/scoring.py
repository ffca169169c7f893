"""Scoring: all scores of `polyp score --quick`, against pysodmetrics alone for S, E, weighted F and MAE.

    python benchmarks/scoring.py [--count N]

Target: at most 3 times the time, one process each, maps of 622 x 529. Then the same on all cores, and the memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import machine
from PIL import Image

WIDTH, HEIGHT, TARGET, ROUNDS = 622, 529, 3.0, 5


def write_pairs(folder: Path, count: int) -> None:
    """Soft discs as maps, and discs a little beside them as truth."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for name in ("maps", "truth"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        centre, radius = rng.uniform(150, 400, 2), rng.uniform(20, 120)
        distance = np.hypot(y - centre[0], x - centre[1])
        map_ = 255 / (1 + np.exp((distance - radius) / 6))
        Image.fromarray(map_.astype(np.uint8)).save(folder / f"maps/{number}.png")
        Image.fromarray(np.uint8(255) * (np.hypot(y - centre[0] - 8, x - centre[1]) < radius)).save(
            folder / f"truth/{number}.png"
        )


def theirs(folder: Path, count: int) -> None:
    """pysodmetrics as its own examples use it."""
    from py_sod_metrics import MAE, Emeasure, Smeasure, WeightedFmeasure

    metrics = [Smeasure(), Emeasure(), WeightedFmeasure(), MAE()]
    for number in range(count):
        map_, truth = (np.asarray(Image.open(folder / f"{side}/{number}.png")) for side in ("maps", "truth"))
        for metric in metrics:
            metric.step(pred=map_, gt=truth)
    for metric in metrics:
        metric.get_results()


def ours(folder: Path, count: int, processes: bool = False) -> None:
    from polyp_monai.evaluation import external, scoring

    matches, _, _ = external.match(folder / "maps", folder / "truth")
    options = external.ScoreOptions(outlines=False)
    scoring.summarize(list(external.score_all(matches[:count], options, None if processes else 1)))


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak(folder: Path, count: int) -> float:
    import resource

    ours(folder, count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="pairs a round (60)")
    parser.add_argument("--large", type=int, default=1000, help="pairs for the run on all cores and the memory (1000)")
    args = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, max(args.count, args.large))
        ours(folder, 4), theirs(folder, 4)
        times = [
            (seconds(lambda: ours(folder, args.count)), seconds(lambda: theirs(folder, args.count)))
            for _ in range(ROUNDS)
        ]
        ratio = statistics.median(one / other for one, other in times)
        for label, side in (("all scores", 0), ("pysodmetrics: S, E, weighted F, MAE", 1)):
            print(f"{label:40} {min(t[side] for t in times) / args.count * 1000:7.1f} ms a pair")
        print(
            f"{ratio:.2f} times pysodmetrics; target at most {TARGET:.0f}: {'reached' if ratio <= TARGET else 'MISSED'}"
        )
        taken = seconds(lambda: ours(folder, args.large, processes=True))
        print(f"{args.large} pairs on {os.cpu_count()} cores: {taken:.1f} s, {args.large / taken:.1f} pairs/s")
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            small, large = (pool.apply(_peak, (folder, count)) for count in (max(1, args.large // 10), args.large))
        print(f"peak memory: {small:.0f} MiB for {args.large // 10} pairs, {large:.0f} MiB for {args.large}")


if __name__ == "__main__":
    main()
