"""What becomes of freed memory: kept where the same blocks are asked for again, returned where they change."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed() -> None:
    """Tell glibc to keep large blocks instead of returning them to the system and fetching them again.

    Training on a CPU spent a fifth of its time on page faults. The peak stays what it is. Elsewhere it does nothing.
    """
    if (libc := _libc()) is not None and hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed() -> None:
    """Have glibc return what is free to the system, wherever it lies. Takes milliseconds; elsewhere it does nothing.

    Blocks of changing size, as frames of many sizes ask for, leave gaps that no later one fits into: an evaluation of
    1,500 frames ended with 5.7 GB of them.
    """
    if (libc := _libc()) is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
