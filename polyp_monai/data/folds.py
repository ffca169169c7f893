"""The folds of a cross-validation: by group, so that frames of one patient or sequence stay together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from polyp_monai.errors import PolypError


def split(entries: Sequence[dict], fold: str, name: str) -> dict[str, list[dict]]:
    """ "training" and "validation" of one fold. Every entry validates in exactly one of the N folds.

    The folds depend on names and groups alone, not on the order of the entries, and hold about as many frames each,
    with and without a polyp.

    Args:
        entries: of a data list; those without a group are groups by themselves.
        fold: "K/N", the Kth of N.
        name: of the data list, for messages.

    Raises:
        PolypError: fewer groups than folds.
    """
    place, total = (int(number) for number in fold.split("/"))
    groups: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        groups[f"group {entry['group']}" if entry.get("group") else f"frame {entry['image']}"].append(number)
    if len(groups) < total:
        raise PolypError(f"{name}: {len(groups)} groups of frames cannot make {total} folds; ask for fewer")
    held_out = _members(entries, groups, total)[place - 1]
    return {
        "training": [entry for number, entry in enumerate(entries) if number not in held_out],
        "validation": [entry for number, entry in enumerate(entries) if number in held_out],
    }


def _members(entries: Sequence[dict], groups: dict[str, list[int]], total: int) -> list[set[int]]:
    """The largest group first, each to the fold that has fewest frames of its kind."""
    counts, members = [[0, 0, 0] for _ in range(total)], [set[int]() for _ in range(total)]

    def order(group: str) -> Any:
        return -len(groups[group]), hashlib.sha256(group.encode()).digest()

    for group in sorted(groups, key=order):
        negatives = sum(entries[number].get("polyp_area") == 0 for number in groups[group])
        kind = int(2 * negatives > len(groups[group]))
        fold = min(range(total), key=lambda f: (counts[f][kind], counts[f][2], f))
        members[fold].update(groups[group])
        for column, number in enumerate((len(groups[group]) - negatives, negatives, len(groups[group]))):
            counts[fold][column] += number
    return members
