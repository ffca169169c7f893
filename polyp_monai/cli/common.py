"""What several commands share: their arguments, and checks of what is already there."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polyp_monai.bundle import locate
from polyp_monai.cli.grammar import Parser, complete
from polyp_monai.errors import PolypError

FLAGSHIP = "efficient_unet"  # the bundle that comes with the best weights
RUN_FILES = ("summary.json", "frames.csv", "histograms.npz", "report.html")


def bundle(parser: Parser) -> None:
    complete(parser.add_argument("bundle", metavar="BUNDLE", help="name or folder"), complete_bundle)


def data(parser: Parser, about: str = "as `polyp prepare` wrote it", **words: Any) -> None:
    parser.option("data", "DIR", about, **words)


def overwrite(parser: Parser, what: str) -> None:
    parser.flag("overwrite", f"replace {what} of an earlier run")


def setting(parser: Parser) -> None:
    """--set, the way around the checks of --KEY VALUE."""
    parser.option(
        "set",
        "KEY=VALUE",
        "any key of the config, such as inferer::overlap; takes MONAI's expressions ($, @, %%), which can run code",
        action="append",
        default=[],
        dest="settings",
    )


def complete_bundle(prefix: str, **_: Any) -> list[str]:
    """Names of bundles, and folders."""
    folders = (f"{path}/" for path in Path().glob(f"{prefix}*") if path.is_dir()) if prefix else ()
    return [*locate.shipped(), *folders]


def prepared(folders: Iterable[str]) -> list[str]:
    """Absolute paths of folders that `polyp prepare` wrote. Raises PolypError for one that it did not."""
    from polyp_monai.data import datalist

    for folder in folders:
        datalist.read(folder)
    return [str(Path(folder).resolve()) for folder in folders]


def weights(root: Path, given: dict[str, Any]) -> None:
    """Raises PolypError when the weights of the bundle in the folder `root` are not there."""
    from polyp_monai.bundle.options import is_expression

    if not is_expression(path := given.get("weights")):
        locate.check_weights(Path(path or root / "models/model.pt"), root)


def is_bundle(word: str) -> bool:
    """Whether a word names a bundle: a shipped one, or a folder of one."""
    return word in locate.shipped() or (Path(word) / "configs").is_dir()


def bundle_of(words: list[str], option: str | None) -> tuple[str, list[str]]:
    """[BUNDLE] INPUT ... -> the bundle, and the inputs. `option` is what --bundle says.

    Raises:
        PolypError: a bundle without an input.
    """
    if option is not None:
        return option, words
    if not is_bundle(words[0]) and not (len(words) > 1 and _almost_a_bundle(words[0])):
        return FLAGSHIP, words
    if len(words) == 1:
        raise PolypError(f"{words[0]}: is a bundle; what shall it look at? (INPUT is missing)")
    return words[0], words[1:]


def _almost_a_bundle(word: str) -> bool:
    """Whether a word that is no file is a misspelt bundle, or a run without its folder: `locate.find` says which."""
    misspelt = difflib.get_close_matches(word, locate.shipped(), n=1, cutoff=0.8)
    return not Path(word).exists() and bool(misspelt or (locate.RUNS / word / "configs").is_dir())


def free_run(folder: Path, replace: bool) -> None:
    """Raises PolypError when a run written into `folder` would replace something that it must not.

    That is an earlier run without `replace`, and with it what is no run at all.
    """
    taken = [name for name in RUN_FILES if (folder / name).exists()]
    if not taken:
        return
    if not _is_run(folder):
        raise PolypError(f"{folder / taken[0]}: is there already, and no run of polyp wrote it; give another --out")
    if not replace:
        raise PolypError(f"{folder}: holds an earlier run; give another --out, or --overwrite")


def _is_run(folder: Path) -> bool:
    try:
        if (folder / "summary.json").exists():
            return "run" in json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        with open(folder / "frames.csv", newline="", encoding="utf-8") as file:  # of a run that was killed
            return {"name", "truth", "prediction"} <= set(next(csv.reader(file), []))
    except (OSError, ValueError, TypeError):
        return False


def free_file(path: Path | None, replace: bool, keys: set[str]) -> None:
    """As `free_run`, for a JSON file whose earlier version held `keys`."""
    if path is None or not path.exists():
        return
    if path.is_dir():
        raise PolypError(f"{path}: is a folder; give the name of a file")
    try:
        ours = keys <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise PolypError(f"{path}: is there already, and polyp did not write it; give another name")
    if not replace:
        raise PolypError(f"{path}: is there already; give another name, or --overwrite")
