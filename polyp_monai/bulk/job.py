"""A job of prediction on Ray Data: its folder, how it goes on after a fault, and what came of it.

The folder holds job.json (what the job is), manifest.parquet, checkpoint/ while it is not complete, and rows/*.parquet.
The same command goes on where a job stopped: rows that are written are not done again, and none is written twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polyp_monai
from polyp_monai import provenance
from polyp_monai.bulk import manifest
from polyp_monai.bulk.store import NEEDED, Store
from polyp_monai.data import lock
from polyp_monai.errors import PolypError, counted

logger = logging.getLogger(__name__)

ABOUT, ROWS, CHECKPOINT = "job.json", "rows", "checkpoint"
LISTING, RUNNING, COMPLETE = "listing", "running", "complete"  # states of a job
_OTHER = {
    "bundle": "another bundle",
    "weights": "other weights",
    "settings": "other settings",
    "inputs": "other inputs",
    "manifest": "another manifest",
}
BLOCK = (16, 500)  # fewest and most rows that are done, written and lost together
SPARE = 3  # processors of each machine that no worker takes: without them reading and writing would wait for ever
FILTER = 2**30  # bytes that Ray reserves to know which rows are written
STARTS = 3  # Ray gives itself 30 s to start, which a busy machine exceeds at times
ROUNDS = 4  # in which what is missing is done again
NAMED = 5  # failed frames that are named


@dataclass(frozen=True)
class Job:
    """What is asked for.

    root, given: the bundle's folder, and checked overrides of its configs/inference.yaml. source: a manifest. inputs:
    folders, files and data lists in its place. out: folder or address. address: of a Ray cluster, "auto" for the one
    that this machine is in; None starts one here. workers: processes with a network; None is as many as fit. overwrite:
    whether an earlier job in `out` goes.
    """

    root: Path
    given: dict[str, Any]
    source: str | None
    inputs: tuple[str, ...]
    out: str
    address: str | None = None
    workers: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class JobResult:
    """How many rows there are, how many of them failed, and the errors of the first few."""

    rows: int
    failed: int
    errors: list[str]


def run(job: Job) -> JobResult:
    """Do a job, or what is left of it.

    Raises:
        PolypError: a manifest that cannot be used; `out` holds another job, or what no job wrote; another driver is at
            work there; or the job stopped: then the same command goes on.
    """
    try:
        import pyarrow  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise PolypError(f"--engine ray {NEEDED}") from error
    store = Store(job.out)
    with _held(store):
        about = _begin(job, store)
        if about["state"] != COMPLETE:
            about |= _counted(store, _all_rows(job, store, about["frames"]))
            store.write_json(ABOUT, about)
        store.remove(CHECKPOINT)  # after the job is known to be complete: without it all would be done again
    return JobResult(about["frames"], about["failed"], about["errors"])


def _held(store: Store) -> Any:
    """One driver a job. On a store elsewhere this machine's drivers alone see each other."""
    if store.local:
        return lock.held(store.root)
    name = f"job-{hashlib.sha256(store.place.encode()).hexdigest()[:16]}"
    return lock.held(Path(tempfile.gettempdir()) / f"polyp-jobs-{os.getuid() if hasattr(os, 'getuid') else ''}", name)


def _begin(job: Job, store: Store) -> dict[str, Any]:
    """What is known of the job: of an earlier run, or noted now."""
    about, identity = store.read_json(ABOUT), _identity(job)
    if about is not None and "identity" not in about:
        raise PolypError(f"{job.out}/{ABOUT}: no job of polyp's; give another --out")
    if about is None and any(store.exists(name) for name in (ROWS, CHECKPOINT, manifest.NAME)):
        raise PolypError(f"{job.out}: holds {ROWS} or {manifest.NAME} that no job is known of; give another --out")
    if about and job.overwrite:
        store.remove(CHECKPOINT, ROWS, manifest.NAME, ABOUT)  # what tells whose they are goes last
        about = None
    if about and about["state"] != LISTING:
        if job.source:
            identity["manifest"] = manifest.digest(manifest.of_file(job.source))
        for key, what in _OTHER.items():
            if about["identity"].get(key) != identity.get(key):
                raise PolypError(f"{job.out}: holds a job of {what}; give another --out, or --overwrite")
        if about["state"] != COMPLETE:
            logger.info(f"{job.out}: goes on with a job of {counted(about['frames'], 'row')}")
        return about
    about = {"identity": identity, "state": LISTING, "polyp_monai": polyp_monai.__version__}
    store.write_json(ABOUT, about)
    entries = manifest.of_file(job.source) if job.source else manifest.of_inputs(job.inputs)
    try:
        about["frames"], digest = manifest.write(entries, store)
    except PolypError:
        store.remove(manifest.NAME, ABOUT)
        raise
    if job.source:
        identity["manifest"] = digest
    about["state"] = RUNNING
    store.write_json(ABOUT, about)
    return about


def _identity(job: Job) -> dict[str, Any]:
    """What must be the same when a job goes on: other weights would give other masks."""
    own = ("weights", "device", "batch_size", "overwrite", "skip_existing", "strict", "part", "probability", "overlay")
    weights = Path(job.given.get("weights", job.root / "models/model.pt"))
    settings = {key: str(value) for key, value in sorted(job.given.items()) if key not in own}
    identity = {"bundle": job.root.name, "weights": provenance.digest(weights), "settings": settings}
    return identity | ({} if job.source else {"inputs": list(job.inputs)})


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A running cluster."""
    import ray

    mine = not ray.is_initialized()
    if mine and address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells Ray's makers of each start
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else it leaves one in the home folder
        os.environ.setdefault("RAY_worker_niceness", "0")  # else all other work of the machine goes first
        cores = os.cpu_count() or 1
        options: dict[str, Any] = {"address": "local", "num_cpus": cores + SPARE, "include_dashboard": False}
    else:
        options = {"address": address}
    for left in reversed(range(STARTS)):
        try:
            if mine:
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
            break
        except Exception as error:
            ray.shutdown()
            if left and "timed out during startup" in str(error):
                continue
            reason = str(error).strip().partition("\n")[0]
            what = f"--address {address}: no Ray cluster can be reached" if address else "Ray cannot be started here"
            raise PolypError(f"{what} ({reason})") from error
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def _room() -> tuple[int, dict[str, Any]]:
    """How many workers fit, and what each asks for.

    By its share of the memory no more of them fit on a machine than leave `SPARE` processors, also when those of a
    machine that was lost are started again on the others.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if gpus := sum(int(node.get("GPU", 0)) for node in nodes):
        return gpus, {"num_cpus": 1, "num_gpus": 1}
    slots = [max(1, int(node["CPU"]) - SPARE) for node in nodes]
    shares = ((node["memory"] - FILTER) / slot for node, slot in zip(nodes, slots, strict=True))
    return sum(slots), {"num_cpus": 1, "memory": max(1, int(max(shares)))}


def _predict(job: Job, store: Store, frames: int) -> None:
    """Manifest -> blocks -> workers -> rows, past what the checkpoint knows as written."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.data.checkpoint import CheckpointConfig
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from polyp_monai.bulk.worker import Attempts, Worker

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote  # whose types know no such strategy
    attempts = remote(num_cpus=0, scheduling_strategy=here)(Attempts).remote()
    room, needs = _room()
    workers = job.workers or room
    block = min(max(frames // (workers * 8), BLOCK[0]), BLOCK[1])
    for handler in logging.getLogger("ray.data").handlers:  # its log file has everything
        if type(handler) is not logging.FileHandler:
            handler.setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = sys.stderr.isatty()
    context.use_datasource_v2 = False  # it starts 32 processes to read the end of the one manifest
    context.checkpoint_config = CheckpointConfig(
        id_column="row",
        checkpoint_path=store.path(CHECKPOINT),
        override_filesystem=store.arrow,
        delete_checkpoint_on_success=False,
    )
    try:
        with DataContext.current(context):
            rows = ray.data.read_parquet(store.path(manifest.NAME), filesystem=store.arrow)
            rows = rows.repartition(target_num_rows_per_block=block).map_batches(
                Worker,
                batch_format="pyarrow",
                batch_size=block,
                fn_constructor_args=(str(job.root), job.given, attempts),
                compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
                **needs,
            )
            rows.write_parquet(store.path(ROWS), filesystem=store.arrow)
    except (ray.exceptions.RayError, OSError, ValueError, RuntimeError) as error:
        raise PolypError(f"{job.out}: the job stopped ({_reason(error)}); the same command goes on") from error


def _reason(error: BaseException) -> str:
    """The last line of what Ray says: the error itself, after where it came from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:200]


def _all_rows(job: Job, store: Store, frames: int) -> list[str]:
    """The files of all rows. Raises PolypError when one is missing in spite of all, or twice."""
    import numpy as np

    counts = np.bincount(_checkpoint(store), minlength=frames)
    if not counts.all():
        with _cluster(job.address):
            for _ in range(ROUNDS):
                _predict(job, store, frames)
                counts = np.bincount(_checkpoint(store), minlength=frames)
                if counts.all():
                    break
    missing, twice = int((counts == 0).sum()), int((counts > 1).sum())
    if missing or twice:
        raise PolypError(
            f"{store.place}: {counted(missing, 'row')} missing, {twice} more than once; --overwrite does the job again"
        )
    return store.names(ROWS, ".parquet")


def _checkpoint(store: Store) -> Any:
    """Have the checkpoint know the rows that stand, and no others; returns their numbers.

    Ray renames what it notes before a block into what it notes after it. On S3 that is a copy and a deletion: a process
    that dies in between leaves both, of which the first deletes the block, and the second passes it over for good.
    """
    import pyarrow as pa
    from pyarrow import parquet

    tables = [pa.table({"row": pa.array([], pa.int64())})]
    for name in store.names(ROWS, ".parquet"):
        try:
            with store.system.open(name, "rb") as file:
                tables.append(parquet.read_table(file, columns=["row"]))
        except pa.ArrowInvalid:  # cut short by the end of its process
            store.system.rm(name)
    rows = pa.concat_tables(tables)
    store.remove(CHECKPOINT)
    if len(rows):
        store.system.makedirs(store.path(CHECKPOINT), exist_ok=True)
        parquet.write_table(rows, f"{store.path(CHECKPOINT)}/rows.parquet", filesystem=store.arrow)
    return rows.column("row").to_numpy()


def _counted(store: Store, names: list[str]) -> dict[str, Any]:
    """How many rows failed, and why the first of them."""
    from pyarrow import parquet

    failed = 0
    errors: list[str] = []
    for name in names:
        with store.system.open(name, "rb") as file:
            bad = [error for error in parquet.read_table(file, columns=["error"]).column(0).to_pylist() if error]
        failed += len(bad)
        errors += bad[: NAMED - len(errors)]
    return {"state": COMPLETE, "failed": failed, "errors": errors}
