"""A bundle as one zip that runs elsewhere: with stock MONAI, from any folder, and without polyp_monai."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from polyp_monai.bundle.read import clear_errors, replace_macros
from polyp_monai.data import files
from polyp_monai.errors import PolypError, shortened
from polyp_monai.export import export, platforms
from polyp_monai.sharing import archive, carried, data_terms, inspection, safetensors, signature, sums
from polyp_monai.sharing.findings import Level
from polyp_monai.training import checkpoints

logger = logging.getLogger(__name__)

RESOLVED = ("train", "inference", "evaluate")
CARRYING = ("train", "inference")  # what must run without polyp_monai; its reports stay with polyp_monai
EXPORTS = {  # word of --with -> format, precision, file in models/
    "onnx": ("onnx", "fp32", "model.onnx"),
    "onnx-int8": ("onnx", "int8", "model.int8.onnx"),
    "openvino": ("openvino", "fp32", "model.xml"),
    "openvino-int8": ("openvino", "int8", "model.int8.xml"),
    "torchscript": ("torchscript", "fp32", "model.ts"),
}
COPIED = ("LICENSE", "configs", "docs", "scripts")
WEIGHTS = ("model.pt", "trained_on.json", "calibration.json")
PAGES = (".md", ".txt", ".png", ".jpg", ".jpeg", ".svg", ".html")  # what a card and its pictures are
NEEDED = ("fire", "pyyaml", "pytorch-ignite")  # by `python -m monai.bundle`, YAML configs and engines
IMPORT = "$import scripts.carried"


def pack(
    root: Path, out: Path | None = None, exports: Sequence[str] = (), data: str | None = None, key: Path | None = None
) -> Path:
    """Write the bundle in the folder `root` as a zip; the same bundle gives the same bytes, but for exports.

    Args:
        root: folder of a trained bundle.
        out: file to write, NAME.zip, by default named like the bundle and here. The bundle is then called NAME.
        exports: of `EXPORTS`, to put beside the weights.
        data: folder that `polyp prepare` wrote, to calibrate and check int8 exports on.
        key: private SSH key to sign it with.

    Returns:
        The zip.

    Raises:
        PolypError: no weights, licence or card; a name that MONAI cannot read; `out` exists; an export that fails.
    """
    out = Path(out or f"{root.name}.zip").absolute()
    name = out.stem
    if out.suffix != ".zip" or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise PolypError(
            f"--out {out}: expected NAME.zip, a name of letters, digits and _: MONAI looks for that folder in it"
        )
    if out.exists():
        raise PolypError(f"{out}: exists already; give another --out")
    if out.is_relative_to(root.resolve()):
        raise PolypError(f"{out}: lies in the bundle itself; give --out a place beside it")
    if unknown := [word for word in exports if word not in EXPORTS]:
        raise PolypError(f"--with {unknown[0]}: no such export; known are {', '.join(EXPORTS)}")
    for file in ("models/model.pt", "LICENSE", "docs/README.md", "configs/metadata.json"):
        if not (root / file).is_file():
            what = "train it first" if file.endswith(".pt") else "a bundle that is shared needs it"
            raise PolypError(f"{root / file}: is not there; {what}")
    with tempfile.TemporaryDirectory(prefix="polyp-pack-") as folder:
        staged = Path(folder) / name
        _stage(root, staged)
        _export(staged, exports, data)
        _check(staged)
        (staged / sums.NAME).write_text(sums.text(staged), encoding="utf-8")
        if key:
            signature.sign(staged, key)
        with files.atomic(out) as partial:
            archive.write(archive.files_below(staged), partial, name)
    return out


def _stage(root: Path, staged: Path) -> None:
    """Copy what belongs in the zip to the new folder `staged`, and make it self-contained."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, staged / name, ignore=shutil.ignore_patterns("__pycache__", ".*", "lib"))
        elif (root / name).is_file():
            staged.mkdir(exist_ok=True)
            shutil.copyfile(root / name, staged / name)
    around = (path for path in (staged / "docs").rglob("*") if path.is_file() and path.suffix not in PAGES)
    if others := sorted(path.relative_to(staged).as_posix() for path in around):
        logger.warning(f"goes into the zip too: {shortened(others)}; take away what is not for others")
    (staged / "models").mkdir()
    for name in WEIGHTS:
        if (root / "models" / name).is_file():
            shutil.copyfile(root / "models" / name, staged / "models" / name)
    terms = data_terms.text(staged)
    if terms and not (staged / data_terms.NAME).exists():  # the bundle's own words come first
        (staged / data_terms.NAME).write_text(terms, encoding="utf-8")
    _write_safetensors(staged)
    _resolve(staged)
    needed = _carry(staged)
    _describe(staged, needed)


def _write_safetensors(staged: Path) -> None:
    state = checkpoints.read(staged / "models/model.pt")
    if not isinstance(state, dict) or not all(hasattr(tensor, "isfinite") for tensor in state.values()):
        raise PolypError(f"{staged.name}/models/model.pt: holds no plain state dict of a network")
    safetensors.write(staged / "models/model.safetensors", state, {"format": "pt"})


def _resolve(staged: Path) -> None:
    """Write each config as JSON without macros, which others look up in the folder where they were started."""
    from monai.bundle import ConfigParser

    for path in (staged / f"configs/{name}.yaml" for name in RESOLVED):
        if not path.is_file():
            continue
        with clear_errors():
            parser = ConfigParser()
            parser.read_config(str(path))
            parser.set(config=replace_macros(parser.get(), staged))
            parser.resolve_macro_and_relative_ids()
        content = {key: value for key, value in parser.config.items() if key != parser.meta_key}
        if left := [text for text in _texts(content) if text.startswith("%")]:
            raise PolypError(f"configs/{path.name}: the macro {left[0]} leads to another macro; write it out")
        if path.stem == "inference":
            content |= platforms.chains(content)
        text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")


def _carry(staged: Path) -> set[str]:
    """Put in the part of polyp_monai that training and inference name; returns the packages that it needs."""
    names = {
        found
        for name in CARRYING
        for text in _texts(json.loads((staged / f"configs/{name}.json").read_text(encoding="utf-8")))
        for found in re.findall(r"polyp_monai(?:\.\w+)+", text)
    }
    own = b"".join(path.read_bytes() for path in sorted((staged / "scripts").rglob("*.py")))
    names |= set(re.findall(r"polyp_monai(?:\.\w+)+", own.decode("utf-8", errors="replace")))
    if not names:
        return set(NEEDED)
    library = carried.library(sorted(names))
    for file, content in library.items():
        if file != carried.INIT or not (staged / file).exists():  # the bundle may have one of its own
            (staged / file).parent.mkdir(parents=True, exist_ok=True)
            (staged / file).write_bytes(content)
    for path in sorted((staged / "configs").glob("*.y*ml")):
        text = path.read_text(encoding="utf-8")
        if IMPORT in text:
            continue
        line = f"- {IMPORT}   # finds polyp_monai in scripts/lib where it is not installed\n"
        path.write_text(re.sub(r"^imports:\n", f"imports:\n{line}", text, flags=re.MULTILINE), encoding="utf-8")
    for path in (staged / f"configs/{name}.json" for name in RESOLVED):
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            others = [line for line in content.get("imports", []) if line != IMPORT]
            content["imports"] = [IMPORT, *others]
            path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    return _distributions(carried.packages(library)) | set(NEEDED)


def _distributions(modules: set[str]) -> set[str]:
    """Names on the package index of those modules that polyp_monai always needs."""
    required = {re.split(r"[ <>=!~;\[]", line)[0].lower() for line in _requirements() if "extra ==" not in line}
    known = metadata.packages_distributions()
    return {name.lower() for module in modules for name in known.get(module, ()) if name.lower() in required}


def _requirements() -> list[str]:
    try:
        return metadata.requires("polyp_monai") or []
    except metadata.PackageNotFoundError as error:
        raise PolypError(
            "polyp_monai is not installed, only found: pip install --no-deps -e . in its folder"
        ) from error


def _describe(staged: Path, needed: set[str]) -> None:
    """The packages that the bundle needs, in its metadata and as requirements.txt."""
    path = staged / "configs/metadata.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    others = {"monai", "torch", "numpy"}
    versions = {name: metadata.version(name).partition("+")[0] for name in sorted(needed - others)}
    about["required_packages_version"] = versions
    inference = json.loads((staged / "configs/inference.json").read_text(encoding="utf-8"))
    platforms.describe_labels(about, inference.get("classes", ("polyp",)))
    path.write_text(json.dumps(about, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [
        f"{name}=={about[key]}"
        for name, key in (("monai", "monai_version"), ("torch", "pytorch_version"), ("numpy", "numpy_version"))
        if about.get(key)
    ]
    lines += [f"{name}=={version}" for name, version in versions.items()]
    (staged / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _export(staged: Path, exports: Sequence[str], data: str | None) -> None:
    for word in exports:
        form, precision, file = EXPORTS[word]
        export.export(staged, form, precision, staged / "models" / file, data)
        if form == "torchscript":
            platforms.describe_torchscript(staged / "models" / file, staged / "configs")


def _check(staged: Path) -> None:
    """Raises PolypError when the inspection, which its receivers will make, calls the bundle dangerous."""
    found = inspection.inspect(staged).of(Level.DANGEROUS)
    if found:
        raise PolypError(f"not packed: {found[0]}; its receivers would be told that the bundle is dangerous")


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, (dict, list)):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _texts(value)
