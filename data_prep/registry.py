"""The data sets by name. Each is a module with the same face, imported when it is asked for.

PROTOCOLS: names of the ways to split it that it offers, the default first.
OPTIONS: command line options that it alone understands.
pairs(source, findings, **options) -> list[Pair]: what lies below the folder `source`; appends to `findings`.
published(protocol) -> {name: "training" | "test"}: a split that its publisher or a paper fixed; only where PROTOCOLS
names one.

`synthetic` makes its images instead of finding them: pairs(folder, count, seed) -> list[Pair].
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

SETS = {
    "kvasir-seg": "1000 images, JPEG; splits official (880/120), pranet (900/100), ratio, kfold",
    "cvc-clinicdb": "612 frames of 29 sequences, PNG or TIFF; splits grouped (by sequence), pranet, random, kfold",
    "neopolyp": "BKAI-IGH NeoPolyp, neoplastic and other polyps; splits ratio, kfold, both stratified by class",
    "folder": "images and masks of your own; splits ratio, kfold",
    "synthetic": "generated on the spot, no download; splits ratio, kfold",
}
FIXED_PROTOCOLS = ("official", "pranet", "random")


def load(name: str) -> ModuleType:
    """The module of a data set."""
    return import_module(f"data_prep.{name.replace('-', '_')}")


def protocols_of(module: ModuleType) -> tuple[str, ...]:
    """Names of the protocols that a data set offers, the default first."""
    return getattr(module, "PROTOCOLS", ("ratio", "kfold"))


def options_of(module: ModuleType) -> tuple[str, ...]:
    """Command line options that only this data set understands."""
    return getattr(module, "OPTIONS", ())
