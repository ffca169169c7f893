"""What an inspection says of one thing in a bundle: known, unknown or dangerous."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

DAMAGED = ("cannot be read", "is damaged")  # how `BundleFinding.why` begins of such files


class Level(IntEnum):
    """From harmless to harmful; of several, the largest counts."""

    KNOWN = 0
    UNKNOWN = 1
    DANGEROUS = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class BundleFinding:
    """One thing in one place.

    `kind` is target, expression, import, macro, key, path, config, logging, weights, export, code or file. `place` is
    the file below the bundle's folder, in a config with "::" and the id of the item. `what` is the thing as it stands
    there, `why` the reason for its level.
    """

    level: Level
    kind: str
    place: str
    what: str
    why: str = ""

    @property
    def damaged(self) -> bool:
        """Whether its file, as it is, serves nobody, trusted or not."""
        return self.why.startswith(DAMAGED)

    def __str__(self) -> str:
        text = f"{self.place}: {self.kind} {printable(self.what)}" if self.what else f"{self.place}: {self.kind}"
        return f"{text} ({self.why})" if self.why else text


def printable(text: str, longest: int = 100) -> str:
    """`text` on one line without control characters, which could change what a terminal shows."""
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."
