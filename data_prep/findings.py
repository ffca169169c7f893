"""What can be wrong with a data set, as one kind of record, whoever found it."""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = ("error", "warning", "info")
KEPT = "kept"
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about some files.

    `severity`: "error" (the pair cannot be used), "warning" (look at it) or "info" (how it was read).
    `files`: paths; the pipeline makes them relative to the data set's folder. `names`: the pairs concerned, where they
    are still in the set.
    `action`: what was done about it.
    """

    code: str
    severity: str
    files: tuple[str, ...]
    message: str
    action: str = KEPT
    names: tuple[str, ...] = ()
