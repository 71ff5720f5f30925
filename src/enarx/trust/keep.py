"""The stack of a Keep: of each kind by design, and of one Keep from the evidence that it gave.

Everything fails closed: a row is proved only when evidence is authentic, no rule failed, and the rule that stands for
the row was judged by an expectation that somebody stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enarx.errors import EnarxError
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.snp.report import Report
from enarx.manifest import Manifest
from enarx.trust import around
from enarx.trust.classic import OWNERS, absent
from enarx.trust.facts import Facts, facts_of
from enarx.trust.model import Basis, Fact, Kind, Layer, Row, Source, Stack, Status, Text

HARDWARE: Final = (Kind.SNP, Kind.SEV, Kind.SEV_ES, Kind.TDX)
SOFTWARE: Final = (Layer.APPLICATION, Layer.MIDDLEWARE, Layer.USERLAND, Layer.GUEST_OS)
"""What runs in a Keep."""
BENEATH: Final = (Layer.HYPERVISOR, Layer.HOST_OS, Layer.BOOT_LOADER, Layer.BIOS)
"""What a TEE is to keep out."""
SILICON: Final = (Layer.FIRMWARE, Layer.CPU)

_ANY: Final = "any"
"""What rule ``measurement`` expects where a policy accepts every one."""
_MEASURED: Final = (("measurement",), ("launch-digest",), ("id-block", "id-key"), ("id-block", "author-key"))
_LAUNCHED: Final = (("manifest",), ("workload",), ("host-data",))
_FIRMWARE_RULES: Final = ("tcb", "signature", "firmware")
_CPU_RULES: Final = ("root", "endorsement", "chip-id", "approver-signature", "approval-time", "product", "owner")


@dataclass(frozen=True, slots=True)
class Judged:
    """Evidence of a Keep and what became of it.

    ``authentic`` is None where it is not; ``error`` then says why, or why a policy refused it. ``rules`` are all that
    were judged. ``appraised``: whether there was a policy. ``manifest`` is that of the launch, where its digest was
    found to be the attested one. ``verifier``: who judged, as facts.
    """

    subject: str
    at: datetime
    rules: Sequence[Rule]
    authentic: Authentic[Report | EnrolledKeep] | None = None
    error: EnarxError | None = None
    appraised: bool = False
    manifest: Manifest | None = None
    verifier: tuple[Fact, ...] = ()
    kind: Kind | None = None
    """``PROCESS`` or ``VM_KEEP`` where the caller knows which kind of simulated Keep it is."""
    says_simulated: bool = False
    """Whether evidence that is not authentic calls itself a simulator's."""


def design(kind: Kind) -> Stack:
    """A Keep of a kind as it is built; no evidence is looked at. ValueError for a kind that is no Keep's."""
    states = _DESIGNS[kind]
    rows = tuple(_row(layer, *states[layer]) for layer in Layer)
    notes = [Text("note.design")]
    if kind in HARDWARE:
        notes.append(Text("note.never-run"))
    else:
        notes.insert(0, Text("note.simulated"))
    workload = rows[0].status
    surroundings = around.of_keep(encrypted=kind in HARDWARE, workload=workload)
    return Stack(kind, Basis.DESIGN, rows, surroundings, tuple(notes), simulated=kind not in HARDWARE)


def from_evidence(judged: Judged) -> Stack:
    """The stack of the Keep that gave this evidence."""
    authentic, error = judged.authentic, judged.error
    if authentic is None or error is not None:
        return _refused(judged)
    facts = facts_of(authentic)
    if authentic.proof.simulated:
        return _simulated(judged, facts)
    held = _Held.of(judged.rules)
    rows = _with_facts(_states(facts, held), judged, facts, held)
    notes = [] if judged.appraised else [Text("note.no-policy")]
    if facts.exposed:
        notes.append(Text(f"note.{facts.exposed}"))
    surroundings = around.of_keep(
        encrypted=True, workload=rows[0].status, judged=judged.verifier, memory=facts.memory(), sharing=facts.sharing()
    )
    return _stack(judged, facts.kind, rows, surroundings, notes)


def sev_platform(subject: str, at: datetime, rules: Sequence[Rule], facts: tuple[Fact, ...]) -> Stack:
    """A SEV platform whose certificates are authentic: which machine it is, and nothing about a launch."""
    states = dict(_DESIGNS[Kind.SEV])
    states |= dict.fromkeys(SOFTWARE, (Status.UNKNOWN, "sev.no-launch"))
    states[Layer.FIRMWARE] = (Status.UNKNOWN, "sev.no-launch")
    rows = [_row(layer, *states[layer]) for layer in Layer]
    rows[-1] = _row(Layer.CPU, *states[Layer.CPU], evidence=facts, checks=tuple(rule.name for rule in rules))
    surroundings = around.of_keep(encrypted=True, workload=Status.UNKNOWN)
    return Stack(
        Kind.SEV, Basis.EVIDENCE, tuple(rows), surroundings, (Text("note.platform"),), subject, "authentic",
        judged_at=at, rules=tuple(rules),
    )  # fmt: skip


def manifest_facts(manifest: Manifest) -> tuple[Fact, ...]:
    """What a launch was bound to."""
    found = [("fact.workload", manifest.workload.digest), ("fact.media-type", manifest.workload.media_type)]
    found.append(("fact.config", manifest.config or "-"))
    found += [(f"{file.kind}: {file.name}", file.digest) for file in manifest.files]
    if manifest.steward is not None:
        found += [("fact.steward", manifest.steward.url), ("fact.steward-ca", manifest.steward.ca)]
    return tuple(Fact(name, value, Source.MANIFEST) for name, value in found)


# --- from evidence


@dataclass(frozen=True, slots=True)
class _Held:
    """Rules that held, and the names of those by which the guest's software and its launch are what is expected."""

    passed: Mapping[str, Rule]
    measured: tuple[str, ...]
    launched: tuple[str, ...]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> _Held:
        passed = {rule.name: rule for rule in rules if rule.passed}
        measured = _found(_MEASURED, passed)
        if measured == ("measurement",) and passed["measurement"].expected == _ANY:
            measured = ()
        # The Keep's code is what compares the manifest with what it runs: no measurement, no proof of the workload.
        return cls(passed, measured, _found(_LAUNCHED, passed) if measured else ())


def _stack(judged: Judged, kind: Kind, rows: Sequence[Row], beside: tuple[Row, ...], notes: Iterable[Text]) -> Stack:
    error = judged.error
    return Stack(
        kind,
        Basis.EVIDENCE,
        tuple(rows),
        beside,
        tuple(notes),
        judged.subject,
        verdict="refused" if error else "accepted" if judged.appraised else "authentic",
        error=(error.message, error.code) if error else None,
        simulated=judged.says_simulated or bool(judged.authentic and judged.authentic.proof.simulated),
        judged_at=judged.at,
        rules=tuple(judged.rules),
    )


def _refused(judged: Judged) -> Stack:
    """Nothing is established about any layer, also not about those that evidence speaks of truly."""
    authentic = judged.authentic
    assert judged.error is not None  # noqa: S101 - authentic evidence without an error does not come here
    failed = tuple(rule.name for rule in judged.rules if not rule.passed)
    rows = [_row(layer, Status.UNKNOWN, "refused", checks=failed) for layer in Layer]
    rows[3] = absent(Layer.CONTAINER_ENGINE)
    kind = Kind.UNKNOWN
    if authentic is not None:
        facts = facts_of(authentic)
        kind = (judged.kind or Kind.SIMULATED) if authentic.proof.simulated else facts.kind
        rows[-2:] = [
            _row(layer, Status.UNKNOWN, "refused", evidence=evidence, versions=versions, checks=failed)
            for layer, evidence, versions in (
                (Layer.FIRMWARE, facts.firmware(), facts.firmware_versions()),
                (Layer.CPU, facts.cpu(), facts.cpu_versions()),
            )
        ]
    beside = around.of_keep(encrypted=kind in HARDWARE, workload=Status.UNKNOWN, judged=judged.verifier)
    simulated = judged.says_simulated or bool(authentic and authentic.proof.simulated)
    notes = [Text("note.refused")]
    if simulated:
        notes.append(Text("note.simulated" if authentic else "note.says-simulated"))
    return _stack(judged, kind, rows, beside, notes)


def _simulated(judged: Judged, facts: Facts) -> Stack:
    kind = judged.kind or Kind.SIMULATED
    states = _DESIGNS[kind]
    rows = _with_facts(states, judged, facts, _Held.of(judged.rules))
    beside = around.of_keep(encrypted=False, workload=Status.ASSUMED, judged=judged.verifier)
    notes = [Text("note.simulated")] + ([] if judged.appraised else [Text("note.no-policy")])
    return _stack(judged, kind, rows, beside, notes)


def _states(facts: Facts, held: _Held) -> Mapping[Layer, tuple[Status, str]]:
    states, passed, measured, launched = dict(_DESIGNS[facts.kind]), held.passed, held.measured, held.launched
    if not launched:
        states[Layer.APPLICATION] = (Status.UNKNOWN, "unstated.application")
    elif (
        facts.kind is Kind.SNP
        and launched == ("workload",)
        and "manifest" not in passed
        and "Steward" in passed["workload"].source
    ):
        states[Layer.APPLICATION] = (Status.PROVED, "snp.application-by-steward")
    if facts.kind is Kind.SNP and "key-binding" not in passed:
        states[Layer.MIDDLEWARE] = (Status.PROVED, "snp.middleware-alone")
    if not measured:
        states |= dict.fromkeys(SOFTWARE[1:], (Status.UNKNOWN, "unstated.measured"))
        out = [layer for layer in BENEATH if states[layer][0] is Status.OUT]
        states |= dict.fromkeys(out, (Status.UNKNOWN, "unstated.beneath"))
    if facts.exposed:
        exposed, software = facts.exposed, {layer for layer in SOFTWARE if states[layer][0] is Status.PROVED}
        states |= dict.fromkeys(software, (Status.ASSUMED, f"{exposed}.software"))
        states |= dict.fromkeys(BENEATH, (Status.ASSUMED, f"{exposed}.beneath"))
    return states


def _with_facts(states: Mapping[Layer, tuple[Status, str]], judged: Judged, facts: Facts, held: _Held) -> list[Row]:
    passed, measured, launched = held.passed, held.measured, held.launched
    launch = (*facts.launch(), *(facts.signed_launch() if measured != ("measurement",) else ()))
    manifest = manifest_facts(judged.manifest) if judged.manifest is not None else ()
    bound = tuple(name for name in ("manifest-binding",) if name in passed)
    key = tuple(
        name for name in ("key-binding", "enrolment-signature", "session-binding", "session-guest") if name in passed
    )
    guest = tuple(name for name in ("debug", "migration", "key-sharing", "es", "vmpl") if name in passed)
    tcb = tuple(name for name in passed if name in _FIRMWARE_RULES or name.startswith("tcb-"))
    cpu = tuple(name for name in _CPU_RULES if name in passed)
    more: dict[Layer, tuple[tuple[Fact, ...], tuple[Fact, ...], tuple[str, ...]]] = {
        Layer.APPLICATION: (facts.manifest(), manifest, (*launched, *bound)),
        Layer.MIDDLEWARE: ((*launch, *facts.key()), (), (*measured, *key)),
        Layer.USERLAND: (launch, (), measured),
        Layer.GUEST_OS: ((*launch, *facts.guest()), (), (*measured, *guest)),
        Layer.FIRMWARE: (facts.firmware(), facts.firmware_versions(), tcb),
        Layer.CPU: (facts.cpu(), facts.cpu_versions(), cpu),
    }
    rows = []
    for layer in Layer:
        status, reason = states[layer]
        evidence, versions, checks = ((), (), ()) if status is Status.ABSENT else more.get(layer, ((), (), ()))
        rows.append(_row(layer, status, reason, evidence=evidence, versions=versions, checks=checks))
    return rows


def _found(choices: Sequence[tuple[str, ...]], passed: Mapping[str, Rule]) -> tuple[str, ...]:
    return next((names for names in choices if all(name in passed for name in names)), ())


def _row(
    layer: Layer, status: Status, reason: str, *, evidence: tuple[Fact, ...] = (), versions: tuple[Fact, ...] = (),
    checks: tuple[str, ...] = (),
) -> Row:  # fmt: skip
    title = "layer.keep" if layer is Layer.MIDDLEWARE else ""
    return Row(layer, OWNERS[layer], status, Text(reason), evidence, versions, checks, title)


# --- by design

_States = dict[Layer, tuple[Status, str]]
_NO_ENGINE: Final = {Layer.CONTAINER_ENGINE: (Status.ABSENT, "absent")}


def _all(prefix: str, status: Status, layers: Iterable[Layer]) -> _States:
    return {layer: (status, f"{prefix}.{layer.value}") for layer in layers}


def _simulated_states(guest: tuple[Status, str], userland: str) -> _States:
    states = _all("simulated", Status.ASSUMED, Layer) | _NO_ENGINE
    states[Layer.USERLAND] = (Status.ASSUMED, userland)
    states[Layer.GUEST_OS] = guest
    return states


def _sev_states(kind: str) -> _States:
    return (
        _all("sev", Status.PROVED, SOFTWARE)
        | _NO_ENGINE
        | dict.fromkeys(BENEATH, (Status.ASSUMED, f"{kind}.beneath"))
        | {Layer.FIRMWARE: (Status.PROVED, "sev.firmware"), Layer.CPU: (Status.ASSUMED, "sev.cpu")}
    )


_DESIGNS: Final[dict[Kind, _States]] = {
    Kind.PROCESS: _simulated_states((Status.ABSENT, "process.guest-os"), "process.userland"),
    Kind.VM_KEEP: _simulated_states((Status.ASSUMED, "simulated.guest-os"), "simulated.userland"),
    Kind.SIMULATED: _simulated_states((Status.ASSUMED, "either.guest-os"), "either.userland"),
    Kind.SNP: _all("snp", Status.PROVED, (*SOFTWARE, Layer.FIRMWARE))
    | _NO_ENGINE
    | _all("snp", Status.OUT, BENEATH)
    | {Layer.CPU: (Status.ASSUMED, "snp.cpu")},
    Kind.SEV: _sev_states("sev"),
    Kind.SEV_ES: _sev_states("sev-es"),
    Kind.TDX: dict.fromkeys((*SOFTWARE, *SILICON), (Status.UNKNOWN, "tdx.unverified"))
    | _NO_ENGINE
    | dict.fromkeys(BENEATH, (Status.UNKNOWN, "tdx.beneath")),
}
