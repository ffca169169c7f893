"""Reads a bundle's configs as MONAI does, and names everything in them that MONAI would import, call or evaluate.

Nothing is executed, and no ConfigParser is held: its attributes and its macros run things.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from polyp_monai.data import texts
from polyp_monai.sharing import expressions, names, sums
from polyp_monai.sharing.expressions import Scope
from polyp_monai.sharing.findings import BundleFinding, Level

SUFFIXES = ("json", "yaml", "yml")  # as MONAI tells them, in any case
LARGEST = 4_000_000  # bytes of a config
MOST_NODES = 300_000  # values in a config, with every repeated alias counted again
SPECIAL = ("_target_", "_mode_", "_debug_", "_disabled_", "_requires_", "_desc_")
MACRO_FILE = re.compile(r"(.*\.(json|yaml|yml)(?=(?:::.*)|$))", re.IGNORECASE)
OUTSIDE = re.compile(r"^(?:/|~|\\|[A-Za-z]:[\\/]|[a-z][a-z0-9+.-]*://)|(?:^|[\\/])\.\.(?:[\\/]|$)", re.IGNORECASE)


@dataclass
class Config:
    """One file's content (None where it cannot be read) and what was wrong with reading it."""

    name: str
    content: Any = None
    problems: list[BundleFinding] = field(default_factory=list)


def is_output(name: str) -> bool:
    """Whether the file is what an evaluation or a prediction wrote, which nothing reads as a config."""
    return name.partition("/")[0].lower() in sums.OUTPUTS


def is_config(name: str) -> bool:
    """Whether MONAI would take a file of that name for a config."""
    return name.lower().endswith(SUFFIXES)


def read(path: Path, name: str) -> Config:
    """The config in the file `path`; `name` is its path below the bundle's folder."""
    config = Config(name)

    def problem(level: Level, why: str) -> None:
        config.problems.append(BundleFinding(level, "config", name, "", why))

    if path.stat().st_size > LARGEST:
        problem(Level.UNKNOWN, f"larger than {LARGEST // 1_000_000} MB, not examined")
        return config
    raw = path.read_bytes()
    try:
        text = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8").read()
    except UnicodeDecodeError:
        problem(Level.UNKNOWN, "not UTF-8: what it says depends on who reads it")
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", errors="replace")
    repeated: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config.content = _parse(text, name, repeated)
    except (ValueError, TypeError, yaml.YAMLError, RecursionError, MemoryError, OverflowError) as error:
        problem(Level.UNKNOWN, f"cannot be read ({type(error).__name__})")
    if repeated:
        problem(Level.UNKNOWN, f"the key {repeated[0]!r} stands there twice; the last counts")
    return config


def _parse(text: str, name: str, repeated: list[str]) -> Any:
    if name.lower().endswith("json"):

        def pairs(found: list[tuple[str, Any]]) -> dict:
            keys = [key for key, _ in found]
            repeated.extend(sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else ())
            return dict(found)

        return json.loads(text, object_pairs_hook=pairs)

    class Loader(texts.Once, yaml.SafeLoader):
        """PyYAML's own safe loader, as MONAI's is, that notes repeated keys."""

        def twice(self, key: yaml.ScalarNode) -> None:
            repeated.append(key.value)

    return yaml.load(text, Loader)


def scope(configs: Sequence[Config], own: Sequence[str] = (), verified: Sequence[str] = ()) -> Scope:
    """What names mean in all of these files together, because any of them can be laid over any other."""
    aliases: dict[str, set[str]] = {}
    imports: set[str] = set()
    for config in configs:
        for item, value in _strings(config):
            if value[:1] != "$" or "import" not in value:
                continue
            if found := expressions.imported(expressions.code_of(value, item)):
                aliases.setdefault(found[1], set()).add(found[2])
                imports.add(item)
    return Scope(aliases, imports, own, verified)


def examine(configs: Sequence[Config], around: Scope) -> list[BundleFinding]:
    """Everything in the configs that MONAI would act on, the known too."""
    contents = {config.name: config.content for config in configs}
    found: list[BundleFinding] = []
    for config in configs:
        found += config.problems
        try:
            for item, key, value in _walk(config.content):
                found += _of_value(config.name, item, key, value, around, contents)
        except _TooLargeError as error:
            found.append(BundleFinding(Level.DANGEROUS, "config", config.name, "", str(error)))
    return found


class _TooLargeError(Exception):
    pass


def _walk(content: Any) -> Iterator[tuple[str, str, Any]]:
    """(id, last piece of the key, value) of everything in a config, parents first; ids as MONAI gives them."""
    pending: list[tuple[str, str, Any, int]] = [("", "", content, 0)]
    for count, _ in enumerate(iter(lambda: bool(pending), False)):
        if count > MOST_NODES:
            raise _TooLargeError(f"unfolds to more than {MOST_NODES} values")
        item, key, value, depth = pending.pop()
        if depth > 200:
            raise _TooLargeError("is nested more than 200 levels deep, or holds itself")
        yield item, key, value
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for k, v in reversed(list(pairs)):
            # at the top, MONAI reads "+a" as a change of a, and "a#b" or "a::b" as b in a
            name = str(k).replace("#", "::")
            name = name.removeprefix("+") if not item else name
            pending.append((f"{item}::{name}" if item else name, name.rpartition("::")[2].lstrip("+"), v, depth + 1))


def _strings(config: Config) -> Iterator[tuple[str, str]]:
    try:
        yield from ((item, value) for item, _, value in _walk(config.content) if isinstance(value, str))
    except _TooLargeError:
        return  # `examine` says so


def _of_value(
    file: str, item: str, key: str, value: Any, around: Scope, contents: dict[str, Any]
) -> Iterator[BundleFinding]:
    def finding(level: Level, kind: str, what: Any, why: str = "") -> BundleFinding:
        return BundleFinding(level, kind, f"{file}::{item}", str(what), why)

    if key == "_target_":
        yield finding(*_judged(_target(value, item, around, contents), "target", value))
    elif key == "_mode_" and value not in ("default", "callable"):
        yield finding(Level.DANGEROUS, "key", f"_mode_: {value}", "starts Python's debugger, or hides what it does")
    elif key == "_debug_":
        yield finding(Level.DANGEROUS, "key", f"_debug_: {value}", "starts whatever debugger is set up")
    if isinstance(value, dict):
        yield from _name_arguments(value, finding, around)
    if not isinstance(value, str):
        return
    resolved = expressions.resolve_relative(value, item)
    if resolved.startswith("%"):
        yield finding(*_judged(_macro(resolved, around, contents), "macro", value))
    elif resolved.startswith("$"):
        code = expressions.code_of(value, item)
        if found := expressions.imported(code):
            # "from a.b import c" may name a module or a thing in one
            judged = min(around.judge_import(found[0]), around.judge(found[0]), key=lambda judgement: judgement[0])
            yield finding(*_judged(judged, "import", value))
        else:
            yield finding(*_judged(expressions.judge(code, around), "expression", value))
    elif resolved.startswith("@") and key not in SPECIAL:
        reference = expressions.REFERENCE.fullmatch(resolved)
        if reference and expressions.refers_to_import(resolved[1:], around):
            yield finding(Level.DANGEROUS, "expression", value, "takes a module as a value")
    elif OUTSIDE.search(value) and not file.endswith("metadata.json"):
        yield finding(Level.UNKNOWN, "path", value, "leads out of the bundle")


def _judged(judgement: names.Judgement, kind: str, value: Any) -> tuple[Level, str, Any, str]:
    return judgement[0], kind, value, judgement[1]


def _target(value: Any, item: str, around: Scope, contents: dict[str, Any]) -> names.Judgement:
    """Of a `_target_`: a name, or where one comes from."""
    if not isinstance(value, str):
        return Level.DANGEROUS, "a target that is no name"
    text = expressions.resolve_relative(value, item)
    if text[:1] == "%":
        inserted = _lookup(text, contents)
        if isinstance(inserted, str) and inserted[:1] not in ("%", "$", "@"):
            return _target(inserted, item, around, contents)
        return Level.DANGEROUS, "hides what is called behind a macro"
    if text[:1] == "$":
        level, why = expressions.judge(expressions.code_of(value, item), around)
        return max(level, Level.UNKNOWN), why or "calls what an expression gives"
    if text[:1] == "@":
        return Level.DANGEROUS, "hides what is called behind a reference"
    name = ".".join(piece for piece in text.split(".") if piece)
    return around.judge(name)


def _name_arguments(value: dict, finding: Callable[..., BundleFinding], around: Scope) -> Iterator[BundleFinding]:
    """Of arguments whose text is looked up as a name, such as the reader of LoadImaged."""
    for argument in sorted(names.name_arguments() & {str(k) for k in value}):
        given = value[argument]
        for text in given if isinstance(given, list) else [given]:
            if isinstance(text, str) and text[:1] not in ("$", "%", "@"):
                yield finding(*_judged(around.judge(text.strip()), "target", f"{argument}: {text}"))
            elif isinstance(text, str):
                yield finding(Level.UNKNOWN, "target", f"{argument}: {text}", "hides what is called")


def _macro(text: str, around: Scope, contents: dict[str, Any]) -> names.Judgement:
    """Of a `%` macro: it copies part of a config, of this one or of any file that can be named."""
    file, item = _split(text[1:])
    if file and OUTSIDE.search(file):
        return Level.DANGEROUS, "reads a file outside the bundle"
    if file and is_output(file):
        return Level.DANGEROUS, "reads a file that evaluations write, which is not looked at"
    if file and file not in contents:
        return Level.UNKNOWN, "the bundle has no such file: it would come from where MONAI is started"
    if expressions.refers_to_import(item, around) and item:
        return Level.DANGEROUS, "copies an import, which makes a module a value"
    return names.KNOWN


def _split(text: str) -> tuple[str, str]:
    """(file or "", id) as MONAI splits a macro."""
    text = text.replace("#", "::")
    found = MACRO_FILE.findall(text)
    if not found:
        return "", text
    file = found[0][0]
    return file.removeprefix("./"), text.rsplit(file, 1)[1].removeprefix("::")


def _lookup(text: str, contents: dict[str, Any]) -> Any:
    """What a macro of one file puts in, where that is plain to see; else None."""
    file, item = _split(text[1:])
    found = contents.get(file)
    for piece in item.split("::"):
        if isinstance(found, dict):
            found = found.get(piece)
        elif isinstance(found, list) and piece.isdigit() and int(piece) < len(found):
            found = found[int(piece)]
        else:
            return None
    return found
