"""One run at a time in a folder. The operating system holds the lock, so a run that died holds none."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from polyp_monai.errors import PolypError

NAME = ".polyp-lock"  # in the folder, while a run is at work there
PATIENCE = 5.0  # seconds: parts that begin together look at the folder's lock in turn


@contextmanager
def held(folder: str | Path, file: str = "", patience: float = 0, parts: bool = True) -> Iterator[None]:
    """No other run writes into `folder`, or the one `file` there, during the block.

    The folder is made where it is absent, and removed again when the block leaves it empty.

    Args:
        folder: of all files, or of the one.
        file: its name; "" for all of the folder.
        patience: seconds to wait for another's end.
        parts: whether a part at work (`held_part`) is another run, too.

    Raises:
        PolypError: another run is at work there.
        OSError: the folder cannot be made or written to.
    """
    from filelock import FileLock, Timeout

    from polyp_monai.data import files  # which imports NumPy

    folder = Path(folder)
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    path = folder / (f"{NAME}-{file}" if file else NAME)
    try:
        files.make_folder(folder)
        lock = FileLock(path, timeout=patience)
        lock.acquire()
    except Timeout:
        raise PolypError(
            f"{folder / file}: another run is writing there{_who(path)}; wait for its end, or give another --out"
        ) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    try:
        with suppress(OSError):  # on a full disk it is a lock all the same
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M}")
        for part in folder.glob(f"{NAME}-part-*") if parts and not file else ():
            with held(folder, part.name.removeprefix(f"{NAME}-")):
                pass
        yield
    finally:
        with suppress(OSError):  # while it is held: whoever comes next makes a file of their own
            path.unlink()
        lock.release()
        for place in made:
            with suppress(OSError):  # not empty
                place.rmdir()


@contextmanager
def held_part(folder: str | Path, part: str) -> Iterator[None]:
    """No other run does this part of a job in `folder`, and none all of it; those of other parts may.

    Raises:
        PolypError, OSError: as `held`.
    """
    with held(folder, f"part-{part}"):
        # whoever wants all of it looks for parts once it holds the folder: one of the two sees the other
        if (Path(folder) / NAME).exists():
            with held(folder, patience=PATIENCE, parts=False):
                pass
        yield


def _who(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return f" ({text})" if text else ""
