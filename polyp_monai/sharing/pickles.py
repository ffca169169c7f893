"""Reads the tensors of a `torch.save` file without torch and without running its pickle.

A pickle is a program for a small machine. Here it is first read op by op: only the ops and the handful of globals that
a plain state dict needs are allowed. Then, and only then, it is unpickled with inert stand-ins for these globals.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

LARGEST = 64_000_000  # bytes of a pickle, which holds names and shapes only
OPS = frozenset(
    """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING
    SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2
    TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS BINGET LONG_BINGET
    BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ BINPERSID
    """.split()  # noqa: SIM905
)
ITEM_SIZES = {  # torch storage -> numpy type; bfloat16 is the upper half of a float32
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")
ALLOWED = {("collections", "OrderedDict"), TENSOR, PARAMETER, ("torch", "Size"), *(("torch", s) for s in ITEM_SIZES)}
# what checkpoints of honest trainings hold besides; readers of plain weights refuse them
SEEN = re.compile(
    r"numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|dtype|ndarray)|argparse\.Namespace|collections\.(defaultdict|Counter)"
    r"|monai\.(utils\.enums|handlers\.metric_logger|data\.meta_tensor)\.\w+|torch\.(device|dtype|Tensor|float\w*|nn\.modules"
    r"\.[a-z]+\.[A-Z]\w+|nn\.parameter\.Parameter|_tensor\._rebuild_from_type_v2|serialization\._get_layout)"
)


@dataclass(frozen=True)
class Storage:
    """One block of numbers in the file: `key` is its record's name, `kind` its torch class, `size` its count."""

    kind: str
    key: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class NotPlainError(Exception):
    """The file holds more than plain tensors; `names` are globals that are not allowed."""

    def __init__(self, why: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.names = names

    @property
    def harmful(self) -> bool:
        """Whether one of the globals is none that checkpoints of honest trainings hold."""
        return any(not SEEN.fullmatch(name) for name in self.names)


def globals_of(data: bytes | BinaryIO) -> set[tuple[str, str]]:
    """(module, name) of every global that the pickle asks for; of a stream, the next pickle in it.

    Raises:
        NotPlainError: damaged, an op that plain tensors do not need, or a global whose name is made while it runs.
    """
    found: set[tuple[str, str]] = set()
    why = ""
    texts: list[str | None] = []  # what each op pushed, where that is a text
    memo: dict[int, str | None] = {}
    longest = len(data) if isinstance(data, bytes) else LARGEST
    try:
        for op, argument, _ in pickletools.genops(data):
            if op.name in ("GLOBAL", "INST"):
                home, _, member = str(argument).partition(" ")
                found.add((home, member))
            elif op.name == "STACK_GLOBAL":
                module, name = (texts[-2:] + [None, None])[:2]
                found.add((module or "?", name or "?"))
            if op.name not in OPS:
                why = why or f"holds the op {op.name}, which weights do not need"
            if op.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                index = len(memo) if op.name == "MEMOIZE" else int(str(argument))
                if index > max(10_000, longest):
                    raise NotPlainError("asks for too much memory", _names(found))
                memo[index] = texts[-1] if texts else None
            elif op.name in ("BINGET", "LONG_BINGET", "GET"):
                texts.append(memo.get(int(str(argument))))
            else:
                texts.append(argument if isinstance(argument, str) and op.name not in ("GLOBAL", "INST") else None)
    except NotPlainError:
        raise
    except Exception as error:  # pickletools raises anything on damaged data
        raise NotPlainError(f"is damaged ({type(error).__name__})", _names(found)) from error
    if why:
        raise NotPlainError(why, _names(found))
    return found


def _names(found: set[tuple[str, str]]) -> tuple[str, ...]:
    """Those globals that are not allowed, as dotted names."""
    return tuple(sorted(".".join(pair) for pair in found - ALLOWED))


def not_allowed(data: bytes | BinaryIO) -> tuple[str, ...]:
    """Dotted names of the globals of a pickle that plain tensors do not need. Raises NotPlainError as `globals_of`."""
    return _names(globals_of(data))


class _Stand(pickle.Unpickler):
    """An unpickler whose globals are inert: tensors become descriptions of where they lie."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise NotPlainError(f"asks for {module}.{name}", (f"{module}.{name}",))
        if (module, name) == TENSOR:
            return _tensor
        if (module, name) == PARAMETER:
            return lambda tensor, *_: tensor
        return OrderedDict if name == "OrderedDict" else tuple if name == "Size" else _Kind(name)

    def persistent_load(self, pid: Any) -> Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], _Kind)):
            raise NotPlainError("a storage of another form")
        return Storage(pid[1].name, str(pid[2]), int(pid[4]))


@dataclass(frozen=True)
class _Kind:
    name: str


def _tensor(storage: Any, offset: int, shape: tuple, stride: tuple, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise NotPlainError("a tensor without a storage")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def read(data: bytes) -> Any:
    """The pickle's content with `Tensor` for each tensor. Raises NotPlainError."""
    if names := not_allowed(data):
        raise NotPlainError(f"asks for {', '.join(names[:3])}", names)
    try:
        return _Stand(io.BytesIO(data)).load()
    except NotPlainError:
        raise
    except Exception as error:  # of a pickle that was made to fail
        raise NotPlainError(f"is damaged ({type(error).__name__})") from error


def tensors_in(content: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of everything in nested dictionaries and lists; each of these is gone through once."""
    pending, met = [("", content)], set()
    while pending:
        name, value = pending.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in met:
            met.add(id(value))
            pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
            pending += [(f"{name}.{key}" if name else str(key), v) for key, v in reversed(pairs)]


def is_archive(path: Path) -> bool:
    """Whether torch takes the file for an archive: it looks at the first bytes alone, and else reads pickles."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def open_checkpoint(path: Path) -> tuple[zipfile.ZipFile, str, bytes]:
    """The archive of a `torch.save` file, the prefix of its records, and its pickle.

    Raises:
        NotPlainError: no such archive, or one that could be read in two ways.
    """
    try:
        archive = zipfile.ZipFile(path)
        names = archive.namelist()
        pickled = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickled) != 1 or len(set(names)) < len(names):
            raise NotPlainError("holds no pickle of weights, or several")
        for other in (name for name in names if name.endswith("data.pkl") and name not in pickled):
            raise NotPlainError("holds a second pickle", not_allowed(archive.read(other)))
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise NotPlainError("is compressed, which torch.save does not do")
        if archive.getinfo(pickled[0]).file_size > LARGEST:
            raise NotPlainError("has a pickle that is too large for weights")
        return archive, pickled[0].removesuffix("data.pkl"), archive.read(pickled[0])
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise NotPlainError(f"cannot be read ({type(error).__name__})") from error
