"""The reference of errors: every code that the source can raise, found in the source.

A code stands in a call as ``code="..."``, or is handed to a function that puts it there (``bad("too-long", ...)`` makes
``manifest-too-long``). Both are found; a code that is computed in any other way is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx import errors
from scripts.site.markdown import cell, plain, slug, table

SOURCE: Final = Path(__file__).resolve().parent.parent.parent / "src" / "enarx"
_CODE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a code is named: by which class or function, with what is said (``…`` for what is known later)."""

    code: str
    maker: str
    message: str
    hint: str
    module: str


@dataclass(frozen=True, slots=True)
class _Maker:
    """A function that makes errors: of which class, the prefix of its codes, which arguments are code, message and hint
    (-1 for one that is none), and the hint that it gives by itself."""

    module: str
    kind: str
    prefix: str
    code: int
    message: int
    hint: int
    own_hint: str


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    tree: ast.Module


def page() -> str:
    """Markdown: the classes with their exit statuses, then every code."""
    return "\n".join((*_classes(), "## Codes", "", *_codes()))


def classes() -> Mapping[str, type[errors.EnarxError]]:
    """The error classes by name, in the order of the file."""
    return {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.EnarxError)
    }


def places(source: Path = SOURCE) -> set[Place]:
    """Every place below ``source`` that names a code."""
    modules = [_Module(_dotted(path, source), ast.parse(path.read_bytes())) for path in sorted(source.rglob("*.py"))]
    makers: dict[str, list[_Maker]] = {}
    for module in modules:
        for name, maker in _makers(module):
            makers.setdefault(name, []).append(maker)
    return {place for module in modules for place in _named(module, makers)}


def _dotted(path: Path, source: Path) -> str:
    return ".".join(("enarx", *path.relative_to(source).with_suffix("").parts)).removesuffix(".__init__")


def _makers(module: _Module) -> Iterator[tuple[str, _Maker]]:
    for node in _functions(module):
        names = [argument.arg for argument in node.args.args if argument.arg != "self"]
        place = {name: index for index, name in enumerate(names)}
        for call in _calls(node):
            prefix, code = _computed(_word(call, "code"))
            if code in place:
                said = [
                    one.id for one in ast.walk(_message(call) or call) if isinstance(one, ast.Name) and one.id in place
                ]
                hint = _word(call, "hint")
                advice = place.get(hint.id, -1) if isinstance(hint, ast.Name) else -1
                message = place[said[-1]] if said else -1
                own = _text(hint, {}) if advice < 0 else ""
                yield node.name, _Maker(module.name, _called(call), prefix, place[code], message, advice, own)


def _named(module: _Module, makers: Mapping[str, Iterable[_Maker]]) -> Iterator[Place]:
    for call, known in _calls_with_variables(module):
        name = _called(call)
        code = _word(call, "code")
        hint = _text(_word(call, "hint"), known)
        if isinstance(code, ast.Constant) and isinstance(code.value, str):
            yield Place(code.value, name, _text(_message(call), known), hint, module.name)
        for maker in makers.get(name, ()):
            given = call.args[maker.code] if len(call.args) > maker.code else None
            is_ours = not name.startswith("_") or maker.module == module.name
            if is_ours and isinstance(given, ast.Constant) and _CODE.fullmatch(str(given.value)):
                message, advice = (
                    _text(call.args[at], known) if 0 <= at < len(call.args) else ""
                    for at in (maker.message, maker.hint)
                )
                yield Place(
                    maker.prefix + str(given.value), maker.kind, message, hint or advice or maker.own_hint, module.name
                )


def _functions(module: _Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef))


def _calls_with_variables(module: _Module) -> Iterator[tuple[ast.Call, Mapping[str, ast.expr]]]:
    """Each call, and what the variables of its function were last assigned above it."""
    seen: set[int] = set()
    for function in _functions(module):
        assigned = sorted(_assignments(function), key=lambda one: one[0])
        for call in _calls(function):
            if id(call) not in seen:
                seen.add(id(call))
                yield call, {name: value for line, name, value in assigned if line < call.lineno}
    yield from ((call, {}) for call in _calls(module.tree) if id(call) not in seen)


def _assignments(function: ast.FunctionDef) -> Iterator[tuple[int, str, ast.expr]]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name):
            yield node.lineno, target.id, node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(name, ast.Name):
                    yield node.lineno, name.id, value


def _message(call: ast.Call) -> ast.expr | None:
    return call.args[0] if call.args else _word(call, "message")


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Call))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _word(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)


def _computed(node: ast.expr | None) -> tuple[str, str]:
    """Prefix and variable of ``code``, or of ``f"prefix-{code}"``."""
    if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[0], ast.Constant):
        inner = node.values[1]
        if isinstance(inner, ast.FormattedValue) and isinstance(inner.value, ast.Name):
            return str(node.values[0].value), inner.value.id
    return ("", node.id) if isinstance(node, ast.Name) else ("", "")


def _text(node: ast.expr | None, known: Mapping[str, ast.expr]) -> str:
    """What an expression says, with an ellipsis for what is only known when it happens."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, known) + _text(node.right, known)
    if isinstance(node, ast.Name) and node.id in known:
        return _text(known[node.id], {})
    return "…" if node is not None else ""


def _classes() -> Iterator[str]:
    rows = [(f"`{name}`", f"`{kind.default_code}`", str(kind.exit_status)) for name, kind in classes().items()]
    yield from table(("class", "code when none is said", "exit status"), rows)


def _codes() -> Iterator[str]:
    by_code: dict[str, list[Place]] = {}
    for place in sorted(places()):
        by_code.setdefault(place.code, []).append(place)
    known = classes()
    for code, found in by_code.items():
        kinds = [name for name in known if any(place.maker == name for place in found)]
        yield f"(error-{slug(code)})="
        yield f"### `{code}`"
        yield ""
        statuses = sorted({known[kind].exit_status for kind in kinds})
        made = (
            f"{', '.join(f'`{kind}`' for kind in kinds)}, exit status {', '.join(map(str, statuses))}; "
            if kinds
            else ""
        )
        yield made + ", ".join(f"`{module}`" for module in sorted({place.module for place in found}))
        yield ""
        said = ((cell(plain(place.message)), cell(plain(place.hint))) for place in found)
        yield from table(
            ("what it says", "what to do"), [row for row in dict.fromkeys(said) if row[0] not in ("", "…")]
        )
