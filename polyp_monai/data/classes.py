"""Classes of polyps: their names, which `model.yaml` and `datalist.json` hold, and the colors that they are drawn in.

A mask of several classes holds 0 for the background and k for the k-th class, as PNG with a palette: whoever reads its
colors sees the classes, and whoever reads it as black and white sees every polyp, because each color is bright.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import POLYP, UNCERTAIN

# RGB, none a color of mucosa, and told apart by those who confuse red with green too
COLORS = (
    (255, 64, 208),
    (64, 255, 128),
    (64, 160, 255),
    (255, 160, 0),
    (160, 96, 255),
    (0, 255, 255),
    (255, 255, 96),
    (255, 255, 255),
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")  # tags are parted by spaces, columns by commas


def check(names: object, where: str) -> tuple[str, ...]:
    """`names` themselves, when a list of classes may have them.

    Args:
        names: of the classes, in the order of their numbers from 1.
        where: the file that has them.

    Raises:
        PolypError: no list of 1 to 8 different words.
    """
    if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= len(COLORS):
        raise PolypError(f"{where}: classes: expected a list of 1 to {len(COLORS)} names, not {names!r}")
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name) or name == UNCERTAIN:
            raise PolypError(f"{where}: {name!r}: a class is one word of letters, digits and - _ . + (not {UNCERTAIN})")
    if len(set(names)) < len(names):
        raise PolypError(f"{where}: classes: {', '.join(names)}: each needs a name of its own")
    return tuple(names)


def hexadecimal(color: Sequence[int]) -> str:
    """An RGB color as pages write it: #ff40d0."""
    return "#" + bytes(color).hex()


def of_list(content: dict, where: str) -> tuple[str, ...]:
    """The classes of a data list's content; those without the key are masks of polyps alone."""
    return check(content["classes"], where) if "classes" in content else POLYP


def check_known(listed: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Raises PolypError when masks of the classes `listed` cannot train or score a model of the classes `wanted`."""
    if len(wanted) == 1 or tuple(listed) == tuple(wanted):
        return
    has = "names no classes" if tuple(listed) == POLYP else f"has the classes {', '.join(listed)}"
    raise PolypError(
        f"{where}: {has}, and the bundle has {', '.join(wanted)}; prepare the set with those, in that order"
    )
