"""Exported runtimes and video on the CPU: the network alone, a folder of frames, and a video end to end.

    python benchmarks/realtime.py [--data DIR] [--rounds 7] [--seconds 20] [--exports FILE FILE ...]

All with the shipped weights of efficient_unet at an image size of 352, a frame at a time, with PyTorch's own number of
threads.

Network: the same frames in memory through PyTorch (eager, channels_last, inference mode) and through each runtime. int8
needs --data, a prepared set to calibrate and check the export on; --exports names files that `polyp export` wrote.

Video: a clip of clip.py; `polyp video` reads it, finds, draws and writes H.264 again, as fast as it can. The other side
is the exported network alone, on tensors in memory.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import cv2
import torch
from clip import SIZE, write_clip
from common import alternate, copies, find_pairs, inference, machine, report, scratch_bundle, verdict, working_in

from polyp_monai import runtime
from polyp_monai.bundle import locate, overrides
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.data import files
from polyp_monai.export import export
from polyp_monai.video import run as video

BUNDLE, IMAGE_SIZE, FRAMES = "efficient_unet", 352, 30
TARGETS = {"fp32": 2.2, "int8": 5.0}
Network = Callable[[torch.Tensor], torch.Tensor]


def networks(root: Path, paths: list[Path]) -> dict[str, Network]:
    """What each side calls: PyTorch, and every exported file in every runtime that reads it, named by its precision."""
    config = BundleConfig(root, overrides={"weights": str(root / "models/model.pt")})
    sides: dict[str, Network] = {"PyTorch, eager, channels_last": config["network"].eval()}
    for path in paths:
        for name in runtime.READERS[path.suffix]:
            network = load(path, name)
            sides[f"{name} {network.about.precision}"] = network
    return sides


def load(path: Path, name: str = runtime.FASTEST[0]) -> Network:
    return runtime.load(name, path, torch.device("cpu"))


def tensors(images: list[Path]) -> list[torch.Tensor]:
    """(1, 3, W, H) 0..1 of each file, at the image size."""
    frames = [
        cv2.resize(files.read_rgb(path), (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA) for path in images
    ]
    return [torch.from_numpy(f.transpose(2, 1, 0).copy())[None].float() / 255 for f in frames]


def loop(network: Network, frames: list[torch.Tensor]) -> Callable[[], None]:
    def work() -> None:
        with torch.inference_mode():
            for frame in frames:
                network(frame)

    return work


def measure_networks(sides: dict[str, Network], frames: list[torch.Tensor], rounds: int) -> None:
    """Print ms a frame of every side, its ratio to PyTorch, and whether the best of a precision reaches its target."""
    other, *rest = sides
    taken = alternate({name: loop(sides[name], frames) for name in (*rest, other)}, rounds)
    title = f"The network of {BUNDLE} alone, {IMAGE_SIZE} x {IMAGE_SIZE}, batch 1, {torch.get_num_threads()} threads"
    report(title, len(frames), taken, other)
    print()
    for precision, target in TARGETS.items():
        ratios = [
            statistics.median(theirs / ours for ours, theirs in zip(taken[name], taken[other], strict=True))
            for name in rest
            if name.endswith(precision)
        ]
        if ratios:
            print(
                f"{precision}: {max(ratios):.2f} times; target at least {target:.2f}: {verdict(max(ratios) >= target)}"
            )


def measure_predict(frames: Path, out: Path, rounds: int, weights: dict[str, tuple[str, Path]]) -> None:
    """Print images/s of `polyp predict` over a folder, by runtime."""
    runs = {}
    for name, (choice, path) in weights.items():
        place = out / name.replace(" ", "-")
        runs[name] = inference(frames, place, path, runtime=choice, image_size=IMAGE_SIZE).run
    taken = alternate(runs, rounds, before=lambda: shutil.rmtree(out, ignore_errors=True))
    count = sum(1 for _ in frames.iterdir())
    report(
        f"`polyp predict`, {count} JPEG files to PNG masks, image size {IMAGE_SIZE}", count, taken, next(iter(weights))
    )


def measure_video(root: Path, clip: Path, out: Path, network: Network, frames: list, weights: Path) -> None:
    """Print frames/s of `polyp video` and of its network alone, in turn."""
    given = overrides.check(
        root, "inference", {"runtime": "auto", "weights": str(weights), "image_size": str(IMAGE_SIZE)}
    )
    rates, ratios = [], []
    for _ in range(3):
        began = time.perf_counter()
        loop(network, list(islice(cycle(frames), 100)))()
        alone = 100 / (time.perf_counter() - began)
        result = video.run(root, given, video.Options(str(clip), out=out, overwrite=True))
        rates.append(result.summary["frames_per_second"])
        ratios.append(rates[-1] / alone)
    rate, ratio = statistics.median(rates), statistics.median(ratios)
    print(f"\n`polyp video`, {SIZE[0]} x {SIZE[1]} H.264 to H.264 with overlay, image size {IMAGE_SIZE}\n{machine()}\n")
    print(result.latency)
    print(f"{result.summary['network']}; {result.summary['alarms']} polyps shown in {result.summary['frames']} frames")
    print(f"\n{rate:.1f} frames/s; target at least 30: {verdict(rate >= 30)}")
    print(f"{ratio:.2f} of the bare network's frames/s; target at least 0.60: {verdict(ratio >= 0.6)}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", metavar="DIR", help="prepared set, for int8")
    options.add_argument(
        "--exports", metavar="FILE", type=Path, nargs="*", default=[], help="exports of efficient_unet"
    )
    options.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    options.add_argument("--seconds", type=float, default=20, help="length of the clip (20)")
    args = options.parse_args()
    root = locate.shipped()[BUNDLE]
    data, exports = args.data and str(Path(args.data).resolve()), [path.resolve() for path in args.exports]
    with scratch_bundle() as (folder, _), working_in(root):
        paths = [folder / "network.onnx", *exports]
        print(export.export(root, "onnx", "fp32", paths[0]))
        if data:
            files.append(folder / "network.int8.onnx")
            print(export.export(root, "onnx", "int8", paths[-1], data))
        pairs, _ = find_pairs(folder, 100)
        images = [image for image, _ in pairs]
        frames, sides = tensors(images[:FRAMES]), networks(root, paths)
        measure_networks(sides, frames, args.rounds)
        onnx = {load(path).about.precision: path for path in paths if path.suffix == ".onnx"}
        runs = {"PyTorch": ("torch", root / "models/model.pt")} | {p: ("auto", path) for p, path in onnx.items()}
        measure_predict(copies(images, folder / "frames", 100), folder / "masks", args.rounds, runs)
        write_clip(folder / "clip.mp4", pairs, args.seconds)
        for path in onnx.values():
            measure_video(root, folder / "clip.mp4", folder / "overlay.mp4", load(path), frames, path)


if __name__ == "__main__":
    main()
