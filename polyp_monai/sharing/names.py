"""Which dotted names a config may import, call or read: an allow-list of names that were looked at one by one.

"It is in torch" proves nothing: modules carry other modules as attributes, down to the one that starts processes. So a
name is known only if `known_names.txt` holds it; what is recognized as harmful is dangerous; all else is unknown.
"""

from __future__ import annotations

import builtins
import sys
from functools import cache
from pathlib import Path

from polyp_monai.sharing.findings import Level

Judgement = tuple[Level, str]
KNOWN: Judgement = (Level.KNOWN, "")

# modules and functions that run, fetch, write or unpack things, wherever in a dotted name they are met
HARMFUL = frozenset(
    """
    os posix nt subprocess pty ctypes cffi socket builtins importlib imp runpy pickle cPickle _pickle marshal dill
    cloudpickle joblib shelve pdb bdb code codeop shutil multiprocessing webbrowser urllib requests http httpx
    ftplib smtplib telnetlib xmlrpc asyncio atexit zipimport pkgutil pip setuptools distutils ensurepip venv site
    sitecustomize usercustomize timeit cProfile doctest fileinput system popen Popen check_output check_call
    getoutput getstatusoutput execv execve spawnl spawnv fork eval exec compile open sys run_cmd hub cpp_extension
    load_library f2py import_module optional_import load_submodules instantiate locate extractall download
    download_url download_and_extract push_to_hf_hub create_workflow run_workflow init_bundle ckpt_export
    onnx_export trt_export ConfigParser ConfigWorkflow ConfigExpression ConfigComponent algo_from_pickle
    algo_from_json algo_to_pickle BundleAlgo AutoRunner EnsembleRunner BundleGen nnUNetV2Runner nnUNetV2Bundle
    MonaiAlgo MonaiAlgoStats LazyRaise run_debug run_eval pprint_edges inspect_module collect_env rpc launcher
    attrgetter methodcaller get_type_hints FunctionType CodeType LambdaType dictConfig fileConfig FileHandler
    runstring rundocs testing gi_frame gi_code cr_frame ag_frame tb_frame f_globals f_builtins f_locals f_back mro
    write_text write_bytes touch unlink rmdir rmtree chmod symlink_to hardlink_to tofile savetxt savez to_pickle
    read_pickle execl execle execlp execv execvp execvpe spawnle spawnlp spawnve spawnvp posix_spawn posix_spawnp
    """.split()  # noqa: SIM905
)
HARMFUL_NAMES = frozenset(
    """
    torch.load torch.save torch.jit.load torch.package.PackageImporter torch.export.load torch.compile
    torch.utils.model_zoo.load_url numpy.load numpy.save numpy.fromfile numpy.memmap numpy.loadtxt
    torch.distributed.run torch.distributed.run.main torch.distributed.launch
    monai.bundle.load monai.bundle.run monai.bundle.scripts.load monai.bundle.scripts.run monai.utils.state_cacher
    """.split()  # noqa: SIM905
)
HARMFUL_BUILTINS = frozenset(
    """
    eval exec compile open __import__ input breakpoint globals locals vars setattr delattr getattr help exit quit
    memoryview __builtins__ __loader__ __spec__ __build_class__ __debug__ copyright credits license
    """.split()  # noqa: SIM905
)
BUILTINS = frozenset(
    """
    len int float str bool min max sum range list dict tuple set frozenset sorted reversed zip enumerate abs round
    any all isinstance next iter slice divmod print True False None
    """.split()  # noqa: SIM905
)
# of the harmful modules, what zoo bundles use: to look at, but not dangerous
TOLERATED = frozenset(
    """
    os.makedirs os.mkdir os.getcwd os.listdir os.walk os.getenv os.environ.get os.path.expanduser os.path.splitext
    os.path.relpath os.path.realpath os.path.getsize os.path.split os.path.dirname os.path.pardir sys.argv
    """.split()  # noqa: SIM905
)
TAME_STDLIB = frozenset(
    """
    math cmath operator functools itertools collections datetime time random statistics string json re glob logging
    pathlib typing dataclasses enum copy decimal fractions numbers types csv textwrap warnings platform hashlib
    """.split()  # noqa: SIM905
)


@cache
def _lists() -> dict[str, dict[str, tuple[str, ...]]]:
    """{"import": ..., "name": ..., "attribute": ..., "expression": ...}, each entry with its words after `--`."""
    found: dict[str, dict[str, tuple[str, ...]]] = {"import": {}, "name": {}, "attribute": {}, "expression": {}}
    for line in (Path(__file__).parent / "known_names.txt").read_text(encoding="utf-8").splitlines():
        entry = line.partition("#")[0].strip() if not line.startswith("expression ") else line
        if entry:
            kind, _, rest = entry.partition(" ")
            text, _, more = rest.strip().partition(" -- ")
            found[kind][text.strip()] = tuple(more.split())
    for name, words in list(found["name"].items()):
        if name.startswith("monai."):  # MONAI looks bare names up in its own modules first
            found["name"].setdefault(name.rpartition(".")[2], words)
    return found


def known_names() -> frozenset[str]:
    """Every name that a config may use."""
    return frozenset(_lists()["name"])


def own_names() -> frozenset[str]:
    """Modules and names of polyp_monai that a config may use."""
    lists = _lists()
    return frozenset(name for name in (*lists["import"], *lists["name"]) if name.startswith("polyp_monai."))


@cache
def name_arguments() -> frozenset[str]:
    """Arguments of known targets whose text is looked up as a name in turn, such as the reader of LoadImaged."""
    return frozenset(word for words in _lists()["name"].values() for word in words)


def is_known_attribute(name: str) -> bool:
    """Whether an attribute of that name, of any object that known names give, does no harm."""
    return name in _lists()["attribute"]


def known_expressions() -> frozenset[str]:
    """Whole expressions that were looked at, as a config writes them after its "$"."""
    return frozenset(_lists()["expression"])


def judge_import(module: str) -> Judgement:
    """Of importing `module` (dotted)."""
    if module in _lists()["import"]:
        return KNOWN
    level, why = _judge_unlisted(module)
    return level, why or "not on the list of modules that may be imported"


def judge(name: str) -> Judgement:
    """Of calling or reading the thing with that dotted name."""
    if name in _lists()["name"]:
        return KNOWN
    level, why = _judge_unlisted(name)
    return level, why or "not on the list of names that may be used"


def judge_builtin(name: str) -> Judgement:
    """Of a bare name that nothing in the config defines."""
    if name in BUILTINS:
        return KNOWN
    if name in HARMFUL_BUILTINS or name.startswith("__"):
        return Level.DANGEROUS, f"the builtin {name} can run or write anything"
    return Level.UNKNOWN, "a builtin that is not on the list" if hasattr(builtins, name) else "defined nowhere"


def _judge_unlisted(name: str) -> Judgement:
    pieces = [piece for piece in name.split(".") if piece]
    if name in TOLERATED or not pieces:
        return Level.UNKNOWN, ""
    if name in HARMFUL_NAMES:
        return Level.DANGEROUS, "can run or write anything"
    if hidden := [p for p in pieces if p.startswith("__")]:
        return Level.DANGEROUS, f"reaches into Python's inner workings by {hidden[0]}"
    if private := [p for p in pieces if p.startswith("_")]:
        return Level.DANGEROUS, f"{private[0]} is private to its library"
    if found := [p for p in pieces if p in HARMFUL]:
        return Level.DANGEROUS, f"{found[0]} can run, fetch or write anything"
    if pieces[0] in sys.stdlib_module_names and pieces[0] not in TAME_STDLIB:
        return Level.DANGEROUS, f"no config needs Python's module {pieces[0]}"
    if len(pieces) == 1 and hasattr(builtins, name):
        return judge_builtin(name) if name not in BUILTINS else (Level.UNKNOWN, "a builtin as target")
    return Level.UNKNOWN, ""
