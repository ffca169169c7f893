"""The one exception that means "the user can mend this", and how a command tells of it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# moves a terminal's cursor, colors it, begins a line, or turns the text around
_UNSHOWN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class PolypError(Exception):
    """A mistake in the input. Its text is one line: what is wrong, in which file, what to do.

    The command line prints that line without a traceback and exits with 1.
    """

    status = 1

    def __reduce__(self) -> Any:  # a process hands it to another, whatever the constructor takes
        return _as_it_was, (type(self), self.args, self.__dict__)

    @property
    def lines(self) -> list[str]:
        return [str(self)]


def _as_it_was(kind: type[PolypError], args: tuple, state: dict[str, Any]) -> PolypError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class CombinedError(PolypError):
    """Several mistakes at once, a line each; `status` is the exit status."""

    def __init__(self, lines: Sequence[str], status: int = 1) -> None:
        super().__init__("; ".join(lines))
        self._lines, self.status = list(lines), status

    @property
    def lines(self) -> list[str]:
        return self._lines


class FramesLeftOutError(PolypError):
    """Some frames have no result; what the others gave is complete."""


@contextmanager
def known_as(place: object, name: object) -> Iterator[None]:
    """In a PolypError of the block, a temporary `place` has the name by which the user knows it."""
    try:
        yield
    except PolypError as error:
        if str(place) not in str(error):
            raise
        raise PolypError(str(error).replace(str(place), str(name))) from error


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


def counted(number: int, noun: str) -> str:
    """ "1 frame", "2 frames", "1,200 frames"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown(line: str) -> str:
    r"""A line as a terminal, a log and JSON may have it, whatever names of files are in it: a newline as \n, other
    characters that a terminal would obey as \u...."""
    names = {"\n": "\\n", "\r": "\\r"}
    return _UNSHOWN.sub(lambda found: names.get(found[0], f"\\u{ord(found[0]):04x}"), line)


def say(line: str) -> None:
    """A line on stderr, beside the result."""
    print(shown(line), file=sys.stderr)


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; a mistake in the input becomes one line on stderr and status 1, an interrupt status 130.

    A reader of stdout that went away, as in `polyp bundles | head -1`, ends it without a word, with status 141.
    """
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except PolypError as error:
        lines, status = error.lines, error.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return 141
    except OSError as error:
        lines, status = [_reason(error)], 1
    except KeyboardInterrupt:
        print("polyp: interrupted; nothing is half-written", file=sys.stderr)
        return 130
    for line in lines:
        say(f"polyp: error: {line}")
    return status


def _reason(error: OSError) -> str:
    if isinstance(error, shutil.Error):  # of many files that were copied
        full, first = "[Errno 28]" in str(error), str(error.args[0][0][2]) if error.args[0] else str(error)
        error = OSError(errno.ENOSPC if full else 0, first)
    full = error.errno == errno.ENOSPC
    what = "the disk is full; free some space and run it again" if full else error.strerror or str(error)
    place = error.filename2 or error.filename  # of a rename the target: the other is a temporary name
    return f"{os.fsdecode(place) if isinstance(place, bytes) else place}: {what}" if place else what
