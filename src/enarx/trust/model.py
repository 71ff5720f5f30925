"""What a trust stack is: rows with an owner and a status, each with its reason and what the status rests on.

A row's words are keys of ``enarx.trust.words``; values from evidence, files and hosts are cleaned when they enter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from enarx.evidence.appraisal import Rule
from enarx.trust.clean import clean

FACTS_MAX: Final = 64
"""Facts that one row holds (count); a bill of materials may name more, and the last fact says so."""
RULES_MAX: Final = 256
"""Rules of a decision that a stack holds (count)."""


class Layer(Enum):
    """From the top of the stack to its bottom."""

    APPLICATION = "application"
    MIDDLEWARE = "middleware"
    USERLAND = "userland"
    CONTAINER_ENGINE = "container-engine"
    GUEST_OS = "guest-os"
    HYPERVISOR = "hypervisor"
    HOST_OS = "host-os"
    BOOT_LOADER = "boot-loader"
    BIOS = "bios"
    FIRMWARE = "firmware"
    CPU = "cpu"


class Around(Enum):
    """What stands beside every stack, and is forgotten."""

    OPERATOR = "physical-operator"
    SIDE_CHANNELS = "side-channels"
    VERIFIER = "verifier"
    REGISTRY = "registry"
    CLOCK = "clock"
    AVAILABILITY = "denial-of-service"


class Owner(Enum):
    """Who makes or runs a layer, and so can change what it does."""

    TENANT = "tenant"
    MIDDLEWARE = "middleware"
    OS_VENDOR = "os-vendor"
    CLOUD = "cloud-provider"
    OEM = "oem"
    SILICON = "silicon-vendor"
    THIRD_PARTY = "third-party"


class Status(Enum):
    """What is known of a row.

    ``PROVED``: evidence that was verified says so. ``ASSUMED``: trusted without proof. ``UNKNOWN``: not established,
    so not to be relied on. ``UNPROTECTED``: a known way to do harm that nothing here stops. ``OUT``: it can no longer
    harm the workload's secrets or integrity. ``ABSENT``: this stack has no such layer.
    """

    PROVED = "proved"
    ASSUMED = "assumed"
    UNKNOWN = "unknown"
    UNPROTECTED = "not-protected"
    OUT = "out"
    ABSENT = "absent"


REMAIN: Final = frozenset((Status.PROVED, Status.ASSUMED, Status.UNKNOWN, Status.UNPROTECTED))
"""Statuses of what must still be trusted."""


class Kind(Enum):
    """What stands on the stack. ``SIMULATED``: a process or VM Keep, whose evidence does not say which."""

    VM = "vm"
    CONTAINER = "container"
    HOST = "host"
    PROCESS = "keep-process"
    VM_KEEP = "keep-vm"
    SIMULATED = "keep-simulated"
    SNP = "keep-snp"
    SEV = "keep-sev"
    SEV_ES = "keep-sev-es"
    TDX = "keep-tdx"
    UNKNOWN = "keep-unknown"


class Basis(Enum):
    """Where a stack comes from: how such a thing is built, or evidence of one, or a machine's own word."""

    DESIGN = "design"
    EVIDENCE = "evidence"
    HOST = "host"


class Source(Enum):
    """Whose word a fact is. Only ``EVIDENCE`` has been verified; ``SIMULATED`` is a simulator's invention."""

    EVIDENCE = "evidence"
    SIMULATED = "simulated"
    MANIFEST = "manifest"
    SBOM = "sbom"
    HOST = "host"
    VERIFIER = "verifier"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence of ``enarx.trust.words`` by its key, and what is put into its gaps."""

    key: str
    values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, key: str, **values: str) -> Text:
        return cls(key, tuple((name, clean(value)) for name, value in values.items()))


@dataclass(frozen=True, slots=True)
class Fact:
    """A version, digest or field: ``name`` is a key of the words, or is shown as it is; ``source``: whose word."""

    name: str
    value: str
    source: Source

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", clean(self.name))
        object.__setattr__(self, "value", clean(self.value))


@dataclass(frozen=True, slots=True)
class Row:
    """``evidence``: what the status rests on. ``versions``: which version, as far as known. ``checks``: the names of
    the rules of the stack that were judged for it."""

    place: Layer | Around
    owner: Owner
    status: Status
    reason: Text
    evidence: tuple[Fact, ...] = ()
    versions: tuple[Fact, ...] = ()
    checks: tuple[str, ...] = ()
    title: str = ""
    """Key of the name where it is not the layer's own."""

    def with_versions(self, facts: Iterable[Fact]) -> Row:
        """The same with more versions; beyond `FACTS_MAX` only their number."""
        found = (*self.versions, *facts)
        if len(found) > FACTS_MAX:
            left = len(found) - FACTS_MAX + 1
            found = (*found[: FACTS_MAX - 1], Fact("fact.more", str(left), found[-1].source))
        return replace(self, versions=found)

    @property
    def name(self) -> str:
        """Key of its name."""
        return self.title or f"{'layer' if isinstance(self.place, Layer) else 'around'}.{self.place.value}"


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack: a row for each `Layer`, top first, and one for each `Around`.

    ``subject`` names what was looked at, empty by design. ``verdict``: a key of the words, ``error`` the text and code
    of a refusal. ``notes`` must be shown wherever the stack is.
    """

    kind: Kind
    basis: Basis
    rows: tuple[Row, ...]
    around: tuple[Row, ...]
    notes: tuple[Text, ...] = ()
    subject: str = ""
    verdict: str = ""
    error: tuple[str, str] | None = None
    simulated: bool = False
    judged_at: datetime | None = None
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if [row.place for row in self.rows] != list(Layer) or [row.place for row in self.around] != list(Around):
            raise ValueError("a stack has one row for each layer and each surrounding, in order")
        object.__setattr__(self, "subject", clean(self.subject))
        object.__setattr__(self, "rules", tuple(_clean_rule(rule) for rule in self.rules[:RULES_MAX]))
        if self.error is not None:
            object.__setattr__(self, "error", (clean(self.error[0], 600), clean(self.error[1])))

    def count(self, *statuses: Status) -> int:
        """How many layers have one of these."""
        return sum(row.status in statuses for row in self.rows)

    @property
    def there(self) -> tuple[Row, ...]:
        """The layers that this stack has."""
        return tuple(row for row in self.rows if row.status is not Status.ABSENT)

    @property
    def remaining(self) -> tuple[Row, ...]:
        """The layers that must be trusted, proved ones too."""
        return tuple(row for row in self.rows if row.status in REMAIN)

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Who owns a layer that must be trusted, in the order of `Owner`."""
        found = {row.owner for row in self.remaining}
        return tuple(owner for owner in Owner if owner in found)

    @property
    def gone(self) -> tuple[Owner, ...]:
        """Who owns layers of this stack, and none that must be trusted."""
        found = {row.owner for row in self.there} - set(self.owners)
        return tuple(owner for owner in Owner if owner in found)

    @property
    def about(self) -> str:
        """Key of a sentence about it, which evidence that says less than a design promises must not borrow."""
        if self.error is not None:
            return "about.keep-unknown"
        software = self.rows[list(Layer).index(Layer.MIDDLEWARE)].status
        if self.basis is Basis.EVIDENCE and not self.simulated and software is not Status.PROVED:
            return "about.exposed" if software is Status.ASSUMED else "about.unestablished"
        return f"about.{self.kind.value}"

    def with_versions(self, layer: Layer, facts: Iterable[Fact]) -> Stack:
        """The same with more versions of a layer."""
        listed = tuple(facts)
        return replace(
            self, rows=tuple(row.with_versions(listed) if row.place is layer and listed else row for row in self.rows)
        )


def _clean_rule(rule: Rule) -> Rule:
    return Rule(clean(rule.name), rule.passed, *(clean(text) for text in rule[2:]))
