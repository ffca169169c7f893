"""Core seconds and peak memory of prepare, predict, evaluate and an epoch against the number of frames and processes.

    python benchmarks/scaling.py [--counts 100 1000 10000] [--processes 1 2] [--out docs/images/scaling.svg]

Frames are synthetic, 96 x 96, and the network is small: what is measured is what grows with the frames. Every point is
a real `polyp` process, or as many as parts. Core seconds are those that the processes computed, so that what else the
machine does counts little. The exponent is that of the power law through the two largest counts, the start (what the
fewest frames take, less those frames' share) left out; 1 is a cost that grows as the frames do. Memory is the peak of
one process.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bulk import POLYP, SMALL
from common import machine, verdict

HIGHEST_EXPONENT, HIGHEST_GROWTH = 1.05, 1.10
SIDE = 96
COLORS = {
    "prepare": "#0b7285",
    "epoch": "#e8590c",
    "evaluate": "#5f3dc4",
    "predict": "#2b8a3e",
    "predict, 2": "#82c91e",
}

# started by a small process, because a process counts the memory of the one that it was forked from as its own
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(status)
"""


def pictures(folder: Path, count: int) -> None:
    """`count` frames and masks, each with a pattern of its own: copies would be found out by `polyp prepare`."""
    import cv2

    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        random = np.random.default_rng(number)
        x, y, radius = *random.uniform(30, 66, 2), random.uniform(8, 20)
        inside = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
        coarse = random.integers(0, 120, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + inside[..., None] * np.uint8(90)
        cv2.imwrite(str(folder / f"images/{number:06d}.jpg"), image)
        cv2.imwrite(str(folder / f"masks/{number:06d}.png"), inside.astype(np.uint8) * 255)


def measured(*commands: list[str]) -> tuple[float, float]:
    """Core seconds of processes beside each other, and the highest peak of their memory in MiB."""
    running = [
        subprocess.Popen([sys.executable, "-c", MEASURE, *POLYP, *command], stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    peaks, seconds = [], 0.0
    for process, command in zip(running, commands, strict=True):
        out, _ = process.communicate()
        if process.returncode:
            raise AssertionError(f"polyp {' '.join(command)} failed")
        peak, used = out.split()
        peaks.append(int(peak) / (1 << (20 if sys.platform == "darwin" else 10)))  # macOS counts bytes, Linux KiB
        seconds += float(used)
    return seconds, max(peaks)


def points(folder: Path, count: int, processes: list[int]) -> dict[str, tuple[float, float]]:
    """What each command takes for `count` frames."""
    pictures(folder / "raw", count)
    data, run, masks = folder / "data", folder / "unet", folder / "masks"
    raw = ["--images", str(folder / "raw/images"), "--masks", str(folder / "raw/masks")]
    small = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    found = {}
    found["prepare"] = measured(["prepare", "folder", *raw, "--out", str(data), "--skip-bad"])
    train = ["train", "unet", "--data", str(data), "--out", str(run), "--epochs", "1", *small]
    found["epoch"] = measured(train)
    evaluate = ["evaluate", str(run), "--data", str(data), "--split", "all", "--out", str(folder / "scores")]
    found["evaluate"] = measured(evaluate)
    predict = ["predict", str(run), str(folder / "raw/images"), "--out"]
    for number in processes:
        parts = [["--part", f"{part}/{number}"] if number > 1 else [] for part in range(1, number + 1)]
        name = "predict" if number == 1 else f"predict, {number}"
        found[name] = measured(*([*predict, f"{masks}-{number}", *part] for part in parts))
    return found


def exponent(taken: dict[int, float]) -> float:
    """Of the power law through the two largest counts, the start left out."""
    few, *_, some, many = sorted(taken)
    share = (taken[many] - taken[few]) / (many - few)
    start = max(0.0, taken[few] - few * share)
    return math.log((taken[many] - start) / (taken[some] - start)) / math.log(many / some)


def draw(table: dict[str, dict[int, tuple[float, float]]], path: Path) -> None:
    """Two plots side by side, core seconds and MiB against frames, as one SVG."""
    panels = [("core seconds", 0), ("peak memory of a process, MiB", 1)]
    counts = sorted(next(iter(table.values())))
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="sans-serif" font-size="12">']
    lines.append('<rect width="760" height="330" fill="white"/>')
    for panel, (title, which) in enumerate(panels):
        left, top, wide, high = 50 + panel * 370, 40, 300, 230
        values = [point[which] for points in table.values() for point in points.values()]
        low = math.floor(math.log10(min(values)))
        tall = math.ceil(math.log10(max(values)) + 1e-9)
        x0, x1 = math.log10(counts[0]), math.log10(counts[-1])

        def place(count: int, value: float, at=(left, top, wide, high, low, tall, x0, x1)) -> tuple[float, float]:
            left, top, wide, high, low, tall, x0, x1 = at
            x = left + wide * (math.log10(count) - x0) / (x1 - x0)
            return x, top + high * (1 - (math.log10(value) - low) / (tall - low))

        lines.append(f'<text x="{left}" y="{top - 15}" font-weight="bold">{title}</text>')
        for power in range(low, tall + 1):
            _, y = place(counts[0], 10**power)
            lines.append(f'<line x1="{left}" x2="{left + wide}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
            lines.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10**power:g}</text>')
        for count in counts:
            x, _ = place(count, 10**low)
            lines.append(f'<text x="{x:.0f}" y="{top + high + 18}" text-anchor="middle">{count:,}</text>')
        lines.append(f'<text x="{left + wide / 2}" y="{top + high + 36}" text-anchor="middle">frames</text>')
        for name, points_of in table.items():
            places = [place(count, point[which]) for count, point in sorted(points_of.items())]
            path_of = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            lines.append(f'<polyline points="{path_of}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>')
            lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLORS[name]}"/>' for x, y in places]
    for number, name in enumerate(table):
        x = 50 + number * 120
        lines.append(f'<rect x="{x}" y="312" width="12" height="4" fill="{COLORS[name]}"/>')
        lines.append(f'<text x="{x + 17}" y="318">{name}</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000], help="frames (100 1000 10000)")
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of predict (1 2)")
    options.add_argument("--out", type=Path, default=Path("docs/images/scaling.svg"), help="the picture")
    args = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    table: dict[str, dict[int, tuple[float, float]]] = {}
    print(f"{machine()}, load {os.getloadavg()[0]:.0f}\n{'':16}{'frames':>8}{'core s':>10}{'MiB':>8}", flush=True)
    for count in sorted(args.counts):
        with TemporaryDirectory(prefix="polyp-bench-") as folder:
            for name, point in points(Path(folder), count, args.processes).items():
                table.setdefault(name, {})[count] = point
                print(f"{name:16}{count:8}{point[0]:10.1f}{point[1]:8.0f}", flush=True)
    draw(table, args.out)
    for name, found in table.items() if len(args.counts) > 2 else ():  # fewer tell no law
        power = exponent({count: point[0] for count, point in found.items()})
        growth = found[max(found)][1] / found[min(found)][1]
        print(
            f"{name:16}exponent {power:.2f} ({verdict(power <= HIGHEST_EXPONENT)}), memory {growth:.2f} times "
            f"({verdict(growth <= HIGHEST_GROWTH)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
