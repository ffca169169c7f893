"""How sure a mean is, and whether two runs differ; frames of one group (sequence, patient) are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence | None = None,
    level: float = 0.95,
    repeats: int = 2000,
    seed: int = 0,
    statistic: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, float]:
    """Percentile interval of a statistic by bootstrap over groups: whole groups are drawn, with all of their values.

    Args:
        values: one an image; NaN values are left out.
        groups: the group of each value; by default each is its own.
        statistic: of a 1-D array; the mean needs only the groups' sums, and is quick. A draw of which it is NaN counts
            for nothing.

    Returns:
        value, low, high (both NaN with fewer than two groups: nothing is known of the spread), n values, groups.
    """
    kept, index = _grouped(values, groups)
    n = index.max(initial=-1) + 1
    result = {"value": float(statistic(kept)) if n else np.nan, "low": np.nan, "high": np.nan}
    if n > 1:
        rng = np.random.default_rng(seed)
        draws = (rng.integers(n, size=n) for _ in range(repeats))  # one at a time: memory stays flat
        if statistic is np.mean:
            sums, sizes = np.bincount(index, kept), np.bincount(index)
            samples = [sums[draw].sum() / sizes[draw].sum() for draw in draws]
        else:
            samples = [statistic(np.repeat(kept, np.bincount(draw, minlength=n)[index])) for draw in draws]
        low, high = np.nanquantile(samples, [(1 - level) / 2, (1 + level) / 2])
        result |= {"low": float(low), "high": float(high)}
    return result | {"n": len(kept), "groups": int(n)}


def samples(groups: Sequence, repeats: int = 2000, seed: int = 0) -> Iterator[np.ndarray]:
    """The draws of `bootstrap_interval` for what is no mean: how often each image counts, int (images,), a draw each.

    There are none with fewer than two groups.
    """
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    n, rng = index.max(initial=-1) + 1, np.random.default_rng(seed)
    for _ in range(repeats if n > 1 else 0):
        yield np.bincount(rng.integers(n, size=n), minlength=n)[index]


def batches(draws: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """`samples` as arrays (size, images); the last may be shorter."""
    rest = iter(draws)
    while batch := list(islice(rest, size)):
        yield np.stack(batch)


def bootstrap_bounds(values: Iterable[np.ndarray], size: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest (size,) of the middle share `level` of `values`, arrays (draws, size); NaN without any."""
    table = np.concatenate([np.empty((0, size)), *values])
    table = table[~np.isnan(table).any(axis=1)]  # a draw without a polyp measures nothing
    if not len(table):
        return np.full(size, np.nan), np.full(size, np.nan)
    low, high = np.quantile(table, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def paired(a: Sequence[float], b: Sequence[float], groups: Sequence | None = None) -> dict[str, float]:
    """Mean of a - b over the images where neither is NaN, with its 95 % interval and the p of Wilcoxon's signed rank.

    The test takes its values as independent: with groups it is done on their mean differences. p is 1 where all
    differences are 0 and NaN where there are none.

    Returns: difference, low, high, p, n images, groups.
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    interval = bootstrap_interval(difference, groups)
    kept, index = _grouped(difference, groups)
    means = np.bincount(index, kept) / np.bincount(index)
    p = float(wilcoxon(means).pvalue) if means.any() else (1.0 if len(means) else np.nan)
    return {"difference": interval.pop("value"), "p": p, **interval}


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by S. Holm's step-down method (1979), in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected.tolist()


def verdict(result: dict[str, float], corrected_p: float) -> str:
    """What `paired` found, in words; beyond noise only when interval and corrected p (below 0.05) both say so."""
    difference, low, high = result["difference"], result["low"], result["high"]
    if result["groups"] < 2:
        return f"not comparable: {result['n']} images of {result['groups']} groups have both values"
    scores = f"(95 % interval {low:+.4f} to {high:+.4f}, p = {corrected_p:.2g}, {result['n']} images)"
    if corrected_p < 0.05 and (low > 0 or high < 0):
        return f"{'higher' if difference > 0 else 'lower'} by {abs(difference):.4f}, more than noise {scores}"
    return f"within noise: {difference:+.4f} {scores}"


def _grouped(values: Sequence[float], groups: Sequence | None) -> tuple[np.ndarray, np.ndarray]:
    """Values without NaN, and the number of each one's group from 0; so sorted that the images' order is nothing."""
    array = np.asarray(values, dtype=float)
    kept = ~np.isnan(array)
    if groups is None:
        return np.sort(array[kept]), np.arange(kept.sum())
    return array[kept], np.unique(np.asarray(groups)[kept], return_inverse=True)[1]
