"""How SEV-SNP evidence is shown: plain values under stable names for machines, words and units for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.evidence.snp.certtable import CertTable
    from enarx.evidence.snp.endorsement import Endorsement
    from enarx.evidence.snp.report import Report
    from enarx.evidence.snp.tcb import Tcb

_WIDTH = 26


def report_fields(report: Report) -> dict[str, object]:
    """Every field of a report as plain values: byte strings as hex in stored order, bit fields as ``0x`` hex."""
    from enarx.evidence.snp.abi import SIGNERS

    fields: dict[str, object] = {
        "version": report.version,
        "guest_svn": report.guest_svn,
        "policy": f"{report.policy:#x}",
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "vmpl": report.vmpl,
        "sig_algo": report.signature_algorithm,
        "current_tcb": report.current_tcb_raw.hex(),
        "platform_info": f"{report.platform_info:#x}",
        "flags": f"{report.flags:#x}",
        "report_data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "reported_tcb": report.reported_tcb_raw.hex(),
        "chip_id": report.chip_id.hex(),
        "committed_tcb": report.committed_tcb_raw.hex(),
        "launch_tcb": report.launch_tcb_raw.hex(),
        "current_version": ".".join(map(str, report.current_version)),
        "committed_version": ".".join(map(str, report.committed_version)),
        "debug": report.debug,
        "signing_key": SIGNERS.get(report.signing_key, str(report.signing_key)).lower(),
    }
    if report.has_cpuid:
        fields["cpuid_family"] = report.cpuid_family
        fields["cpuid_model"] = report.cpuid_model
        fields["cpuid_stepping"] = report.cpuid_stepping
    if report.has_mitigations:
        fields["launch_mit_vector"] = f"{report.launch_mit_vector:#x}"
        fields["current_mit_vector"] = f"{report.current_mit_vector:#x}"
    return fields


def endorsement_fields(endorsement: Endorsement) -> dict[str, object]:
    """What a VCEK or VLEK certificate says, by the names that vectors use."""
    short = {"bootloader": "bl", "microcode": "ucode"}
    fields: dict[str, object] = {
        "kind": endorsement.kind.name.lower(),
        "product": endorsement.product_name,
    }
    if endorsement.hardware_id is not None:
        fields["hwid"] = endorsement.hardware_id.hex()
    if endorsement.csp_id:
        fields["csp_id"] = endorsement.csp_id
    for name, value in endorsement.tcb.named().items():
        fields[short.get(name, name)] = value
    return fields


def show_report(report: Report) -> str:
    """A report for a person: fields with units, TCBs by component, flags in words."""
    from enarx.evidence.snp.abi import PLATFORM_BITS, POLICY_BITS, SIGNERS

    product = report.product
    abi = report.abi
    lines = [
        _line("SEV-SNP report", f"version {report.version}, 1184 bytes"),
        _line("product", product.value if product else "not stated" if not report.has_cpuid else "unknown"),
    ]
    if report.has_cpuid:
        lines.append(
            _line(
                "CPUID",
                f"family {report.cpuid_family:#x} model {report.cpuid_model:#x} stepping {report.cpuid_stepping}",
            )
        )
    lines += [
        _line("measurement (SHA-384)", report.measurement.hex()),
        _line("report data (64 bytes)", report.report_data.hex()),
        _line("host data (32 bytes)", report.host_data.hex()),
        _line("VMPL", str(report.vmpl)),
        _line("guest SVN", str(report.guest_svn)),
        _line("guest policy", f"{report.policy:#x}: firmware ABI >= {abi[0]}.{abi[1]}"),
        *_flags(report.policy, POLICY_BITS, _POLICY_WORDS),
        _line("platform", f"{report.platform_info:#x}"),
        *_flags(report.platform_info, PLATFORM_BITS, _PLATFORM_WORDS),
        _line("signed by", SIGNERS.get(report.signing_key, f"reserved value {report.signing_key}")),
        _line("chip key masked", _yes(report.chip_key_masked)),
        _line("chip id", report.chip_id.hex() if any(report.chip_id) else "not stated (all zero)"),
        _line("reported TCB", _tcb(report.reported_tcb) + "  (the signing key belongs to this one)"),
        _line("committed TCB", _tcb(report.committed_tcb)),
        _line("current TCB", _tcb(report.current_tcb)),
        _line("launch TCB", _tcb(report.launch_tcb)),
        _line("current firmware", _version(report.current_version)),
        _line("committed firmware", _version(report.committed_version)),
    ]
    if report.has_mitigations:
        lines.append(_line("mitigations at launch", f"{report.launch_mit_vector:#x}"))
        lines.append(_line("mitigations now", f"{report.current_mit_vector:#x}"))
    lines += [
        _line("family id", report.family_id.hex()),
        _line("image id", report.image_id.hex()),
        _line("ID key (SHA-384)", report.id_key_digest.hex() if any(report.id_key_digest) else "none"),
        _line("author key (SHA-384)", _author_key(report)),
        _line("report id", report.report_id.hex()),
        _line("migration agent", report.report_id_ma.hex() if report.report_id_ma.strip(b"\xff") else "none"),
        _line("reserved fields", ", ".join(report.reserved()) or "as specified"),
    ]
    if report.debug:
        lines.append("WARNING: debug is allowed: the host can read and change this guest's memory.")
    lines.append("Nothing here has been verified: see enarx evidence verify.")
    return "\n".join(lines)


def show_endorsement(endorsement: Endorsement, not_before: str, not_after: str) -> str:
    """A VCEK or VLEK certificate for a person."""
    lines = [
        _line("certificate", f"{endorsement.kind.name}, key on P-384"),
        _line("product", endorsement.product_name),
        _line("valid", f"{not_before} to {not_after}"),
        _line("TCB", _tcb(endorsement.tcb)),
    ]
    if endorsement.hardware_id is not None:
        lines.append(_line("hardware id", endorsement.hardware_id.hex()))
    if endorsement.csp_id:
        lines.append(_line("provider", endorsement.csp_id))
    lines.append("Nothing here has been verified: see enarx evidence verify.")
    return "\n".join(lines)


def show_fields(what: str, fields: Mapping[str, object]) -> str:
    """A certificate or list of another kind for a person: its fields, one to a line."""
    lines = [
        _line(what, "X.509"),
        *(_line(f"  {name.replace('_', ' ')}", str(value)) for name, value in fields.items()),
    ]
    return "\n".join([*lines, "Nothing here has been verified: see enarx evidence verify."])


def show_table(table: CertTable) -> str:
    """A certificate table for a person."""
    lines = [_line("certificate table", f"{len(table.entries)} entries")]
    lines += [
        _line(f"  {name}", f"{len(blob)} bytes")
        for name, blob in zip(table.names(), table.entries.values(), strict=True)
    ]
    return "\n".join(lines)


_POLICY_WORDS = {
    "smt": ("SMT allowed", "SMT not allowed"),
    "migration": ("migration agent allowed", "no migration agent"),
    "debug": ("DEBUG ALLOWED", "debug not allowed"),
    "single_socket": ("one socket only", "any number of sockets"),
    "cxl": ("CXL allowed", "CXL not allowed"),
    "aes_256_xts": ("AES-256-XTS demanded", "AES-128-XEX accepted"),
    "rapl_disabled": ("RAPL must be disabled", "RAPL accepted"),
    "ciphertext_hiding": ("ciphertext hiding demanded", "ciphertext hiding not demanded"),
    "page_swap_disabled": ("page swap disabled", "page swap accepted"),
}
_PLATFORM_WORDS = {
    "smt": ("SMT enabled", "SMT disabled"),
    "tsme": ("TSME enabled", "TSME disabled"),
    "ecc": ("ECC memory", "no ECC memory"),
    "rapl_disabled": ("RAPL disabled", "RAPL enabled"),
    "ciphertext_hiding": ("ciphertext hiding on", "ciphertext hiding off"),
    "alias_check_complete": ("memory alias check complete", "memory alias check not complete"),
    "iommu_write_safe": ("IOMMU writes safe", "IOMMU write safety not stated"),
    "tio": ("trusted I/O enabled", "trusted I/O off"),
}


def _flags(value: int, bits: Mapping[str, int], words: Mapping[str, tuple[str, str]]) -> list[str]:
    return [_line("", words[name][0] if value & bit else words[name][1]) for name, bit in bits.items()]


def _line(name: str, value: str) -> str:
    return f"{name:<{_WIDTH}}{value}"


def _tcb(tcb: Tcb) -> str:
    return f"{tcb}  [{tcb.raw.hex()}]"


def _version(version: tuple[int, int, int]) -> str:
    return f"{version[0]}.{version[1]} build {version[2]}"


def _author_key(report: Report) -> str:
    if report.author_key_enabled is any(report.author_key_digest):
        return report.author_key_digest.hex() if report.author_key_enabled else "none"
    return f"{report.author_key_digest.hex()} (AUTHOR_KEY_EN={int(report.author_key_enabled)}, a contradiction)"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
