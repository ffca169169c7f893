"""What the benchmarks share: images, a scratch bundle, the alternating timer, the printed table.

Fairness rules of every benchmark here: a claim is a ratio between two sides that get the same images; both are measured
in one run, one after the other in turn, after a round that is not counted; the ratio is the median over the rounds of
the two times of one round, so that what else the machine does hits both sides alike.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from monai.bundle import ConfigWorkflow

BUNDLE = "unet"


def machine() -> str:
    """One line: CPU, cores and the versions that matter."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), model)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "opencv-python-headless"))
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def find_pairs(folder: Path, count: int) -> tuple[list[tuple[Path, Path]], str]:
    """`count` pairs of (image, mask) files and what they are; repeated when there are fewer.

    Real ones when POLYP_TEST_DATA names a folder with Kvasir-SEG/images and Kvasir-SEG/masks, else synthetic ones,
    which are generated in `folder`.
    """
    kvasir = Path(os.environ.get("POLYP_TEST_DATA", "")) / "Kvasir-SEG"
    if "POLYP_TEST_DATA" in os.environ and (kvasir / "images").is_dir():
        images = sorted((kvasir / "images").glob("*.jpg"))
        found = [(path.resolve(), (kvasir / "masks" / path.name).resolve()) for path in images]
        kind = "Kvasir-SEG frames"
    else:
        from data_prep import synthetic

        found = [(pair.image, pair.mask) for pair in synthetic.pairs(folder / "synthetic", min(count, 100), seed=0)]
        kind = "synthetic frames"
    return list(islice(cycle(found), count)), f"{count} {kind}"


def write_datalist(folder: Path, pairs: list[tuple[Path, Path]]) -> Path:
    """A prepared data set in `folder` whose training split is `pairs`; a few of them are the other parts too."""
    entries = [{"image": str(i), "label": str(m), "name": f"{n}", "group": f"{n}"} for n, (i, m) in enumerate(pairs)]
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"training": entries, "validation": entries[:8], "test": entries[:8]}
    (folder / "datalist.json").write_text(json.dumps(parts), encoding="utf-8")
    return folder


def copies(files: list[Path], folder: Path, count: int) -> Path:
    """`folder` with `count` copies of the files, in turn, each under a name of its own."""
    folder.mkdir(parents=True)
    for number, file in enumerate(islice(cycle(files), count)):
        shutil.copyfile(file, folder / f"frame-{number:05d}{file.suffix}")
    return folder


def inference(frames: Path, out: Path, weights: Path, **keys: object) -> ConfigWorkflow:
    """What `polyp predict` runs, ready to run, for the bundle in whose folder we are; `keys` as on its command line."""
    workflow = ConfigWorkflow(
        config_file="configs/inference.yaml",
        workflow_type="inference",
        inputs=[str(frames)],
        output_dir=str(out),
        weights=str(weights),
        device="cpu",
        **keys,
    )
    workflow.initialize()
    return workflow


@contextmanager
def scratch_bundle() -> Iterator[tuple[Path, Path]]:
    """(temporary folder, copy of the shipped bundle in it), with the bundle as the working folder and a quiet log."""
    from polyp_monai.bundle import locate

    logging.disable(logging.INFO)
    with TemporaryDirectory(prefix="polyp-bench-") as name:
        folder = Path(name).resolve()
        ignored = shutil.ignore_patterns("models", "eval", "predictions")
        root = Path(shutil.copytree(locate.shipped()[BUNDLE], folder / BUNDLE, ignore=ignored))
        with working_in(root):
            yield folder, root


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """`folder` as the working folder, as stock MONAI wants a bundle's to be."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    sides: dict[str, Callable[[], object]], rounds: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of every side in every round: A B A B ..., after one round that is not counted.

    `before` is called before each round, and not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        before()
        for name, work in sides.items():
            taken[name].append(seconds(work))
    return {name: times[1:] for name, times in taken.items()}


def report(title: str, images: int, taken: dict[str, list[float]], other: str, target: float | None = None) -> None:
    """Print images/s of every side, and their ratio to the side `other`; `target` is for the first side.

    Args:
        title: what is compared, in a line.
        images: images that a side works through in a round.
        taken: side -> seconds of each round, as from `alternate`.
    """
    print(f"\n{title}\n{machine()}\n")
    print(f"{'':44}{'images/s':>10}{'ms/image':>10}{'ratio':>8}   lowest to highest")
    for side, times in taken.items():
        ratios = sorted(theirs / ours for ours, theirs in zip(times, taken[other], strict=True))
        rate = images / statistics.median(times)
        row = f"{side:44}{rate:10.1f}{1000 / rate:10.2f}{statistics.median(ratios):8.2f}"
        print(row if side == other else f"{row}   {ratios[0]:.2f} to {ratios[-1]:.2f}")
    if target is not None:
        ours = next(iter(taken))
        reached = statistics.median(theirs / mine for mine, theirs in zip(taken[ours], taken[other], strict=True))
        print(f"\n{reached:.2f} times {other}; target at least {target:.2f}: {verdict(reached >= target)}", flush=True)


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"
