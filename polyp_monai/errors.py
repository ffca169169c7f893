"""The one exception that means "the user can mend this", and how a command tells of it."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable, Sequence


class PolypError(Exception):
    """A mistake in the input. Its text is one line: what is wrong, in which file, what to do.

    The command line prints that line without a traceback and exits with 1.
    """


def root_cause(error: BaseException) -> BaseException:
    """The first PolypError or OSError in the chain that raised `error`; else the start of the chain.

    MONAI wraps what a transform or a config expression raises, once a layer.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return next((e for e in chain if isinstance(e, (PolypError, OSError))), chain[-1])


def summary(error: BaseException) -> str:
    """Kind and first line of an error, for a message of one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")


def shortened(words: Sequence[str], limit: int = 5) -> str:
    """ "a, b, c and 7 more": a list that fits a line."""
    words = list(words)
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; a mistake in the input becomes one line on stderr and status 1, an interrupt status 130."""
    try:
        return command() or 0
    except PolypError as error:
        reason = str(error)
    except OSError as error:
        if isinstance(error, shutil.Error):  # of many files that were copied
            full, first = "[Errno 28]" in str(error), str(error.args[0][0][2]) if error.args[0] else str(error)
            error = OSError(errno.ENOSPC if full else 0, first)
        full = error.errno == errno.ENOSPC
        what = "the disk is full; free some space and run it again" if full else error.strerror or str(error)
        place = error.filename2 or error.filename  # of a rename the target: the other is a temporary name
        reason = f"{place}: {what}" if place else what
    except KeyboardInterrupt:
        print("polyp: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    print(f"polyp: error: {' '.join(reason.split())}", file=sys.stderr)
    return 1
