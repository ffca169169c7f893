"""Decoded and fitted frames in one file on disk, which all processes of a machine share and later runs find again.

The file is mapped into memory: the operating system keeps one copy for all processes, and drops what does not fit, so
that a set may be larger than the memory. An entry is named by what went into it, the content of every file and the
transforms with their code, so one that is stale has another name and is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import cache
from importlib import metadata
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose, RandomizableTrait, Transform
from tqdm import tqdm

from polyp_monai.data import files
from polyp_monai.data.loading import JoinedCacheDataset
from polyp_monai.errors import PolypError

FRAMES, INDEX, STAMPS = "frames.bin", "index.json", "digests.json"
PACKAGES = ("polyp_monai", "monai", "torch", "numpy", "opencv-python-headless", "pillow", "tifffile", "nibabel")
SETTLED = 2 * 10**9  # ns; a file may change again within the tick of a clock, and keep its times
_PLAIN = (bool, int, float, str, bytes, type(None))


def cached(
    data: Sequence[dict], transform: Compose, cache_dir: str | None = None, num_workers: int = 1, **words: Any
) -> Dataset:
    """A dataset whose deterministic transforms are done once: in memory, or in the folder `cache_dir`.

    Args:
        data: samples.
        transform: of a sample; what comes before the first random one is done once.
        cache_dir: a folder on a disk of this machine, however many processes train.
        num_workers: threads that decode.
        words: of `JoinedCacheDataset`; of a folder only `progress` matters.
    """
    if cache_dir is None:
        return JoinedCacheDataset(data, transform, num_workers=num_workers, **words)
    return MappedDataset(data, transform, cache_dir, num_workers, bool(words.get("progress")))


class MappedDataset(Dataset):
    """Samples whose `uint8` tensors come out of a mapped file, and go on through the remaining transforms.

    Whoever comes first writes the entry, the others wait. Entries are never changed, and may be deleted at any time
    when no training runs.

    Args:
        data: samples; the paths in `image` and `label` are what the cache is about.
        transform: as of `cached`.
        cache_dir: the folder, which is made where it is absent.
        workers: threads that decode.
        progress: whether a bar is shown meanwhile.

    Raises:
        PolypError: a frame that cannot be read; transforms that cannot be told apart, or give no `uint8`.
    """

    def __init__(
        self, data: Sequence[dict], transform: Compose, cache_dir: str | Path, workers: int = 1, progress: bool = False
    ) -> None:
        from filelock import FileLock

        super().__init__(data, transform)
        self.end = _cached_part(transform, data[0])
        home = Path(cache_dir).resolve()
        files.make_folder(home)
        key = _key(data, transform.transforms[: self.end], _digests(data, home, workers))
        self.folder = home / key
        # the operating system lets go of the lock of a process that dies; the next one then writes
        with FileLock(home / f"{key}.lock"):
            if not (self.folder / INDEX).is_file():
                self._write(workers, progress)
        index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        if (self.folder / FRAMES).stat().st_size != index["bytes"]:
            raise PolypError(f"{self.folder}: is damaged; delete it, and it is made again")
        self._places: list[dict[str, Any]] = index["samples"]
        self._map: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # a loader's worker opens the file itself

    def _transform(self, index: int) -> Any:
        if self._map is None:
            self._map = np.memmap(self.folder / FRAMES, mode="r")
        sample = dict(self.data[index])
        for key, (start, channels, width, height) in self._places[index].items():
            # a copy of its own; the channels of a pixel lie side by side, as the transforms leave them
            pixels = np.array(self._map[start : start + channels * width * height])
            sample[key] = torch.from_numpy(pixels).view(width, height, channels).permute(2, 0, 1)
        return self.transform(sample, start=self.end)

    def _write(self, workers: int, progress: bool) -> None:
        """All frames in order, a few in memory at a time; the index, which makes the entry whole, comes last."""
        self.folder.mkdir(exist_ok=True)
        places, start = [], 0
        with open(self.folder / FRAMES, "wb") as file:
            for tensors in tqdm(self._prepared(workers), "read", len(self.data), unit="frame", disable=not progress):
                place = {}
                for key, value in tensors.items():
                    place[key] = [start, *value.shape]
                    start += file.write(np.ascontiguousarray(value.permute(1, 2, 0).numpy()).data)
                places.append(place)
            file.flush()
            os.fsync(file.fileno())
        files.write_text(self.folder / INDEX, json.dumps({"bytes": start, "samples": places}))

    def _prepared(self, workers: int) -> Iterator[dict[str, torch.Tensor]]:
        rest = iter(self.data)
        with ThreadPoolExecutor(workers) as pool:
            while chunk := list(islice(rest, 4 * workers)):
                yield from pool.map(self._tensors, chunk)

    def _tensors(self, sample: dict) -> dict[str, torch.Tensor]:
        return _tensors(self.transform(dict(sample), end=self.end, threading=True), sample)


def _tensors(prepared: dict, sample: dict) -> dict[str, torch.Tensor]:
    """What the transforms made of a sample. Raises PolypError when a cache of bytes cannot hold it."""
    made = {key: prepared[key] for key in prepared if key not in sample or _differs(prepared[key], sample[key])}
    for key, value in made.items():
        if type(value) is not torch.Tensor or value.dtype != torch.uint8 or value.ndim != 3:
            raise PolypError(f"--cache_dir: the transforms make {key!r} a {type(value).__name__}, no plain image")
    return made


def _differs(one: Any, other: Any) -> bool:
    return type(one) is not type(other) or one != other


def _cached_part(transform: Compose, sample: dict) -> int:
    """How many of the transforms, from the first, give `uint8`: the others are done each time."""
    steps = transform.transforms
    ends = (i for i, t in enumerate(steps) if isinstance(t, RandomizableTrait) or not isinstance(t, Transform))
    limit = next(ends, len(steps))
    problem: PolypError | None = None
    for end in range(limit, 0, -1):
        try:
            _tensors(transform(dict(sample), end=end, threading=True), sample)
            return end
        except PolypError as error:
            problem = problem or error
    raise problem or PolypError("--cache_dir: there is no transform whose result could be kept")


def _key(data: Sequence[dict], transforms: Sequence[Any], digests: Sequence[str]) -> str:
    about = [_described(list(transforms)), _code(), [metadata.version(name) for name in PACKAGES], list(digests)]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Digest of the code that reads and fits frames."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _described(thing: Any, depth: int = 0) -> Any:
    """A transform as JSON has it, the same in every process. Raises PolypError for what has no such form."""
    if depth > 12:
        raise PolypError("--cache_dir: a transform holds itself, so its settings cannot be known")
    if isinstance(thing, Enum):
        return str(thing)
    if isinstance(thing, _PLAIN):
        return repr(thing)
    if isinstance(thing, (list, tuple)):
        return [_described(item, depth + 1) for item in thing]
    if isinstance(thing, (dict, set, frozenset)):
        items = thing.items() if isinstance(thing, dict) else ((item, None) for item in thing)
        return sorted([str(key), _described(value, depth + 1)] for key, value in items)
    if isinstance(thing, (np.ndarray, np.generic, torch.Tensor)):
        return [str(thing.dtype), np.asarray(thing).tolist()]
    if isinstance(thing, (torch.dtype, torch.device, np.dtype)):
        return str(thing)
    named = callable(thing) and "<" not in getattr(thing, "__qualname__", "<")  # not a lambda, nor an object
    if isinstance(thing, type) or named:
        return f"{thing.__module__}.{thing.__qualname__}"
    if not hasattr(thing, "__dict__"):
        raise PolypError(f"--cache_dir: a transform holds a {type(thing).__name__}, whose settings cannot be known")
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    return [kind, _described({k: v for k, v in vars(thing).items() if k != "R"}, depth + 1)]


def _digests(data: Sequence[dict], home: Path, workers: int) -> list[str]:
    """sha256 of every image and label, in order.

    The content of a file is read again when anything that the system knows of it has changed: inode, size, and the
    times of its content and of its entry, of which nobody can set the latter.
    """
    paths = list(dict.fromkeys(chain.from_iterable((str(s["image"]), str(s["label"])) for s in data)))
    known = _known(home)
    now = time.time_ns()

    def digest(path: str) -> tuple[list[int], str]:
        try:
            about = os.stat(path)
        except OSError as error:
            raise PolypError(f"{path}: cannot be read ({error.strerror})") from error
        stamp = [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
        if path in known and known[path][0] == stamp:
            return known[path][0], known[path][1]
        return stamp, hashlib.sha256(Path(path).read_bytes()).hexdigest()  # hashlib.file_digest is of Python 3.11

    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(paths, pool.map(digest, paths), strict=True))
    settled = {path: [stamp, text] for path, (stamp, text) in found.items() if max(stamp[3:]) < now - SETTLED}
    if any(known.get(path) != entry for path, entry in settled.items()):
        files.write_text(home / STAMPS, json.dumps({**known, **settled}))
    return [found[str(sample[key])][1] for sample in data for key in ("image", "label")]


def _known(home: Path) -> dict[str, list]:
    try:
        content = json.loads((home / STAMPS).read_text(encoding="utf-8"))
        return dict(content)
    except (OSError, ValueError, TypeError):  # absent or torn: every file is read again
        return {}
