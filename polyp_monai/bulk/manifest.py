"""The manifest of a job: a row a frame, or a row a stretch of a video.

The user's is Parquet with the columns `id` (unique), `path` (absolute, or below the manifest; an address too) and,
for videos, `first` and `last` (numbers of frames from 0, both included). The job keeps a copy of its own, with the
number of each row, so that what it does when it goes on is what it began with.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from polyp_monai.bulk.store import NEEDED, Store
from polyp_monai.data import datalist, files, remote
from polyp_monai.data.listing import DiskSet
from polyp_monai.errors import PolypError, shortened

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "manifest.parquet"
LONGEST = 2000  # frames of a video in one row: their masks lie in memory together
GROUP = 50_000  # rows of the manifest that are written at a time


class ManifestRow(NamedTuple):
    """`first`, `last`: frames of a video; None of a picture."""

    id: str
    path: str
    first: int | None = None
    last: int | None = None


def of_inputs(inputs: Iterable[str]) -> Iterator[ManifestRow]:
    """The frames that folders, files and data lists name, while they are listed; the id is the path.

    Raises:
        PolypError: an input that is not there, or frames that nobody could name.
    """
    for item in inputs:
        for entry, _ in datalist.named(item):
            if entry.picture:
                files.check_name(entry.path)
                yield ManifestRow(entry.path, entry.path)


def of_file(place: str) -> Iterator[ManifestRow]:
    """The rows of a user's manifest.

    Args:
        place: path or address of a Parquet file, or of a folder of them.

    Raises:
        PolypError: no Parquet, a column that is missing or of another type, an empty cell, or a stretch that is none.
    """
    import pyarrow as pa
    from pyarrow import dataset

    folder = place.rpartition("/")[0]
    store = Store(folder)
    if not store.exists(place.rpartition("/")[2]):
        raise PolypError(f"{place}: no such manifest")
    try:
        rows = dataset.dataset(store.path(place.rpartition("/")[2]), filesystem=store.arrow, format="parquet")
        names = [name for name in ManifestRow._fields if name in rows.schema.names]
        if missing := {"id", "path"} - set(names):
            found = shortened(rows.schema.names) or "none"
            raise PolypError(f"{place}: the column {' and '.join(sorted(missing))} is missing; there are {found}")
        types = {"id": pa.string(), "path": pa.string(), "first": pa.int64(), "last": pa.int64()}
        for batch in rows.to_batches(columns=names):
            columns = [batch.column(name).cast(types[name]).to_pylist() for name in names]
            for cells in zip(*columns, strict=True):
                yield _checked(ManifestRow(**dict(zip(names, cells, strict=True))), place, folder)
    except pa.ArrowInvalid as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise PolypError(f"{place}: cannot be read as a manifest ({reason}); it is a Parquet file") from error
    except OSError as error:
        raise PolypError(f"{place}: cannot be read as a manifest ({error}); it is a Parquet file") from error


def _checked(entry: ManifestRow, place: str, folder: str) -> ManifestRow:
    if not entry.id or not entry.path:
        raise PolypError(f"{place}: the row {entry.id or entry.path or '?'} lacks its {'path' if entry.id else 'id'}")
    entry = entry._replace(path=remote.absolute(remote.join(folder, entry.path)))
    if (entry.first is None) != (entry.last is None):
        raise PolypError(f"{place}: {entry.id} has one of first and last; a stretch of a video has both")
    if (
        entry.first is not None
        and entry.last is not None
        and not 0 <= entry.first <= entry.last < entry.first + LONGEST
    ):
        raise PolypError(
            f"{place}: {entry.id} is frames {entry.first} to {entry.last}; expected 1 to {LONGEST:,} frames from 0 on"
        )
    return entry


def digest(entries: Iterable[ManifestRow]) -> str:
    """What the rows of a manifest are, whatever its file looks like."""
    found = hashlib.sha256()
    for entry in entries:
        found.update(_line(entry))
    return found.hexdigest()


def _line(entry: ManifestRow) -> bytes:
    return "\0".join(map(str, entry)).encode() + b"\n"


def write(entries: Iterable[ManifestRow], store: Store) -> tuple[int, str]:
    """The job's copy; returns the count of its rows, and their digest. Held in memory: `GROUP` rows.

    Raises:
        PolypError: two rows of one id, or none at all.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise PolypError(f"--engine ray {NEEDED}") from error
    schema = _schema()
    seen, count, waiting, sum_of_rows = DiskSet(), 0, [], hashlib.sha256()
    if store.local:
        os.makedirs(store.root, exist_ok=True)
    with (
        remote.clear(store.place),
        store.system.open(store.path(NAME), "wb") as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        for entry in entries:
            if not seen.add(entry.id):
                raise PolypError(f"{entry.id}: two rows of the manifest have this id; each needs one of its own")
            sum_of_rows.update(_line(entry))
            waiting.append({"row": count, **entry._asdict()})
            count += 1
            if len(waiting) == GROUP:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting = []
        if not count:
            raise PolypError("no frame to predict: the manifest is empty")
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
    return count, sum_of_rows.hexdigest()


def _schema() -> pa.Schema:
    import pyarrow as pa

    numbers: list[Any] = [(name, pa.int64()) for name in ("first", "last")]
    return pa.schema([("row", pa.int64()), ("id", pa.string()), ("path", pa.string()), *numbers])
