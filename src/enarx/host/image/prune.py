"""Leaves out of a module of declarations what no other module names.

The engine's package declares its whole C interface, function by function, when it is imported: more than a sixth of all
that a Keep imports, for functions of which it calls a few. What is left is the text of the module, statement by
statement, without those that define names which nobody uses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator


def prune(module: bytes, others: Iterable[bytes]) -> bytes:
    """The source of ``module`` without the top-level names that neither ``others`` nor what is left of it mention.

    A name is mentioned by an identifier or by a whole string. A string that is put together mentions all names that
    begin as it does. Statements that define nothing stay. SyntaxError or ValueError for what is not Python.
    """
    source = module.decode()
    statements = [(node, _defines(node)) for node in ast.parse(source).body]
    defined: dict[str, list[ast.stmt]] = {}
    for node, name in statements:
        if name:
            defined.setdefault(name, []).append(node)
    mentioned: set[str] = set()
    beginnings: set[str] = set()
    for other in others:
        tree = ast.parse(other)
        mentioned.update(_mentions(tree))
        beginnings.update(_beginnings(tree))
    wanted = [name for name in defined if name in mentioned or name.startswith(tuple(beginnings))]
    for node, name in statements:
        if not name:
            wanted += _mentions(node)
    kept: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in defined and name not in kept:
            kept.add(name)
            for node in defined[name]:
                wanted += _mentions(node)
    lines = source.splitlines(keepends=True)
    parts = [lines[_first_line(node) - 1 : node.end_lineno] for node, name in statements if not name or name in kept]
    return "".join(line for part in parts for line in part).encode()


def _defines(node: ast.stmt) -> str:
    """The name that a statement defines, or of whose value it sets an attribute; empty for any other statement."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name))]):
            return name
    return ""


def _first_line(node: ast.stmt) -> int:
    """With its decorators."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _mentions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.Constant(value=str() as name)
            ):
                yield name


def _beginnings(tree: ast.AST) -> Iterator[str]:
    """How strings begin that are put together, as far as a name could begin so."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.JoinedStr(values=[ast.Constant(value=str() as text), *_])
                | ast.BinOp(left=ast.Constant(value=str() as text))
            ) if text.isidentifier():
                yield text
