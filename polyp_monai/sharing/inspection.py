"""Looks at a bundle, a folder, without executing or importing anything of it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polyp_monai
from polyp_monai.data import lock
from polyp_monai.errors import PolypError
from polyp_monai.sharing import carried, code, configs, large_files, logging_conf, requirements, sums, weights
from polyp_monai.sharing.findings import BundleFinding, Level, printable

STATUS = {Level.KNOWN: 0, Level.UNKNOWN: 3, Level.DANGEROUS: 4}
MOST_FILES = 20_000
ROOT_FILES = (
    "LICENSE",
    "README.md",
    "SHA256SUMS",
    "SHA256SUMS.sig",
    "requirements.txt",
    ".gitattributes",
    ".gitignore",
)
DOCUMENTS = (".md", ".txt", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".csv", ".rst")
OUTPUTS = (".csv", ".json", ".html", ".png", ".jpg", ".nii", ".gz", ".txt", ".npz")
COMPILED = (".so", ".pyd", ".dll", ".dylib", ".exe", ".pyo", ".pth", ".egg", ".whl", ".com", ".bat", ".cmd")
LIBRARIES = "scripts/lib/"  # where carried.MODULE lets Python look first
STARTUP = (".pdbrc", "sitecustomize.py", "usercustomize.py", "conftest.py", "pyvenv.cfg")


@dataclass
class Inspection:
    """What was found in a bundle.

    `digest` is the sha256 of everything in it that can run: configs, code, and weights that are not plain tensors. It
    stays the same when only plain weights or documents change, and those are looked at each time.
    """

    path: Path
    digest: str
    about: dict[str, Any]
    findings: list[BundleFinding]
    weights: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.KNOWN)

    @property
    def status(self) -> int:
        """Exit status of `polyp inspect`: 0 clean, 3 to look at, 4 dangerous."""
        return STATUS[self.level]

    def of(self, level: Level) -> list[BundleFinding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        findings = [{**asdict(finding), "level": str(finding.level)} for finding in self.findings]
        return {
            **{"path": str(self.path), "level": str(self.level), "digest": self.digest, "about": self.about},
            **{"weights": self.weights, "findings": findings, "files": self.files},
        }

    def lines(self, most: int = 40) -> list[str]:
        """For people; at most `most` findings of a level."""
        lines = [f"{self.path.name} {printable(self.about.get('version') or '')}".strip()]
        lines += [
            f"  {key:<12} {printable(value, 200)}" for key, value in self.about.items() if value and key != "version"
        ]
        lines += [f"  {'weights':<12} {name}: {text}" for name, text in self.weights.items()]
        lines.append(f"  {'digest':<12} {self.digest}  (of everything that can run)")
        for level, title in ((Level.DANGEROUS, "dangerous"), (Level.UNKNOWN, "to look at")):
            found = self.of(level)
            if found:
                lines += ["", f"{title}: {len(found)}", *(f"  {finding}" for finding in found[:most])]
                lines += [f"  ... and {len(found) - most} more; --json lists all"] * (len(found) > most)
        known = self.of(Level.KNOWN)
        kinds = {kind: sum(f.kind == kind for f in known) for kind in ("target", "expression", "import", "macro")}
        lines += ["", "known: " + ", ".join(f"{count} {kind}s" for kind, count in kinds.items())]
        verdict = {
            Level.KNOWN: "clean: nothing but known names",
            Level.UNKNOWN: "to look at: what is unknown can run anything; read it, or trust its sender",
            Level.DANGEROUS: "dangerous: do not use it unless you wrote it",
        }
        return [*lines, verdict[self.level]]


def inspect(root: Path) -> Inspection:
    """Look at the bundle in the folder `root`.

    Raises:
        PolypError: no folder, or one with too many files to be a bundle.
    """
    root = Path(root)
    if not root.is_dir():
        raise PolypError(f"{root}: no such folder")
    files, findings = _files(root)
    own = sorted({name.partition("/")[0].removesuffix(".py") for name in files if name.endswith(".py")})
    trusted = carried.verified_files(root, [name for name in files if name.endswith(".py")])
    named = {name: path for name, path in files.items() if configs.is_config(name) and not configs.is_output(name)}
    read = [configs.read(path, name) for name, path in named.items()]
    around = configs.scope(read, own, sorted(carried.modules_of(trusted)))
    findings += configs.examine(read, around)
    facts: dict[str, str] = {}
    digests: dict[str, str] = {}
    runs: list[str] = []
    for name, path in files.items():
        found, plain = _of_file(name, path, trusted, read)
        findings += found
        if path.suffix.lower() in weights.SUFFIXES and not configs.is_output(name):
            facts[name] = f"{f'{plain}, ' if plain else ''}{path.stat().st_size / 1e6:.1f} MB"
        harmless = all(finding.level == Level.KNOWN for finding in found) and not configs.is_config(name)
        if not harmless or name.endswith((".py", ".conf")):
            runs.append(name)
            digests[name] = sums.digest(path)
    digest = hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(runs)).encode()).hexdigest()
    about = _about({config.name: config.content for config in read})
    return Inspection(root, digest, about, findings, facts, digests)


def _files(root: Path) -> tuple[dict[str, Path], list[BundleFinding]]:
    """Name below the folder -> file, sorted; and findings of what is no plain file."""
    found: dict[str, Path] = {}
    findings: list[BundleFinding] = []
    for folder, folders, files in os.walk(root):
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            below = path.relative_to(root).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                inside = path.exists() and path.resolve().is_relative_to(root.resolve())
                level = Level.UNKNOWN if inside else Level.DANGEROUS
                findings.append(
                    BundleFinding(level, "file", below, "", "a link" + ("" if inside else " out of the bundle"))
                )
            if stat.S_ISREG(path.stat().st_mode if stat.S_ISLNK(mode) and path.exists() else mode):
                found[below] = path
            elif not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
                findings.append(BundleFinding(Level.DANGEROUS, "file", below, "", "a device or pipe"))
        if ".git" in folders:
            folders.remove(".git")
            findings.append(BundleFinding(Level.UNKNOWN, "file", ".git", "", "not looked into"))
        if len(found) > MOST_FILES:
            raise PolypError(f"{root}: holds more than {MOST_FILES} files; give a bundle's folder")
    return dict(sorted(found.items())), findings


def _of_file(
    name: str, path: Path, trusted: set[str], read: list[configs.Config]
) -> tuple[list[BundleFinding], weights.Facts | None]:
    """Findings of one file, and what its weights hold; configs have been looked at already."""

    def one(level: Level, why: str) -> tuple[list[BundleFinding], None]:
        return [BundleFinding(level, "file", name, "", why)], None

    root, suffix, base = name.partition("/")[0], path.suffix.lower(), path.name.lower()
    if not name.isprintable() or "\\" in name or ":" in name:
        return one(Level.DANGEROUS, "a name that other systems read differently")
    if suffix == ".pyc":
        return one(Level.DANGEROUS, "compiled code, which Python reads in place of its source: delete it")
    if base in STARTUP or (suffix in COMPILED and not (suffix == ".pth" and root == "models")):
        return one(Level.DANGEROUS, "runs by itself, or cannot be read")
    if suffix == ".py" or suffix == ".pyw":
        if name in trusted:
            return [BundleFinding(Level.KNOWN, "code", name, "the same as polyp_monai's own")], None
        if "/" not in name and _shadows(path.stem):
            return one(Level.DANGEROUS, f"would be imported in place of the library {path.stem}")
        if "/" in name and root != "scripts" and _shadows(root):
            return one(Level.DANGEROUS, f"would be imported in place of the library {root}")
        if name.startswith(LIBRARIES) and not name.startswith(carried.LIBRARY):
            return one(Level.DANGEROUS, "would be imported in place of an installed library")
        found = code.examine(path, name)
        if name.startswith(carried.LIBRARY):
            usual = carried.usual(name)
            found = [finding for finding in found if finding.level < Level.DANGEROUS or finding.what not in usual]
            why = f"differs from polyp_monai {polyp_monai.__version__}, installed here"
            found.append(BundleFinding(Level.UNKNOWN, "code", name, "", why))
        if root != "scripts":
            found.append(BundleFinding(Level.UNKNOWN, "file", name, "", "code outside scripts/"))
        return found, None
    if name == "requirements.txt":
        return list(requirements.examine(path.read_text(encoding="utf-8", errors="replace"), name)), None
    if name in large_files.NAMES:
        content = next((config.content for config in read if config.name == name), None)
        return list(large_files.examine(content, name)), None
    if suffix in weights.SUFFIXES:
        return weights.examine(path, name)
    if suffix == ".conf":
        if path.stat().st_size > 1_000_000:
            return one(Level.UNKNOWN, "too large for a logging.conf")
        return logging_conf.examine(path.read_text(encoding="utf-8", errors="replace"), name), None
    return _by_name(name, root, suffix, one)


def _by_name(name: str, root: str, suffix: str, one) -> tuple[list[BundleFinding], None]:
    """Of files that only their place and name speak for."""
    if Path(name).name == lock.NAME:  # left behind by a run that was killed
        belongs = True
    elif configs.is_output(name):
        belongs = suffix in OUTPUTS or "tfevents" in name
    elif root == "docs":
        belongs = suffix in DOCUMENTS
    else:
        belongs = name in ROOT_FILES or (configs.is_config(name) and root in ("configs", "models", "docs"))
    return ([], None) if belongs else one(Level.UNKNOWN, "does not belong in a bundle")


@cache
def _shadows(module: str) -> bool:
    """Whether a module of that name, in the bundle's root, would be imported in place of an installed one."""
    from importlib.metadata import packages_distributions

    return (
        module in sys.stdlib_module_names
        or module in packages_distributions()
        or module in ("monai", "torch", "polyp_monai")
    )


def _about(contents: dict[str, Any]) -> dict[str, Any]:
    """What the bundle says of itself."""
    metadata = contents.get("configs/metadata.json")
    metadata = metadata if isinstance(metadata, dict) else {}
    about = {
        key: metadata.get(key)
        for key in ("version", "name", "task", "description", "authors", "intended_use", "data_source")
    }
    scores = metadata.get("eval_metrics")
    about["scores"] = ", ".join(f"{k} {v}" for k, v in scores.items()) if isinstance(scores, dict) else None
    about["network"] = next(filter(None, map(_network, _networks(contents))), None)
    ends = metadata.get("network_data_format")
    for side in ("inputs", "outputs"):
        found = ends.get(side) if isinstance(ends, dict) else None
        about[side[:-1]] = json.dumps(found, ensure_ascii=False) if not isinstance(found, dict) else _ports(found)
    return {key: str(value) for key, value in about.items() if value and value != "null"}


def _networks(contents: dict[str, Any]) -> Iterator[Any]:
    for name in ("model.yaml", "inference.json", "inference.yaml", "train.json", "train.yaml"):
        content = contents.get(f"configs/{name}")
        if isinstance(content, dict):
            yield content.get("network_def")


def _network(found: Any) -> str | None:
    """The targets of a network's definition, outermost first."""
    if not isinstance(found, dict):
        return None
    target, body = found.get("_target_"), found.get("body")
    inner = body.get("_target_") if isinstance(body, dict) else None
    return " of ".join(str(name).rpartition(".")[2] for name in (target, inner) if name) or None


def _ports(ends: dict[str, Any]) -> str:
    described = []
    for name, port in ends.items():
        port = port if isinstance(port, dict) else {}
        values = f", {port['value_range']}" if port.get("value_range") else ""
        described.append(f"{name}: {port.get('num_channels', '?')} channels, {port.get('format', '?')}{values}")
    return "; ".join(described)
