from __future__ import annotations

import random

import pytest

from polyp_monai.data import folds
from polyp_monai.errors import PolypError

ENTRIES = [
    {"image": f"{n}.png", "group": f"g{n // 3}" if n < 30 else "", "polyp_area": 0 if n % 5 == 0 else 9}
    for n in range(50)
]


def test_every_frame_validates_once_and_groups_stay_together():
    held_out = []
    for place in (1, 2, 3):
        both = folds.split(ENTRIES, f"{place}/3", "list")
        assert len(both["training"]) + len(both["validation"]) == 50
        assert not {e["group"] for e in both["training"]} & {e["group"] for e in both["validation"]} - {""}
        held_out += [e["image"] for e in both["validation"]]
        assert 15 <= len(both["validation"]) <= 18
        assert 2 <= sum(e["polyp_area"] == 0 for e in both["validation"]) <= 5
    assert sorted(held_out) == sorted(e["image"] for e in ENTRIES)


def test_folds_do_not_depend_on_the_order():
    shuffled = random.Random(0).sample(ENTRIES, len(ENTRIES))
    one, two = (folds.split(entries, "2/5", "list")["validation"] for entries in (ENTRIES, shuffled))
    assert {e["image"] for e in one} == {e["image"] for e in two}


def test_too_few_groups():
    with pytest.raises(PolypError, match="list: 1 groups of frames cannot make 2 folds"):
        folds.split(ENTRIES[:3], "1/2", "list")
