"""Policies written in TOML: the ``[snp]`` table of a policy file, and that of an Enarx Steward's configuration.

Strict: an unknown key, a wrong type or a digest of the wrong length is an error that names it, because a rule that was
misspelt would otherwise be a rule that is not applied. ``KEYS`` lists every key.

The Steward's keys keep their meaning: ``hash`` is ``measurement``, ``hash_blacklist`` ``measurement_deny``, ``signer``
``author_key_digest``, ``id_key_digest_blacklist`` ``id_key_digest_deny``; ``abi`` is a requirement on the ABI in the
guest policy; ``platform_info_flags`` compares the low byte exactly. ``policy_flags``, which the original parses and
ignores, is compared here: of Debug, SMT and SingleSocket the guest policy must have exactly the ones listed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from enarx.errors import ConfigError
from enarx.evidence.reference import Include, included
from enarx.evidence.snp.abi import PLATFORM_BITS, PLATFORM_SMT_EN, PLATFORM_TSME_EN
from enarx.evidence.snp.policy import ANY, TCB_COMPONENTS, TCB_FIELDS, GuestPolicyRules, Policy
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.semver import parse_requirement

POLICY_MAX_BYTES = 256 * 1024
"""Largest policy file that is read (bytes)."""
LIST_MAX = 4096
"""Values in one list of a policy (count)."""

STEWARD_KEYS = {
    "hash": "measurement",
    "hash_blacklist": "measurement_deny",
    "signer": "author_key_digest",
    "id_key_digest_blacklist": "id_key_digest_deny",
}
"""Keys of the Enarx Steward that are another name for ours."""
_DIGEST_LISTS = {
    "measurement_deny": (48,),
    "id_key_digest": (48,),
    "id_key_digest_deny": (48,),
    "author_key_digest": (48,),
    "host_data": (32,),
    "family_id": (16,),
    "image_id": (16,),
    "chip_id": (64, 8),
}
ALWAYS_JUDGED = frozenset(
    ("simulated", "vmpl", *(f"guest_policy.{name}" for name in ("debug", "migration", "smt", "cxl")))
)
"""Keys that have a default which is judged when nobody states another value."""
_ZERO_IS_A_VALUE = ("host_data", "family_id", "image_id")
_NUMBERS = ("minimum_guest_svn", "minimum_report_version")
_SWITCHES = ("provisional_firmware", "reserved", "require_crl", "simulated")
_STEWARD_PLATFORM = {"SME": PLATFORM_SMT_EN, "TSME": PLATFORM_TSME_EN}
"""The Steward's names for the two lowest bits; bit 0, which it calls SME, is SMT_EN in the specification."""
_STEWARD_FLAGS = frozenset(("Debug", "SingleSocket", "SMT"))

INCLUDE = "include"
"""Key that takes in the launch digests of an image, from its file of reference values."""

T = TypeVar("T")


def parse_policy(data: bytes | str, source: str = "snp", include: Include | None = None) -> Policy:
    """Read the ``[snp]`` table of a TOML document; other tables belong to other technologies and are not read.

    ``include`` reads the files of reference values that it names; without it, one that names any is refused.

    ConfigError when the text is not TOML, has no ``[snp]`` table, misspells a key or a value, or does not say which
    guest it means: a policy without a measurement (or the digest of a key that signed the launch) accepts nothing,
    which is said here and not only at the first refusal.
    """
    if len(data) > POLICY_MAX_BYTES:
        raise ConfigError(
            f"a policy of more than {POLICY_MAX_BYTES} bytes", code="policy-too-long", hint="split it by guest"
        )
    try:
        document = tomllib.loads(data.decode() if isinstance(data, bytes) else data)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"the policy is not TOML: {error}", code="policy-syntax", hint="mend the file") from error
    table = document.get("snp")
    if not isinstance(table, dict):
        raise ConfigError(
            "the policy has no [snp] table, so no SEV-SNP guest is accepted",
            code="policy-no-table",
            hint="add [snp] with at least a measurement",
        )
    return policy_from_table(table, source, include)


def policy_from_table(table: Mapping[str, Any], source: str = "snp", include: Include | None = None) -> Policy:
    """Like ``parse_policy``, for the ``[snp]`` table alone, already read."""
    renamed: dict[str, Any] = {}
    for key, value in table.items():
        name = STEWARD_KEYS.get(key, key)
        if name in renamed:
            raise _error(key, f"is another name for {name}, which is there as well", "state it once")
        renamed[name] = value
    stated: dict[str, Any] = {"source": source}
    for key, value in renamed.items():
        _read_key(key, value, stated)
    if INCLUDE in table:
        stated.update(_with_included(table[INCLUDE], stated, include))
    rules = stated.pop("_rules", {})
    stated["defaults"] = ALWAYS_JUDGED - {*renamed, *(f"guest_policy.{name}" for name in rules)}
    if rules:
        stated["guest_policy"] = GuestPolicyRules(**rules)
    policy = Policy(**stated)
    _check_sense(policy, denies=bool(policy.measurement_deny))
    if not policy.names_the_guest():  # only a deny list: everything else is accepted, as the Steward does
        policy = Policy(**{**stated, "any_measurement": True})
    return policy


def _with_included(value: Any, stated: Mapping[str, Any], include: Include | None) -> dict[str, Any]:
    if stated.get("any_measurement"):
        raise ConfigError(
            '[snp] include adds nothing to measurement = "any"',
            code="policy-contradiction",
            hint="leave one of them out",
        )
    try:
        found = included(value, ("snp",), include)
    except ConfigError as error:
        raise ConfigError(f"[snp] {error.message}", code=error.code, hint=error.hint) from error
    return {"measurement": tuple(dict.fromkeys((*stated.get("measurement", ()), *found)))}


def _read_key(key: str, value: Any, stated: dict[str, Any]) -> None:
    if key == "measurement":
        if value == ANY:
            stated["any_measurement"] = True
        else:
            stated["measurement"] = _digests(key, value, (48,))
    elif key == INCLUDE:
        pass  # added to the measurements, when those have been read
    elif key in _DIGEST_LISTS:
        stated[key] = _digests(key, value, _DIGEST_LISTS[key])
    elif key in _NUMBERS:
        stated[key] = _number(key, value, 0xFFFFFFFF)
    elif key in _SWITCHES:
        stated[key] = _switch(key, value)
    elif key in _READERS:
        name, reader = _READERS[key]
        stated[name] = reader(key, value)
    elif key == "guest_policy":
        stated.setdefault("_rules", {}).update(_guest_policy(key, value))
    elif key == "abi":
        stated.setdefault("_rules", {})["abi"] = parse_requirement(_text(key, value))
    elif key == "policy_flags":
        stated.setdefault("_rules", {}).update(_policy_flags(key, value))
    else:
        raise _error(key, "is not a key of [snp]", f"known keys: {', '.join(sorted(KEYS))}")


def _check_sense(policy: Policy, *, denies: bool) -> None:
    if not policy.names_the_guest() and not denies:
        raise ConfigError(
            "the policy names no measurement and nobody who signed the launch, so it accepts nothing",
            code="policy-no-measurement",
            hint='state measurement = ["..."] (enarx measure snp computes it), include (what enarx image build wrote), '
            'author_key_digest or id_key_digest; measurement = "any" accepts every guest on genuine hardware',
        )
    both = set(policy.measurement) & set(policy.measurement_deny)
    both |= set(policy.id_key_digest) & set(policy.id_key_digest_deny)
    if both:
        raise ConfigError(
            f"{sorted(both)[0].hex()} is both accepted and denied", code="policy-contradiction", hint="decide"
        )


def _error(key: str, what: str, hint: str) -> ConfigError:
    code = "policy-unknown-key" if "not a key" in what else "policy-value"
    return ConfigError(f"[snp] {key} {what}", code=code, hint=hint)


def _listing(key: str, value: Any) -> list[Any]:
    listed = value if isinstance(value, list) else [value]
    if not listed or len(listed) > LIST_MAX:
        raise _error(key, f"has {len(listed)} values", f"state 1 to {LIST_MAX}, or leave the key out")
    return listed


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _error(key, f"is not a string: {value!r}", "put it in quotes")
    return value


def _number(key: str, value: Any, top: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= top:
        raise _error(key, f"is not a number from 0 to {top}: {value!r}", "mend the value")
    return value


def _switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _error(key, f"is neither true nor false: {value!r}", "write true or false")
    return value


def _hex(key: str, value: Any) -> bytes:
    text = _text(key, value).removeprefix("0x")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _error(key, f"has invalid hex: {text[:80]!r}", "write two hexadecimal digits for each byte") from error


def _digests(key: str, value: Any, sizes: tuple[int, ...]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for one in _listing(key, value):
        octets = _hex(key, one)
        if len(octets) not in sizes:
            wanted = " or ".join(map(str, sizes))
            raise _error(key, f"expected a length of {wanted} bytes, got {len(octets)}", "check what was copied")
        if not any(octets) and key not in _ZERO_IS_A_VALUE:
            raise _error(key, "is all zero, which is what an absent or masked value looks like", "state the real one")
        found.append(octets)
    return tuple(found)


def _report_data(key: str, value: Any) -> bytes:
    octets = _hex(key, value)
    if not 1 <= len(octets) <= 64:
        raise _error(key, f"has {len(octets)} bytes", "1 to 64 bytes; fewer than 64 are followed by zeros")
    return octets.ljust(64, b"\0")


def _vmpl(key: str, value: Any) -> tuple[int, ...]:
    return tuple(_number(key, one, 3) for one in _listing(key, value))


def _products(key: str, value: Any) -> tuple[Product, ...]:
    return tuple(_product(key, one) for one in _listing(key, value))


def _product(key: str, value: Any) -> Product:
    for product in Product:
        if _text(key, value).casefold() == product.value.casefold():
            return product
    raise _error(key, f"is not a product: {value!r}", f"one of {', '.join(p.value for p in Product)}")


def _signing_key(key: str, value: Any) -> tuple[str, ...]:
    names = tuple(_text(key, one).upper() for one in _listing(key, value))
    if not set(names) <= {"VCEK", "VLEK"}:
        raise _error(key, f"is not a signing key: {value!r}", "VCEK or VLEK")
    return names


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error(key, "is not a table", f"write [snp.{key}]")
    return value


def _guest_policy(key: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {one.name for one in fields(GuestPolicyRules)} - {"exact_flags"}
    for name, one in _table(key, value).items():
        if name not in known:
            raise _error(f"{key}.{name}", "is not a key", f"known: {', '.join(sorted(known))}")
        place = f"{key}.{name}"
        found[name] = parse_requirement(_text(place, one)) if name == "abi" else _switch(place, one)
    return found


def _policy_flags(key: str, value: Any) -> dict[str, Any]:
    flags = value if isinstance(value, list) else [value]
    if not all(isinstance(flag, str) and flag in _STEWARD_FLAGS for flag in flags):
        raise _error(key, f"has an unknown flag: {value!r}", f"of {', '.join(sorted(_STEWARD_FLAGS))}")
    listed = frozenset(flags)
    return {"exact_flags": listed, "debug": "Debug" in listed, "smt": "SMT" in listed}


def _platform(key: str, value: Any) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for name, one in _table(key, value).items():
        if name not in PLATFORM_BITS:
            raise _error(f"{key}.{name}", "is not a key", f"known: {', '.join(PLATFORM_BITS)}")
        found[name] = _switch(f"{key}.{name}", one)
    return found


def _platform_exact(key: str, value: Any) -> int:
    flag = _text(key, value)
    if flag not in _STEWARD_PLATFORM:
        raise _error(key, f"is not a flag: {flag!r}", "SME or TSME")
    return _STEWARD_PLATFORM[flag]


def _minimum_tcb(key: str, value: Any) -> Mapping[tuple[Product | None, str], Mapping[str, int]]:
    found: dict[tuple[Product | None, str], Mapping[str, int]] = {}
    for name, one in _table(key, value).items():
        if name in TCB_FIELDS:
            found[None, name] = _floor(f"{key}.{name}", one)
            continue
        product = _product(f"{key}.{name}", name)
        for which, floor in _table(f"{key}.{name}", one).items():
            if which not in TCB_FIELDS:
                raise _error(f"{key}.{name}.{which}", "is not a key", f"known: {', '.join(TCB_FIELDS)}")
            found[product, which] = _floor(f"{key}.{name}.{which}", floor)
    return found


def _floor(key: str, value: Any) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for name, one in _table(key, value).items():
        if name not in TCB_COMPONENTS:
            raise _error(f"{key}.{name}", "is not a key", f"known: {', '.join(TCB_COMPONENTS)}")
        found[name] = _number(f"{key}.{name}", one, 0xFF)
    return found


_READERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "report_data": ("report_data", _report_data),
    "vmpl": ("vmpl", _vmpl),
    "product": ("product", _products),
    "signing_key": ("signing_key", _signing_key),
    "platform": ("platform", _platform),
    "platform_info_flags": ("platform_exact", _platform_exact),
    "minimum_tcb": ("minimum_tcb", _minimum_tcb),
}

KEYS = frozenset(
    ("measurement", INCLUDE, "guest_policy", "abi", "policy_flags", *_DIGEST_LISTS, *_NUMBERS, *_SWITCHES, *_READERS)
) | frozenset(STEWARD_KEYS)
"""Every key that ``[snp]`` may have."""
