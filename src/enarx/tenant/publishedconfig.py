"""The published Steward's configuration, ``[snp]`` and ``[sgx]``: read as it is, where it can mean one thing only.

What the original reads in silence is said here: a key that stands in the other technology's table (its own example has
them the wrong way round) and is then ignored, and an empty allow-list, which it takes for any value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from enarx.evidence.snp.policyfile import STEWARD_KEYS
from enarx.tenant.policytables import Tables
from enarx.toml_document import Path, show

_DIGESTS: Final = ("signer", "hash", "hash_blacklist")
_SGX_LISTS: Final[Mapping[str, frozenset[str] | None]] = {
    "features": frozenset(("CET", "Debug", "EInitKey", "KSS", "ProvisioningKey")),
    "misc_select": frozenset(("EXINFO",)),
    "allowed_advisories": None,
}
_SGX_NUMBERS: Final = ("enclave_security_version", "enclave_product_id")
_SGX_KEYS: Final = (*_DIGESTS, *_SGX_LISTS, *_SGX_NUMBERS)
_SNP_ONLY: Final = ("id_key_digest", "id_key_digest_blacklist", "abi", "policy_flags", "platform_info_flags")
_SNP_ALLOWED: Final = ("signer", "hash", "id_key_digest")
_SNP_DENIED: Final = ("hash_blacklist", "id_key_digest_blacklist")


def check_sgx(reader: Tables, table: Any) -> None:
    """Check the ``[sgx]`` table, which applies to evidence that this Steward refuses by name; raises ConfigError."""
    path: Path = ("sgx",)
    _check_place(reader, path, table, _SNP_ONLY)
    reader.only_keys(path, table, _SGX_KEYS)
    found: dict[str, set[str]] = {key: set() for key in _DIGESTS}
    for key in _DIGESTS:
        for one in _listed(reader, (*path, key), table.get(key, [])):
            text = reader.text((*path, key), one)
            if not re.fullmatch("[0-9a-fA-F]{64}", text):
                what, hint = f"[sgx] {key} {show(text)} is not a digest", "64 hexadecimal digits"
                raise reader.document.error((*path, key), "policy-value", what, hint)
            found[key].add(text.lower())
    if not any(found.values()):
        what = "[sgx]: one of signer, hash, hash_blacklist must be specified"
        raise reader.document.error(path, "policy-value", what, "say which enclaves are meant")
    if found["hash"] & found["hash_blacklist"]:
        raise reader.document.error(path, "policy-contradiction", "a hash is both accepted and denied", "decide")
    for key, allowed in _SGX_LISTS.items():
        for one in _listed(reader, (*path, key), table.get(key, [])):
            if reader.text((*path, key), one) not in (allowed or {one}):
                what, hint = f"[sgx] {key} {show(one)} is not known", f"of {', '.join(sorted(allowed or ()))}"
                raise reader.document.error((*path, key), "policy-value", what, hint)
    for key in _SGX_NUMBERS:
        if key in table:
            reader.number((*path, key), table[key], 0xFFFF)


def read_snp(reader: Tables, table: Mapping[str, Any]) -> dict[str, Any]:
    """What ``[snp]`` states, without deny-lists that deny nothing; raises ConfigError."""
    path: Path = ("snp",)
    _check_place(reader, path, table, (*_SGX_LISTS, *_SGX_NUMBERS))
    for key in _SNP_ALLOWED:
        if table.get(key) == []:
            ours = STEWARD_KEYS.get(key, key)
            hint = f"leave {key} (or {ours}) out, or name digests: the published Steward takes an empty list for any"
            what = f"[snp] {key} accepts nothing"
            raise reader.document.error((*path, key), "policy-value", what, hint)
    return {key: value for key, value in table.items() if not (key in _SNP_DENIED and value == [])}


def _check_place(reader: Tables, path: Path, table: Any, others: tuple[str, ...]) -> None:
    for key in table if isinstance(table, dict) else ():
        if key in others:
            other = "sgx" if path == ("snp",) else "snp"
            what, hint = f"{key} is no key of [{path[0]}]", f"it belongs under [{other}]; here it would not be applied"
            raise reader.document.error((*path, key), "policy-unknown-key", what, hint, key=True)


def _listed(reader: Tables, path: Path, value: Any) -> list[Any]:
    """A list, which may be empty."""
    return [] if value == [] else reader.listing(path, value)
