"""`polyp predict --engine ray` on two nodes of this machine: each row once in spite of faults, and its throughput.

    python benchmarks/bulk.py [--count 20000] [--workers 2] [--bundle FOLDER]

Speed: frames/s of Ray with N workers, which writes to an S3 server on this machine, against N plain processes that each
do `polyp predict --part K/N` into a folder. Both are timed from start to end, once with a hundredth of the frames too:
the difference of the two is what the frames cost, without the start.

Faults: the same job again; once it has written, one worker is killed, then a node is removed, then the driver is killed
and the same command is given again. It prints whether each frame has one row, and how many masks differ from those of
the plain processes.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from common import copies, machine, verdict
from PIL import Image
from pyarrow import parquet

TARGET = 0.8
SMALL = {"image_size": 64, "network_def::body::channels": "[4, 8, 16]", "network_def::body::strides": "[2, 2]"}
POLYP = [sys.executable, "-m", "polyp_monai"]


def small_bundle(folder: Path) -> Path:
    """A small network after a short training: this measures what is around it."""
    polyp("prepare", "synthetic", "--count", "40", "--out", folder / "data")
    options = [word for key, value in SMALL.items() for word in (f"--{key}", value)]
    polyp("train", "unet", "--data", folder / "data", "--out", folder / "unet", "--epochs", "2", *options)
    return folder / "unet"


def polyp(*words: object) -> None:
    subprocess.run([*POLYP, *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def plain(bundle: Path, frames: Path, out: Path, workers: int) -> float:
    """Seconds that `workers` processes take, a part each."""
    began = time.perf_counter()
    parts = [
        subprocess.Popen(
            [*POLYP, "predict", str(bundle), str(frames), "--out", str(out), "--part", f"{part}/{workers}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for part in range(1, workers + 1)
    ]
    for part in parts:
        if part.wait():
            raise AssertionError("a plain process failed")
    return time.perf_counter() - began


def start(bundle: Path, frames: Path, out: str, address: str, workers: int) -> subprocess.Popen:
    words = [*POLYP, "predict", bundle, frames, "--out", out, "--engine", "ray", "--address", address]
    return subprocess.Popen([*map(str, words), "--workers", str(workers)], stdout=subprocess.DEVNULL)


def on_ray(bundle: Path, frames: Path, out: str, address: str, workers: int) -> float:
    """Seconds of a job."""
    began = time.perf_counter()
    if start(bundle, frames, out, address, workers).wait():
        raise AssertionError("the job failed")
    return time.perf_counter() - began


def with_faults(bundle: Path, frames: Path, out: str, cluster, node, workers: int) -> int:
    """One worker, one node and the driver die, in this order; returns how many rows there were when the driver died."""
    from polyp_monai.bulk.store import Store

    store = Store(out)
    driver = start(bundle, frames, out, cluster.address, workers)

    def written(files: int) -> None:
        while len(store.names("rows", ".parquet")) < files:
            if driver.poll() is not None:
                raise AssertionError("the job ended before it could be disturbed; take more frames")
            time.sleep(0.1)

    written(1)
    at_work = [p for p in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(p.info["cmdline"] or [])]
    at_work[0].kill()
    written(3)
    cluster.remove_node(node)
    written(5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    count = len(rows_of(store))
    on_ray(bundle, frames, out, cluster.address, workers)
    return count


def rows_of(store) -> list[tuple[str, bytes]]:
    """Path and mask of every row."""
    tables = (parquet.read_table(BytesIO(store.system.cat_file(name))) for name in store.names("rows", ".parquet"))
    return [
        pair for table in tables for pair in zip(*(table.column(c).to_pylist() for c in ("path", "mask")), strict=True)
    ]


def differing(rows: list[tuple[str, bytes]], masks: Path) -> int:
    """How many masks are not those of the plain processes, to the pixel."""
    pairs = ((Image.open(BytesIO(mask)), Image.open(masks / f"{Path(path).stem}.png")) for path, mask in rows)
    return sum(not np.array_equal(*map(np.asarray, pair)) for pair in pairs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=20_000, help="frames (20000)")
    options.add_argument("--workers", type=int, default=2, help="processes with a network, on either side (2)")
    options.add_argument("--bundle", help="folder of a trained bundle (a small one, trained here)")
    args = options.parse_args()
    os.environ |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    os.environ |= {"OMP_NUM_THREADS": "1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "here", "AWS_SECRET_ACCESS_KEY": "here", "AWS_DEFAULT_REGION": "us-east-1"}
    import s3fs
    from moto.server import ThreadedMotoServer
    from ray.cluster_utils import Cluster

    from polyp_monai.bulk.job import SPARE
    from polyp_monai.bulk.store import Store

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
    s3fs.S3FileSystem().mkdir("polyps")
    with TemporaryDirectory(prefix="polyp-bench-") as name:
        folder = Path(name)
        bundle = Path(args.bundle) if args.bundle else small_bundle(folder)
        polyp("prepare", "synthetic", "--count", "100", "--out", folder / "pictures")
        images = sorted((folder / "pictures/images").iterdir())
        frames = copies(images, folder / "frames", args.count)
        few = copies(images, folder / "few", max(1, args.count // 100))
        slots = -(-args.workers // 2) + SPARE
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": slots})
        node = cluster.add_node(num_cpus=slots)
        print(
            f"{machine()}\n{args.count} synthetic frames, {args.workers} processes, load {os.getloadavg()[0]:.0f}",
            flush=True,
        )
        seconds = {
            "plain processes": [
                plain(bundle, place, folder / f"masks-{place.name}", args.workers) for place in (few, frames)
            ],
            "Ray, two nodes, S3": [
                on_ray(bundle, place, f"s3://polyps/{place.name}", cluster.address, args.workers)
                for place in (few, frames)
            ],
        }
        rates = {}
        for side, (short, long) in seconds.items():
            rates[side] = (args.count - len(list(few.iterdir()))) / (long - short)
            print(
                f"{side:20}{long:8.1f} s in all{args.count / long:8.1f} frames/s{rates[side]:8.1f} without the start",
                flush=True,
            )
        share = rates["Ray, two nodes, S3"] / rates["plain processes"]
        print(f"{share:.2f} times plain processes; target at least {TARGET}: {verdict(share >= TARGET)}", flush=True)
        before = with_faults(bundle, frames, "s3://polyps/faults", cluster, node, args.workers)
        rows = rows_of(Store("s3://polyps/faults"))
        unique = len({path for path, _ in rows})
        print(f"faults: {before} rows when the driver died; in the end {len(rows)} rows of {unique} frames")
        print(f"{differing(rows, folder / 'masks-frames')} masks differ from those of plain processes")
        print(f"each frame once: {verdict(len(rows) == unique == args.count)}", flush=True)
        cluster.shutdown()
        server.stop()


if __name__ == "__main__":
    main()
