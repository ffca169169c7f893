"""A bundle's config, parsed wherever the process works.

MONAI looks up macros (`%configs/model.yaml::network_def`) and the bundle's `scripts` from the working directory, which
is why `python -m monai.bundle` runs in the bundle's folder. Here both are looked up from the bundle, and neither the
working directory nor `sys.path` changes: a process can hold several bundles, in several threads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from pydoc import ErrorDuringImport
from typing import TYPE_CHECKING, Any

import yaml

from polyp_monai.data import classes
from polyp_monai.errors import PolypError, root_cause, summary
from polyp_monai.metrics.classes import Classes

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

SCRIPTS = "scripts"  # the one folder of code that a bundle may bring
PATHS = (
    "weights",
    "pretrained",
    "dataset_dir",
    "ckpt_dir",
    "output_dir",
    "cache_dir",
)  # keys of paths, relative to the bundle
ELSEWHERE = ("$", "@", "%", "pip:", "http://", "https://")  # how a value begins that is no path
_importing = threading.RLock()


class BundleConfig:
    """One config of a bundle, whose items are built when they are asked for.

    Args:
        root: folder of the bundle.
        name: of the config: "inference", "evaluate" or "train".
        overrides: key -> value, laid over the config before anything is built.

    Raises:
        PolypError: no bundle there, or its configs cannot be read.
    """

    def __init__(self, root: Path, name: str = "inference", overrides: Mapping[str, Any] | None = None) -> None:
        from monai.bundle import ConfigParser

        self.root = check_root(root)
        self.path = self.root / f"configs/{name}.yaml"
        check_hashes({"bundle": str(self.root), **(overrides or {})})
        with clear_errors():
            self.parser: ConfigParser = ConfigParser()
            self.parser.read_config(str(self.path))
            self.parser.update({"bundle_root": str(self.root), **(overrides or {})})
            settle(self.parser, self.root)
            self.parser.resolve_macro_and_relative_ids()

    def __contains__(self, key: str) -> bool:
        return key in self.parser

    def __getitem__(self, key: str) -> Any:
        """What the item `key` stands for: an object, once built always the same one, or a plain value.

        Raises:
            PolypError: a mistake in the bundle that a user can mend, in one line.
        """
        if key not in self.parser:
            raise PolypError(f"{self.path}: the key {key!r} is missing; copy the file from a shipped bundle")
        with scripts_of(self.root), clear_errors():
            return self.parser.get_parsed_content(key)

    def written(self, key: str) -> Any:
        """The item as the config has it, its macros replaced, nothing built."""
        return self.parser[key]


def check_root(root: Path) -> Path:
    """`root`, absolute. Raises PolypError when it is no bundle."""
    if not (root / "configs").is_dir():
        raise PolypError(f"{root}: is no bundle (it has no folder configs/)")
    return root.resolve()


def check_hashes(values: Mapping[str, Any]) -> None:
    """Raises PolypError for a '#' in a value, of which MONAI would make '::'."""
    for value in values.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "#" in text and text[:1] not in "$@%":
                raise PolypError(f"{text}: MONAI turns '#' into '::' in every value; rename the file or folder")


def settle(parser: ConfigParser, root: Path) -> None:
    """Replace macros of files, and make paths absolute, both from the bundle's folder `root`."""
    parser.set(config=replace_macros(parser.get(), root))
    for key in PATHS:
        value = parser.get(key)
        if isinstance(value, str) and value and not value.startswith(ELSEWHERE):
            parser[key] = str(root / value)


def replace_macros(node: Any, root: Path, files: dict[Path, dict] | None = None) -> Any:
    """`node` with what its macros `%FILE::KEY` stand for, FILE looked up from `root`; other macros stay for MONAI."""
    from monai.bundle import ConfigParser

    files = {} if files is None else files
    if isinstance(node, dict):
        return {key: replace_macros(value, root, files) for key, value in node.items()}
    if isinstance(node, list):
        return [replace_macros(value, root, files) for value in node]
    if not isinstance(node, str) or not node.startswith("%"):
        return node
    name, key = ConfigParser.split_path_id(node[1:])
    if not name:
        return node
    path = root / name
    if path not in files:
        files[path] = ConfigParser.load_config_file(path)
    try:
        return deepcopy(ConfigParser(files[path])[key])
    except (KeyError, ValueError) as error:
        raise PolypError(f"{path}: the key {key!r} is missing, which another config takes from it") from error


def classes_of(config: BundleConfig) -> Classes:
    """The classes of a bundle; one that says nothing of them has polyps alone.

    Raises:
        PolypError: they have no names, or none of their own.
    """
    if "classes" not in config:
        return Classes()
    names = classes.check(config["classes"], f"{config.root}/configs/model.yaml")
    return Classes(names, float(config["class_certainty"]))


def recipe_digest(config: BundleConfig) -> str:
    """sha256, hex, of what stands around the network: preprocessing, inferer and postprocessing, without their values.

    Two bundles of one digest differ, but for the network, in plain keys alone (image size, threshold ...).
    """
    around = {key: config.written(key) for key in ("fit_image", "preprocessing", "inferer", "postprocessing")}
    return hashlib.sha256(json.dumps(around, sort_keys=True).encode()).hexdigest()


@contextmanager
def scripts_of(root: Path) -> Iterator[None]:
    """`import scripts` finds the code that the bundle brings, as with `python -m monai.bundle`; nothing else does.

    Its modules are forgotten afterwards, because another bundle has others. Bundles with scripts take turns.
    """
    if not (root / SCRIPTS).is_dir():
        yield
        return
    with _importing:
        others = _forget_scripts()
        finder = _ScriptsFinder(root / SCRIPTS)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            _forget_scripts()
            sys.modules.update(others)


def _forget_scripts() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] == SCRIPTS]
    return {name: sys.modules.pop(name) for name in names}


class _ScriptsFinder(MetaPathFinder):
    """Finds the package `scripts` in one folder, and no other name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != SCRIPTS:
            return None
        start, places = self.folder / "__init__.py", [str(self.folder)]
        if start.is_file():
            return importlib.util.spec_from_file_location(SCRIPTS, start, submodule_search_locations=places)
        spec = ModuleSpec(SCRIPTS, None, is_package=True)
        spec.submodule_search_locations = places
        return spec


@contextmanager
def clear_errors() -> Iterator[None]:
    """What a user can mend comes out as one PolypError, from below MONAI's layers of wrapping; the rest as it is."""
    try:
        yield
    except Exception as error:
        reason = root_cause(error)
        if isinstance(error, ErrorDuringImport):
            raise PolypError(f"code that a config of the bundle names cannot be imported: {summary(reason)}") from error
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
            raise PolypError(f"{split[1]} cannot be built: {summary(reason)}") from error
        if "Failed to evaluate" in str(error) or "is not defined in the config content" in str(error):
            raise PolypError(f"an expression of a config cannot be evaluated: {summary(reason)}") from error
        raise
