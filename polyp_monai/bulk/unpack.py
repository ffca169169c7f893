"""The rows of a job as files again, for what looks at masks in a folder."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from polyp_monai.bulk.job import ABOUT, COMPLETE, ROWS
from polyp_monai.bulk.store import NEEDED
from polyp_monai.data import files
from polyp_monai.errors import PolypError, summary

BATCH = 64  # rows in memory at a time


def is_job(folder: Path) -> bool:
    return (folder / ABOUT).is_file()


def unpack(job: Path, folder: Path) -> None:
    """Write the masks of a complete job below `folder`, in the tree of their frames; of a video NAME_000012.png.

    Raises:
        PolypError: the job is not complete, or is damaged.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise PolypError(f"{job}: {NEEDED}") from error
    path = job / ABOUT
    try:
        if json.loads(path.read_text(encoding="utf-8")).get("state") != COMPLETE:
            raise PolypError(f"{job}: the job is not complete; the command that began it goes on")
        for path in sorted((job / ROWS).glob("*.parquet")):
            for batch in parquet.ParquetFile(path).iter_batches(BATCH, columns=["path", "mask", "masks"]):
                for row in batch.to_pylist():
                    _write(_below(folder, row["path"]), row)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise PolypError(f"{path}: cannot be read ({summary(error)}); is it damaged?") from error


def _below(folder: Path, name: str) -> Path:
    place = PurePosixPath(name.rpartition("://")[2].lstrip("/"))
    if ".." in place.parts:
        raise ValueError(f"the path {name} leads out of the folder")
    return folder / place


def _write(place: Path, row: dict) -> None:
    stem = place.parent / files.stem_of(place)
    masks = {f"{stem.name}_{one['frame']:06d}.png": one["mask"] for one in row["masks"] or ()}
    for name, mask in (masks or {f"{stem.name}.png": row["mask"]}).items():
        if mask is not None:  # else it failed
            stem.parent.mkdir(parents=True, exist_ok=True)
            (stem.parent / name).write_bytes(mask)
