"""What an exported file says of itself, and what it must be: the contract between `polyp export` and those who load."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import mmap
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import polyp_monai
from polyp_monai import provenance
from polyp_monai.errors import PolypError

INPUT, OUTPUT = "image", "logits"
CLASSES = ("background", "polyp")
# what a reader of the file's metadata must know beside the facts of `About`; CHANNELS stands for their number
LAYOUT = (
    "image: (batch, 3, width, height) float32 RGB 0..1, the upright frame, cut to the endoscope's picture if crop, "
    "brought to the image size by fit (OpenCV: INTER_AREA to shrink, else INTER_LINEAR); logits: (batch, CHANNELS, "
    "width, height), sigmoid, INTER_LINEAR back to the frame, then polyp from threshold on"
)
OF_CLASSES = (
    "; a channel a class, whose sum, at most 1, is the probability of polyp; the class of a connected region is that "
    "of the highest mean inside it, uncertain where its share of the means is below class_certainty"
)
BIN = "bin_sha256"  # digest of the .bin that belongs to a .xml
# digest of the file that holds it, with as many zeros in its place; ONNX and OpenVINO write names and texts like this
CONTENT = {".onnx": "onnx_sha256", ".xml": "graph_sha256"}
UNSEALED = "0" * 64
_SEAL = re.compile(rb'(?:onnx_sha256\x12\x40|<graph_sha256 value=")([0-9a-f]{64})')
INSTALL = "pip install 'polyp_monai[runtime]'"
_quiet = threading.RLock()


@dataclass(frozen=True)
class About:
    """The facts that travel in an exported file; with them it predicts without its bundle.

    `bundle` is the name of the bundle's folder, `image_size` the side of its input in pixels, `fit` and `crop` how
    frames come to it (`transforms.FitFrame`), `threshold` the probability from which a pixel counts as polyp,
    `precision` fp32, fp16, bf16 or int8, `trained_on` the data sets of the training, a phrase each, `recipe` the digest
    of what stands around the network in the bundle's configs (see `bundle.read.recipe_digest`), `polyp_monai` the
    version that wrote it, `classes` what the channels are called, after the background, `class_certainty` as of a
    bundle, `created` when the weights were trained ("" where nobody wrote it down).
    """

    bundle: str
    bundle_version: str
    weights_sha256: str
    image_size: int
    fit: str
    crop: bool
    threshold: float
    precision: str
    recipe: str
    trained_on: Sequence[str] = ()
    classes: Sequence[str] = CLASSES
    polyp_monai: str = polyp_monai.__version__
    created: str = ""
    class_certainty: float | None = None  # of several classes

    def texts(self) -> dict[str, str]:
        """As the formats keep it: a text for each name, and `LAYOUT`. Texts stand as they are, the rest is JSON."""
        told = {k: v for k, v in asdict(self).items() if v not in ("", None)}
        channels = len(self.classes) - 1
        layout = LAYOUT.replace("CHANNELS", str(channels)) + OF_CLASSES * (channels > 1)
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()} | {"layout": layout}

    def weights(self, path: Path) -> provenance.Weights:
        """Which weights the file `path`, that says this of itself, holds."""
        return provenance.Weights(
            path, self.weights_sha256, tuple(self.trained_on), provenance.modified(path), self.created
        )


OLDER = ("created", "class_certainty")  # which older files lack
KEYS = tuple(field.name for field in fields(About) if field.name not in OLDER)


def parse(texts: Mapping[str, str], path: Path) -> About:
    """The inverse of `About.texts`. Raises PolypError where a fact is missing or unreadable."""
    if missing := [key for key in KEYS if not texts.get(key)]:
        raise PolypError(
            f"{path}: was not written by `polyp export`: its metadata has no {', '.join(missing)}; export it again"
        )
    json_keys = ("image_size", "crop", "threshold", "trained_on", "classes")
    try:
        read = {key: json.loads(texts[key]) for key in json_keys}
    except ValueError as error:
        raise PolypError(f"{path}: its metadata cannot be read ({error}); export it again") from error
    plain: dict[str, Any] = {key: texts[key] for key in KEYS if key not in json_keys}
    plain["created"] = texts.get("created", "")
    if "class_certainty" in texts:
        read["class_certainty"] = float(texts["class_certainty"])
    return About(**plain, **read)


def seal(path: Path) -> None:
    """Write the digest of a file's content into it, where `UNSEALED` stands for it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        found = _sealed(content)
        assert found, path
        place, digest = found
        content[place] = digest.encode()


def _sealed(content: mmap.mmap) -> tuple[slice, str] | None:
    """Where the digest stands, and what it must be; None in a file of an earlier version, which has none."""
    stated = _SEAL.search(content)
    if not stated:
        return None
    digest = hashlib.sha256()
    for start, end in ((0, stated.start(1)), (stated.end(1), len(content))):
        digest.update(UNSEALED.encode() * (start > 0))
        for position in range(start, end, 1 << 20):
            digest.update(content[position : min(end, position + (1 << 20))])
    return slice(*stated.span(1)), digest.hexdigest()


def _check_content(path: Path) -> None:
    """Raises PolypError where a file is not what was written: runtimes take any numbers that they can read."""
    from polyp_monai.data import files  # not by `polyp --help`

    damaged = PolypError(f"{path}: is damaged: its content is not what its checksum says; export it again")
    if not files.is_whole_zip(path):  # of PyTorch's formats
        raise damaged
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _sealed(content)
        if found and content[found[0]] != found[1].encode():
            raise damaged


def version_of(root: str | Path) -> str:
    """Version of the bundle in the folder `root`."""
    return str(json.loads((Path(root) / "configs/metadata.json").read_text(encoding="utf-8")).get("version"))


def check_bundle(about: About, path: Path, bundle_root: str | Path) -> None:
    """Raises PolypError when the file was exported from another bundle than `bundle_root`, or another version of it."""
    name, version = Path(bundle_root).resolve().name, version_of(bundle_root)
    if (about.bundle, about.bundle_version) != (name, version):
        raise PolypError(
            f"{path}: was exported from the bundle {about.bundle} {about.bundle_version}; this is {name} {version}; "
            "give that bundle, or export this one"
        )


def check_ports(inputs: Mapping[str, Sequence], outputs: Mapping[str, Sequence], path: Path) -> None:
    """Hold names and shapes of a file's ends against the network contract; a free size is anything but an int.

    Raises:
        PolypError: it is some other network; names what was found and what is expected.
    """
    fits = list(inputs) == [INPUT] and list(outputs) == [OUTPUT]
    fits = fits and _sizes(inputs[INPUT]) == ("?", "3", "?", "?") and len(outputs[OUTPUT]) == 4
    if not fits:
        raise PolypError(
            f"{path}: is no network of polyp_monai: it takes {_shown(inputs)} and gives {_shown(outputs)}; expected "
            f"{INPUT} (?, 3, ?, ?) and {OUTPUT} (?, C, ?, ?), as `polyp export` writes it"
        )


def _sizes(shape: Sequence) -> tuple[str, ...]:
    return tuple(str(size) if isinstance(size, int) and size >= 0 else "?" for size in shape)


def _shown(ends: Mapping[str, Sequence]) -> str:
    return ", ".join(f"{name} ({', '.join(_sizes(shape))})" for name, shape in ends.items()) or "nothing"


def installed(*modules: str) -> bool:
    """Whether all of these optional packages can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def require(what: str, *modules: str) -> None:
    """Raises PolypError, with the command that helps, when one of the optional packages is not installed."""
    if missing := [name for name in modules if not installed(name)]:
        raise PolypError(f"{what}: needs {' and '.join(missing)}, not installed here; {INSTALL}")


def readable(load: Callable, path: Path, program: str):
    """`load()`, of the file `path`; what a runtime raises on a file it cannot read becomes one PolypError."""
    if not path.is_file():
        raise PolypError(f"{path}: no such file; make it with `polyp export`")
    if not path.stat().st_size:
        raise PolypError(f"{path}: is empty; export it again")
    _check_content(path)
    try:
        with quiet():
            return load()
    except Exception as error:  # each runtime has errors of its own, many of them plain RuntimeError
        lines = (line.strip() for line in str(error).splitlines() if not line.startswith("Exception from"))
        reason = next(filter(None, lines), type(error).__name__)
        raise PolypError(
            f"{path}: {program} cannot read it ({reason[:160]}); it is damaged, or something else: export it again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters and readers tell their own developers, by warnings and by logging.

    Both switches are of the whole process: one thread at a time, so that each finds what it has to restore.
    """
    with _quiet:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(before)
