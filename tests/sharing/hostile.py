"""Bundles that try to run a program when somebody opens them: one class of trick each, with a harmless payload.

The payload makes a file, the canary. `HOSTILE` maps a name to a function that changes a well-behaved bundle in place.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

HOSTILE: dict[str, Callable[[Path, Path], None]] = {}


def plain_bundle(root: Path) -> Path:
    """A small bundle in the zoo's style: JSON configs, a network of MONAI, plain weights."""
    import torch
    from monai.networks.nets import UNet

    (root / "configs").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "models").mkdir()
    (root / "LICENSE").write_text("Apache License, Version 2.0\n")
    (root / "docs/README.md").write_text("# Plain\n")
    network = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 1,
        "channels": [4, 8],
        "strides": [2],
    }
    inference = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in glob.glob(@bundle_root + '/*.png')]"},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"}],
        },
        "initialize": ["$monai.utils.set_determinism(seed=1)"],
        "run": ["$@network.eval()"],
    }
    write(root, inference)
    write(root, {"version": "0.1.0", "name": "plain", "monai_version": "1.6.1"}, "metadata.json")
    (root / "configs/logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\nhandlers=h\n"
        "[handler_h]\nclass=StreamHandler\nlevel=INFO\nformatter=f\nargs=(sys.stdout,)\n[formatter_f]\nformat=%(message)s\n"
    )
    torch.save(UNet(2, 3, 1, [4, 8], [2]).state_dict(), root / "models/model.pt")
    return root


def content(root: Path, name: str = "inference.json") -> dict:
    return json.loads((root / "configs" / name).read_text())


def write(root: Path, config: dict, name: str = "inference.json") -> None:
    (root / "configs" / name).write_text(json.dumps(config, indent=1))


def trick(function: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    HOSTILE[function.__name__] = function
    return function


def changed(name: str, file: str = "inference.json", /, **items: Callable[[Path], object]) -> None:
    """Register a trick that sets top-level items of a config; each value is made from the canary's path."""

    def apply(root: Path, canary: Path) -> None:
        config = content(root, file)
        config.update({key.replace("__", "::"): make(canary) for key, make in items.items()})
        write(root, config, file)

    HOSTILE[name] = apply


def touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w')"


# expressions
changed("open_in_run", run=lambda c: [f"${touch(c)}"])
changed("unused_item", notes=lambda c: {"deep": [[f"${touch(c)}"]]})
changed("dunder_import", a=lambda c: f"$__import__('os').system('touch {c}')")
changed("eval_of_text", a=lambda c: f"$eval({touch(c)!r})")
changed("exec_of_text", a=lambda c: f"$exec({touch(c)!r})")
changed("lambda_default", a=lambda c: f"$(lambda x={touch(c)}: x)()")
changed("comprehension", a=lambda c: f"$[f.close() for f in [{touch(c)}]]")
changed("f_string", a=lambda c: f'$f"{{{touch(c)}}}"')
changed("subclasses", a=lambda c: "$().__class__.__base__.__subclasses__()")
changed("getattr_of_text", a=lambda c: f"$getattr(torch, 'o' + 's').system('touch {c}')")
changed("vars_of_module", a=lambda c: f"$vars(torch)['os'].system('touch {c}')")
changed("module_in_module", a=lambda c: f"$monai.utils.misc.os.system('touch {c}')")
changed("torch_os", a=lambda c: f"$torch.os.system('touch {c}')")
changed("walrus", a=lambda c: f"$(o := torch.os, o.system('touch {c}'))")
changed("module_as_value", a=lambda c: f"$[os][0].system('touch {c}')")
changed("module_by_reference", a=lambda c: f"$@imports::1.system('touch {c}')")
changed("module_by_alias_item", m=lambda c: "@imports::1", a=lambda c: f"$@m.system('touch {c}')")
changed("module_by_macro", m=lambda c: "%imports::1", a=lambda c: f"$@m.system('touch {c}')")
changed("module_in_lambda", a=lambda c: f"$(lambda m: m.system('touch {c}'))(os)")
changed("system_by_known_alias", imports=lambda c: ["$import os as glob"], a=lambda c: f"$glob.system('touch {c}')")
changed("import_of_harmful", a=lambda c: "$import subprocess", b=lambda c: f"$subprocess.run(['touch', {str(c)!r}])")
changed("import_from", a=lambda c: "$from os import system as s", b=lambda c: f"$s('touch {c}')")
changed("full_width_letters", a=lambda c: f"$\uff4f\uff50\uff45\uff4e({str(c)!r}, 'w')")
changed("local_refs", a=lambda c: f"$__local_refs['imports::1'].system('touch {c}')")
changed("reference_in_quotes", **{"or": lambda c: 1, "a": lambda c: f"$'@or' and {touch(c)}"})
changed("hash_is_a_separator", a=lambda c: f"$[1, 2][0#2] and {touch(c)}")
changed("sys_modules", imports=lambda c: ["$import sys"], a=lambda c: f"$sys.modules['os'].system('touch {c}')")
changed("torch_load", a=lambda c: "$torch.load('models/model.pt', weights_only=False)")
changed("hub", a=lambda c: "$torch.hub.load('somebody/something', 'model')")

changed("sets_an_item_of_a_known_name", a=lambda c: "$[0 for os.environ['PYTHONBREAKPOINT'] in ['os.system']]")
changed("sets_a_known_name", a=lambda c: f"$[0 for torch.sigmoid in [lambda x: {1}]]")
changed("sets_what_a_loop_holds", a=lambda c: "$[0 for e in [os.environ] for e['LD_PRELOAD'] in ['x.so']]")
changed("frame_of_a_generator", a=lambda c: f"$(x for x in [1]).gi_frame.f_builtins['open']({str(c)!r}, 'w')")
changed("frame_of_an_item", a=lambda c: "$@device.tb_frame.f_globals")
changed("classes_without_underscores", a=lambda c: "$type(1).mro()[1]")
changed("attribute_by_text", imports=lambda c: ["$import operator"], a=lambda c: "$operator.attrgetter('os')(torch)")
changed("method_by_text", imports=lambda c: ["$import operator as o"], a=lambda c: "$o.methodcaller('system', 'x')(1)")
changed("hints_are_evaluated", imports=lambda c: ["$import typing"], a=lambda c: "$typing.get_type_hints(@device)")
changed("function_of_code", imports=lambda c: ["$import types"], a=lambda c: "$types.FunctionType(@device, {})")
changed("writes_by_a_path", imports=lambda c: ["$import pathlib"], a=lambda c: f"$pathlib.Path({str(c)!r}).touch()")
changed("writes_by_a_path_elsewhere", a=lambda c: f"$monai.transforms.io.array.Path({str(c)!r}).write_text('x')")
changed("writes_an_array", a=lambda c: f"$np.zeros(3).tofile({str(c)!r})")
changed("logging_by_dictionary", imports=lambda c: ["$import logging"], a=lambda c: "$logging.config.dictConfig({})")
changed("private_module", imports=lambda c: ["$import random"], a=lambda c: "$random._os.posix_spawn('x', [], {})")

# targets
changed("target_of_tests", a=lambda c: {"_target_": "numpy.testing._private.utils.runstring", "astr": touch(c)})
changed("target_of_bug_reports", a=lambda c: {"_target_": "torch.utils.collect_env.run", "command": f"touch {c}"})
changed("target_private", a=lambda c: {"_target_": "torch._inductor.codecache.CppCodeCache", "a": 1})
changed("target_remote", a=lambda c: {"_target_": "torch.distributed.rpc.init_rpc", "name": "x"})
changed("target_launches", a=lambda c: {"_target_": "torch.distributed.run.main", "args": ["x.py"]})
changed("target_os_system", a=lambda c: {"_target_": "os.system", "command": f"touch {c}"})
changed("target_builtin", a=lambda c: {"_target_": "open", "file": str(c), "mode": "w"})
changed("target_builtins_open", a=lambda c: {"_target_": "builtins.open", "file": str(c), "mode": "w"})
changed("target_bare_of_monai", a=lambda c: {"_target_": "run_cmd", "cmd_list": ["touch", str(c)]})
changed("target_module_in_module", a=lambda c: {"_target_": "torch.os.system", "command": f"touch {c}"})
changed("target_misc", a=lambda c: {"_target_": "monai.utils.misc.subprocess.call", "args": ["touch", str(c)]})
changed("target_by_reference", n=lambda c: "os.system", a=lambda c: {"_target_": "@n", "command": f"touch {c}"})
changed("target_by_expression", a=lambda c: {"_target_": "$torch.os.system", "command": f"touch {c}"})
changed("target_by_macro", n=lambda c: "os.system", a=lambda c: {"_target_": "%n", "command": f"touch {c}"})
changed("target_with_dots", a=lambda c: {"_target_": "os..system", "command": f"touch {c}"})
changed("target_disabled", a=lambda c: {"_target_": "UNet", "_disabled_": True, "x": f"${touch(c)}"})
changed(
    "target_argument", a=lambda c: {"_target_": "Dataset", "data": {"_target_": "open", "file": str(c), "mode": "w"}}
)
changed(
    "reader_by_name",
    a=lambda c: {"_target_": "LoadImaged", "keys": "image", "reader": "os.system", "command": f"touch {c}"},
)
changed("writer_by_name", a=lambda c: {"_target_": "SaveImaged", "keys": "pred", "writer": "subprocess.Popen"})
changed("bundle_in_bundle", a=lambda c: {"_target_": "monai.bundle.run", "config_file": "configs/inference.json"})
changed("fetches", a=lambda c: {"_target_": "download_and_extract", "url": "http://127.0.0.1/x.zip"})
changed("timeit", a=lambda c: {"_target_": "timeit.timeit", "stmt": touch(c), "number": 1})

# special keys
changed("mode_debug", a=lambda c: {"_target_": "Compose", "_mode_": "debug"})
changed("mode_by_expression", a=lambda c: {"_target_": "Compose", "_mode_": "$'de' + 'bug'"})
changed("debug_key", a=lambda c: {"_target_": "Compose", "_debug_": True})
changed("desc_expression", a=lambda c: {"_target_": "Compose", "_desc_": f"${touch(c)}"})
changed("requires_expression", a=lambda c: {"_target_": "Compose", "_requires_": [f"${touch(c)}"]})
changed("disabled_expression", a=lambda c: {"_target_": "Compose", "_disabled_": f"${touch(c)}"})
changed("target_by_key", preprocessing___target_=lambda c: "os.system", preprocessing__command=lambda c: f"touch {c}")
changed("key_with_hash", **{"preprocessing#_target_": lambda c: "os.system"})
changed("key_with_plus", **{"+preprocessing": lambda c: {"_target_": "os.system", "command": f"touch {c}"}})

# metadata and other files that MONAI reads
changed("metadata_version", "metadata.json", version=lambda c: f"${touch(c)}")
changed("metadata_import", "metadata.json", name=lambda c: "$import subprocess")
changed("metadata_macro", "metadata.json", description=lambda c: "%/etc/machine.json")
changed("macro_outside", a=lambda c: "%../../secret.json::key")
changed("macro_absolute", a=lambda c: "%/tmp/other.yaml")


changed("macro_into_what_is_not_read", a=lambda c: "%eval/summary.json::run")
changed("macro_into_what_is_not_read_by_dot", a=lambda c: "%./predictions/x.yaml")


@trick
def yaml_escapes(root, canary):
    (root / "configs/extra.yaml").write_text(f'a: "\\x24{touch(canary)}"\n')


@trick
def json_escapes(root, canary):
    (root / "configs/extra.json").write_text('{"a": "\\u0024' + touch(canary) + '"}')


@trick
def yaml_anchor(root, canary):
    (root / "configs/extra.yaml").write_text(f"x: &x {{_target_: os.system, command: touch {canary}}}\na: *x\n")


@trick
def yaml_merge_key(root, canary):
    (root / "configs/extra.yaml").write_text(
        f"x: &x {{_target_: os.system, command: touch {canary}}}\na: {{<<: *x, keys: 1}}\n"
    )


@trick
def duplicate_key(root, canary):
    text = '{"a": {"_target_": "Compose", "_target_": "os.system", "command": "touch ' + str(canary) + '"}}'
    (root / "configs/extra.json").write_text(text)


@trick
def overlay_target(root, canary):
    (root / "configs/overlay.yaml").write_text("network_def#_target_: os.system\n")


@trick
def upper_case_suffix(root, canary):
    (root / "configs/EXTRA.YAML").write_text(yaml.safe_dump({"a": f"${touch(canary)}"}))


@trick
def config_in_models(root, canary):
    (root / "models/extra.json").write_text(json.dumps({"a": f"${touch(canary)}"}))


@trick
def alias_bomb(root, canary):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (root / "configs/extra.yaml").write_text("\n".join(lines) + "\n")


@trick
def self_reference(root, canary):
    (root / "configs/extra.yaml").write_text("a: &a [*a]\n")


def logging_conf(name: str, section: str, line: str) -> None:
    def apply(root: Path, canary: Path) -> None:
        path = root / "configs/logging.conf"
        path.write_text(
            path.read_text().replace(f"[{section}]\n", f"[{section}]\n{line.replace('CANARY', str(canary))}\n")
        )

    HOSTILE[name] = apply


logging_conf("logging_formatter_class", "formatter_f", "class=Other")
logging_conf("logging_formatter_defaults", "formatter_f", "defaults={}")
logging_conf("logging_kwargs", "handler_h", "kwargs={}")
logging_conf("logging_default", "loggers", "[DEFAULT]\nx=1\n[loggers2]")


@trick
def logging_args_call(root, canary):
    path = root / "configs/logging.conf"
    path.write_text(path.read_text().replace("(sys.stdout,)", f"({touch(canary)},)"))


@trick
def logging_args_interpolated(root, canary):
    path = root / "configs/logging.conf"
    path.write_text(path.read_text().replace("(sys.stdout,)", "('%(x)s',)"))


@trick
def logging_file_handler(root, canary):
    path = root / "configs/logging.conf"
    text = path.read_text().replace("class=StreamHandler", "class=FileHandler")
    path.write_text(text.replace("(sys.stdout,)", f"({str(canary)!r}, 'w')"))


@trick
def logging_socket_handler(root, canary):
    path = root / "configs/logging.conf"
    text = path.read_text().replace("class=StreamHandler", "class=handlers.SocketHandler")
    path.write_text(text.replace("(sys.stdout,)", "('127.0.0.1', 9)"))


# files
@trick
def shadowing_module(root, canary):
    (root / "yaml.py").write_text(touch(canary))


@trick
def shadowing_package(root, canary):
    (root / "ignite").mkdir()
    (root / "ignite/__init__.py").write_text(touch(canary))


@trick
def debugger_startup(root, canary):
    (root / ".pdbrc").write_text(f"!{touch(canary)}\n")


@trick
def compiled_code(root, canary):
    (root / "scripts/__pycache__").mkdir(parents=True)
    (root / "scripts/__pycache__/net.cpython-311.pyc").write_bytes(b"\x00" * 32)


@trick
def shared_library(root, canary):
    (root / "models/ops.so").write_bytes(b"\x7fELF")


@trick
def script_starts_program(root, canary):
    (root / "scripts").mkdir()
    (root / "scripts/__init__.py").write_text(f"import subprocess\nsubprocess.run(['touch', {str(canary)!r}])\n")


@trick
def script_evaluates(root, canary):
    (root / "scripts").mkdir()
    (root / "scripts/net.py").write_text(f"exec({touch(canary)!r})\n")


@trick
def link_outside(root, canary):
    (root / "docs/notes.txt").symlink_to("/etc/hostname")


@trick
def large_files_without_digest(root, canary):
    entries = [{"path": "models/model.pt", "url": "https://example.org/model.pt"}]
    (root / "large_files.yml").write_text(yaml.safe_dump({"large_files": entries}))


@trick
def large_files_local(root, canary):
    entries = [{"path": "models/model.pt", "url": "file:///etc/hostname", "hash_val": "0" * 64, "hash_type": "sha256"}]
    (root / "large_files.yml").write_text(yaml.safe_dump({"large_files": entries}))


@trick
def large_files_outside(root, canary):
    entries = [{"path": "../x.pt", "url": "https://example.org/x", "hash_val": "0" * 64, "hash_type": "sha256"}]
    (root / "large_files.yml").write_text(yaml.safe_dump({"large_files": entries}))


@trick
def library_that_goes_first(root, canary):
    (root / "scripts/lib/yaml").mkdir(parents=True)
    (root / "scripts/lib/yaml/__init__.py").write_text("safe_load = len\n")


@trick
def script_in_c(root, canary):
    (root / "scripts").mkdir()
    (root / "scripts/net.py").write_text("import ctypes\nctypes.CDLL(None)\n")


@trick
def script_by_text(root, canary):
    (root / "scripts").mkdir()
    (root / "scripts/net.py").write_text("import importlib\nimportlib.import_module('o' + 's')\n")


@trick
def script_in_another_encoding(root, canary):
    (root / "scripts").mkdir()
    (root / "scripts/net.py").write_bytes(b"# coding: utf-7\n+AGkAbQBwAG8AcgB0- subprocess\n")


def requirement(name: str, line: str) -> None:
    def apply(root: Path, canary: Path) -> None:
        (root / "requirements.txt").write_text(f"torch==2.13.0\n{line}\n")

    HOSTILE[name] = apply


requirement("requirements_of_another_index", "--extra-index-url https://example.org/simple")
requirement("requirements_of_an_address", "monai @ https://example.org/monai.zip")
requirement("requirements_of_a_folder", "./scripts")
requirement("requirements_of_a_file", "-r docs/more.txt")


# weights
class Payload:
    def __init__(self, canary: Path, function: Callable = open) -> None:
        self.canary, self.function = canary, function

    def __reduce__(self):
        return self.function, (str(self.canary), "w")


def pickled(name: str, make: Callable[[Path], bytes]) -> None:
    """Register weights whose pickle is what `make` gives."""

    def apply(root: Path, canary: Path) -> None:
        path = root / "models/model.pt"
        members = {}
        with zipfile.ZipFile(path) as archive:
            members = {n: archive.read(n) for n in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for n, data in members.items():
                archive.writestr(n, make(canary) if n.endswith("data.pkl") else data)

    HOSTILE[name] = apply


def getattr_pickle(canary: Path) -> bytes:
    """A global with a dot in its name: reached through an allowed module."""
    return (
        b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c"
        + bytes([len(f"touch {canary}")])
        + f"touch {canary}".encode()
        + b"\x85R."
    )


pickled("pickle_reduce", lambda c: pickle.dumps({"a": Payload(c)}, protocol=2))
pickled("pickle_protocol_4", lambda c: pickle.dumps({"a": Payload(c)}, protocol=4))
pickled("pickle_protocol_0", lambda c: pickle.dumps({"a": Payload(c)}, protocol=0))
pickled("pickle_inst", lambda c: f"(S'touch {c}'\nios\nsystem\n.".encode())
pickled("pickle_dotted_global", getattr_pickle)
pickled("pickle_made_name", lambda c: b"\x80\x04\x8c\x02os2\x93.")


@trick
def pickle_legacy(root, canary):
    (root / "models/model.pt").write_bytes(pickle.dumps(Payload(canary), protocol=2))


@trick
def pickle_other_weights(root, canary):
    (root / "models/other.pth").write_bytes(pickle.dumps(Payload(canary)))


@trick
def numpy_objects(root, canary):
    np.save(root / "models/table.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


@trick
def onnx_outside(root, canary):
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    pair = field(1, b"location") + field(2, b"../../secret")
    graph = field(1, field(4, b"Relu")) + field(5, field(13, pair))
    (root / "models/model.onnx").write_bytes(field(7, graph))


@trick
def openvino_entities(root, canary):
    (root / "models/net.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><net><layer version="opset1"/></net>')


@trick
def openvino_entities_in_another_encoding(root, canary):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><net><layer version="opset1"/></net>'
    (root / "models/net.xml").write_text(text, encoding="utf-16")


@trick
def pickle_before_the_archive(root, canary):
    path = root / "models/model.pt"
    path.write_bytes(pickle.dumps(Payload(canary), protocol=2) + path.read_bytes())


@trick
def pickle_in_a_second_folder(root, canary):
    with zipfile.ZipFile(root / "models/model.pt", "a") as archive:
        archive.writestr("a/b/data.pkl", pickle.dumps(Payload(canary), protocol=2))
