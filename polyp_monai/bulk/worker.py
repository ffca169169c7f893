"""What a worker does: rows of the manifest in, rows of the result out, one for one, whatever a frame does to it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyp_monai.data import files, remote
from polyp_monai.errors import PolypError, summary

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from polyp_monai.bundle.predictor import Segmented

TRIES = 3  # times that a frame may take its process down with it
READERS = 8  # files that are fetched at a time
DONE, FAILED = "done", "failed"


def schema() -> pa.Schema:
    """Of the result. `mask` of a picture, `masks` of a video; `confidence` is the highest probability, 0..1."""
    import pyarrow as pa

    corners: list[Any] = [(name, pa.int32()) for name in ("x0", "y0", "x1", "y1")]
    polyp = pa.struct([("frame", pa.int64()), *corners, ("area", pa.int64()), ("confidence", pa.float32())])
    masks = pa.struct([("frame", pa.int64()), ("mask", pa.binary())])
    numbers: list[Any] = [(name, pa.int64()) for name in ("first", "last")]
    size: list[Any] = [(name, pa.int32()) for name in ("width", "height")]
    return pa.schema(
        [("row", pa.int64()), ("id", pa.string()), ("path", pa.string()), *numbers]
        + [("status", pa.string()), ("error", pa.string()), *size]
        + [("confidence", pa.float32()), ("polyps", pa.list_(polyp)), ("mask", pa.binary()), ("masks", pa.list_(masks))]
    )


class Attempts:
    """How often work was begun that did not end; an actor beside the driver, which outlives the workers."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, key: int) -> int:
        """How often it was begun before."""
        self._begun[key] = self._begun.get(key, 0) + 1
        return self._begun[key] - 1

    def end(self, key: int) -> None:
        self._begun.pop(key, None)  # a block may be done twice at a time, where its first result was lost


class Worker:
    """An actor with the network. It reads, predicts and answers block by block.

    Args:
        root: folder of the bundle, which each machine sees.
        given: checked overrides of its configs/inference.yaml.
        attempts: handle of the `Attempts` of the job.
    """

    def __init__(self, root: str, given: dict[str, Any], attempts: Any) -> None:
        from polyp_monai.bundle.predictor import Predictor

        logging.getLogger("polyp_monai").setLevel(logging.WARNING)
        self.predictor = Predictor.of_bundle(Path(root), given)
        self.attempts = attempts
        self._video: tuple[str, str, ExitStack] | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        import pyarrow as pa
        import ray

        rows = block.to_pylist()
        known = ray.get(self.attempts.begin.remote(-1 - rows[0]["row"])) > 0
        results = self._careful(rows) if known else self._swift(rows)
        return pa.Table.from_pylist(results, schema())

    def _swift(self, rows: list[dict]) -> list[dict]:
        """Pictures in batches, their files fetched ahead."""
        failed: dict[int, dict] = {}
        order: list[dict] = []
        found: dict[int, dict] = {}
        pictures = [row for row in rows if row["first"] is None]

        def read() -> Iterator[files.Picture]:
            with ThreadPoolExecutor(READERS, "polyp-fetch") as pool:
                for row, file in zip(pictures, _ahead(pool, pictures), strict=True):
                    try:
                        picture = file.result()
                    except Exception as error:  # decoders raise anything
                        failed[row["row"]] = failure(row, error)
                    else:
                        order.append(row)
                        yield picture

        try:
            for one in self.predictor.segment(read()):
                row = order[one.position]
                found[row["row"]] = self._picture(row, one)
        except Exception:  # of one frame, perhaps: no other is lost for it
            failed.clear()
        ready = found | failed
        return [ready.get(row["row"]) or self._one(row) for row in rows]

    def _careful(self, rows: list[dict]) -> list[dict]:
        """One by one: among these is what took a process down, or it was taken from the job."""
        import ray

        results = []
        for row in rows:
            # the block counts as one try
            if ray.get(self.attempts.begin.remote(row["row"])) >= TRIES - 1:
                error = PolypError(f"{row['path']}: given up; {TRIES} times the process that read it died")
                results.append(failure(row, error))
                continue
            results.append(self._one(row))
            self.attempts.end.remote(row["row"])
        return results

    def _one(self, row: dict) -> dict:
        try:
            if row["first"] is not None:
                return self._stretch(row)
            (found,) = self.predictor.segment([_read(row["path"])])
            return self._picture(row, found)
        except Exception as error:
            return failure(row, error)

    def _picture(self, row: dict, one: Segmented) -> dict:
        return {**row, "status": DONE, **self._found(one, None), "mask": _encoded(one)}

    def _stretch(self, row: dict) -> dict:
        from polyp_monai.video.stretch import stretch

        path = self._file(row["path"])
        numbers: list[int] = []

        def pictures() -> Iterator[files.Picture]:
            for number, pixels in stretch(path, row["first"], row["last"]):
                numbers.append(number)
                yield _in_memory(pixels)

        result: dict[str, Any] = {**row, "status": DONE, "confidence": 0.0, "polyps": [], "masks": []}
        try:
            for one in self.predictor.segment(pictures()):
                found = self._found(one, numbers[one.position])
                found["polyps"] = result["polyps"] + found["polyps"]
                found["confidence"] = max(result["confidence"], found["confidence"])
                result |= found
                result["masks"].append({"frame": numbers[one.position], "mask": _encoded(one)})
        except PolypError as error:
            raise PolypError(str(error).replace(path, row["path"])) from error
        return result

    def _found(self, one: Segmented, frame: int | None) -> dict:
        height, width = one.mask.shape
        polyps = []
        for polyp in one.polyps(self.predictor.threshold, self.predictor.classes):
            corners = dict(zip(("x0", "y0", "x1", "y1"), (round(corner) for corner in polyp.box), strict=True))
            polyps.append({"frame": frame, **corners, "area": round(polyp.area), "confidence": polyp.confidence})
        highest = float(one.probability.max())
        return {"width": width, "height": height, "confidence": highest, "polyps": polyps}

    def _file(self, path: str) -> str:
        """A file of this machine for a video; what was fetched last is kept, as its next stretch may come."""
        if not remote.is_address(path):
            return path
        if self._video is None or self._video[0] != path:
            if self._video:
                self._video[2].close()
            stack = ExitStack()
            self._video = path, str(stack.enter_context(remote.fetched(path))), stack
        return self._video[1]


def failure(row: dict, error: BaseException) -> dict:
    """The row of a frame that has no mask."""
    text = str(error) if isinstance(error, PolypError) else f"{row['path']}: {summary(error)}"
    return {**row, "status": FAILED, "error": text}


def _ahead(pool: ThreadPoolExecutor, rows: list[dict]) -> Iterator[Future]:
    """Pictures in their order, of which `2 * READERS` are in memory at most."""
    waiting = [pool.submit(_read, row["path"]) for row in rows[: 2 * READERS]]
    for row in [*rows[2 * READERS :], *[None] * len(waiting)]:
        yield waiting.pop(0)
        if row is not None:
            waiting.append(pool.submit(_read, row["path"]))


def _read(path: str) -> files.Picture:
    return files.read_picture(path, upright=True)


def _encoded(one: Segmented) -> bytes:
    """The mask as PNG; of several classes with their numbers."""
    return files.encode_mask(one.mask) if one.numbers is None else files.encode_indices(one.numbers)


def _in_memory(pixels: np.ndarray) -> files.Picture:
    import numpy as np

    return files.Picture(pixels, np.eye(4), (pixels.shape[1], pixels.shape[0]))
