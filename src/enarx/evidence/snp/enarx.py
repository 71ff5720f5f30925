"""Enarx's extensions of certification requests and certificates, as facts: SNP evidence, manifest, manifest digest.

The other end of ``binding.snp_evidence`` and its siblings. What is found is split into its parts and bounded; whether
report, certificate and lists mean anything is for ``report``, ``authenticate`` and ``certificate`` to say. Source: the
published Steward (crate ``attestation``, ``snp`` and ``crypto``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enarx.errors import MalformedError
from enarx.evidence import der
from enarx.evidence.binding import MANIFEST_DIGEST_BYTES, SNP_REPORT_BYTES
from enarx.evidence.certificate import CERTIFICATE_MAX_BYTES, CRL_MAX_BYTES

EVIDENCE_MAX_BYTES: Final = 2 * 1024 * 1024
"""Largest evidence extension that is read (bytes). AMD's are about 4 KiB."""
CRLS_MAX: Final = 8
"""Revocation lists in one extension (count); the published requests have one for each product."""
URL_MAX_CHARS: Final = 2048
"""Longest distribution point (characters)."""
MANIFEST_MAX_BYTES: Final = 1024 * 1024
"""Largest manifest (bytes), as in ``enarx.manifest``."""


@dataclass(frozen=True, slots=True)
class DistributedCrl:
    """A revocation list (DER) and the distribution point that the sender says it is from."""

    url: str
    crl: bytes


@dataclass(frozen=True, slots=True)
class SnpEvidence:
    """A report of 1184 bytes, its VCEK or VLEK certificate and revocation lists (DER). Nothing of it is verified."""

    report: bytes
    vcek: bytes
    crls: tuple[DistributedCrl, ...]


def parse_evidence(value: bytes) -> SnpEvidence:
    """Read the value of the SNP evidence extension (``binding.SNP_EVIDENCE_OID``); MalformedError for anything else."""
    whole = der.only(value, der.SEQUENCE, EVIDENCE_MAX_BYTES)
    endorsements = der.expect(value, whole.start, whole.stop, der.SEQUENCE)
    report = der.expect(value, endorsements.stop, whole.stop, der.OCTET_STRING)
    if report.stop != whole.stop:
        raise der.malformed("trailing bytes after the report")
    if report.stop - report.start != SNP_REPORT_BYTES:
        raise der.malformed(f"a report of {report.stop - report.start} bytes, not {SNP_REPORT_BYTES}")
    vcek = der.expect(value, endorsements.start, endorsements.stop, der.SEQUENCE)
    if vcek.stop - vcek.head > CERTIFICATE_MAX_BYTES:
        raise _too_long(f"a certificate of {vcek.stop - vcek.head} bytes, more than {CERTIFICATE_MAX_BYTES}")
    crls = der.expect(value, vcek.stop, endorsements.stop, der.SEQUENCE)
    entries = der.expect(value, crls.start, crls.stop, der.SEQUENCE)
    if crls.stop != endorsements.stop or entries.stop != crls.stop:
        raise der.malformed("trailing bytes after the revocation lists")
    return SnpEvidence(value[report.start : report.stop], value[vcek.head : vcek.stop], _crls(value, entries))


def _crls(value: bytes, entries: der.Element) -> tuple[DistributedCrl, ...]:
    found: list[DistributedCrl] = []
    at = entries.start
    while at < entries.stop:
        if len(found) == CRLS_MAX:
            raise _too_long(f"more than {CRLS_MAX} revocation lists")
        entry = der.expect(value, at, entries.stop, der.SEQUENCE)
        url = der.expect(value, entry.start, entry.stop, der.UTF8_STRING)
        crl = der.expect(value, url.stop, entry.stop, der.SEQUENCE)
        if crl.stop != entry.stop:
            raise der.malformed("trailing bytes after a revocation list")
        if crl.stop - crl.head > CRL_MAX_BYTES or url.stop - url.start > URL_MAX_CHARS:
            raise _too_long("a revocation list or its distribution point is too long")
        found.append(DistributedCrl(_url(value[url.start : url.stop]), value[crl.head : crl.stop]))
        at = entry.stop
    return tuple(found)


def _url(text: bytes) -> str:
    """A distribution point: graphic ASCII, as a URI is (RFC 3986 2), so that it can be shown and compared."""
    if not text or any(not 0x21 <= octet <= 0x7E for octet in text):
        raise der.malformed("a distribution point that is not a URI")
    return text.decode("ascii")


def parse_manifest(value: bytes) -> bytes:
    """The manifest in the extension of a request (``binding.MANIFEST_OID``), for ``enarx.manifest.parse``."""
    found = der.only(value, der.OCTET_STRING, MANIFEST_MAX_BYTES + 16)
    if found.stop - found.start > MANIFEST_MAX_BYTES:
        raise _too_long(f"a manifest of more than {MANIFEST_MAX_BYTES} bytes")
    return value[found.start : found.stop]


def parse_manifest_digest(value: bytes) -> bytes:
    """The 32-byte digest in the extension of a certificate (``binding.MANIFEST_DIGEST_OID``)."""
    found = der.only(value, der.OCTET_STRING, MANIFEST_DIGEST_BYTES + 2)
    if found.stop - found.start != MANIFEST_DIGEST_BYTES:
        raise der.malformed(f"a manifest digest of {found.stop - found.start} bytes, not {MANIFEST_DIGEST_BYTES}")
    return value[found.start : found.stop]


def _too_long(what: str) -> MalformedError:
    return MalformedError(
        f"malformed evidence: {what}", code="too-long", hint="check that the request is what it claims to be"
    )
