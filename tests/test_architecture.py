"""The plan of the house: who may import whom, and that a name means one thing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
TIERS = (  # from the top; a room may import its own tier and lower ones
    ("cli", "napari_plugin"),
    ("serve",),
    ("api",),
    ("data_prep", "video", "export", "evaluation", "report", "sweep", "bulk"),
    ("bundle", "runtime", "training"),
    ("data", "networks", "inferers", "losses", "provenance", "sharing"),
    ("metrics", "errors"),
)
LEVEL = {room: level for level, rooms in enumerate(reversed(TIERS)) for room in rooms}
DATA_PREP_MAY_IMPORT = {"data_prep", "data", "errors", "package"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of both packages."""
    found = {}
    for package in ("polyp_monai", "data_prep"):
        for path in sorted((HOME / package).rglob("*.py")):
            parts = path.relative_to(HOME).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def imports(name: str) -> set[str]:
    """Modules of this project that `name` imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written in full"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in modules() else str(node.module) for member in members}
    return found & modules().keys()


def room(name: str) -> str:
    """The folder, or the file beside the folders, that a module is in; "package" is `polyp_monai` itself."""
    parts = name.split(".")
    if parts[0] == "data_prep":
        return "data_prep"
    if parts[1:] == ["__main__"]:
        return "cli"
    return parts[1] if len(parts) > 1 else "package"


def allowed(name: str, other: str) -> bool:
    """Whether the module `name` may import the module `other`."""
    here, there = room(name), room(other)
    if here == there:
        return True
    if here == "data_prep":
        return there in DATA_PREP_MAY_IMPORT
    if there == "data_prep":
        return here == "cli"
    if there == "package":  # for its version
        return True
    if here == "package":  # the front door opens onto the Python face alone
        return there == "api"
    return LEVEL[there] <= LEVEL[here]


@cache
def graph() -> dict[str, set[str]]:
    return {name: imports(name) for name in modules()}


def test_every_room_has_its_tier():
    assert {room(name) for name in modules()} - {"package"} <= LEVEL.keys()


def test_arrows_run_one_way():
    wrong = {(name, other) for name, others in graph().items() for other in others if not allowed(name, other)}
    assert sorted(wrong) == []


def test_rooms_do_not_import_each_other_in_a_circle():
    arrows = defaultdict(set)
    for name, others in graph().items():
        arrows[room(name)] |= {room(other) for other in others if room(other) not in (room(name), "package")}
    arrows.pop("package", None)  # its __init__ looks into the house, every room takes the version from it

    def reachable(start: str) -> set[str]:
        seen, rest = set(), [start]
        while rest:
            for there in arrows[rest.pop()] - seen:
                seen.add(there)
                rest.append(there)
        return seen

    assert [here for here in list(arrows) if here in reachable(here)] == []


@pytest.mark.parametrize(
    ("name", "other", "fits"),
    [
        ("polyp_monai.metrics.pixel", "polyp_monai.data.files", False),
        ("polyp_monai.data.files", "polyp_monai.metrics.pixel", True),
        ("polyp_monai.runtime.cache", "polyp_monai.export.writers", False),
        ("polyp_monai.video.run", "data_prep.synthetic", False),
        ("polyp_monai.cli.main", "data_prep.registry", True),
        ("data_prep.prepare", "polyp_monai.metrics.pixel", False),
        ("data_prep.prepare", "polyp_monai.report", False),
        ("data_prep.prepare", "polyp_monai", True),
        ("polyp_monai", "polyp_monai.training.handlers", False),
    ],
)
def test_the_rule_itself(name, other, fits):
    assert allowed(name, other) is fits


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for name in modules():
        for node in tree(name).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert twice == {}


def test_importing_the_package_is_light():
    code = "import sys, polyp_monai; print([m for m in ('torch', 'monai', 'cv2', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOME)
    assert result.stdout.strip() == "[]"
