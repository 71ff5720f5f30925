"""Whether chains of certificates are what the manifest's pin says: the Steward's own, and the one that it issues.

Both must end in the CA whose key's digest the manifest holds. Everything else a chain says is only believed below that
key. Path validation (RFC 5280 6, in the stricter profile of the web) is ``cryptography``'s.

**What the clock is trusted for.** The Keep's clock is the host's: a host that lies about the time makes the Keep
refuse, or accept an expired certificate of the very CA that the manifest pins. It never makes the Keep accept another
key, manifest or Steward. Whoever relies on a certificate checks its validity by a clock of his own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence import binding

if TYPE_CHECKING:
    from cryptography import x509

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the Keep's clock may be outside a certificate's validity."""
CHAIN_MAX: Final = 6
"""Certificates in one chain, leaf and anchor included (count)."""
CERTIFICATE_MAX_BYTES: Final = 64 * 1024
"""Largest certificate that is read (bytes); one that carries evidence has about 8 KiB."""
_EVIDENCE_OIDS: Final = (
    binding.SNP_EVIDENCE_OID, binding.SEV_EVIDENCE_OID, binding.SGX_EVIDENCE_OID, binding.TDX_EVIDENCE_OID
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Certified:
    """A verified chain for the Keep's key: DER, leaf first, the pinned CA last; validity in UTC."""

    chain: tuple[bytes, ...]
    not_before: datetime
    not_after: datetime

    def pem(self) -> bytes:
        """The chain as PEM, leaf first."""
        import ssl

        return "".join(map(ssl.DER_cert_to_PEM_cert, self.chain)).encode()


def check_issued(
    chain: Sequence[bytes], *, spki: bytes, manifest_digest: bytes, evidence: Sequence[bytes], ca: str, now: datetime,
    evidence_oid: str = binding.SNP_EVIDENCE_OID,
) -> Certified:  # fmt: skip
    """The chain that a Steward issued, once it is proved to be for this key, this manifest and under this CA.

    ``spki`` is what the request had; the certificate may carry any of ``evidence``, values of the extension
    ``evidence_oid``, or none; ``ca`` is the manifest's pin; ``now`` is timezone-aware. Raises MalformedError, or
    AuthenticityError (``certificate-key``, ``-manifest``, ``-evidence``, ``-ca``, ``-time``, ``-chain``).
    """
    certificates = _load(chain)
    leaf = certificates[0]
    if not hmac.compare_digest(_spki(leaf), spki):
        raise _refused("key", "it is for another key than this Keep's")
    if _extension(leaf, binding.MANIFEST_DIGEST_OID) != binding.manifest_digest_extension(manifest_digest):
        raise _refused("manifest", "it does not name the manifest that this Keep was launched with")
    for oid in _EVIDENCE_OIDS:
        if _extension(leaf, oid) not in ((None, *evidence) if oid == evidence_oid else (None,)):
            raise _refused("evidence", "it carries other evidence than this Keep's")
    _check_path(certificates, ca, now, None)
    return Certified(tuple(chain), leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def check_steward(chain: Sequence[bytes], *, host: str, ca: str, now: datetime) -> None:
    """The chain that a Steward showed in its TLS handshake is for ``host`` and under the pinned CA.

    Other Keeps have certificates under the same CA: one that carries a manifest or evidence is no Steward's. Raises
    MalformedError or AuthenticityError (``steward-...``).
    """
    certificates = _load(chain)
    if any(_extension(certificates[0], oid) is not None for oid in (binding.MANIFEST_DIGEST_OID, *_EVIDENCE_OIDS)):
        raise _refused("keep", "it shows the certificate of a Keep", steward=True)
    _check_path(certificates, ca, now, host)


def pin_of(certificate: x509.Certificate) -> str:
    """The digest of a certificate's public key, as a manifest writes it."""
    return f"sha256:{hashlib.sha256(_spki(certificate)).hexdigest()}"


def _check_path(certificates: Sequence[x509.Certificate], ca: str, now: datetime, host: str | None) -> None:
    """Validate the path to the pinned CA: for the server ``host``, or for an identity of any name."""
    from cryptography import x509
    from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

    steward = host is not None
    leaf, anchor = certificates[0], certificates[-1]
    if len(certificates) < 2 or not hmac.compare_digest(pin_of(anchor), ca):
        raise _refused("ca", "its chain does not end in the CA that the manifest pins", steward=steward)
    moment = min(max(now, leaf.not_valid_before_utc), leaf.not_valid_after_utc)
    if abs(moment - now) > CLOCK_TOLERANCE:
        shown = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        seen = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        raise _refused("time", f"it is valid from {shown}, and the Keep's clock says {seen}", steward=steward)
    builder = PolicyBuilder().store(Store([anchor])).time(moment).max_chain_depth(CHAIN_MAX)
    try:
        if host is not None:
            builder.build_server_verifier(_subject(host)).verify(leaf, list(certificates[1:-1]))
        else:
            builder.extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
            ).build_client_verifier().verify(leaf, list(certificates[1:-1]))
            constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
            if constraints.ca:
                raise _refused("chain", "it is for a certificate authority", steward=False)
    except (VerificationError, x509.ExtensionNotFound, ValueError) as error:
        raise _refused("chain", f"its chain is not valid: {str(error)[:200]}", steward=steward) from error


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    from ipaddress import ip_address

    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(chain: Sequence[bytes]) -> list[x509.Certificate]:
    from cryptography import x509

    if not 1 <= len(chain) <= CHAIN_MAX or any(len(der) > CERTIFICATE_MAX_BYTES for der in chain):
        raise _malformed(f"it is not 1 to {CHAIN_MAX} certificates of at most {CERTIFICATE_MAX_BYTES} bytes")
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        for certificate in certificates:
            _ = certificate.extensions, certificate.public_key()  # parsed late, and hostile as well
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except unreadable() as error:
        raise _malformed(f"it has a certificate that cannot be read: {str(error)[:200]}") from error
    return certificates


def unreadable() -> tuple[type[Exception], ...]:
    """What ``cryptography`` raises for certificates that it cannot read: five kinds without a common base."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    kinds = x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType
    return (ValueError, UnsupportedAlgorithm, *kinds)


def _spki(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _extension(certificate: x509.Certificate, oid: str) -> bytes | None:
    """The value of an extension that only we know; None when it is absent."""
    from cryptography import x509

    try:
        value = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return None
    return value.value if isinstance(value, x509.UnrecognizedExtension) else None


def _refused(code: str, what: str, *, steward: bool = False) -> AuthenticityError:
    if steward:
        return AuthenticityError(
            f"this is not the Steward that the manifest names: {what}",
            code=f"steward-{code}",
            hint="check the Steward's URL and the digest of its CA's key; if they are right, somebody is in between",
        )
    return AuthenticityError(
        f"the certificate from the Steward is not acceptable: {what}",
        code=f"certificate-{code}",
        hint="the Steward answered for another Keep, or its configuration is wrong; see its log",
    )


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"the chain of certificates is not acceptable: {what}",
        code="certificate-malformed",
        hint="see the Steward's configuration and log",
    )
