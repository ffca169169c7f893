"""`monai.bundle run` in a bundle's folder, with errors that a user can read."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from polyp_monai.errors import PolypError, root_cause, summary


def run(root: Path, config: str, overrides: dict[str, Any]) -> None:
    """`python -m monai.bundle run --config_file configs/<config>.yaml` with `overrides`, in the bundle's folder `root`.

    Raises:
        PolypError: what a user's mistake raised inside the run, without MONAI's wrapping.
    """
    for value in overrides.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "#" in text and text[:1] not in "$@%":
                raise PolypError(f"{text}: MONAI turns '#' into '::' in every value; rename the file or folder")
    with inside(root), clear_errors():
        from monai.bundle import run as monai_run

        for name in ("scripts", "workflows"):  # they repeat on stdout what the user has just typed
            logging.getLogger(f"monai.bundle.{name}").setLevel(logging.WARNING)
        # MONAI passes over an override that is None; an expression that gives None it takes
        given = {key: "$None" if value is None else value for key, value in overrides.items()}
        monai_run(config_file=f"configs/{config}.yaml", **given)


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Work in the folder `root`: the configs' macros and relative paths are looked up from there."""
    if not (root / "configs").is_dir():
        raise PolypError(f"{root}: is no bundle (it has no folder configs/)")
    before = Path.cwd()
    os.chdir(root)
    sys.path.insert(0, str(root))  # a bundle may bring its network in scripts/, as with `python -m monai.bundle`
    try:
        yield
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
            del sys.modules[name]  # another bundle has others
        os.chdir(before)


@contextmanager
def clear_errors() -> Iterator[None]:
    """What a user can mend comes out as one PolypError, from below MONAI's layers of wrapping; the rest as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns at every run that a config can run code; the README says it once
        try:
            yield
        except Exception as error:
            reason = root_cause(error)
            if isinstance(reason, PolypError):
                raise reason from None
            if isinstance(reason, ValueError) and "more than 1 value per channel" in str(reason):
                raise PolypError("this network's batch norm needs two frames or more; raise --batch_size") from None
            if isinstance(reason, ModuleNotFoundError) and "Cannot locate" in str(reason):
                raise PolypError(f"a config of the bundle names what is not there: {reason}") from None
            if isinstance(reason, yaml.YAMLError):
                raise PolypError(f"a config of the bundle is not YAML: {reason}") from None
            if isinstance(reason, OSError):
                raise reason from None
            if split := re.search("Failed to instantiate component '([^']*)'", str(error)):
                raise PolypError(f"{split[1]} cannot be built: {summary(reason)}") from None
            raise
