"""What several commands share: their arguments, and what they say of a bundle."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polyp_monai.bundle import locate
from polyp_monai.cli.grammar import Parser, complete
from polyp_monai.errors import PolypError

FLAGSHIP = "efficient_unet"  # the bundle that comes with the best weights


def bundle(parser: Parser) -> None:
    complete(parser.add_argument("bundle", metavar="BUNDLE", help="name or folder"), complete_bundle)


def data(parser: Parser, about: str = "as `polyp prepare` wrote it", **words: Any) -> None:
    parser.option("data", "DIR", about, anywhere=True, **words)


def overwrite(parser: Parser, what: str) -> None:
    parser.flag("overwrite", f"replace {what} of an earlier run")


def keep_inverted(parser: Parser) -> None:
    """--keep-inverted, of what reads true masks."""
    parser.flag("keep-inverted", "take masks that are polyp on more than half of the frame and along its edge")


def place(text: str) -> Path:
    """A path of this machine; what is at an address is copied to the cache.

    Raises:
        PolypError: it cannot be read.
    """
    from polyp_monai.data import remote

    return remote.mirror(text.rstrip("/")) if remote.is_address(text) else Path(remote.path(text))


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
    """Absolute paths of folders that `polyp prepare` wrote; one at an address is copied to the cache.

    Raises:
        PolypError: a folder that it did not write.
    """
    from polyp_monai.data import datalist

    places = [datalist.local(folder) for folder in folders]
    datalist.check_distinct(places)
    for place in places:
        datalist.read(place)
    return [str(place) for place in places]


def weights(root: Path, given: dict[str, Any]) -> None:
    """Raises PolypError when the weights of the bundle in the folder `root` are not there."""
    from polyp_monai.bundle.options import is_expression

    if not is_expression(path := given.get("weights")):
        locate.check_weights(Path(path or root / "models/model.pt"), root)


def calibration(parser: Parser) -> None:
    parser.option("calibration", "FILE", "go by the threshold and false alarms that `polyp calibrate` promised there")


def calibrated(root: Path, file: str | None, given: dict[str, Any]) -> dict[str, float]:
    """The options by which the promises in `file` hold. Raises PolypError when they are of other weights or settings,
    or the user sets the same options."""
    if file is None:
        return {}
    from polyp_monai import provenance
    from polyp_monai.bundle import options
    from polyp_monai.evaluation import conformal

    used = options.resolved(root, "inference") | given
    known = {key: used[key] for key in conformal.SETTINGS if key in used and not options.is_expression(used[key])}
    weights = Path(given.get("weights") or root / "models/model.pt")
    found = conformal.settings(file, provenance.digest(weights), used["threshold"], known)
    if both := sorted(given.keys() & found.keys()):
        raise PolypError(f"--{both[0]}: --calibration {file} sets it too; leave one of them out")
    return found


def is_bundle(word: str) -> bool:
    """Whether a word names a bundle: a shipped one, or a folder of one."""
    return word in locate.shipped() or (Path(word) / "configs").is_dir() or _is_packed(Path(word))


def _is_network(path: Path) -> bool:
    """Whether a file holds weights or an exported network; .ts may be a video, and .xml anything."""
    if not path.is_file():
        return False
    if path.suffix in (".pt", ".pt2", ".ts"):
        return zipfile.is_zipfile(path)
    return path.suffix == ".onnx" or (path.suffix == ".xml" and path.with_suffix(".bin").is_file())


def _is_packed(path: Path) -> bool:
    """Whether a file is a zip of a bundle; `locate.find` says what to do with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("configs/metadata.json") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def bundle_of(words: list[str], option: str | None) -> tuple[str, list[str]]:
    """[BUNDLE] INPUT ... -> the bundle, and the inputs. `option` is what --bundle says.

    Raises:
        PolypError: a bundle without an input, or weights among the inputs.
    """
    for word in words:
        if _is_network(Path(word)):
            raise PolypError(f"{word}: holds a network, no frame; give it as --weights {word}")
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
