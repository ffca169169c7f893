"""What can be wrong with a data set, as one kind of record, whoever found it."""

from __future__ import annotations

from collections.abc import Iterable
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


def count_by_code(findings: Iterable[Finding]) -> list[str]:
    """A line a code: "empty mask: 125 frames"; of what concerns no single frame, in how many findings it is."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    lines = []
    for code, members in sorted(by_code.items()):
        frames = {name for finding in members for name in finding.names}
        files = {file for finding in members for file in finding.files}
        counts = ((len(frames), "frame"), (len(files), "file"), (len(members), "finding"))
        count, noun = next((count, noun) for count, noun in counts if count)
        lines.append(f"{code.replace('-', ' ')}: {count} {noun}{'s' * (count > 1)}")
    return lines
