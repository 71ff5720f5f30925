"""How SEV certificates and attestation reports are shown: plain values for machines, words and units for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enarx.evidence.sev.certs import CaCertificate, Certificate
    from enarx.evidence.sev.report import AttestationReport

_WIDTH = 26
_KEYS = {
    "ARK": "AMD root key",
    "ASK": "AMD SEV signing key",
    "CEK": "chip endorsement key",
    "OCA": "owner certificate authority",
    "PEK": "platform endorsement key",
    "PDH": "platform Diffie-Hellman key",
}


def certificate_fields(certificate: Certificate) -> dict[str, object]:
    """What one SEV certificate says: usage, key and issuers by name, byte strings as hex."""
    import hashlib

    from enarx.evidence.sev.certs import CaCertificate
    from enarx.evidence.sev.kinds import RSA_ALGORITHMS

    fields: dict[str, object] = {"usage": certificate.usage.name.lower()}
    if isinstance(certificate, CaCertificate):
        fields["key_id"] = certificate.key_id.hex()
        fields["certifying_id"] = certificate.certifying_id.hex()
        fields["key"] = f"RSA {certificate.modulus_bits} bits"
    else:
        fields["api"] = f"{certificate.api_major}.{certificate.api_minor}"
        fields["algorithm"] = certificate.algorithm.name.lower()
        if certificate.algorithm in RSA_ALGORITHMS:
            fields["key"] = f"RSA {certificate.rsa_key.modulus_bits} bits"
        else:
            fields["key"] = {1: "P-256", 2: "P-384"}.get(certificate.ecc_key.curve, "unknown curve")
        fields["signed_by"] = [slot.usage.name.lower() for slot in certificate.signatures if slot.present]
    fields["sha256"] = hashlib.sha256(certificate.to_bytes()).hexdigest()
    return fields


def show_certificates(certificates: Sequence[Certificate]) -> str:
    """One or more SEV certificates for a person, in the order of the file."""
    from enarx.evidence.sev.certs import CaCertificate

    lines: list[str] = []
    for certificate in certificates:
        fields, name = certificate_fields(certificate), certificate.usage.name
        lines.append(_line("SEV certificate", f"{name}: {_KEYS.get(name, name)}"))
        if isinstance(certificate, CaCertificate):
            lines += [_line("  key", f"{fields['key']}, id {fields['key_id']}"), _line("  signed by", _ca(certificate))]
        else:
            signers = ", ".join(slot.usage.name for slot in certificate.signatures if slot.present)
            lines.append(_line("  key", f"{fields['key']}, {fields['algorithm']}"))
            lines.append(_line("  firmware API", str(fields["api"])))
            lines.append(_line("  signed by", signers or "nobody"))
        lines.append(_line("  SHA-256", str(fields["sha256"])))
    return "\n".join([*lines, "Nothing here has been verified: see enarx evidence verify."])


def report_fields(report: AttestationReport) -> dict[str, object]:
    """Every field of an attestation report of SEV: byte strings as hex in stored order, the policy as ``0x`` hex."""
    return {
        "mnonce": report.mnonce.hex(),
        "launch_digest": report.launch_digest.hex(),
        "policy": f"{report.policy.value:#x}",
        "debug": report.policy.debug_allowed,
        "signature_usage": f"{report.signature_usage:#x}",
        "signature_algorithm": f"{report.signature_algorithm:#x}",
    }


def show_report(report: AttestationReport) -> str:
    """An attestation report of SEV for a person."""
    lines = [
        _line("SEV attestation report", "208 bytes"),
        _line("launch digest (SHA-256)", report.launch_digest.hex()),
        _line("nonce (16 bytes)", report.mnonce.hex()),
        _line("guest policy", f"{report.policy.value:#x}: firmware API >= {'.'.join(map(str, report.policy.api))}"),
        *(_line("", word) for word in report.policy.words()),
        _line("signing key", f"usage {report.signature_usage:#x}, algorithm {report.signature_algorithm:#x}"),
    ]
    if report.policy.debug_allowed:
        lines.append("WARNING: debug is allowed: the host can read and change this guest's memory.")
    return "\n".join([*lines, "Nothing here has been verified."])


def _ca(certificate: CaCertificate) -> str:
    if not certificate.signature:
        return "nobody (the form that ends before its signature)"
    itself = certificate.certifying_id == certificate.key_id
    return "itself" if itself else f"key {certificate.certifying_id.hex()}"


def _line(name: str, value: str) -> str:
    return f"{name:<{_WIDTH}}{value}"
