"""`polyp evaluate` on frames of 1920 x 1080: on all cores against one process, and the memory of few and many frames.

    python benchmarks/evaluation.py [--count 60] [--rounds 3] [--few 100] [--many 1000]

Every run is a whole `polyp evaluate efficient_unet` of its own on the CPU, start-up included. The frames are synthetic,
50 different ones over and over under other names.

Memory is the highest sum, sampled ten times a second, of what the process and all of its workers hold resident (Linux);
pages that they share count once for each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from common import alternate, machine, report, verdict
from PIL import Image

from data_prep import synthetic
from data_prep.progress import in_parallel

SIZE, DIFFERENT = (1920, 1080), 50
TARGET = 1.7
LARGEST = 1536  # MiB

# what `polyp` runs, with `processes` to score in
CHILD = """
import sys
from polyp_monai.cli import main
from polyp_monai.evaluation import pool
pool.cores = lambda: int(sys.argv[1])
raise SystemExit(main(sys.argv[2:]))
"""


def write_frame(number: int, folder: Path) -> None:
    """One synthetic frame and its mask, drawn at half the size."""
    rng = np.random.default_rng((17, number))
    half = (SIZE[0] // 2, SIZE[1] // 2)
    polyps = synthetic.draw_polyps(rng) if number % 8 else ()
    image, mask = synthetic.render(rng, half, polyps)
    Image.fromarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_CUBIC)).save(folder / f"{number}.jpg", quality=92)
    cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(mask * 255, SIZE, interpolation=cv2.INTER_NEAREST))


def write_data(frames: Path, folder: Path, count: int) -> Path:
    """A prepared set in `folder` whose test split is `count` frames."""
    folder.mkdir(parents=True)
    entries = []
    for number in range(count):
        image = folder / f"{number:05d}.jpg"
        os.link(frames / f"{number % DIFFERENT}.jpg", image)
        label = frames / f"{number % DIFFERENT}.png"
        about = {"name": image.stem, "group": f"{number % DIFFERENT}", "tags": []}
        entries.append({"image": str(image), "label": str(label)} | about)
    content = {"name": "benchmark", "training": [], "validation": [], "test": entries}
    (folder / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def evaluate(data: Path, out: Path, processes: int) -> float:
    """Run `polyp evaluate` and return its peak memory in MiB."""
    command = ["evaluate", "efficient_unet", "--data", str(data), "--out", str(out), "--overwrite", "--device", "cpu"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    peak = 0.0
    with subprocess.Popen([sys.executable, "-c", CHILD, str(processes), *command], **quiet) as run:
        while run.poll() is None:
            peak = max(peak, resident(run.pid))
            time.sleep(0.1)
    if run.returncode:
        raise SystemExit(f"polyp {' '.join(command)}: status {run.returncode}")
    return peak


def resident(pid: int) -> float:
    """MiB that a process and all that it started hold; 0 where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").open()]
    except OSError:  # it ended meanwhile
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(resident(int(c)) for line in children for c in line.split())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=60, help="frames of the speed runs (60)")
    options.add_argument("--rounds", type=int, default=3, help="rounds that count (3)")
    options.add_argument("--few", type=int, default=100, help="frames of the small memory run (100)")
    options.add_argument("--many", type=int, default=1000, help="frames of the large memory run (1000)")
    args = options.parse_args()
    cores = len(os.sched_getaffinity(0))
    with TemporaryDirectory(prefix="polyp-bench-") as name:
        folder = Path(name)
        frames = folder / "frames"
        frames.mkdir()
        in_parallel(partial(write_frame, folder=frames), range(DIFFERENT), "drawing")
        if args.rounds:
            data = write_data(frames, folder / "speed", args.count)
            sides = {"all cores": cores, "one process": 1}
            works = {side: partial(evaluate, data, folder / f"out-{n}", n) for side, n in sides.items()}
            taken = alternate(works, args.rounds)
            report(f"Evaluation of {args.count} frames of 1920 x 1080", args.count, taken, "one process", TARGET)
        print(f"\nPeak memory of `polyp evaluate` and its workers\n{machine()}\n\n{'frames':>8}{'MiB':>8}")
        for count in (args.few, args.many):
            peak = evaluate(write_data(frames, folder / f"memory-{count}", count), folder / f"out-{count}", cores)
            print(f"{count:8}{peak:8.0f}", flush=True)
        print(f"\ntarget at most {LARGEST} MiB: {verdict(peak <= LARGEST)}", flush=True)


if __name__ == "__main__":
    main()
