"""What evidence of a Keep proves, row by row; and that nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, PolicyError
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import vouch
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.report import FirmwareVersion, Launch, LaunchMeasurement
from enarx.trust import keep
from enarx.trust.keep import BENEATH, HARDWARE, SILICON, SOFTWARE, Judged
from enarx.trust.model import Around, Kind, Layer, Row, Source, Stack, Status
from tests.evidence.snp.forge import NOW
from tests.tenant.keeps import manifest
from tests.trust.stacks import DEBUG, DESIGNS, MIGRATE, hardware, judged, proved, rules, simulated

ALL = ("key-binding", "manifest-binding", "manifest", "workload")


def row(stack: Stack, layer: Layer) -> Row:
    return stack.rows[list(Layer).index(layer)]


def statuses(stack: Stack, *layers: Layer) -> set[Status]:
    return {row(stack, layer).status for layer in layers}


def keys(stack: Stack) -> list[str]:
    return [note.key for note in stack.notes]


# --- by design


@pytest.mark.parametrize("kind", DESIGNS, ids=lambda kind: kind.value)
def test_a_design_says_that_it_is_one(kind: Kind) -> None:
    stack = keep.design(kind)
    assert "note.design" in keys(stack)
    assert ("note.never-run" in keys(stack)) == (kind in HARDWARE)
    assert ("note.simulated" in keys(stack)) == stack.simulated == (kind not in HARDWARE)
    assert row(stack, Layer.CONTAINER_ENGINE).status is Status.ABSENT


@pytest.mark.parametrize("kind", [kind for kind in DESIGNS if kind not in HARDWARE], ids=lambda kind: kind.value)
def test_a_simulated_keep_proves_nothing(kind: Kind) -> None:
    assert {one.status for one in keep.design(kind).rows} <= {Status.ASSUMED, Status.ABSENT}


def test_only_sev_snp_puts_the_host_out_of_the_stack() -> None:
    out = {kind for kind in DESIGNS if Status.OUT in statuses(keep.design(kind), *BENEATH)}
    assert out == {Kind.SNP}
    assert statuses(keep.design(Kind.SEV), *BENEATH) == statuses(keep.design(Kind.SEV_ES), *BENEATH) == {Status.ASSUMED}


def test_tdx_is_unknown_while_nothing_here_can_verify_it() -> None:
    assert statuses(keep.design(Kind.TDX), *SOFTWARE, *BENEATH, *SILICON) == {Status.UNKNOWN}


def test_a_process_keep_has_no_guest_and_a_vm_keep_has_one() -> None:
    assert row(keep.design(Kind.PROCESS), Layer.GUEST_OS).status is Status.ABSENT
    assert row(keep.design(Kind.VM_KEEP), Layer.GUEST_OS).status is Status.ASSUMED
    with pytest.raises(KeyError):
        keep.design(Kind.VM)


@pytest.mark.parametrize("kind", DESIGNS, ids=lambda kind: kind.value)
def test_no_keep_is_protected_from_those_who_open_the_machine_or_stop_it(kind: Kind) -> None:
    around = {one.place: one.status for one in keep.design(kind).around}
    for place in (Around.OPERATOR, Around.SIDE_CHANNELS, Around.AVAILABILITY):
        assert around[place] is Status.UNPROTECTED
    assert around[Around.VERIFIER] is around[Around.CLOCK] is Status.ASSUMED


# --- from evidence of hardware


def test_all_that_is_stated_and_holds_is_proved() -> None:
    stack = proved()
    assert (stack.kind, stack.verdict, stack.simulated) == (Kind.SNP, "accepted", False)
    assert statuses(stack, *SOFTWARE, Layer.FIRMWARE) == {Status.PROVED}
    assert statuses(stack, *BENEATH) == {Status.OUT}
    assert row(stack, Layer.CPU).status is Status.ASSUMED  # the anchor of all the rest
    assert keys(stack) == []
    assert stack.about == "about.keep-snp"


def test_rows_name_the_field_and_the_check_that_they_rest_on() -> None:
    stack, report = proved(), hardware().value
    application, code = row(stack, Layer.APPLICATION), row(stack, Layer.MIDDLEWARE)
    assert ("HOST_DATA", report.host_data.hex()) in [(fact.name, fact.value) for fact in application.evidence]
    assert ("MEASUREMENT", report.measurement.hex()) in [(fact.name, fact.value) for fact in code.evidence]
    assert {"manifest", "manifest-binding"} <= set(application.checks)
    assert {"measurement", "key-binding"} <= set(code.checks)
    named = {name for one in stack.rows for name in one.checks}
    assert named <= {rule.name for rule in stack.rules}
    assert {fact.source for one in stack.rows for fact in one.evidence} == {Source.EVIDENCE}


def test_firmware_has_its_parts_in_words() -> None:
    versions = {fact.name: fact.value for fact in row(proved(), Layer.FIRMWARE).versions}
    report = hardware().value
    assert versions["tcb.microcode"] == str(report.reported_tcb.component("microcode"))
    assert versions["tcb.bootloader"] == str(report.reported_tcb.component("bootloader"))
    assert versions["fact.snp-firmware"] == ".".join(map(str, report.current_version))


def test_the_manifest_says_what_was_launched() -> None:
    facts = {fact.name: fact for fact in row(proved(), Layer.APPLICATION).versions}
    assert facts["fact.workload"].value == manifest().workload.digest
    assert facts["fact.workload"].source is Source.MANIFEST


def test_without_an_expected_workload_the_application_is_unknown() -> None:
    authentic = hardware()
    stack = keep.from_evidence(judged(authentic, rules(authentic, "key-binding")))
    assert row(stack, Layer.APPLICATION).status is Status.UNKNOWN
    assert row(stack, Layer.MIDDLEWARE).status is Status.PROVED
    assert {one.place: one.status for one in stack.around}[Around.REGISTRY] is Status.UNKNOWN


def test_a_policy_that_accepts_any_measurement_proves_no_software_and_keeps_nobody_out() -> None:
    authentic = hardware()
    found = rules(authentic, *ALL, measurement=(), any_measurement=True)
    stack = keep.from_evidence(judged(authentic, found))
    assert statuses(stack, *SOFTWARE, *BENEATH) == {Status.UNKNOWN}
    assert stack.about == "about.unestablished"


def test_without_a_policy_only_the_silicon_is_known() -> None:
    authentic = hardware()
    stack = keep.from_evidence(replace(judged(authentic, authentic.proof.checks), appraised=False))
    assert statuses(stack, *SOFTWARE, *BENEATH) == {Status.UNKNOWN}
    assert row(stack, Layer.FIRMWARE).status is Status.PROVED
    assert (stack.verdict, keys(stack)) == ("authentic", ["note.no-policy"])


def test_a_report_alone_says_nothing_about_whose_key_it_is() -> None:
    authentic = hardware()
    stack = keep.from_evidence(judged(authentic, rules(authentic, "manifest")))
    assert row(stack, Layer.MIDDLEWARE).reason.key == "snp.middleware-alone"
    assert row(proved(), Layer.MIDDLEWARE).reason.key == "snp.middleware"


@pytest.mark.parametrize(("bit", "name"), [(DEBUG, "debug"), (MIGRATE, "migration")])
def test_a_guest_that_the_host_can_reach_is_not_shown_as_protected(bit: int, name: str) -> None:
    authentic = hardware(policy=hardware().value.policy | bit)
    lenient = rules(authentic, *ALL)  # whatever a policy may have allowed
    stack = keep.from_evidence(judged(authentic, [rule for rule in lenient if rule.passed]))
    assert statuses(stack, *SOFTWARE, *BENEATH) == {Status.ASSUMED}
    assert f"note.{name}" in keys(stack)
    assert stack.about == "about.exposed"


def test_a_migration_agent_counts_also_where_the_policy_bit_is_clear() -> None:
    authentic = hardware(report_id_ma=bytes(32))
    stack = keep.from_evidence(judged(authentic, rules(authentic, *ALL)))
    assert statuses(stack, *BENEATH) == {Status.ASSUMED}


# --- from evidence of SEV


def enrolled(policy: GuestPolicy, *, digest: bool = True) -> Stack:
    """The stack of a launch that an approver who is trusted has vouched for."""
    measure = LaunchMeasurement(bytes(32), bytes(16))
    launch = Launch("Milan", FirmwareVersion(1, 55, 8), policy, b"\xab" * 32, measure, bytes(32))
    value = EnrolledKeep(launch, manifest().digest(), bytes(64), NOW, bytes(32))
    proof = replace(hardware().proof, technology="sev", root="approver sha256:00", signer="enrolment key")
    names = ["approver-signature", "enrolment-signature", "firmware", "debug", "manifest"]
    found = [Rule(name, True, "x", "x", "policy") for name in (*names, *["launch-digest"] * digest)]
    return keep.from_evidence(Judged("https://keep.example", NOW, found, vouch(value, proof), appraised=True))


@pytest.mark.parametrize(("es", "kind"), [(False, Kind.SEV), (True, Kind.SEV_ES)])
def test_sev_proves_the_launch_and_keeps_nobody_out(es: bool, kind: Kind) -> None:
    stack = enrolled(GuestPolicy.of(es=es))
    assert (stack.kind, stack.about) == (kind, f"about.{kind.value}")
    assert statuses(stack, *SOFTWARE, Layer.FIRMWARE) == {Status.PROVED}
    assert statuses(stack, *BENEATH) == {Status.ASSUMED}
    assert row(stack, Layer.FIRMWARE).versions[0].value == "1.55 build 8"
    assert "enrolment-signature" in row(stack, Layer.MIDDLEWARE).checks
    assert row(stack, Layer.CPU).reason.key == "sev.cpu"


def test_sev_without_an_expected_digest_proves_no_software() -> None:
    stack = enrolled(GuestPolicy.of(), digest=False)
    assert statuses(stack, *SOFTWARE) == {Status.UNKNOWN}
    assert statuses(stack, *BENEATH) == {Status.ASSUMED}


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (GuestPolicy.of(debug=True), "debug"),
        (GuestPolicy.of(key_sharing=True), "sharing"),
        (GuestPolicy.of(send=True), "migration"),
    ],
)
def test_a_sev_guest_that_others_can_reach_is_not_shown_as_it_was_launched(policy: GuestPolicy, name: str) -> None:
    stack = enrolled(policy)
    assert statuses(stack, *SOFTWARE, *BENEATH) == {Status.ASSUMED}
    assert f"note.{name}" in keys(stack)


# --- what was not accepted


def test_a_refusal_leaves_nothing_established() -> None:
    authentic = hardware()
    error = PolicyError("too old", code="tcb-reported-snp", hint="update")
    failed = Rule("tcb-reported-snp", False, ">= 99", "24", "policy", "update")
    stack = keep.from_evidence(judged(authentic, (*rules(authentic, *ALL), failed), error=error))
    assert {one.status for one in stack.rows} == {Status.UNKNOWN, Status.ABSENT}
    assert (stack.verdict, stack.error, stack.kind) == ("refused", ("too old", "tcb-reported-snp"), Kind.SNP)
    assert row(stack, Layer.FIRMWARE).checks == ("tcb-reported-snp",)
    assert row(stack, Layer.FIRMWARE).versions  # what genuine evidence says is shown, and establishes nothing
    assert stack.about == "about.keep-unknown"


def test_evidence_that_is_not_authentic_is_not_quoted() -> None:
    error = AuthenticityError("forged", code="signature")
    stack = keep.from_evidence(judged(None, (), error=error))
    assert {one.status for one in stack.rows} == {Status.UNKNOWN, Status.ABSENT}
    assert not [fact for one in stack.rows for fact in (*one.evidence, *one.versions)]
    assert stack.kind is Kind.UNKNOWN


def test_a_simulator_that_nobody_accepts_is_called_one() -> None:
    stack = keep.from_evidence(judged(None, (), error=AuthenticityError("root", code="root"), says_simulated=True))
    assert stack.simulated
    assert "note.says-simulated" in keys(stack)


# --- simulated evidence


def test_simulated_evidence_says_so_and_proves_nothing_about_the_host() -> None:
    authentic = simulated()
    found = rules(authentic, *ALL, simulated=True)
    stack = keep.from_evidence(judged(authentic, found, manifest=manifest()))
    assert (stack.kind, stack.simulated, stack.verdict) == (Kind.SIMULATED, True, "accepted")
    assert keys(stack)[0] == "note.simulated"
    assert {one.status for one in stack.rows} <= {Status.ASSUMED, Status.ABSENT}
    assert {fact.source for one in stack.rows for fact in one.evidence} == {Source.SIMULATED}
    assert row(stack, Layer.GUEST_OS).reason.key == "either.guest-os"
    known = keep.from_evidence(judged(authentic, found, kind=Kind.PROCESS))
    assert row(known, Layer.GUEST_OS).status is Status.ABSENT


NAMES = ("measurement", "id-block", "id-key", "author-key", "manifest", "workload", "host-data", "key-binding", "tcb")


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=12), st.booleans())
def test_no_set_of_rules_makes_simulated_evidence_a_proof(found: list[tuple[str, bool]], appraised: bool) -> None:
    made = [Rule(name, passed, "x", "x", "the Steward") for name, passed in found]
    stack = keep.from_evidence(replace(judged(simulated(), made), appraised=appraised))
    assert not {Status.PROVED, Status.OUT} & {one.status for one in stack.rows}


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=12))
def test_software_is_proved_only_with_an_expected_measurement(found: list[tuple[str, bool]]) -> None:
    made = [Rule(name, passed, "x", "x", "policy") for name, passed in found]
    stack = keep.from_evidence(judged(hardware(), made))
    held = {rule.name for rule in made if rule.passed}
    measured = "measurement" in held or ("id-block" in held and bool({"id-key", "author-key"} & held))
    assert (row(stack, Layer.USERLAND).status is Status.PROVED) == measured
    assert (Status.OUT in statuses(stack, *BENEATH)) == measured
    launched = bool({"manifest", "workload", "host-data"} & held)
    assert (row(stack, Layer.APPLICATION).status is Status.PROVED) == (measured and launched)
