"""A split keeps together what belongs together, whatever the data."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.splits import Plan, assign, clusters
from polyp_monai.data import SPLITS
from polyp_monai.errors import PolypError

GROUPS = st.lists(st.integers(0, 12), min_size=8, max_size=60).map(
    lambda numbers: {f"image{i:02d}": f"group{number}" for i, number in enumerate(numbers)}
)


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[str, str]]]:
    groups = draw(GROUPS)
    names = st.sampled_from(sorted(groups))
    return groups, draw(st.lists(st.tuples(names, names), max_size=6))


PLANS = st.one_of(
    st.builds(
        Plan, st.just("ratio"), seed=st.integers(0, 99), ratios=st.sampled_from([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2)])
    ),
    st.builds(Plan, st.just("kfold"), seed=st.integers(0, 99), folds=st.just(3), fold=st.integers(0, 2)),
)


def split_or_none(plan, groups, bonds):
    """None where the groups are too few, which is refused, never filled with an empty split."""
    try:
        return assign(plan, groups, bonds)
    except PolypError:
        assert len(clusters(groups, bonds)) < 3 or plan.name == "kfold"
        return None


@given(data_sets(), PLANS)
def test_parts_partition_and_are_never_empty(data, plan):
    groups, bonds = data
    split_of = split_or_none(plan, groups, bonds)
    if split_of is not None:
        assert set(split_of) == set(groups)
        assert set(split_of.values()) == set(SPLITS)


@given(data_sets(), PLANS)
def test_neither_groups_nor_look_alikes_straddle(data, plan):
    groups, bonds = data
    split_of = split_or_none(plan, groups, bonds)
    if split_of is not None:
        where = defaultdict(set)
        for name, split in split_of.items():
            where[groups[name]].add(split)
        assert all(len(found) == 1 for found in where.values())
        assert all(split_of[first] == split_of[second] for first, second in bonds)


@given(data_sets(), PLANS, st.randoms())
def test_the_order_of_the_files_does_not_matter(data, plan, shuffler: random.Random):
    groups, bonds = data
    names = list(groups)
    shuffler.shuffle(names)
    other = [(second, first) for first, second in bonds]
    shuffler.shuffle(other)
    assert split_or_none(plan, groups, bonds) == split_or_none(plan, {n: groups[n] for n in names}, other)


@given(GROUPS, st.integers(0, 99))
def test_each_image_is_tested_in_exactly_one_fold(groups, seed):
    if len(set(groups.values())) < 5:
        return
    tested = Counter(
        name
        for fold in range(3)
        for name, split in assign(Plan("kfold", seed, folds=3, fold=fold), groups).items()
        if split == "test"
    )
    assert tested == Counter(groups.keys())


def test_look_alikes_tie_their_groups_together():
    groups = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
    assert clusters(groups, [("a2", "b1")]) == [["a1", "a2", "b1"], ["c1"]]


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_close_to_what_was_asked_for(seed):
    groups = {f"{i}": f"sequence{i // 20}" for i in range(600)}
    counts = Counter(assign(Plan("grouped", seed), groups).values())
    assert counts["training"] == pytest.approx(480, abs=20)
    assert counts["test"] == pytest.approx(60, abs=20)


def test_a_seed_changes_the_split():
    groups = {f"{i}": f"{i}" for i in range(50)}
    assert assign(Plan("ratio", seed=0), groups) != assign(Plan("ratio", seed=1), groups)


def test_a_published_split_is_kept_and_validation_comes_from_its_training_part():
    groups = {f"{i}": f"sequence{i // 4}" for i in range(40)}
    published = {name: "test" if int(name) % 4 == 0 else "training" for name in groups}
    split_of = assign(Plan("pranet", validation=0.2), groups, [("1", "5")], published)
    assert {name for name, split in split_of.items() if split == "test"} == {
        n for n, p in published.items() if p == "test"
    }
    validation = {groups[name] for name, split in split_of.items() if split == "validation"}
    assert validation
    assert not validation & {groups[name] for name, split in split_of.items() if split == "training"}
    assert split_of["1"] == split_of["5"]


def test_no_validation_part_only_when_asked():
    groups = {f"{i}": f"{i}" for i in range(10)}
    published = {name: "test" if int(name) < 3 else "training" for name in groups}
    assert Counter(assign(Plan("official", validation=0), groups, (), published).values()) == {"training": 7, "test": 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratios": (0.8, 0.1, 0.2)}, "sum to 1"),
        ({"ratios": (0.0, 0.5, 0.5)}, "training share is 0"),
        ({"ratios": (1.2, -0.1, -0.1)}, "sum to 1"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 5, "fold": 5}, "from 0 to 4"),
        ({"validation": 1.0}, "--validation"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(PolypError, match=message):
        Plan("ratio", **settings)


def test_too_few_groups_are_refused():
    with pytest.raises(PolypError, match=r"2 groups .* cannot fill 3 splits"):
        assign(Plan("ratio"), {"a": "x", "b": "x", "c": "y"})


def test_a_published_part_of_which_nothing_is_present_is_refused():
    with pytest.raises(PolypError, match="none of its test images"):
        assign(Plan("official"), {"a": "a", "b": "b"}, (), {"a": "training", "b": "training", "c": "test"})
