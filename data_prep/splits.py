"""Training, validation and test splits.

A group (frames of one sequence, images of one patient) never straddles two splits made here, and neither do
images that look alike (bonds). Published splits are kept as their authors made them; the validation split, which they
lack, is carved from their training split, so that the test split never chooses a checkpoint.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from polyp_monai.data import SPLITS
from polyp_monai.errors import PolypError, shortened

OF = "of "  # begins the name of another data list's split
Bin = TypeVar("Bin", bound=Hashable)


@dataclass(frozen=True)
class Plan:
    """How to split: `name` is official, pranet, random, ratio, grouped (ratio, with groups of many images), kfold, or
    "of DATASET": that of another data list.

    `ratios`: shares of training, validation, test for ratio and grouped. `folds`, `fold` (counted from 0): for kfold,
    the fold that is the test split. `validation`: share of the training split that the other splits give to validation.
    """

    name: str
    seed: int = 0
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    folds: int = 5
    fold: int = 0
    validation: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 <= share < 1 for share in self.ratios) or not math.isclose(sum(self.ratios), 1, abs_tol=1e-6):
            text = ",".join(f"{share:g}" for share in self.ratios)
            raise PolypError(f"--ratios {text}: need three shares below 1 that sum to 1 (0.8,0.1,0.1)")
        if self.ratios[0] == 0:
            raise PolypError("--ratios: the training share is 0")
        if self.folds < 2:
            raise PolypError(f"--folds {self.folds}: need at least 2")
        if not 0 <= self.fold < self.folds:
            raise PolypError(f"--fold {self.fold}: folds of {self.folds} are counted from 0 to {self.folds - 1}")
        if not 0 <= self.validation < 1:
            raise PolypError(f"--validation {self.validation:g}: need a share of the training split, 0 to below 1")

    def described(self) -> dict[str, Any]:
        """The settings that this split depends on, for the data list."""
        own: dict[str, Any] = {"name": self.name, "seed": self.seed}
        if self.name in ("ratio", "grouped"):
            return {**own, "ratios": list(self.ratios)}
        if self.name.startswith(OF):
            return {"name": self.name}
        if self.name == "kfold":
            own |= {"folds": self.folds, "fold": self.fold}
        return {**own, "validation": self.validation}


def clusters(groups: Mapping[str, str], bonds: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Names that must stay together: those of a group, and groups that a bond between two names ties together."""
    parent = {group: group for group in groups.values()}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for first, second in bonds:
        if first in groups and second in groups:
            parent[root(groups[first])] = root(groups[second])
    together: dict[str, list[str]] = defaultdict(list)
    for name in sorted(groups):
        together[root(groups[name])].append(name)
    return sorted(together.values())


def deal(
    together: list[list[str]],
    shares: Mapping[Bin, float],
    seed: int,
    classes: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, Bin]:
    """{name: bin}: clusters dealt largest first, equals in an order drawn with `seed`, to the bin that lacks most.

    Need is relative to the bin's share, so that every bin gets large and small clusters. No bin with a share is left
    empty. With `classes`, {name: those it shows}, each combination of them is dealt for itself: every bin gets its
    share of each.

    Raises:
        PolypError: fewer clusters than bins.
    """
    kinds = [tuple(sorted({c for name in cluster for c in (classes or {}).get(name, ())})) for cluster in together]
    kind_of = {cluster[0]: kind for cluster, kind in zip(together, kinds, strict=True)}
    totals: dict[tuple[str, ...], int] = defaultdict(int)
    for cluster, kind in zip(together, kinds, strict=True):
        totals[kind] += len(cluster)
    target = {bin_: share for bin_, share in shares.items() if share > 0}
    if len(together) < len(target):
        raise PolypError(
            f"{len(together)} group{'s' * (len(together) != 1)} of images that belong together cannot fill "
            f"{len(target)} splits ({', '.join(map(str, target))}); ask for fewer splits or add data"
        )
    order = sorted(together)
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    rooms = {kind: {bin_: share * total for bin_, share in target.items()} for kind, total in totals.items()}
    empty = set(target)
    dealt: dict[str, Bin] = {}
    for position, cluster in enumerate(order):
        kind = kind_of[cluster[0]]
        room = rooms[kind]
        needy = [bin_ for bin_ in room if bin_ in empty or len(order) - position > len(empty)]
        fitting = [bin_ for bin_ in needy if room[bin_] >= len(cluster)]
        if fitting:
            chosen = max(fitting, key=lambda bin_: room[bin_] / (target[bin_] * totals[kind]))
        else:
            chosen = max(needy, key=lambda bin_: room[bin_])
        room[chosen] -= len(cluster)
        empty.discard(chosen)
        dealt |= dict.fromkeys(cluster, chosen)
    return dealt


def assign(
    plan: Plan,
    groups: Mapping[str, str],
    bonds: Iterable[tuple[str, str]] = (),
    published: Mapping[str, str] | None = None,
    classes: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, str]:
    """{name: split} for every name of `groups` ({name: group}); depends on names, groups and bonds, not on their order.

    `published`: {name: split} of a fixed split, kept as it is; one without a validation split gets its share.
    `classes`: as of `deal`.

    Raises:
        PolypError: too few groups to fill the splits, or a published split of which no image is present.
    """
    bonds = sorted(set(bonds))
    if published is None and plan.name != "kfold":
        return deal(clusters(groups, bonds), dict(zip(SPLITS, plan.ratios, strict=True)), plan.seed, classes)
    if published is not None:
        if absent := sorted(set(groups) - set(published)):
            raise PolypError(f"split {plan.name}: does not say where {shortened(absent)} belongs; leave it out")
        split_of = {name: published[name] for name in groups}
        for split in ("training", "test"):
            if split not in split_of.values():
                raise PolypError(f"split {plan.name}: none of its {split} images is present; use another --protocol")
        if "validation" in split_of.values():
            return split_of
    else:
        even = dict.fromkeys(range(plan.folds), 1 / plan.folds)
        folds = deal(clusters(groups, bonds), even, plan.seed, classes)
        split_of = {name: "test" if fold == plan.fold else "training" for name, fold in folds.items()}
    training = {name: groups[name] for name, split in split_of.items() if split == "training"}
    shares = {"training": 1 - plan.validation, "validation": plan.validation}
    return split_of | deal(clusters(training, bonds), shares, plan.seed, classes)
