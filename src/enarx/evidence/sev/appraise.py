"""A tenant's policy on an authentic SEV launch: which guest, on which firmware, under which guest policy.

The launch digest is judged twice: ``verify_launch`` finds out which of the digests it was given the firmware measured,
and the policy here says which of them may have the secret. Absent means refuse: a policy without launch digests is
refused when it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from enarx.errors import ConfigError
from enarx.evidence.appraisal import Appraisal, Rule
from enarx.evidence.authentic import Authentic
from enarx.evidence.sev.authenticate import Platform
from enarx.evidence.sev.report import DIGEST_BYTES, Launch

TECHNOLOGY = "sev"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a SEV launch must be. Digests are raw SHA-256 values of 32 bytes.

    ``minimum_api`` is (major, minor); ``minimum_build`` applies to firmware of exactly that API version, as builds
    count anew with each. ``products`` and ``owners`` (SHA-256 of the OCA certificate) allow all when empty.
    ``debug`` and ``key_sharing`` allow what they name; ``require_es`` refuses guests whose registers are in the clear.
    """

    launch_digests: frozenset[bytes]
    minimum_api: tuple[int, int] = (0, 0)
    minimum_build: int = 0
    require_es: bool = True
    debug: bool = False
    key_sharing: bool = False
    migration: bool = False
    products: frozenset[str] = frozenset()
    owners: frozenset[bytes] = frozenset()
    source: str = "policy"

    def __post_init__(self) -> None:
        if not self.launch_digests:
            raise _config("launch_digests is empty", "sev-policy-digest", "name the launch digests that are accepted")
        for name, values in (("launch_digests", self.launch_digests), ("owners", self.owners)):
            if any(len(value) != DIGEST_BYTES for value in values):
                raise _config(f"{name}: a SHA-256 value has {DIGEST_BYTES} bytes", "sev-policy-digest", "64 hex digits")


def policy_from_table(table: Mapping[str, Any], source: str = "policy sev") -> Policy:
    """Read a ``[sev]`` table, as tomllib gives it; raises ConfigError for unknown keys and wrong values.

    Keys are the fields of ``Policy``: digests and owners as lists of hex, ``minimum_api`` as ``"1.51"``.
    """
    known = set(Policy.__dataclass_fields__) - {"source"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise _config(f"unknown key {unknown[0]!r}", "config-unknown-key", f"known are: {', '.join(sorted(known))}")
    booleans = {
        name: _boolean(table, name) for name in ("require_es", "debug", "key_sharing", "migration") if name in table
    }
    return Policy(
        launch_digests=frozenset(_hex_list(table, "launch_digests")),
        minimum_api=_version(table.get("minimum_api", "0.0")),
        minimum_build=_byte(table.get("minimum_build", 0), "minimum_build"),
        products=frozenset(_text_list(table, "products")),
        owners=frozenset(_hex_list(table, "owners")),
        source=source,
        **booleans,
    )


def appraise(launch: Authentic[Launch], policy: Policy) -> Appraisal:
    """Judge an authentic launch; every rule is judged, none hides another."""
    rules = tuple(_rules(launch.value, policy))
    return Appraisal(TECHNOLOGY, rules, launch.proof.simulated)


def appraise_platform(platform: Authentic[Platform], policy: Policy) -> tuple[Rule, ...]:
    """What the policy says of a platform before anything is launched there; no rule where it accepts any."""
    value = platform.value
    return tuple(_platform_rules(value.product, sha256(value.oca.to_bytes()).digest(), policy))


def _rules(launch: Launch, policy: Policy) -> Iterator[Rule]:
    source = policy.source
    yield Rule(
        "launch-digest",
        any(launch.digest) and launch.digest in policy.launch_digests,
        " or ".join(sorted(digest.hex() for digest in policy.launch_digests)),
        launch.digest.hex(),
        f"{source}.launch_digests",
        "the guest was not launched from an accepted image",
        "measurement-mismatch",
    )
    firmware = launch.firmware
    api = (firmware.api_major, firmware.api_minor)
    recent = api > policy.minimum_api or (api == policy.minimum_api and firmware.build_id >= policy.minimum_build)
    yield Rule(
        "firmware",
        recent,
        f"{policy.minimum_api[0]}.{policy.minimum_api[1]} build {policy.minimum_build} or later",
        str(firmware),
        f"{source}.minimum_api",
        "the platform's owner must update the SEV firmware",
        "firmware-outdated",
    )
    yield from _guest_policy_rules(launch, policy)
    yield from _platform_rules(launch.product, launch.owner_sha256, policy)


def _platform_rules(product: str, owner: bytes, policy: Policy) -> Iterator[Rule]:
    source = policy.source
    if policy.products:
        yield Rule(
            "product",
            product in policy.products,
            " or ".join(sorted(policy.products)),
            product,
            f"{source}.products",
            "run the guest on a platform of an accepted product",
        )
    if policy.owners:
        yield Rule(
            "owner",
            owner in policy.owners,
            " or ".join(sorted(one.hex() for one in policy.owners)),
            owner.hex(),
            f"{source}.owners",
            "the platform belongs to another owner (OCA certificate)",
        )


def _guest_policy_rules(launch: Launch, policy: Policy) -> Iterator[Rule]:
    guest = launch.policy
    judged = (
        ("debug", policy.debug, guest.debug_allowed, "debug-enabled", "set NODBG (bit 0)"),
        ("key_sharing", policy.key_sharing, guest.key_sharing_allowed, "key-sharing-allowed", "set NOKS (bit 1)"),
        ("migration", policy.migration, guest.send_allowed, "migration-allowed", "set NOSEND (bit 3)"),
    )
    for name, allowed, seen, code, advice in judged:
        yield Rule(
            name.replace("_", "-"),
            allowed or not seen,
            "allowed or not" if allowed else "not allowed",
            "allowed" if seen else "not allowed",
            f"{policy.source}.{name}",
            f"{advice} in the guest policy and launch anew",
            code,
        )
    yield Rule(
        "es",
        guest.es_required or not policy.require_es,
        "SEV-ES" if policy.require_es else "SEV or SEV-ES",
        "SEV-ES" if guest.es_required else "SEV",
        f"{policy.source}.require_es",
        "set ES (bit 2) in the guest policy; without it the host reads and writes the guest's registers",
        "es-required",
    )
    yield Rule(
        "policy-reserved",
        not guest.reserved,
        "0x0",
        f"{guest.reserved:#x}",
        "SEV API 55766, chapter 3",
        "bits 6 to 15 of the guest policy must be zero",
    )


def _hex_list(table: Mapping[str, Any], name: str) -> list[bytes]:
    try:
        return [bytes.fromhex(text) for text in _text_list(table, name)]
    except ValueError as error:
        raise _config(f"{name} holds something that is not hex", "config-value", "write 64 hex digits") from error


def _text_list(table: Mapping[str, Any], name: str) -> list[str]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _config(f"{name} must be a list of strings", "config-value", f'{name} = ["..."]')
    return value


def _boolean(table: Mapping[str, Any], name: str) -> bool:
    value = table[name]
    if not isinstance(value, bool):
        raise _config(f"{name} must be true or false", "config-value", f"{name} = true")
    return value


def _byte(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFF:
        raise _config(f"{name} must be a number from 0 to 255", "config-value", f"{name} = 0")
    return value


def _version(value: object) -> tuple[int, int]:
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        raise _config("minimum_api must be MAJOR.MINOR", "config-value", 'minimum_api = "1.51"')
    return (_byte(int(parts[0]), "minimum_api"), _byte(int(parts[1]), "minimum_api"))


def _config(message: str, code: str, hint: str) -> ConfigError:
    return ConfigError(f"SEV policy: {message}", code=code, hint=hint)
