"""Jobs on Ray: what the rows hold, and that each is there once, whatever dies meanwhile."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp_monai.cli.main import main
from tests.cli.conftest import fails

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow
COUNT = 160


def rows_of(store) -> list[dict]:
    tables = [parquet.read_table(BytesIO(store.system.cat_file(name))) for name in store.names("rows", ".parquet")]
    return [row for table in tables for row in table.to_pylist()]


def test_rows_hold_what_polyp_predict_finds_and_errors_are_rows(trained, dataset, ray_here, capsys):
    import pyarrow as pa

    from polyp_monai.bulk.store import Store
    from tests.video.clips import encode

    images = sorted((dataset / "images").iterdir())[:6]
    shutil.copy(images[0], ray_here / "killer.jpg")
    (ray_here / "bad.jpg").write_bytes(images[0].read_bytes()[:500])
    clip = encode(ray_here / "clip.mp4", 30)
    paths = [*map(str, images), "killer.jpg", "bad.jpg", str(clip), str(clip), "none.png"]
    stretches = [None] * 8 + [10, 25, None], [None] * 8 + [12, 40, None]
    table = pa.table({"id": [f"n{i}" for i in range(11)], "path": paths, "first": stretches[0], "last": stretches[1]})
    parquet.write_table(table, ray_here / "m.parquet")
    out = ray_here / "rows"
    words = ["predict", str(trained), "--manifest", str(ray_here / "m.parquet"), "--out", str(out), "--engine", "ray"]
    words += ["--threshold", "0.3", "--workers", "1"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "4 of 11 rows have no mask" in error
    assert f"{ray_here}/killer.jpg: given up; 3 times the process that read it died" in error
    rows = {row["id"]: row for row in rows_of(Store(str(out)))}
    assert sorted(rows, key=lambda name: int(name[1:])) == [f"n{i}" for i in range(11)]
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {"n6", "n7", "n9", "n10"}
    assert "has 30 frames" in rows["n9"]["error"]
    masks = ray_here / "masks"
    assert main(["predict", str(trained), *map(str, images), "--out", str(masks), "--threshold", "0.3"]) == 0
    for number, image in enumerate(images):
        row = rows[f"n{number}"]
        assert (row["width"], row["height"]) == Image.open(image).size
        theirs = np.asarray(Image.open(masks / f"{image.stem}.png"))
        assert (np.asarray(Image.open(BytesIO(row["mask"]))) != theirs).mean() < 1e-3  # of another batch
        assert bool(row["polyps"]) == (row["confidence"] >= 0.3) or (theirs > 0).mean() < 0.001
    assert [mask["frame"] for mask in rows["n8"]["masks"]] == [10, 11, 12]
    assert main(words) == 1  # it is complete, and says so again
    other = [word if word != "0.3" else "0.4" for word in words]
    assert "a job of other settings" in fails(capsys, *other)


def test_each_row_once_though_actor_node_and_driver_die(trained, dataset, ray_home, bucket, monkeypatch):
    import psutil
    from ray.cluster_utils import Cluster

    from polyp_monai.bulk.store import Store

    monkeypatch.setenv("SLOW", "0.1")
    frames = ray_home / "frames"
    frames.mkdir()
    images = sorted((dataset / "images").iterdir())
    for number in range(COUNT):
        shutil.copy(images[number % len(images)], frames / f"{number:04d}.jpg")
    cluster = Cluster()
    cluster.add_node(num_cpus=5)
    node = cluster.add_node(num_cpus=5)
    words = [sys.executable, "-m", "polyp_monai", "predict", trained, frames, "--out", f"{bucket}/job"]
    words = [*map(str, words), "--engine", "ray", "--address", cluster.address]
    store = Store(f"{bucket}/job")

    def until(files: int, driver: subprocess.Popen) -> None:
        while len(store.names("rows", ".parquet")) < files and driver.poll() is None:
            time.sleep(0.1)

    try:
        driver = subprocess.Popen(words)
        until(1, driver)
        workers = [p for p in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(p.info["cmdline"] or [])]
        workers[0].kill()
        until(2, driver)
        cluster.remove_node(node)
        until(4, driver)
        assert driver.poll() is None  # else it proves nothing
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        written = len(rows_of(store))
        assert 0 < written < COUNT
        assert subprocess.run(words).returncode == 0
    finally:
        cluster.shutdown()
    rows = rows_of(store)
    assert sorted(row["path"] for row in rows) == sorted(map(str, frames.iterdir()))
    assert {row["status"] for row in rows} == {"done"}
    masks = ray_home / "masks"
    assert main(["predict", str(trained), *map(str, images), "--out", str(masks)]) == 0
    for row in rows:
        mask = np.asarray(Image.open(BytesIO(row["mask"])))
        theirs = np.asarray(Image.open(masks / f"{images[int(Path(row['path']).stem) % len(images)].stem}.png"))
        assert (mask != theirs).mean() < 1e-3
    assert not store.exists("checkpoint")


def test_what_counts_is_the_rows_that_stand(trained, dataset, ray_here, capsys):
    """A process that died left a block that is cut short, and one that is known as written and is not there."""
    from polyp_monai.bulk.store import Store

    frames, out = ray_here / "frames", ray_here / "rows"
    for number in range(4):
        shutil.copytree(dataset / "images", frames / str(number))
    words = ["predict", str(trained), str(frames), "--out", str(out), "--engine", "ray", "--workers", "1"]
    assert main(words) == 0
    store = Store(str(out))
    before = sorted(rows_of(store), key=lambda row: row["row"])
    (gone, cut, *_) = sorted((out / "rows").glob("*.parquet"))
    (out / "checkpoint").mkdir()
    for path in (out / "rows").glob("*.parquet"):
        parquet.write_table(parquet.read_table(path, columns=["row"]), out / "checkpoint" / path.name)
    shutil.copy(out / "checkpoint" / gone.name, out / f"checkpoint/{gone.stem}.pending.parquet")
    cut.write_bytes(cut.read_bytes()[:-100])
    store.write_json("job.json", store.read_json("job.json") | {"state": "running"})
    assert main(words) == 0
    after = sorted(rows_of(store), key=lambda row: row["row"])
    assert [(row["row"], row["path"], row["mask"]) for row in after] == [
        (row["row"], row["path"], row["mask"]) for row in before
    ]
    assert not store.exists("checkpoint")


def test_a_store_that_goes_away_stops_the_job_and_it_goes_on(trained, dataset, ray_home, bucket, monkeypatch):
    from polyp_monai.bulk.store import Store

    monkeypatch.setenv("SLOW", "0.3")
    frames = ray_home / "frames"
    shutil.copytree(dataset / "images", frames)
    shutil.copytree(dataset / "images", frames / "again")
    words = [sys.executable, "-m", "polyp_monai", "predict", trained, frames, "--out", f"{bucket}/job"]
    words = [*map(str, words), "--engine", "ray", "--workers", "1"]
    driver = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    store = Store(f"{bucket}/job")
    while not store.names("rows", ".parquet") and driver.poll() is None:
        time.sleep(0.1)
    bucket.server.stop()
    _, error = driver.communicate()
    assert driver.returncode == 1
    (line,) = [line for line in error.splitlines() if line.startswith("polyp: error:")]
    assert "the same command goes on" in line
    assert "not-a-secret" not in error
    bucket.start()
    assert subprocess.run(words).returncode == 0
    assert sorted(row["path"] for row in rows_of(store)) == sorted(map(str, frames.rglob("*.*")))
