"""Rules about the guest: which image was launched, with whose data, under which launch policy (56860 tables 10, 23)."""

from __future__ import annotations

from enarx.evidence.appraisal import Rule, judge, judge_listed
from enarx.evidence.snp.abi import POLICY_BITS
from enarx.evidence.snp.policy import Policy
from enarx.evidence.snp.report import Report

_ZERO_DIGEST = bytes(48)

_MAY_ALLOW = (
    ("debug", "debug-enabled", "launch the guest without DEBUG in its policy; the host can read this one's memory"),
    ("migration", "migration-allowed", "launch the guest without MIGRATE_MA in its policy"),
    ("smt", "smt-allowed", "launch the guest without SMT in its policy, on a host with SMT off"),
    ("cxl", "cxl-allowed", "launch the guest without CXL_ALLOW in its policy"),
)
_MUST_DEMAND = ("single_socket", "aes_256_xts", "rapl_disabled", "ciphertext_hiding", "page_swap_disabled")
_STEWARD_FLAGS = {"Debug": "debug", "SingleSocket": "single_socket", "SMT": "smt"}


def judge_identity(report: Report, policy: Policy, rules: list[Rule]) -> None:
    """Which guest: its launch measurement, or who signed for it."""
    where = policy.source
    if policy.measurement:
        judge_listed(
            rules,
            "measurement",
            report.measurement,
            policy.measurement,
            source=f"{where} measurement",
            hint="another image, kernel, command line, vCPU count or model was launched; compute what to expect "
            "with enarx measure snp",
            code="measurement-mismatch",
        )
    elif policy.any_measurement:
        judge(rules, "measurement", True, "any", report.measurement.hex(), source=f"{where} measurement")
    elif not policy.names_the_guest():
        judge(
            rules,
            "measurement",
            False,
            "none stated, so none is accepted",
            report.measurement.hex(),
            source="built-in",
            hint="state measurement, author_key_digest or id_key_digest in the policy",
            code="measurement-not-stated",
        )
    if policy.measurement_deny:
        judge(
            rules,
            "measurement-deny",
            report.measurement not in policy.measurement_deny,
            f"none of {len(policy.measurement_deny)} denied",
            report.measurement.hex(),
            source=f"{where} measurement_deny",
            hint="this image has been withdrawn; launch a current one",
            code="measurement-denied",
        )
    if policy.author_key_digest:
        judge(
            rules,
            "author-key-enabled",
            report.author_key_enabled,
            "an author key",
            "present" if report.author_key_enabled else "absent",
            source=f"{where} author_key_digest",
            hint="launch the guest with an ID block and an author key",
            code="author-key-missing",
        )
    hint = "the launch was not signed, or not by the key that the policy names"
    judge_listed(
        rules,
        "author-key",
        report.author_key_digest,
        policy.author_key_digest,
        source=f"{where} author_key_digest",
        hint=hint,
    )
    judge_listed(
        rules, "id-key", report.id_key_digest, policy.id_key_digest, source=f"{where} id_key_digest", hint=hint
    )
    if policy.id_key_digest_deny:
        judge(
            rules,
            "id-key-deny",
            report.id_key_digest not in policy.id_key_digest_deny,
            f"none of {len(policy.id_key_digest_deny)} denied",
            report.id_key_digest.hex(),
            source=f"{where} id_key_digest_deny",
            hint="this ID key has been withdrawn",
            code="id-key-denied",
        )
    if (policy.author_key_digest or policy.id_key_digest) and not policy.measurement:
        judge(
            rules,
            "id-block",
            report.id_key_digest != _ZERO_DIGEST,
            "a launch bound to an ID block",
            report.id_key_digest.hex(),
            source="built-in",
            hint="without an ID block nobody vouches for the measurement",
            code="id-block-missing",
        )


def judge_data(report: Report, policy: Policy, rules: list[Rule]) -> None:
    """What the host and the guest put into the report, and what the ID block calls the guest."""
    where = policy.source
    judge_listed(
        rules,
        "host-data",
        report.host_data,
        policy.host_data,
        source=f"{where} host_data",
        hint="the host launched the guest with another manifest",
        code="host-data-mismatch",
    )
    if policy.report_data is not None:
        judge(
            rules,
            "report-data",
            report.report_data == policy.report_data,
            policy.report_data.hex(),
            report.report_data.hex(),
            source=f"{where} report_data",
            hint="the report was made for another key or another challenge",
            code="binding-mismatch",
        )
    judge_listed(
        rules, "family-id", report.family_id, policy.family_id, source=f"{where} family_id", hint="another guest family"
    )
    judge_listed(
        rules, "image-id", report.image_id, policy.image_id, source=f"{where} image_id", hint="another guest image"
    )
    if policy.minimum_guest_svn:
        judge(
            rules,
            "guest-svn",
            report.guest_svn >= policy.minimum_guest_svn,
            f">= {policy.minimum_guest_svn}",
            str(report.guest_svn),
            source=f"{where} minimum_guest_svn",
            hint="the guest image is older than the policy accepts",
        )
    judge(
        rules,
        "vmpl",
        report.vmpl in policy.vmpl,
        " or ".join(map(str, policy.vmpl)) or "none",
        str(report.vmpl),
        source=policy.origin("vmpl"),
        hint="the report was asked for from another privilege level, as under an SVSM; state vmpl if that is meant",
    )


def judge_guest_policy(report: Report, policy: Policy, rules: list[Rule]) -> None:
    """The policy that the guest was launched under, which firmware enforces for its whole life."""
    stated, bits = policy.guest_policy, report.policy
    where = f"{policy.source} guest_policy"
    for name, code, hint in _MAY_ALLOW:
        seen = bool(bits & POLICY_BITS[name])
        allowed = bool(getattr(stated, name))
        judge(
            rules,
            name,
            allowed or not seen,
            "allowed or not" if allowed else "not allowed",
            "allowed" if seen else "not allowed",
            source=policy.origin(f"guest_policy.{name}"),
            hint=hint,
            code=code,
        )
    for name in _MUST_DEMAND:
        if getattr(stated, name):
            seen = bool(bits & POLICY_BITS[name])
            judge(
                rules,
                name,
                seen,
                "demanded",
                "demanded" if seen else "not demanded",
                source=f"{where}.{name}",
                hint=f"launch the guest with {name} in its policy",
            )
    if stated.exact_flags is not None:
        has = frozenset(flag for flag, name in _STEWARD_FLAGS.items() if bits & POLICY_BITS[name])
        judge(
            rules,
            "policy-flags",
            has == stated.exact_flags,
            ", ".join(sorted(stated.exact_flags)) or "none",
            ", ".join(sorted(has)) or "none",
            source=f"{policy.source} policy_flags",
            hint="launch the guest with exactly these flags in its policy",
        )
    asked = report.abi
    judge(
        rules,
        "abi-supported",
        asked <= report.current_version[:2],
        f"<= {report.current_major}.{report.current_minor}, the firmware's own",
        f"{asked[0]}.{asked[1]}",
        source="56860 table 10",
        hint="the report contradicts itself: firmware refuses such a launch",
    )
    if stated.abi is not None:
        judge(
            rules,
            "abi",
            stated.abi.matches((*asked, 0)),
            str(stated.abi),
            f"{asked[0]}.{asked[1]}",
            source=f"{where}.abi",
            hint="launch the guest with this minimum firmware ABI in its policy",
        )
