"""Files elsewhere: s3://, gs:// and memory:// addresses, by fsspec. The one place that knows them.

What reads a file takes an address as it takes a path: it is copied to a temporary file, read, and removed. Credentials
come from where the store's own tools look for them (environment, profile, role of the machine); none is ever printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from polyp_monai.errors import PolypError, known_as

T = TypeVar("T")
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "memory": "fsspec"}
PATIENCE = 600.0  # seconds: another process may be making the same copy
READERS = 8  # files that are copied at a time
_ADDRESS = re.compile(rf"({'|'.join(PACKAGES)})://", re.IGNORECASE)
_SCHEME = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_SECRET = re.compile(r"://[^/]*@|\?.*")


def is_address(path: Any) -> bool:
    """Whether `path` is a text that names something elsewhere; file:// is here."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def local(text: str) -> str:
    """A path of this machine; without file://. Raises ValueError where it is an address of any kind."""
    if _SCHEME.match(text):
        raise ValueError("expected a path of this machine; only `polyp predict --engine ray` writes to an address")
    return re.sub("^file://", "", text, flags=re.IGNORECASE)


def path(text: str) -> str:
    """A path of this machine, without file://, of something to read. Raises PolypError for an address."""
    if _SCHEME.match(text):
        known = ", ".join(f"{scheme}://" for scheme in PACKAGES)
        raise PolypError(f"{shown(text)}: no address that can be read here ({known}); copy it to this machine first")
    return re.sub("^file://", "", text, flags=re.IGNORECASE)


def absolute(text: str) -> str:
    """An address as it is, a path (file:// too) as an absolute one. Raises PolypError for an address of no store."""
    return text.rstrip("/") if is_address(text) else os.path.abspath(path(text))


def shown(address: str) -> str:
    """An address without what may be a password in it."""
    return _SECRET.sub(lambda found: "://***@" if found[0].startswith("://") else "", address)


def relative(path: str, below: str) -> str:
    """What follows `below` and a slash in `path`, either addresses or paths."""
    return path[len(below) :].lstrip("/" + os.sep)


def join(folder: str, name: str) -> str:
    """`name` below a folder or address; one that is absolute stays."""
    return name if is_address(name) or os.path.isabs(name) else f"{folder}/{name}"


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it.

    Raises:
        PolypError: its package is not installed, or the address holds credentials.
    """
    if shown(address) != address:
        raise PolypError(f"{shown(address)}: holds a password or options; set them in the environment instead")
    scheme = address.partition(":")[0].lower()
    try:
        import fsspec

        # a store changes while we look: no list of it is kept
        system = fsspec.filesystem(scheme, **({} if scheme == "memory" else {"use_listings_cache": False}))
    except ImportError as error:
        extra = "" if scheme == "gs" else " (the extra 'scale': pip install 'polyp_monai[scale]')"
        raise PolypError(f"{address}: needs the package {PACKAGES[scheme]}{extra}") from error
    return system, system._strip_protocol(address)


@contextmanager
def clear(address: str) -> Iterator[None]:
    """What a store refuses, as one line without its credentials.

    Raises:
        PolypError: absent, not allowed, or the store cannot be reached.
    """
    try:
        yield
    except PolypError:
        raise
    except FileNotFoundError as error:
        raise PolypError(f"{shown(address)}: no such file or folder") from error
    except PermissionError as error:
        raise PolypError(f"{shown(address)}: not allowed; are the credentials those of this store?") from error
    except Exception as error:  # each store has errors of its own kinds
        if type(error).__module__.partition(".")[0] not in _STORES and not isinstance(error, OSError):
            raise
        kind = type(error).__name__
        if "Credentials" in kind:
            raise PolypError(f"{shown(address)}: no credentials; set those of the store in the environment") from error
        raise PolypError(f"{shown(address)}: the store cannot be read ({kind}); try again") from error


_STORES = ("botocore", "aiobotocore", "s3fs", "gcsfs", "google", "aiohttp", "fsspec")


def is_folder(address: str) -> bool:
    """Raises PolypError when there is nothing, or the store cannot be reached."""
    system, path = filesystem(address)
    with clear(address):
        return system.info(path)["type"] == "directory"


def read_bytes(address: str) -> bytes:
    """Raises PolypError when it cannot be read."""
    system, path = filesystem(address)
    with clear(address):
        return system.cat_file(path)


def walk(address: str) -> Iterator[str]:
    """Every file below an address but hidden ones, sorted; the names of one folder are held at a time."""
    system, path = filesystem(address)
    with clear(address):
        entries = sorted((entry["name"].rstrip("/"), entry["type"]) for entry in system.ls(path, detail=True))
    for name, kind in entries:
        last = name.rpartition("/")[2]
        if last.startswith(".") or name.strip("/") == path.strip("/"):  # a store may list the folder itself
            continue
        if kind == "directory":
            yield from walk(f"{address}/{last}")
        else:
            yield f"{address}/{last}"


@contextmanager
def fetched(address: str, names: Iterable[str] = ("",)) -> Iterator[Path]:
    """A copy of a file in a temporary folder, under its own name; what is said of it names the address.

    Args:
        address: of the file, or of a folder.
        names: of the files in the folder.

    Raises:
        PolypError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="polyp-") as folder:
        copy = Path(folder) / address.rpartition("/")[2]
        for name in names:
            _copy(join(address, name).rstrip("/"), copy / name)
        with known_as(copy, address):
            yield copy


@contextmanager
def here(path: T) -> Iterator[T | Path]:
    """A path, or what is none, as it is; the address of a file or folder as a copy, as `fetched` makes it."""
    if not is_address(path):
        yield path
        return
    address = absolute(str(path))
    names = [relative(found, address) for found in walk(address)] if is_folder(address) else [""]
    with fetched(address, names) as copy:
        yield copy


def mirror(address: str) -> Path:
    """A folder, or file, as a lasting copy in the cache of this machine; returns its path.

    What changed, by size and time or sum, is copied again, and what has gone is removed. POLYP_CACHE is the cache's
    folder, else ~/.cache/polyp_monai.

    Raises:
        PolypError: it cannot be read.
    """
    from polyp_monai.data import files, lock

    cache = Path(os.environ.get("POLYP_CACHE") or "~/.cache/polyp_monai").expanduser()
    base = cache / "mirror" / hashlib.sha256(address.encode()).hexdigest()[:16]
    copy, kept = base / address.rpartition("/")[2], base / "mirror.json"
    system, path = filesystem(address)
    with clear(address):  # a file is found below itself, by the name ""
        stamps = {relative(name, path): _stamp(about) for name, about in system.find(path, detail=True).items()}
    if not stamps:
        raise PolypError(f"{shown(address)}: no such file or folder")
    with lock.held(base, patience=PATIENCE):
        known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        for gone in known.keys() - stamps.keys():
            (copy / gone).unlink(missing_ok=True)
        new = sorted(name for name in stamps if known.get(name) != stamps[name] or not (copy / name).is_file())
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(lambda name: _renew(f"{address}/{name}".rstrip("/"), copy / name), new))
        if known != stamps:
            files.write_json(kept, stamps)
    return copy


def _renew(address: str, target: Path) -> None:
    from polyp_monai.data import files

    with files.atomic(target) as partial:
        _copy(address, partial)


def _stamp(about: dict[str, Any]) -> str:
    """What changes when a file does, as far as its store tells."""
    when = next(
        (about[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created") if key in about), ""
    )
    return f"{about.get('size')} {when}"


def _copy(address: str, target: Path) -> None:
    system, path = filesystem(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    with clear(address):
        system.get_file(path, str(target))
