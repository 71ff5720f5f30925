"""What a certification request of a Keep may ask for: one kind of evidence, a manifest, a key to seal secrets to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from enarx.errors import MalformedError, PolicyError
from enarx.evidence import der
from enarx.evidence.binding import (
    KVM_EVIDENCE_OID,
    MANIFEST_OID,
    SEV_EVIDENCE_OID,
    SGX_EVIDENCE_OID,
    SNP_EVIDENCE_OID,
    TDX_EVIDENCE_OID,
)
from enarx.evidence.certificate import Extension
from enarx.sealing import SEALING_KEY_BYTES, SEALING_KEY_OID
from enarx.tenant.steward.csr import CertificationRequest

EVIDENCE: Final[Mapping[str, str]] = MappingProxyType(
    {
        KVM_EVIDENCE_OID: "kvm",
        SEV_EVIDENCE_OID: "sev",
        SGX_EVIDENCE_OID: "sgx",
        SNP_EVIDENCE_OID: "snp",
        TDX_EVIDENCE_OID: "tdx",
    }
)
"""Extensions that carry evidence, and the technology that it is of."""


def evidence_extension(csr: CertificationRequest) -> tuple[str, Extension]:
    """The one evidence extension of a request; nothing may be critical, and nothing unknown be there."""
    for oid, extension in csr.extensions.items():
        if oid not in EVIDENCE and oid not in (MANIFEST_OID, SEALING_KEY_OID):
            raise MalformedError(
                f"extension {oid} is not one that a Keep asks for", code="unsupported-extension", hint="leave it out"
            )
        if extension.critical:
            raise MalformedError(
                f"extension {oid} is critical", code="unsupported-extension", hint="Keeps send it as not critical"
            )
    found = [oid for oid in csr.extensions if oid in EVIDENCE]
    if not found:
        raise PolicyError(
            "the request has no evidence", code="evidence-missing", hint="a certificate is for Keeps that attest"
        )
    if len(found) > 1:
        raise MalformedError(
            f"the request has evidence of {' and '.join(EVIDENCE[oid] for oid in found)}",
            code="duplicate-extension",
            hint="a Keep runs in one TEE",
        )
    return found[0], csr.extensions[found[0]]


def sealing_key(csr: CertificationRequest) -> bytes | None:
    """The key beside the attested one that secrets are sealed to, which the attested one signed; its size is right."""
    extension = csr.extensions.get(SEALING_KEY_OID)
    if extension is None:
        return None
    found = der.only(extension.value, der.OCTET_STRING, SEALING_KEY_BYTES + 16)
    if found.stop - found.start != SEALING_KEY_BYTES:
        raise der.malformed(f"a sealing key of {found.stop - found.start} bytes, not {SEALING_KEY_BYTES}")
    return extension.value[found.start : found.stop]
