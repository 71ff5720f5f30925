"""What ties a key, a manifest and a secret to evidence: the one definition for both ends.

The Keep makes these values and the verifier compares or parses them (``snp/enarx.py``), so each is written down once,
here, in a module that needs the standard library alone and is small enough to be part of the trusted computing base.

The key binding and the SNP evidence extension are those of the published Enarx (its ``exec-wasmtime`` and Steward), so
that either Steward can read a Keep's request. The manifest extensions are our own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal

from enarx.errors import MalformedError

REPORT_DATA_BYTES: Final = 64
"""Size of the caller's data in a report, of SEV-SNP, TDX and SGX alike (bytes)."""
SNP_REPORT_BYTES: Final = 1184
"""Size of an SNP attestation report (bytes; 56860 table 23)."""
MANIFEST_DIGEST_BYTES: Final = 32
"""Size of a manifest's digest, SHA-256, which is also the size of HOST_DATA (bytes)."""

KVM_EVIDENCE_OID: Final = "1.3.6.1.4.1.58270.1.1"
SGX_EVIDENCE_OID: Final = "1.3.6.1.4.1.58270.1.2"
SNP_EVIDENCE_OID: Final = "1.3.6.1.4.1.58270.1.3"

# Made from GUID dd8058e9-b30a-4fcf-bec1-edb4659be4b0 under the arc that is set aside for such. Not 2.25.<UUID>: its
# arc of 128 bits is valid, but Go's crypto/x509 refuses a certificate that has it, and clients are written in Go.
_ARC: Final = "1.2.840.113556.1.8000.2554.56704.22761.45834.20431.48833.15578213.10216624"
MANIFEST_OID: Final = f"{_ARC}.1"
"""Extension of a certification request: OCTET STRING of the canonical manifest."""
MANIFEST_DIGEST_OID: Final = f"{_ARC}.2"
"""Extension of an issued certificate: OCTET STRING of the manifest's SHA-256."""
TDX_EVIDENCE_OID: Final = f"{_ARC}.4"
"""Extension of a certification request: OCTET STRING of a TDX quote. The published Enarx has none for TDX."""
SEV_EVIDENCE_OID: Final = f"{_ARC}.5"
"""Extension of a request and a certificate: that this key belongs to an approved SEV launch, see `sev_evidence`."""

NONCE_BYTES: Final = 32
"""Size of a client's nonce, and of the value that a TLS session exports (RFC 9266 4.1) (bytes)."""
SESSION_DIGEST_BYTES: Final = 48
"""Size of the digest that stands for one challenged TLS session, SHA-384 (bytes)."""
SESSIONS_MAX: Final = 64
"""Sessions that one report may be over (count)."""

_SECRET_LABEL: Final = b"enarx secret v1\0"
_SESSION_LABEL: Final = b"enarx session v1\0"
_SESSIONS_LABEL: Final = b"enarx sessions v1\0"
_ENROLMENT_LABEL: Final = b"enarx sev enrolment v1\0"

_OCTET_STRING: Final = 0x04
_UTF8_STRING: Final = 0x0C
_SEQUENCE: Final = 0x30


def report_data(spki_der: bytes, *, hash: Literal["sha384", "sha256"] = "sha384") -> bytes:  # noqa: A002 - its name
    """The 64 bytes that evidence over a public key must carry: digest of its DER SubjectPublicKeyInfo, then zeros.

    SHA-384 for P-384 keys (SNP), SHA-256 for P-256 keys (SGX), as in the published Enarx. A verifier compares all 64.
    """
    return hashlib.new(hash, spki_der).digest().ljust(REPORT_DATA_BYTES, b"\0")


def session_digest(spki_der: bytes, nonce: bytes, exporter: bytes) -> bytes:
    """What stands for one TLS session in fresh evidence: SHA-384 of label, SHA-384 of the Keep's SPKI, nonce, exporter.

    ``exporter`` is the session's ``tls-exporter`` (RFC 9266); it and the nonce have 32 bytes. Raises MalformedError.
    """
    if len(nonce) != NONCE_BYTES or len(exporter) != NONCE_BYTES:
        raise _malformed(f"a nonce of {len(nonce)} bytes and an exporter of {len(exporter)}, not {NONCE_BYTES}")
    return hashlib.sha384(_SESSION_LABEL + hashlib.sha384(spki_der).digest() + nonce + exporter).digest()


def session_report_data(digests: Sequence[bytes]) -> bytes:
    """The 64 bytes that fresh evidence over these sessions must carry: SHA-512 of label and digests, in their order.

    All 64 are digest, so that it is never `report_data` of a key, which ends in zeros. Raises MalformedError unless
    there are 1 to ``SESSIONS_MAX`` digests of their one size.
    """
    if not 1 <= len(digests) <= SESSIONS_MAX or any(len(one) != SESSION_DIGEST_BYTES for one in digests):
        raise _malformed(f"not 1 to {SESSIONS_MAX} digests of {SESSION_DIGEST_BYTES} bytes")
    return hashlib.sha512(_SESSIONS_LABEL + b"".join(digests)).digest()


def secret_info(manifest_digest: bytes, name: str) -> bytes:
    """HPKE ``info`` (RFC 9180 5.1) under which a secret is sealed: label, manifest digest, name of the secret.

    The digest has a fixed size, so no two pairs give the same bytes. Raises MalformedError for another size.
    """
    _check_digest(manifest_digest)
    return _SECRET_LABEL + manifest_digest + name.encode()


def snp_evidence(report: bytes, vcek: bytes, crls: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """The value of the SNP evidence extension; ``crls`` are (distribution point, DER list).

    ::

        SEQUENCE {
          SEQUENCE { vcek Certificate, crls SEQUENCE { SEQUENCE OF SEQUENCE { url UTF8String, crl CertificateList } } },
          report OCTET STRING }

    The certificate and the lists come from the host: that each is one DER SEQUENCE is checked, nothing else. Raises
    MalformedError.
    """
    if len(report) != SNP_REPORT_BYTES:
        raise _malformed(f"a report of {len(report)} bytes, not {SNP_REPORT_BYTES}")
    _check_sequence(vcek, "the VCEK")
    for _, crl in crls:
        _check_sequence(crl, "a revocation list")
    entries = b"".join(encode(_SEQUENCE, encode(_UTF8_STRING, url.encode()) + crl) for url, crl in crls)
    endorsements = vcek + encode(_SEQUENCE, encode(_SEQUENCE, entries))
    return encode(_SEQUENCE, encode(_SEQUENCE, endorsements) + encode(_OCTET_STRING, report))


def sev_statement(data: bytes, approval: bytes) -> bytes:
    """What the key of an approved SEV launch signs: label, the 64 bytes of `report_data`, SHA-256 of the approval.

    It stands where other guests have a report over ``data``. Raises MalformedError for another size of ``data``.
    """
    if len(data) != REPORT_DATA_BYTES:
        raise _malformed(f"report data of {len(data)} bytes, not {REPORT_DATA_BYTES}")
    return _ENROLMENT_LABEL + data + hashlib.sha256(approval).digest()


def sev_evidence(approval: bytes, signature: bytes) -> bytes:
    """The value of the SEV evidence extension: SEQUENCE { approval OCTET STRING, signature OCTET STRING }.

    ``signature`` is ECDSA with SHA-384 (DER) over `sev_statement` by the key that the approval names.
    """
    return encode(_SEQUENCE, encode(_OCTET_STRING, approval) + encode(_OCTET_STRING, signature))


def tdx_evidence(quote: bytes) -> bytes:
    """The value of the TDX evidence extension. The quote brings its own certificates."""
    return encode(_OCTET_STRING, quote)


def manifest_extension(manifest: bytes) -> bytes:
    """The value of the manifest extension of a certification request."""
    return encode(_OCTET_STRING, manifest)


def manifest_digest_extension(digest: bytes) -> bytes:
    """The value of the manifest digest extension of a certificate; MalformedError unless ``digest`` is a SHA-256."""
    _check_digest(digest)
    return encode(_OCTET_STRING, digest)


def encode(tag: int, contents: bytes) -> bytes:
    """One DER element with the shortest definite length (X.690 8.1.3, 10.1)."""
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    width = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | width)) + size.to_bytes(width, "big") + contents


def _check_sequence(data: bytes, what: str) -> None:
    """Whether ``data`` is exactly one SEQUENCE, so that it cannot spill into what is written around it."""
    head = 2 + (data[1] & 0x7F if len(data) > 1 and data[1] >= 0x80 else 0)
    if data != encode(_SEQUENCE, data[head:]):
        raise _malformed(f"{what} is not one DER SEQUENCE")


def _check_digest(digest: bytes) -> None:
    if len(digest) != MANIFEST_DIGEST_BYTES:
        raise _malformed(f"a manifest digest of {len(digest)} bytes, not {MANIFEST_DIGEST_BYTES}")


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"malformed evidence: {what}", code="malformed", hint="the host passed something else, or passed it in part"
    )
