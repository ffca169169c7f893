"""Whatever MONAI would evaluate, import or call in a config, the inspection has named."""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings

import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.bundle import config_item as monai_items

from polyp_monai.sharing import configs, expressions
from polyp_monai.sharing.findings import Level

NAMES = st.sampled_from(["a", "b", "c", "x", "network", "imports", "run", "initialize", "0", "1"])
TARGETS = st.sampled_from(
    [
        "UNet",
        "Compose",
        "os.system",
        "open",
        "run_cmd",
        "torch.nn.Identity",
        "torch.os.system",
        "@a",
        "$@b",
        "%c",
        "%x::a",
        "",
    ]
)
EXPRESSIONS = st.sampled_from(
    [
        *(
            "$1 + 1",
            "$@a",
            "$@a::b",
            "$'@b'",
            "$@::c",
            "$open('x')",
            "$torch.os",
            "$[i for i in @a]",
            "$import os",
            " $open('x')",
        ),
        *(
            "$from os import system",
            "$import math as m",
            "$m.pi",
            "$#",
            "$@a#b + '#'",
            "$",
            "$$",
            "%a",
            "%::b",
            "%b::a",
            "@a",
            "@::b",
        ),
        *(
            "$__import__('os')",
            "$lambda: open('x')",
            "@a::0",
            "$@imports::0.system('x')",
            "text",
            "$import os; open('x')",
            "%%a",
        ),
    ]
)
KEYS = st.one_of(
    NAMES,
    st.sampled_from(
        [
            "_target_",
            "_mode_",
            "_disabled_",
            "_requires_",
            "_desc_",
            "_debug_",
            "a#_target_",
            "a::_target_",
            "+a",
            "a#b",
            "b::x",
            "+b",
        ]
    ),
)


def values(depth: int = 3) -> st.SearchStrategy:
    plain = st.one_of(EXPRESSIONS, st.integers(0, 3), st.booleans(), st.none())
    if not depth:
        return plain
    inner = values(depth - 1)
    component = st.builds(lambda t, more: {**more, "_target_": t}, TARGETS, st.dictionaries(KEYS, inner, max_size=2))
    return st.one_of(plain, component, st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=3))


# most references lead somewhere, so that MONAI gets as far as running things
CONFIGS = st.builds(
    lambda named, more: {**named, **more},
    st.fixed_dictionaries({name: values(2) for name in ("a", "b", "c", "x", "imports")}),
    st.dictionaries(KEYS, values(), max_size=3),
)


def run_by_monai(files: list[str]) -> tuple[set[str], set[str], set[str]]:
    """(code, targets, modules) that MONAI evaluates, calls and imports, of every item; none of it happens."""
    code, targets, modules = set(), set(), set()

    def evaluate(text, *_):
        code.add(text)
        return f"result of {text}"

    def instantiate(target, *_, **__):
        targets.add(target)
        return f"made by {target}"

    def imported(module, name="", **_):
        modules.add(f"{module}.{name}" if name else module)
        return f"module {module}", True

    saved = monai_items.instantiate, monai_items.optional_import, monai_items.ConfigComponent.resolve_module_name
    monai_items.eval, monai_items.instantiate, monai_items.optional_import = evaluate, instantiate, imported
    monai_items.ConfigComponent.resolve_module_name = lambda self: self.get_config()["_target_"]
    try:
        parser = ConfigParser()
        parser.read_config(files)
        for _ in range(2):  # a second parse resolves the macros that the first put in
            parser.parse(reset=True)
            for item in list(parser.ref_resolver.items):
                try:
                    parser.ref_resolver.get_resolved_content(item)
                except Exception:  # a broken config is no concern here
                    continue
    except Exception:
        pass
    finally:
        del monai_items.eval
        monai_items.instantiate, monai_items.optional_import, monai_items.ConfigComponent.resolve_module_name = saved
    return code, targets, modules


def without_ids(code: str) -> str:
    return re.sub(r"__local_refs\['[^']*'\]", "@", code)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(CONFIGS, st.dictionaries(KEYS, values(2), max_size=2), st.booleans())
def test_everything_that_would_run_is_named(tmp_path, first, second, as_yaml):
    files = []
    for number, content in enumerate((first, second)):
        name = f"{number}.{'yaml' if as_yaml else 'json'}"
        (tmp_path / name).write_text(yaml.safe_dump(content) if as_yaml else json.dumps(content))
        files.append(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, targets, modules = run_by_monai([str(tmp_path / name) for name in files])
    read = [configs.read(tmp_path / name, name) for name in files]
    found = configs.examine(read, configs.scope(read))

    named = {
        without_ids(expressions.code_of(f.what, f.place.partition("::")[2])) for f in found if f.kind == "expression"
    }
    assert {without_ids(text) for text in code} <= named | {""}
    imports = [expressions.imported(expressions.code_of(f.what, "x")) for f in found if f.kind == "import"]
    assert modules <= {one[0] for one in imports if one}
    plain = {f.what for f in found if f.kind == "target"}
    hidden = any(f.kind == "target" and f.level == Level.DANGEROUS for f in found) or any(
        f.kind == "target" and f.what[:1] in "$@%" and f.level > Level.KNOWN for f in found
    )
    assert hidden or {target for target in targets if isinstance(target, str)} <= plain


THINGS = st.sampled_from(
    ["1", "'a'", "x", "[x]", "{'a': x}", "torch", "torch.sigmoid", "os.environ", "os.path.join", "os"]
)
TARGETS_OF_LOOPS = st.sampled_from(
    ["x", "(x, y)", "os.environ['A']", "torch.sigmoid", "x.data", "x[0]", "torch.a", "y"]
)
PYTHON = st.recursive(
    THINGS,
    lambda inner: st.one_of(
        st.builds("[{} for {} in [{}]]".format, inner, TARGETS_OF_LOOPS, inner),
        st.builds("{}.{}".format, THINGS, st.sampled_from(["data", "get", "items", "update", "system", "gi_frame"])),
        st.builds("({})({})".format, inner, inner),
        st.builds("({})['{}']".format, inner, st.sampled_from(["a", "HOME"])),
        st.builds("(lambda y={}: {})()".format, inner, inner),
        st.builds("(y := {})".format, inner),
        st.builds("getattr({}, '{}')".format, inner, st.sampled_from(["data", "environ", "remove"])),
        st.builds("{} if {} else {}".format, inner, inner, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(PYTHON)
def test_an_expression_that_is_called_known_changes_nothing(text):
    around = expressions.Scope({"os": {"os"}})
    level, _ = expressions.judge(expressions.code_of(f"${text}", "a::b"), around)
    if level > Level.KNOWN:
        return
    before = dict(os.environ), dict(vars(torch)), dict(vars(os))
    with contextlib.suppress(Exception), warnings.catch_warnings():  # most of them make no sense
        warnings.simplefilter("ignore")
        eval(text, {"torch": torch, "os": os, "x": {"a": [1]}})
    assert (dict(os.environ), dict(vars(torch)), dict(vars(os))) == before


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="$@%#:ab'\"()[]. oslimprt_\\n+0", max_size=30))
def test_no_text_breaks_the_judge(text):
    level, why = expressions.judge(expressions.code_of("$" + text, "a::b"), expressions.Scope())
    assert why or level == Level.KNOWN
