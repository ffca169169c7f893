"""Judges files of weights and exported networks by what they hold, without loading them."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyp_monai.sharing import onnx_file, pickles
from polyp_monai.sharing.findings import BundleFinding, Level
from polyp_monai.sharing.pickles import NotPlainError

PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
PROGRAMS = (".ts", ".pt2", ".engine", ".plan")
NUMBERS = (".safetensors", ".npy", ".npz")
GRAPHS = (".onnx", ".xml")
SUFFIXES = (*PICKLED, *PROGRAMS, *NUMBERS, *GRAPHS)
SAFETENSORS_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1"},
    **{"U8": "<u1", "BOOL": "<u1"},
}


@dataclass
class Facts:
    """What is in a file of weights: counts, and whether all numbers are finite (None: not looked at)."""

    tensors: int
    numbers: int
    types: dict[str, int]
    finite: bool | None

    def __str__(self) -> str:
        types = ", ".join(sorted(self.types))
        finite = {True: "all finite", False: "NOT all finite", None: "not looked into"}[self.finite]
        return f"{self.tensors} tensors, {self.numbers / 1e6:.2f} M numbers ({types}), {finite}"


def examine(path: Path, name: str) -> tuple[list[BundleFinding], Facts | None]:
    """Findings of one file, and what it holds; `name` is its path below the bundle's folder."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _safetensors(path, name)
    if suffix in (".npy", ".npz"):
        return _numpy(path, name), None
    if suffix == ".onnx":
        return [BundleFinding(*found[:1], "export", name, *found[1:]) for found in onnx_file.examine(path)], None
    if suffix == ".xml":
        return _openvino(path, name), None
    if suffix == ".bin" and path.with_suffix(".xml").is_file():
        return [BundleFinding(Level.KNOWN, "export", name, "numbers of an OpenVINO network")], None
    if suffix in PROGRAMS:
        return [BundleFinding(Level.UNKNOWN, "export", name, suffix, "a program, which runs when it is loaded")], None
    return _checkpoint(path, name)


def _checkpoint(path: Path, name: str) -> tuple[list[BundleFinding], Facts | None]:
    def finding(level: Level, what: str, why: str = "") -> BundleFinding:
        return BundleFinding(level, "weights", name, what, why)

    try:
        if not pickles.is_archive(path):
            _check_legacy(path)
            return [
                finding(Level.UNKNOWN, "", "the older format of torch.save; save it again to have it looked at")
            ], None
        archive, prefix, pickled = pickles.open_checkpoint(path)
        with archive:
            if any("/code/" in member or member.endswith("constants.pkl") for member in archive.namelist()):
                return [finding(Level.UNKNOWN, "", "a TorchScript program")], None
            tensors = dict(pickles.tensors_in(pickles.read(pickled)))
            facts = _facts(archive, prefix, list(tensors.values()))
    except NotPlainError as error:
        level = Level.DANGEROUS if error.harmful else Level.UNKNOWN
        return [finding(level, ", ".join(error.names), str(error))], None
    found = [finding(Level.KNOWN, "plain tensors")]
    if not facts.finite:
        found.append(finding(Level.UNKNOWN, "", "holds numbers that are not finite, or of an unknown kind"))
    return found, facts


def _check_legacy(path: Path) -> None:
    """Raises NotPlainError when one of the pickles that such a file begins with asks for what is not allowed."""
    with path.open("rb") as stream:
        for number in range(5):
            try:
                names = pickles.not_allowed(stream)
            except NotPlainError as error:
                if number and not error.names:
                    return  # the numbers that follow the pickles
                raise
            if names:
                raise NotPlainError(f"asks for {', '.join(names[:3])}", names)


def _facts(archive: zipfile.ZipFile, prefix: str, tensors: list[pickles.Tensor]) -> Facts:
    storages = {tensor.storage.key: tensor.storage for tensor in tensors}
    finite = True
    for storage in storages.values():
        try:
            data = archive.read(f"{prefix}data/{storage.key}")
        except (KeyError, zipfile.BadZipFile, OSError, RuntimeError) as error:
            raise NotPlainError(f"is damaged ({type(error).__name__})") from error
        kind = pickles.ITEM_SIZES.get(storage.kind)
        finite = finite and kind is not None and _is_finite(data, kind, storage.kind == "BFloat16Storage")
    kinds = Counter(tensor.storage.kind.removesuffix("Storage").lower() for tensor in tensors)
    return Facts(len(tensors), sum(math.prod(tensor.shape) for tensor in tensors), dict(kinds), finite)


def _is_finite(data: bytes, kind: str, bfloat16: bool = False) -> bool:
    if len(data) % np.dtype(kind).itemsize:
        return False
    values = np.frombuffer(data, kind)
    if bfloat16:
        return bool(((values & 0x7F80) != 0x7F80).all())
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _safetensors(path: Path, name: str) -> tuple[list[BundleFinding], Facts | None]:
    try:
        header, data = read_safetensors(path)
    except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        return [BundleFinding(Level.UNKNOWN, "weights", name, "", f"no safetensors file ({error})")], None
    finite, numbers = True, 0
    for entry in header.values():
        start, end = entry["data_offsets"]
        finite = finite and _is_finite(data[start:end], SAFETENSORS_TYPES[entry["dtype"]], entry["dtype"] == "BF16")
        numbers += math.prod(entry["shape"])
    facts = Facts(len(header), numbers, dict(Counter(entry["dtype"].lower() for entry in header.values())), finite)
    found = [BundleFinding(Level.KNOWN, "weights", name, "plain tensors")]
    if not finite:
        found.append(BundleFinding(Level.UNKNOWN, "weights", name, "", "holds numbers that are not finite"))
    return found, facts


def read_safetensors(path: Path) -> tuple[dict[str, dict[str, Any]], bytes]:
    """Header (without its metadata) and numbers. Raises ValueError, KeyError or TypeError when it breaks the format."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    if length > min(len(raw) - 8, 100_000_000):
        raise ValueError("its header is cut short")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    position = 0
    for entry in sorted(header.values(), key=lambda e: e["data_offsets"]):
        start, end = entry["data_offsets"]
        size = math.prod(entry["shape"]) * np.dtype(SAFETENSORS_TYPES[entry["dtype"]]).itemsize
        if start != position or end - start != size:
            raise ValueError("its tensors overlap or leave gaps")
        position = end
    if position != len(data):
        raise ValueError("it is cut short or holds more than its tensors")
    return header, data


def _numpy(path: Path, name: str) -> list[BundleFinding]:
    """Arrays of objects are pickles."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as stream:
                plain = not _array_type(stream).hasobject
        else:
            with zipfile.ZipFile(path) as archive:
                plain = True
                for member in archive.namelist():
                    with archive.open(member) as stream:
                        plain = plain and not _array_type(stream).hasobject
    except (ValueError, OSError, zipfile.BadZipFile, SyntaxError, RuntimeError, KeyError) as error:
        return [BundleFinding(Level.UNKNOWN, "file", name, "", f"no NumPy file ({type(error).__name__})")]
    if not plain:
        return [BundleFinding(Level.DANGEROUS, "file", name, "", "holds pickled objects")]
    return [BundleFinding(Level.KNOWN, "file", name, "plain numbers")]


def _array_type(stream) -> np.dtype:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)[2]


def _openvino(path: Path, name: str) -> list[BundleFinding]:
    from xml.etree import ElementTree

    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw:
        return [BundleFinding(Level.DANGEROUS, "export", name, "", "not in UTF-8, which hides what it says")]
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        return [BundleFinding(Level.DANGEROUS, "export", name, "", "defines entities, which can unfold without end")]
    try:
        layers = ElementTree.fromstring(raw).iter("layer")
        sets = {layer.get("version", "") for layer in layers}
    except ElementTree.ParseError:
        return [BundleFinding(Level.UNKNOWN, "export", name, "", "no OpenVINO file")]
    if other := sorted(s for s in sets if not (s.startswith("opset") and s[5:].isdigit())):
        return [BundleFinding(Level.UNKNOWN, "export", name, other[0], "operators of an extension")]
    return [BundleFinding(Level.KNOWN, "export", name, "an OpenVINO network of standard operators")]
