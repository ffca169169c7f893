"""From BUNDLE on the command line, a name or a path, to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyp_monai.data import lock
from polyp_monai.data.outputs import SCRAP
from polyp_monai.errors import PolypError

PACKAGE = Path(__file__).resolve().parents[1]
RUNS = Path("runs")  # where a training of a shipped bundle keeps its working copy


def shipped() -> dict[str, Path]:
    """Name -> folder of the bundles that come with polyp_monai: in the wheel, else in the checkout."""
    home = PACKAGE / "bundles" if (PACKAGE / "bundles").is_dir() else PACKAGE.parent / "bundles"
    return {p.parent.parent.name: p.parent.parent for p in sorted(home.glob("*/configs/model.yaml"))}


def find(bundle: str) -> Path:
    """The folder of a bundle: a path; else the working copy that was trained under that name; else the shipped one.

    Raises:
        PolypError: no such bundle; names the nearest ones.
    """
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
        return Path(out).resolve()
    if out and bundle in shipped() and not (Path(bundle) / "configs").is_dir():
        return shipped()[bundle]
    return find(bundle)


@contextmanager
def working_copy(bundle: str, out: str | None) -> Iterator[Path]:
    """The folder to train in: `bundle` itself when it is a path, else a copy of the shipped bundle in `out`.

    The copy (by default `runs/NAME`) is a complete bundle without weights; training adds them, so that the folder can
    be shared as it is. A shipped bundle is never trained in place: it may lie in a read-only installation. A copy that
    was made here is removed again when the training could not start. No other training writes there meanwhile.

    Raises:
        PolypError: no such bundle, the folder holds something else, or another training is at work there.
    """
    source = template(bundle, out)
    target = Path(out).resolve() if out else (RUNS / source.name).resolve()
    if out is None and source not in shipped().values():
        target = source
    with lock.held(target):
        made = not (target / "configs").is_dir()
        if made:
            _copy(source, target)
        try:
            yield target
        except BaseException:
            if made and not any(target.rglob("*.pt")):
                for path in [p for p in target.iterdir() if not p.name.startswith(SCRAP)]:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


def _copy(source: Path, target: Path) -> None:
    """Copy a bundle without its results. What is read-only, as a shipped bundle may be, becomes writable."""
    strangers = [p for p in target.glob("*") if not p.name.startswith(SCRAP)] if target.is_dir() else []
    if strangers or (target.exists() and not target.is_dir()):
        raise PolypError(f"{target}: is not empty and holds no bundle; give another --out")
    partial = target / ".partial-bundle"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        left_out = (source / "models", source / "eval", source / "predictions")
        for path in sorted(source.rglob("*")):
            if path.is_dir() or path.name.startswith(SCRAP):
                continue
            if not any(path.is_relative_to(place) for place in left_out):
                copy = partial / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        for path in sorted(partial.iterdir(), key=lambda p: p.name == "configs"):  # which makes it a bundle: last
            path.replace(target / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
