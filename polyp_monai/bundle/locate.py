"""From BUNDLE on the command line, a name or a path, to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyp_monai.bundle.values import did_you_mean
from polyp_monai.data import SCRAP, lock
from polyp_monai.errors import PolypError

PACKAGE = Path(__file__).resolve().parents[1]
RUNS = Path("runs")  # where a training of a shipped bundle keeps its working copy


def shipped() -> dict[str, Path]:
    """Name -> folder of the bundles that come with polyp_monai: in the wheel, else in the checkout."""
    home = PACKAGE / "_bundles" if (PACKAGE / "_bundles").is_dir() else PACKAGE.parent / "bundles"
    return {p.parent.parent.name: p.parent.parent for p in sorted(home.glob("*/configs/model.yaml"))}


def recipe() -> Path:
    """The folder of the configs that all bundles share."""
    return next(iter(shipped().values())).parent / "recipe"


def find(bundle: str, digest: str | None = None, ask: bool = True) -> Path:
    """The folder of a bundle: the shipped one of that name, else a path. A run is named by its path, `runs/NAME`.

    `digest` and `ask`: as of `trust.require_trust`, which looks at what did not come with polyp_monai.

    Raises:
        PolypError: no such bundle; names the nearest ones. Or it came from elsewhere and is not trusted.
    """
    root = _find(bundle)
    if not is_shipped(root):
        from polyp_monai.sharing import trust

        trust.require_trust(root, digest, ask)
    return root


def _find(bundle: str) -> Path:
    if not bundle:
        raise PolypError(f"the bundle's name is empty; give a folder, or one of {', '.join(shipped())}")
    if bundle in shipped():
        return shipped()[bundle]
    path = Path(bundle)
    if (path / "configs").is_dir():
        return path.resolve()
    if path.suffix == ".zip" and path.is_file():
        raise PolypError(f"{bundle}: `polyp fetch {bundle}` unpacks it; then give the folder")
    if path.exists():
        raise PolypError(f"{bundle}: is no bundle (it has no folder configs/)")
    if path.name == bundle and (RUNS / bundle / "configs").is_dir():
        raise PolypError(f"{bundle}: no such bundle; a run is named by its path, {RUNS / bundle}")
    near = did_you_mean(bundle, shipped()) or f"; give a bundle's folder, or one of {', '.join(shipped())}"
    raise PolypError(f"{bundle}: no such bundle{near}")


def is_shipped(root: Path) -> bool:
    """Whether `root` is the folder of a shipped bundle, which may be read-only, and is left as it is."""
    return root.resolve() in (home.resolve() for home in shipped().values())


def results(root: Path, split: str) -> Path:
    """Where an evaluation of the bundle in `root` goes by default: into it, but for a shipped one."""
    return (Path("results") / root.name if is_shipped(root) else root / "eval") / split


def check_weights(weights: Path, root: Path) -> None:
    """Raises PolypError, which says what to do, when there is no file `weights` for the bundle in `root`."""
    if weights.is_file():
        return
    if not is_shipped(root) or weights.resolve() != (root / "models/model.pt").resolve():
        raise PolypError(
            f"{weights}: no such weights; train the bundle first, or name other weights with --weights FILE"
        )
    trained = RUNS / root.name
    if (trained / "models/model.pt").is_file():
        raise PolypError(f"{root.name}: comes without weights; for those that you trained, give {trained}")
    raise PolypError(
        f"{root.name}: comes without weights; train it first (`polyp train {root.name} --data DIR`), "
        f"then give {trained}"
    )


def template(bundle: str, out: str | None) -> Path:
    """The bundle that a training starts from: the working copy of a shipped one where there is one already."""
    source = find(bundle)
    copy = Path(out) if out else RUNS / source.name
    if (out or is_shipped(source)) and (copy / "configs").is_dir():
        return find(str(copy.resolve()))
    return source


def place(source: Path, out: str | None) -> Path:
    """The folder that `working_copy` trains in."""
    if out is None and not is_shipped(source):
        return source
    return Path(out).resolve() if out else (RUNS / source.name).resolve()


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
    target = place(source, out)
    with lock.held(target):
        made = not (target / "configs").is_dir()
        if made:
            copy(source, target)
            from polyp_monai.sharing import trust

            trust.made_here(target)
        try:
            yield target
        except BaseException:
            if made and not any(target.rglob("*.pt")):
                for path in [p for p in target.iterdir() if not p.name.startswith(SCRAP)]:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


def copy(source: Path, target: Path) -> None:
    """Copy a bundle without its results. What is read-only, as a shipped bundle may be, becomes writable.

    Raises:
        PolypError: `target` holds something.
    """
    strangers = [p for p in target.glob("*") if not p.name.startswith(SCRAP)] if target.is_dir() else []
    if strangers or (target.exists() and not target.is_dir()):
        holds = "holds a bundle already" if (target / "configs").is_dir() else "is not empty and holds no bundle"
        raise PolypError(f"{target}: {holds}; give another --out")
    partial = target / ".partial-bundle"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        left_out = (source / "models", source / "eval", source / "predictions")
        for path in sorted(source.rglob("*")):
            if path.is_dir() or path.name.startswith(SCRAP):
                continue
            if not any(path.is_relative_to(place) for place in left_out):
                copied = partial / path.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)
        for path in sorted(partial.iterdir(), key=lambda p: p.name == "configs"):  # which makes it a bundle: last
            path.replace(target / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
