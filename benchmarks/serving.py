"""`polyp serve` under load: 64 clients against one process, beside the network alone.

    python benchmarks/serving.py [--bundle efficient_unet] [--image-size 384] [--clients 64] [--requests 5000]

A bundle without weights gets drawn ones. Frames are JPEGs of mixed sizes, 320 x 256 to 1280 x 1024. In each round the
network alone takes fitted frames that lie in memory, in batches as large as the service makes them, a fifth as many as
the clients then send to the service, which decodes, fits, waits, infers and outlines. A client that is refused by a 429
comes back after Retry-After, one whose connection breaks after a moment. At the end the process is killed (SIGKILL) in
the middle of a round and started again.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import machine
from PIL import Image

import polyp_monai
from data_prep import synthetic
from polyp_monai.bundle.locate import shipped
from polyp_monai.bundle.predictor import Predictor
from polyp_monai.bundle.read import BundleConfig
from polyp_monai.data import files
from polyp_monai.training import checkpoints

SIZES = ((320, 256), (480, 384), (640, 512), (720, 576), (960, 768), (1280, 1024))
BATCH = 8
QUEUE = 48  # less than there are clients, so that some are refused
GOAL = 0.7  # of the throughput of the network alone


@dataclass
class Tally:
    """What the clients met."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    statuses: Counter = field(default_factory=Counter)
    broken: int = 0
    milliseconds: list[float] = field(default_factory=list)
    wrong: int = 0
    lost: int = 0


class Client:
    """One connection that is kept, and opened again when it breaks."""

    def __init__(self, port: int, tally: Tally) -> None:
        self.port, self.tally = port, tally
        self.connection: http.client.HTTPConnection | None = None

    def ask(self, body: bytes, expected: object, patience: float = 300) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            began = time.perf_counter()
            try:
                self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                self.connection.request("POST", "/v1/predict", body)
                answer = self.connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                with self.tally.lock:
                    self.tally.broken += 1
                time.sleep(0.3)
                continue
            took = 1e3 * (time.perf_counter() - began)
            with self.tally.lock:
                self.tally.statuses[answer.status] += 1
                if answer.status == 200:
                    self.tally.milliseconds.append(took)
                    self.tally.wrong += found(content) != expected
            if answer.status == 200:
                return
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        with self.tally.lock:
            self.tally.lost += 1


def found(content: bytes) -> object:
    return json.loads(content)["results"][0]["polyps"]


class Process:
    """`polyp serve` at a port that stays the same."""

    def __init__(self, root: Path, device: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = [str(root), "--port", str(self.port), "--queue", str(QUEUE), "--max-batch", str(BATCH)]
        self.command = [sys.executable, "-m", "polyp_monai", "serve", *words, "--device", device, "--timeout", "120"]
        self.start()

    def start(self) -> None:
        self.running = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.running.stdout
        assert "http://" in self.running.stdout.readline(), "the service did not start"

    @property
    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def restart(self) -> None:
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()
        self.start()  # clients that come before it listens are refused their connection, and try again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="efficient_unet")
    parser.add_argument("--image-size", type=int, default=384)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with TemporaryDirectory(prefix="polyp-bench-") as folder:
        root = trainable(args.bundle, Path(folder), args.image_size)
        process = Process(root, args.device)
        try:
            measure(args, root, process)
        finally:
            process.running.kill()


def measure(args: argparse.Namespace, root: Path, process: Process) -> None:
    print(machine(), flush=True)
    bundle = polyp_monai.load(root, device=args.device)
    bodies = [jpeg(seed, size) for seed, size in enumerate(SIZES * 2)]
    fitted = [bundle.predictor.prepare(files.decode_picture(body, "frame", upright=True)).sample for body in bodies]
    tally, each = Tally(), args.requests // args.rounds
    expected: list[object] = [None] * len(bodies)
    for number, body in enumerate(bodies):  # alone, one after the other: what all later answers are held against
        expected[number] = alone(process.port, body)
    work = list(zip(bodies, expected, strict=True))
    run(process, work, 2 * args.clients, args.clients, Tally())  # not counted
    before, ratios = process.memory, []
    for number in range(args.rounds):
        network = network_alone(bundle.predictor, fitted, max(1, each // 5))
        service = run(process, work, each, args.clients, tally)
        ratios.append(service / network)
        line = f"service {service:6.1f}/s, network alone {network:6.1f}/s, {ratios[-1]:.2f}, {process.memory:.0f} MiB"
        print(f"round {number + 1}: {line}", flush=True)
    after = process.memory
    report(args, tally, before, after, statistics.median(ratios))
    tally = Tally()
    threading.Timer(2, process.restart).start()
    run(process, work, each, args.clients, tally)
    about = f"{tally.broken} broken connections, statuses {dict(tally.statuses)}"
    print(f"killed and started again in the middle of {each} requests: {tally.lost} lost, {tally.wrong} wrong; {about}")
    process.running.send_signal(signal.SIGINT)
    process.running.wait(60)


def report(args: argparse.Namespace, tally: Tally, before: float, after: float, ratio: float) -> None:
    p50, p95, p99 = np.percentile(tally.milliseconds, (50, 95, 99))
    print(
        f"{args.clients} clients, {tally.statuses[200]} answers: {tally.lost} lost, {tally.wrong} other than alone, "
        f"statuses {dict(tally.statuses)}, {tally.broken} broken connections\n"
        f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms; memory {before:.0f} -> {after:.0f} MiB\n"
        f"throughput {ratio:.2f} of the network alone, median of {args.rounds} rounds (goal {GOAL}); load "
        f"{os.getloadavg()[0]:.1f}"
    )


def trainable(name: str, folder: Path, image_size: int) -> Path:
    """A copy of a bundle, by name or folder, with weights, drawn ones where it comes without."""
    source = shipped().get(name, Path(name))
    root = Path(shutil.copytree(source, folder / source.name))
    config = BundleConfig(root, overrides={"image_size": image_size})
    if not (root / "models/model.pt").exists():
        checkpoints.save(root / "models/model.pt", config["network_def"].state_dict())
    path = root / "configs/model.yaml"
    lines = [f"image_size: {image_size}" if x.startswith("image_size:") else x for x in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    return root


def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    random = np.random.default_rng(seed)
    image, _ = synthetic.render(random, size, synthetic.draw_polyps(random))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def alone(port: int, body: bytes) -> object:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/predict", body)
    return found(connection.getresponse().read())


def network_alone(predictor: Predictor, fitted: list[dict], count: int) -> float:
    """Frames a second; frames of one shape share a batch."""
    groups: dict[tuple, list[dict]] = {}
    for sample in islice(cycle(fitted), count):
        groups.setdefault(tuple(sample["image"].shape), []).append(sample)
    began = time.perf_counter()
    for group in groups.values():
        for first in range(0, len(group), BATCH):
            predictor.infer(group[first : first + BATCH])
    return count / (time.perf_counter() - began)


def run(process: Process, work: list[tuple[bytes, object]], count: int, clients: int, tally: Tally) -> float:
    """Send `count` frames; answers a second."""
    turns, lock = islice(cycle(work), count), threading.Lock()

    def client(_: int) -> None:
        one = Client(process.port, tally)
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            one.ask(*turn)

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
