"""Judges an ONNX file by walking its protocol buffer: operators of other domains, and numbers kept in other files.

The package onnx is not needed, and its checks, which follow the paths, are not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from polyp_monai.sharing.findings import Level

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
MESSAGES = {  # message -> field number -> message of that field; others are passed over
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "pair"},
}
TEXTS = {("node", 4): "op", ("node", 7): "domain", ("pair", 1): "key", ("pair", 2): "value"}


def examine(path: Path) -> list[tuple[Level, str, str]]:
    """(level, what, why) of what the file holds."""
    found: list[tuple[Level, str, str]] = []
    domains: set[str] = set()
    nodes = 0
    try:
        for message, fields in _walk("model", memoryview(path.read_bytes())):
            nodes += message == "node"
            if message == "node" and fields.get("domain", "") not in DOMAINS:
                domains.add(fields["domain"])
            if message == "pair" and fields.get("key") == "location":
                found.append(_location(fields.get("value", ""), path.parent))
    except (ValueError, IndexError, RecursionError, UnicodeDecodeError) as error:
        return [(Level.UNKNOWN, "", f"no ONNX file ({error})")]
    found += [(Level.UNKNOWN, domain, "operators of its own, which need a library") for domain in sorted(domains)]
    if not nodes:
        return [(Level.UNKNOWN, "", "no ONNX network")]
    return list(dict.fromkeys(found)) or [(Level.KNOWN, "an ONNX network of standard operators", "")]


def _location(location: str, folder: Path) -> tuple[Level, str, str]:
    """Of the file that holds a tensor's numbers."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in windows.parts
    if outside or (folder / location).is_symlink():
        return Level.DANGEROUS, location, "reads a file outside the bundle"
    return Level.UNKNOWN, location, "keeps numbers in another file"


def _walk(message: str, data: memoryview, depth: int = 0) -> Iterator[tuple[str, dict[str, str]]]:
    """(message, its texts) of every message of interest in the buffer."""
    if depth > 60:
        raise ValueError("nested too deep")
    texts: dict[str, str] = {}
    inner: list[tuple[str, memoryview]] = []
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, position = _number(data, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        elif wire == 2:
            length, position = _number(data, position)
            if position + length > len(data):
                raise ValueError("cut short")
            part = data[position : position + length]
            position += length
            if (message, number) in TEXTS:
                texts[TEXTS[message, number]] = bytes(part).decode("utf-8")
            elif child := MESSAGES.get(message, {}).get(number):
                inner.append((child, part))
        else:
            raise ValueError("a field of an unknown kind")
    yield message, texts
    for child, part in inner:
        yield from _walk(child, part, depth + 1)


def _number(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")
