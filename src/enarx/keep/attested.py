"""A Keep's attested identity: a fresh key, evidence over it, and the request that proves both to a Steward.

The key is made in the Keep and never leaves it; the workload cannot reach it. What ties everything together is the
evidence: report data names the key, HOST_DATA names the manifest, and the processor signs both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import EvidenceError
from enarx.evidence import binding
from enarx.keep.attester_simulated import Source, first_evidence
from enarx.keep.endorsements import Endorsements, read_table
from enarx.keep.handover import check_manifest
from enarx.keep.identity import Identity
from enarx.manifest import Manifest
from enarx.sealing import SEALING_KEY_OID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey

    from enarx.keep.attester import RawEvidence
    from enarx.keep.certified import Certified

REQUEST_MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest request to a Steward (bytes); a manifest of 1 MiB takes 2.7 MiB of it, twice in base64."""
EVIDENCE_OIDS: Final = {
    "snp": binding.SNP_EVIDENCE_OID,
    "sev": binding.SEV_EVIDENCE_OID,
    "tdx": binding.TDX_EVIDENCE_OID,
}
"""The extension that carries evidence, by technology."""
_OCTET_STRING: Final = 0x04


@dataclass(frozen=True, slots=True)
class Key:
    """A P-384 key and its DER SubjectPublicKeyInfo. The private parts are left out of ``repr``.

    ``sealing``: an ML-KEM-1024 key for secrets; None where the Keep's cryptography has none.
    """

    private: EllipticCurvePrivateKey = field(repr=False)
    spki: bytes
    sealing: MLKEM1024PrivateKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Attested:
    """What a Keep holds once its evidence and its manifest agree. ``manifest_bytes`` is the canonical encoding."""

    key: Key
    source: Source
    evidence: RawEvidence
    manifest: Manifest
    manifest_bytes: bytes


def new_key() -> Key:
    """A fresh P-384 key, and one to seal secrets to, from OpenSSL's random generator."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, mlkem
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    private = ec.generate_private_key(ec.SECP384R1())
    try:
        sealing = mlkem.MLKEM1024PrivateKey.generate()
    except UnsupportedAlgorithm:  # OpenSSL before 3.5: secrets are then sealed to the P-384 key alone
        sealing = None
    return Key(private, private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), sealing)


def attest(manifest: bytes, candidates: Sequence[Source], *, key: Key | None = None) -> Attested:
    """Evidence over a fresh key (or, for a renewal, over ``key``), and the manifest checked against it.

    The Keep's first step: until this returns, nothing that the host handed over has been parsed. Raises EvidenceError,
    AuthenticityError (``manifest-not-attested``) or MalformedError.
    """
    key = key or new_key()
    source, evidence = first_evidence(binding.report_data(key.spki), candidates)
    return Attested(key, source, evidence, check_manifest(evidence, manifest), manifest)


def with_certificates(attested: Attested, table: bytes) -> Attested:
    """The same with the host's certificate table, where none came with the evidence itself.

    No QEMU can be told what to answer a guest's extended request with, so the host hands a table over with the launch.
    """
    if attested.evidence.certificates or not table:
        return attested
    return replace(attested, evidence=replace(attested.evidence, certificates=table))


def endorsements(attested: Attested) -> Endorsements:
    """The certificates that came with the evidence. MalformedError (``endorsements``) when the host gave none.

    A TDX quote has its certificates in itself, and the approval of a SEV launch needs none.
    """
    if attested.evidence.technology in ("tdx", "sev"):
        return Endorsements(b"")
    return read_table(attested.evidence.certificates)


def evidence_extension(attested: Attested, found: Endorsements) -> bytes:
    """The value of the extension that carries the evidence, in the request and in the certificate."""
    if attested.evidence.technology == "tdx":
        return binding.tdx_evidence(attested.evidence.report)
    if attested.evidence.technology == "sev":
        return attested.evidence.report
    return binding.snp_evidence(attested.evidence.report, found.leaf, found.distributed_crls())


def repeatable_evidence(attested: Attested) -> tuple[bytes, bytes]:
    """The values of that extension that a certificate may have: as it was sent, and without revocation lists.

    A Steward leaves the lists out of a certificate that would grow too large for a TLS handshake.
    """
    found = endorsements(attested)
    if attested.evidence.technology in ("tdx", "sev"):
        extension = evidence_extension(attested, found)
        return extension, extension
    return evidence_extension(attested, found), binding.snp_evidence(attested.evidence.report, found.leaf)


def certification_request(attested: Attested, evidence: bytes) -> bytes:
    """A DER PKCS#10 request (RFC 2986): empty subject, the evidence as published Enarx has it, and the manifest.

    Where the Keep has a key to seal secrets to, that too. Self-signed with ECDSA and SHA-384, so that it proves
    possession of the key. ``evidence`` is `evidence_extension`.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    extensions = [
        (EVIDENCE_OIDS[attested.evidence.technology], evidence),
        (binding.MANIFEST_OID, binding.manifest_extension(attested.manifest_bytes)),
    ]
    if attested.key.sealing is not None:
        public = attested.key.sealing.public_key().public_bytes_raw()
        extensions.append((SEALING_KEY_OID, binding.encode(_OCTET_STRING, public)))
    for oid, value in extensions:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(attested.key.private, hashes.SHA384()).public_bytes(Encoding.DER)


def attest_request(attested: Attested, signatures: Sequence[bytes] = ()) -> bytes:
    """The JSON body of ``POST /v1/attest``: request, manifest, endorsements, and signatures of the workload, if any.

    EvidenceError when it is too large.
    """
    found = endorsements(attested)
    body: dict[str, Any] = {
        "csr": _base64(certification_request(attested, evidence_extension(attested, found))),
        "manifest": _base64(attested.manifest_bytes),
        "endorsements": {"chain": list(map(_base64, found.chain)), "crls": list(map(_base64, found.crls))},
    }
    if signatures:
        body["signatures"] = list(map(_base64, signatures))
    encoded = json.dumps(body, separators=(",", ":")).encode()
    if len(encoded) > REQUEST_MAX_BYTES:
        raise EvidenceError(
            f"the request to the Steward would have {len(encoded)} bytes, more than {REQUEST_MAX_BYTES}",
            code="request-too-long",
            hint="pass fewer arguments and variables on the command line; put larger data into files",
        )
    return encoded


def identity(key: Key, certified: Certified) -> Identity:
    """What the Keep's TLS needs, for listening and connecting alike. Its bytes are a copy on the ordinary heap."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(pem, certified.pem())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
