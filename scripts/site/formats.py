"""The reference of formats: keys, defaults and bounds, from the code that reads them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, Final

from scripts.site.errorcodes import SOURCE
from scripts.site.markdown import cell, plain, table

_LIMIT: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_IS_LIMIT: Final = re.compile(r"(^|_)(MAX|MIN|SECONDS|BYTES|CHARS|RATE|BURST|CONNECTIONS|LIFETIME)(_|$)")

_ABSENT: Final = {
    "measurement": "the policy is refused, unless `include`, `author_key_digest` or `id_key_digest` names the launch",
    "include": "nothing is added to `measurement`",
    "guest_policy": "as below",
    "platform": "as below",
    "minimum_tcb": "as below",
}


def enarx_toml() -> str:
    """What ``enarx config init`` writes."""
    from enarx.cli.config import TEMPLATE

    return f"```toml\n{TEMPLATE}```\n"


def policy_keys() -> str:
    """Every key of ``[snp]``: what it takes, and what holds without it."""
    from enarx.evidence.snp import policyfile
    from enarx.evidence.snp.abi import PLATFORM_BITS
    from enarx.evidence.snp.policy import TCB_COMPONENTS, TCB_FIELDS, GuestPolicyRules, Policy

    defaults = {one.name: one for one in fields(Policy)}
    others = {ours: theirs for theirs, ours in policyfile.STEWARD_KEYS.items()}
    rows = []
    for key in sorted(policyfile.KEYS - policyfile.STEWARD_KEYS.keys()):
        also = f"`{others[key]}`" if key in others else ""
        absent = _ABSENT.get(key) or _default(defaults.get(key)) or "not judged"
        rows.append((f"`{key}`", _takes(key), absent, also))
    rows += [
        (f"`guest_policy.{one.name}`", "requirement on a version" if one.name == "abi" else "true or false",
         _default(one) if f"guest_policy.{one.name}" in policyfile.ALWAYS_JUDGED else "not judged", "")
        for one in fields(GuestPolicyRules) if one.name != "exact_flags"
    ]  # fmt: skip
    rows += [(f"`platform.{name}`", "true or false", "not judged", "") for name in PLATFORM_BITS]
    components = ", ".join(f"`{name}`" for name in TCB_COMPONENTS)
    rows += [(f"`minimum_tcb.{name}`", f"numbers of {components}", "not judged", "") for name in TCB_FIELDS]
    return "\n".join(table(("key", "value", "when absent", "another name"), rows))


def _takes(key: str) -> str:
    from enarx.evidence.snp import policyfile

    if key in policyfile._DIGEST_LISTS or key == "measurement":
        sizes = policyfile._DIGEST_LISTS.get(key, (48,))
        more = ', or `"any"`' if key == "measurement" else ""
        return f"digests of {' or '.join(map(str, sizes))} bytes, hexadecimal{more}"
    if key in policyfile._NUMBERS:
        return "number"
    if key in policyfile._SWITCHES:
        return "true or false"
    known = {
        "abi": "requirement on a version",
        "guest_policy": "table, below",
        "include": "file of reference values, or table",
        "minimum_tcb": "table, below",
        "platform": "table, below",
        "platform_info_flags": "`SME` or `TSME`",
        "policy_flags": "of `Debug`, `SMT`, `SingleSocket`",
        "product": "list of products",
        "report_data": "1 to 64 bytes, hexadecimal",
        "signing_key": "`VCEK` or `VLEK`",
        "vmpl": "0 to 3",
    }
    return known[key]


def _default(field: Any) -> str:
    """A default that is judged, as TOML has it; empty for one that stands for nothing."""
    value = None if field is None or field.default is MISSING else field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) and value:
        return f"`{list(value)}`"
    return ""


def limits() -> str:
    """Every bound of the source that is a named constant with a description, by module."""
    lines: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        rows = list(_limits(ast.parse(path.read_bytes())))
        if rows:
            name = ".".join(("enarx", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
            lines += [f"## `{name}`", "", *table(("constant", "value", "what it bounds"), rows)]
    return "\n".join(lines)


def _limits(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        if not isinstance(target, ast.Name) or not (_LIMIT.fullmatch(target.id) and _IS_LIMIT.search(target.id)):
            continue
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        if value is not None and isinstance(said, str) and said:
            yield f"`{target.id}`", cell(f"`{ast.unparse(value)}`"), cell(plain(said))
