"""Rules about the platform: which product and machine, how configured, on which firmware (56860 tables 3, 23, 24)."""

from __future__ import annotations

from collections.abc import Mapping

from enarx.evidence.appraisal import Rule, judge
from enarx.evidence.authentic import Proof
from enarx.evidence.snp.abi import PLATFORM_BITS
from enarx.evidence.snp.policy import Policy
from enarx.evidence.snp.product import PRODUCTS
from enarx.evidence.snp.report import Report


def judge_platform(report: Report, proof: Proof, policy: Policy, rules: list[Rule]) -> None:
    """Where the guest runs."""
    where = policy.source
    if policy.product:
        judge(
            rules,
            "product",
            PRODUCTS[proof.product] in policy.product,
            " or ".join([product.value for product in policy.product]),
            proof.product,
            source=f"{where} product",
            hint="run on a product that the policy names",
        )
    if policy.chip_id:
        size = PRODUCTS[proof.product].facts.hardware_id_bytes
        chip = report.chip_id
        judge(
            rules,
            "chip-id",
            any(chip) and any(chip == one.ljust(64, b"\0") for one in policy.chip_id if len(one) in (size, 64)),
            f"one of {len(policy.chip_id)} chips",
            chip[:size].hex() if any(chip) else "not stated",
            source=f"{where} chip_id",
            hint="run on a machine that the policy names",
        )
    for name, wanted in policy.platform.items():
        seen = bool(report.platform_info & PLATFORM_BITS[name])
        judge(
            rules,
            f"platform-{name.replace('_', '-')}",
            seen is wanted,
            "yes" if wanted else "no",
            "yes" if seen else "no",
            source=f"{where} platform.{name}",
            hint="run on a platform that is configured so",
        )
    if policy.platform_exact is not None:
        seen_low = report.platform_info & 0xFF
        judge(
            rules,
            "platform-info-flags",
            seen_low == policy.platform_exact,
            f"{policy.platform_exact:#x}",
            f"{seen_low:#x}",
            source=f"{where} platform_info_flags",
            hint="the Steward compares the whole byte; newer firmware sets more bits: use [snp.platform] instead",
        )


def judge_firmware(report: Report, proof: Proof, policy: Policy, rules: list[Rule]) -> None:
    """How old the firmware may be, component by component."""
    if not policy.provisional_firmware:
        judge(
            rules,
            "firmware-committed",
            report.current_tcb_raw == report.committed_tcb_raw and report.current_version == report.committed_version,
            "current firmware is committed",
            f"current {report.current_tcb}, committed {report.committed_tcb}",
            source=f"{policy.source} provisional_firmware",
            hint="the operator can still roll the firmware back; ask for it to be committed",
        )
    raw: Mapping[str, bytes] = {
        "reported": report.reported_tcb_raw,
        "committed": report.committed_tcb_raw,
        "launch": report.launch_tcb_raw,
        "current": report.current_tcb_raw,
    }
    for floor in policy.floors(PRODUCTS[proof.product]):
        seen = None if floor.at is None else raw[floor.which][floor.at]
        judge(
            rules,
            floor.name,
            seen is not None and seen >= floor.minimum,
            floor.expected,
            "not a component of this product" if seen is None else str(seen),
            source=floor.source,
            hint="the platform's firmware is older than the policy accepts; its operator must update it",
            code="tcb-too-old",
        )
