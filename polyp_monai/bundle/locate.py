"""From BUNDLE on the command line, a name or a path, to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyp_monai.errors import PolypError
from polyp_monai.sharing import trust

PACKAGE = Path(__file__).resolve().parents[1]
RUNS = Path("runs")  # where a training of a shipped bundle keeps its working copy


def shipped() -> dict[str, Path]:
    """Name -> folder of the bundles that come with polyp_monai: in the wheel, else in the checkout."""
    home = PACKAGE / "bundles" if (PACKAGE / "bundles").is_dir() else PACKAGE.parent / "bundles"
    return {p.parent.parent.name: p.parent.parent for p in sorted(home.glob("*/configs/model.yaml"))}


def find(bundle: str) -> Path:
    """The folder of a bundle: a path; else the working copy that was trained under that name; else the shipped one.

    Raises:
        PolypError: no such bundle; names the nearest ones. Or it came from elsewhere and is not trusted.
    """
    root = _find(bundle)
    if root not in shipped().values():
        trust.require_trust(root)
    return root


def _find(bundle: str) -> Path:
    if not bundle:
        raise PolypError(f"the bundle's name is empty; give a folder, or one of {', '.join(shipped())}")
    path = Path(bundle)
    if (path / "configs").is_dir():
        return path.resolve()
    if path.name == bundle and (RUNS / bundle / "configs").is_dir():
        return (RUNS / bundle).resolve()
    if bundle in shipped():
        return shipped()[bundle]
    if path.suffix == ".zip" and path.is_file():
        raise PolypError(f"{bundle}: unpack it and give the folder")
    if path.exists():
        raise PolypError(f"{bundle}: is no bundle (it has no folder configs/)")
    raise PolypError(f"{bundle}: no such bundle; give a bundle's folder, or one of {', '.join(shipped())}")


def template(bundle: str, out: str | None) -> Path:
    """The bundle that a training starts from: a name with `out` means the shipped one, not an earlier run's copy."""
    if out and (Path(out) / "configs").is_dir():
        return find(out)
    if out and bundle in shipped() and not (Path(bundle) / "configs").is_dir():
        return shipped()[bundle]
    return find(bundle)


@contextmanager
def working_copy(bundle: str, out: str | None) -> Iterator[Path]:
    """The folder to train in: `bundle` itself when it is a path, else a copy of the shipped bundle in `out`.

    The copy (by default `runs/NAME`) is a complete bundle without weights; training adds them, so that the folder can
    be shared as it is. A shipped bundle is never trained in place: it may lie in a read-only installation. A copy that
    was made here is removed again when the training could not start.
    """
    source = template(bundle, out)
    target = Path(out).resolve() if out else (RUNS / source.name).resolve()
    if source == target or (out is None and source not in shipped().values()):
        yield source
        return
    made = not (target / "configs").is_dir()
    if made:
        _copy(source, target)
        trust.made_here(target)
    try:
        yield target
    except BaseException:
        if made and not any(target.rglob("*.pt")):
            shutil.rmtree(target)
        raise


def _copy(source: Path, target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PolypError(f"{target}: is not empty and holds no bundle; give another --out")
    partial = target.with_name(f".partial-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns("models", "eval", "predictions"))
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
