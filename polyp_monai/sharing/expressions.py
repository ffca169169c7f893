"""Judges a `$` expression of a config by its syntax tree, without evaluating it.

The text is first rewritten exactly as MONAI does it before it calls `eval`: "#" becomes "::", relative ids absolute
ones, and every "@id", in quotes too, a look-up of that item.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from polyp_monai.sharing import names
from polyp_monai.sharing.findings import Level
from polyp_monai.sharing.names import KNOWN, Judgement

REFS = "__local_refs"
REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
RELATIVE = re.compile(r"(?:@|%)(?:::)+")
GLOBALS = {
    "monai": {"monai"},
    "torch": {"torch"},
    "np": {"numpy"},
    "numpy": {"numpy"},
}  # MONAI gives them to every config

PLAIN = (
    *(ast.Expression, ast.Module, ast.Expr, ast.Constant, ast.Load, ast.Store, ast.List, ast.Tuple, ast.Dict, ast.Set),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
    *(ast.Call, ast.keyword, ast.Starred, ast.Subscript, ast.Slice, ast.Lambda, ast.arguments, ast.arg),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.JoinedStr, ast.FormattedValue),
    *(ast.Name, ast.Attribute, ast.NamedExpr),
)


@dataclass
class Scope:
    """What names mean in a bundle's configs.

    `aliases`: name -> dotted modules or objects that some config imports under it. `imports`: ids of the items that are
    imports. `own`: top-level modules that the bundle itself brings, which are unknown unless in `verified`.
    """

    aliases: Mapping[str, set[str]] = field(default_factory=dict)
    imports: Collection[str] = ()
    own: Collection[str] = ()
    verified: Collection[str] = ()

    def judge(self, name: str) -> Judgement:
        """Of a dotted name."""
        return self._of_bundle(name) or names.judge(name)

    def judge_import(self, module: str) -> Judgement:
        """Of importing a module."""
        return self._of_bundle(module) or names.judge_import(module)

    def _of_bundle(self, name: str) -> Judgement | None:
        root = name.partition(".")[0]
        if name in self.verified:
            return KNOWN
        return (Level.UNKNOWN, "the bundle's own code") if root in self.own else None


def code_of(value: str, item: str) -> str:
    """The Python text that MONAI evaluates for the config's string `value`, which begins with "$", at the id `item`."""
    value = resolve_relative(value, item)
    for found in sorted(REFERENCE.findall(value), key=len, reverse=True):
        value = value.replace(found, f"{REFS}['{found[1:]}']")
    return value[1:]


def resolve_relative(value: str, item: str) -> str:
    """`value` with "::" for "#" and absolute ids for relative ones; ids that lead out of the config stay."""
    value = value.replace("#", "::")
    current = item.split("::")
    for prefix in sorted(set(RELATIVE.findall(value)), reverse=True):
        levels = prefix[1:].count("::")
        if levels <= len(current):
            above = "" if levels == len(current) else "::".join(current[:-levels]) + "::"
            value = value.replace(prefix, prefix[0] + above)
    return value


def imported(code: str) -> tuple[str, str, str] | None:
    """(module, alias, what the alias means) when MONAI takes `code` for an import statement; else None."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not body or not isinstance(body[0], (ast.Import, ast.ImportFrom)):
        return None
    first = body[0].names[0]
    if isinstance(body[0], ast.ImportFrom):
        module = "." * body[0].level + (body[0].module or "")
        return f"{module}.{first.name}", first.asname or first.name, f"{module}.{first.name}"
    # "import a.b" is bound as "a.b", which no expression can spell; the name a then means what others imported
    return first.name, first.asname or first.name, first.name


@cache
def _known_expressions() -> frozenset[str]:
    return frozenset(code_of(f"${text}", "") for text in names.known_expressions())


def judge(code: str, scope: Scope) -> Judgement:
    """Level of a whole expression (not of an import), and why."""
    if code.strip() in _known_expressions():
        return KNOWN
    try:
        tree = ast.parse(code, mode="eval")
        return max(_judgements(tree, scope), default=KNOWN, key=lambda found: found[0])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Level.UNKNOWN, "cannot be read as Python"


def _judgements(tree: ast.AST, scope: Scope) -> Iterator[Judgement]:
    local = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    local |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            yield Level.DANGEROUS, "sets something outside of the expression"
        if (path := _dotted(node)) is not None:
            yield from _judge_path(path, local, scope)
        elif (reference := _reference(node)) is not None:
            yield _judge_reference(reference, scope)
        elif isinstance(node, ast.Attribute):
            yield _judge_attribute(node.attr)
            pending.append(node.value)
        elif (call := _plain_getattr(node)) is not None:
            first, name, *others = call
            yield _judge_attribute(name)
            pending += [first, *others]
        elif isinstance(node, PLAIN):
            if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.LShift)):
                yield Level.UNKNOWN, "a power can fill the memory"
            pending += ast.iter_child_nodes(node)
        else:
            yield Level.UNKNOWN, f"syntax that configs do not need ({type(node).__name__})"


def _dotted(node: ast.AST) -> list[str] | None:
    """["torch", "cuda", "is_available"] of such a chain of names; None of anything else."""
    pieces: list[str] = []
    while isinstance(node, ast.Attribute):
        pieces.append(node.attr)
        node = node.value
    return [node.id, *reversed(pieces)] if isinstance(node, ast.Name) else None


def _judge_path(path: list[str], local: Collection[str], scope: Scope) -> Iterator[Judgement]:
    root = path[0]
    if root == REFS:
        yield Level.DANGEROUS, "reaches into MONAI's own variables"
        return
    meanings = scope.aliases.get(root, set()) | GLOBALS.get(root, set())
    if root in local:
        yield from (_judge_attribute(attribute) for attribute in path[1:])
    for meaning in meanings:
        yield scope.judge(".".join([meaning, *path[1:]]))
    if not meanings and root not in local:
        level, why = names.judge_builtin(root)
        inner = [_judge_attribute(attribute) for attribute in path[1:]]
        yield max([(level, f"{root}: {why}" if why else ""), *inner], key=lambda found: found[0])


def _judge_attribute(name: str) -> Judgement:
    if names.is_known_attribute(name):
        return KNOWN
    if name.startswith("__") or name in names.HARMFUL:
        return Level.DANGEROUS, f"the attribute {name} can reach anything"
    return Level.UNKNOWN, f"the attribute {name} is not on the list"


def _reference(node: ast.AST) -> str | None:
    """The id in a look-up that stands for "@id"."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == REFS:
        key = node.slice
        return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
    return None


def _judge_reference(item: str, scope: Scope) -> Judgement:
    return (Level.DANGEROUS, f"takes a module as a value, by @{item}") if refers_to_import(item, scope) else KNOWN


def refers_to_import(item: str, scope: Scope) -> bool:
    """Whether the item, or something in it, is a module."""
    return any(i == item or i.startswith(f"{item}::") or not item for i in scope.imports)


def _plain_getattr(node: ast.AST) -> tuple[Any, ...] | None:
    """Object, name and default of a getattr whose attribute is written out; None of anything else."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr")):
        return None
    if len(node.args) not in (2, 3) or node.keywords or not isinstance(node.args[1], ast.Constant):
        return None
    first, name, *others = node.args
    return (first, name.value, *others) if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
