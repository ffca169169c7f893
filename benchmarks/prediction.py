"""`polyp predict` from JPEG files to PNG masks against the bare network: images/s on the CPU, and memory.

    python benchmarks/prediction.py [--count 200] [--rounds 7] [--weights FILE] [--few 100] [--many 1000]

Speed: ours is the run of configs/inference.yaml that `polyp predict` starts: decode, resize, scale, network, back to
the native size, threshold, PNG. The other side is the network alone, on batches of the same frames that lie in memory
at the network's image size, in channels_last and inference mode, with as many threads. Start-up is not counted. The
weights are trained for half a minute unless --weights names others.

Memory: the peak of a real `polyp predict` process over many frames against that over few. Frames are the same files
over and over under other names, so the largest frame is in both, and only the number differs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from common import alternate, copies, find_pairs, inference, machine, report, scratch_bundle, verdict, write_datalist
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, Dataset

TARGET = 0.70
LARGEST_GROWTH = 1.10

# started by a small process, because a process counts the memory of the one that it was forked from as its own
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def train_briefly(folder: Path, pairs: list[tuple[Path, Path]]) -> Path:
    """Weights that outline something: the noise that fresh ones give takes several times as long to compress."""
    workflow = ConfigWorkflow(
        config_file="configs/train.yaml",
        workflow_type="train",
        dataset_dir=str(write_datalist(folder / "data", pairs)),
        device="cpu",
        epochs=10,
    )
    workflow.initialize()
    workflow.run()
    return Path("models/model.pt").resolve()


def measure_speed(
    frames: Path, weights: Path, out: Path, rounds: int, kind: str, image_size: int | None = None
) -> None:
    """Print images/s of both sides."""
    workflow = inference(frames, out, weights, **({"image_size": image_size} if image_size else {}))
    names = ("network", "preprocessing", "batch_size", "image_size")
    network, preprocessing, batch_size, image_size = (workflow.parser.get_parsed_content(name) for name in names)
    samples = [{"image": str(path)} for path in sorted(frames.iterdir())]
    loader = DataLoader(Dataset(samples, preprocessing), batch_size=batch_size)
    batches = [batch["image"].as_tensor().contiguous(memory_format=torch.channels_last) for batch in loader]
    network.eval()

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                network(batch)

    other = "bare network, tensors in memory"
    sides = {"polyp predict, JPEG files to PNG masks": workflow.run, other: bare}
    title = f"Prediction of {kind}, image size {image_size}, batch {batch_size}, {torch.get_num_threads()} threads"
    # a mask is written to a new file, as a user's is: some file systems take longer to replace one
    taken = alternate(sides, rounds, before=lambda: shutil.rmtree(out, ignore_errors=True))
    report(title, len(samples), taken, other, TARGET)
    written = sum(1 for path in out.rglob("*.png"))
    if written != len(samples):
        raise AssertionError(f"{written} masks for {len(samples)} frames")


def peak(root: Path, frames: Path, weights: Path, out: Path) -> float:
    """Peak resident memory in MiB of a `polyp predict` process."""
    predict = [sys.executable, "-m", "polyp_monai", "predict", str(root), str(frames), "--out", str(out)]
    command = [sys.executable, "-c", MEASURE, *predict, "--weights", str(weights), "--device", "cpu"]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return int(done.stdout) / (1 << (20 if sys.platform == "darwin" else 10))  # macOS counts bytes, Linux KiB


def measure_memory(root: Path, images: list[Path], weights: Path, folder: Path, counts: tuple[int, int]) -> None:
    """Print the peaks of both runs and their ratio."""
    peaks = []
    print(f"\nPeak memory of a `polyp predict` process\n{machine()}\n\n{'images':>8}{'MiB':>8}")
    for count in counts:
        frames = copies(images, folder / f"frames-{count}", count)
        peaks.append(peak(root, frames, weights, folder / f"masks-{count}"))
        print(f"{count:8}{peaks[-1]:8.0f}", flush=True)
    growth = peaks[1] / peaks[0]
    print(f"\n{growth:.2f} times; target at most {LARGEST_GROWTH:.2f}: {verdict(growth <= LARGEST_GROWTH)}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=200, help="images of the speed benchmark (200)")
    options.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    options.add_argument("--weights", metavar="FILE", help="weights of the unet bundle (briefly trained ones)")
    options.add_argument("--few", type=int, default=100, help="images of the small memory run (100)")
    options.add_argument("--many", type=int, default=1000, help="images of the large memory run (1000)")
    args = options.parse_args()
    given = Path(args.weights).resolve() if args.weights else None
    with scratch_bundle() as (folder, root):
        pairs, kind = find_pairs(folder, args.count)
        weights = given or train_briefly(folder, pairs[:80])
        frames = copies([image for image, _ in pairs], folder / "frames", args.count)
        for image_size in (None, 352):  # the bundle's own, and the one that most publications use
            measure_speed(frames, weights, folder / "masks", args.rounds, kind, image_size)
            shutil.rmtree(folder / "masks")
        few = sorted(frames.iterdir())[: args.few]
        measure_memory(root, few, weights, folder, (args.few, args.many))


if __name__ == "__main__":
    main()
