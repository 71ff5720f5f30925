"""Stacks for tests: of every kind, from evidence of a vendor of our own, and with hostile text in every place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from enarx.errors import PolicyError
from enarx.evidence import snp
from enarx.evidence.appraisal import Rule, judge
from enarx.evidence.authentic import Authentic
from enarx.evidence.snp import Policy, Trust
from enarx.trust import classic, keep
from enarx.trust.keep import Judged
from enarx.trust.model import Fact, Kind, Layer, Source, Stack, Text
from tests.evidence.snp.forge import NOW, Machine, Vendor
from tests.tenant.keeps import machine as simulated_machine
from tests.tenant.keeps import manifest, simulator

MEASUREMENT = bytes.fromhex("ab" * 48)
"""What `tests.evidence.snp.forge` launches."""
DEBUG, MIGRATE = 1 << 19, 1 << 18
DESIGNS = [kind for kind in Kind if kind.value.startswith("keep-") and kind is not Kind.UNKNOWN]


def designs() -> list[Stack]:
    return [classic.vm(), classic.container(), classic.host({}, virtual=True, containers=True)] + [
        keep.design(kind) for kind in DESIGNS
    ]


def hardware(**changes: Any) -> Authentic[snp.Report]:
    """An authentic report of a machine that is genuine to whoever trusts the vendor of these tests."""
    return _authentic(Machine(Vendor()), Vendor().trust(), changes)


def simulated(**changes: Any) -> Authentic[snp.Report]:
    """The same of a simulator whose root is accepted."""
    root = replace(simulator().root, simulated=True)
    return _authentic(simulated_machine(), Trust((root,)), changes)


def _authentic(machine: Machine, trust: Trust, changes: dict[str, Any]) -> Authentic[snp.Report]:
    fields = {"host_data": manifest().digest()} | changes
    return snp.authenticate(snp.parse(machine.report_bytes(**fields)), machine.collateral, NOW, trust=trust)


def rules(authentic: Authentic[snp.Report], *names: str, **policy: Any) -> tuple[Rule, ...]:
    """Those of authentication and of a policy, and further ones that hold."""
    stated = Policy(**({"measurement": (MEASUREMENT,)} | policy))
    found = [*authentic.proof.checks, *snp.appraise(authentic, stated).rules]
    for name in names:
        judge(found, name, True, "expected", "expected", source="a test")
    return tuple(found)


def judged(authentic: Authentic[snp.Report] | None, found: Sequence[Rule], **more: Any) -> Judged:
    return Judged("https://keep.example:8443", NOW, found, authentic, appraised=True, **more)


def proved() -> Stack:
    """The best that there is: everything stated, and everything as stated."""
    authentic = hardware()
    found = rules(authentic, "key-binding", "manifest-binding", "manifest", "workload")
    return keep.from_evidence(judged(authentic, found, manifest=manifest()))


def hostile(text: str) -> Stack:
    """A stack with ``text`` in each place that evidence, hosts and files can write to."""
    stack = proved()
    fact = Fact(text, text, Source.SBOM)
    error = PolicyError(text, code=text, hint=text)
    shown = replace(
        stack,
        subject=text,
        verdict="refused",
        error=(error.message, error.code),
        rules=(*stack.rules, Rule(text, False, text, text, text, text, text)),
        notes=(*stack.notes, Text("note.refused")),
    )
    for layer in Layer:
        shown = shown.with_versions(layer, [fact])
    first = replace(shown.rows[0], evidence=(fact,), checks=(shown.rules[-1].name,))
    return replace(shown, rows=(first, *shown.rows[1:]))
