"""The chain of certificates that a Keep shows: what its leaf says, and whether it ends in a CA that a client trusts.

Path validation (RFC 5280 6, in the stricter profile of the web) is ``cryptography``'s. What a leaf says beside that,
evidence above all, is judged by ``enarx.tenant.client``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from enarx.errors import AuthenticityError, CollateralError, MalformedError
from enarx.evidence import der
from enarx.evidence.binding import MANIFEST_DIGEST_OID, SEV_EVIDENCE_OID, SNP_EVIDENCE_OID
from enarx.evidence.certificate import parse_crl, parse_public_key
from enarx.evidence.chain import moment, seconds
from enarx.evidence.signature import PYCA

CHAIN_MAX: Final = 6
"""Certificates in one chain, leaf and anchor included (count)."""
CERTIFICATE_MAX_BYTES: Final = 64 * 1024
"""Largest certificate that is read (bytes); one that carries evidence has about 8 KiB."""

UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises for certificates and lists that it cannot read: five kinds without a common base."""


@dataclass(frozen=True, slots=True)
class KeepChain:
    """A chain as a Keep showed it, leaf first, none of it verified. ``spki`` is the leaf's key, DER.

    ``evidence`` and ``manifest`` are the values of the leaf's extensions, undecoded; ``technology``, ``snp`` or
    ``sev``, says of what kind the evidence is.
    """

    certificates: tuple[x509.Certificate, ...]
    spki: bytes
    evidence: bytes
    manifest: bytes
    technology: str = "snp"

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def names(self) -> tuple[str, ...]:
        """What the leaf is for: DNS names, addresses and URIs, as text."""
        try:
            listed = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        known = (x509.DNSName, x509.IPAddress, x509.UniformResourceIdentifier)
        return tuple(str(name.value) for name in listed if isinstance(name, known))


def read_chain(shown: Sequence[bytes]) -> KeepChain:
    """Read a chain (DER, leaf first); MalformedError for what is none, and for a leaf that is no Keep's."""
    if not 1 <= len(shown) <= CHAIN_MAX or any(len(one) > CERTIFICATE_MAX_BYTES for one in shown):
        raise _malformed(f"not 1 to {CHAIN_MAX} certificates of at most {CERTIFICATE_MAX_BYTES} bytes")
    for encoded in shown:
        _check_form(encoded)
    try:
        certificates = tuple(map(x509.load_der_x509_certificate, shown))
        for one in certificates:
            _ = one.extensions, one.public_key()  # parsed late, and hostile as well
            _ = one.not_valid_before_utc, one.not_valid_after_utc
    except UNREADABLE as error:
        raise _malformed(f"a certificate cannot be read: {str(error)[:200]}") from error
    leaf = certificates[0]
    sev = _has(leaf, SEV_EVIDENCE_OID)
    if sev and _has(leaf, SNP_EVIDENCE_OID):
        raise _malformed("the Keep's certificate has evidence of two kinds")
    return KeepChain(
        certificates,
        _spki(leaf),
        _extension(leaf, SEV_EVIDENCE_OID if sev else SNP_EVIDENCE_OID, "evidence"),
        _extension(leaf, MANIFEST_DIGEST_OID, "digest of a manifest"),
        "sev" if sev else "snp",
    )


def check_path(chain: KeepChain, authority: bytes, host: str | None, now: datetime) -> None:
    """The chain is valid at ``now``, for ``host``, and ends in the CA whose key has the SHA-256 ``authority``.

    Without a ``host`` it may be for any name. AuthenticityError: ``certificate-ca``, ``-time``, ``-name``, ``-chain``.
    """
    leaf, anchor = chain.leaf, chain.certificates[-1]
    if len(chain.certificates) < 2 or not hmac.compare_digest(hashlib.sha256(_spki(anchor)).digest(), authority):
        raise _refused("ca", "its chain does not end in the CA that is trusted", "somebody else's Steward issued it")
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        valid = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        raise _refused("time", f"it is valid from {valid}", "check the clock, or the time given with --at")
    subject = _any_name(leaf)
    if host is not None:
        subject = _subject(host)
        if str(subject.value) not in chain.names:
            listed = ", ".join(chain.names) or "no name"
            raise _refused("name", f"it is for {listed}, not for {host}", "ask for the Keep by a name that it has")
    try:
        builder = PolicyBuilder().store(Store([anchor])).time(now).max_chain_depth(CHAIN_MAX)
        middle = list(chain.certificates[1:-1])
        if subject is None:
            builder.build_client_verifier().verify(leaf, middle)
        else:
            builder.build_server_verifier(subject).verify(leaf, middle)
    except (VerificationError, ValueError) as error:
        raise _refused("chain", f"its chain is not valid: {str(error)[:200]}", "see the Steward's CA") from error


def check_revocation(chain: KeepChain, lists: Sequence[bytes], now: datetime) -> bool:
    """The leaf is on none of the lists (DER) that its issuer signed; whether there was one. For after `check_path`.

    Lists of other issuers are passed over. AuthenticityError (``certificate-revoked``, ``crl-signature``),
    CollateralError (``collateral-expired``) for a list that is not current, MalformedError.
    """
    issuer = chain.certificates[1]
    at, found = seconds(now), False
    for encoded in lists:
        listed = parse_crl(encoded)
        if listed.issuer != issuer.subject.public_bytes():
            continue
        if not PYCA.load(parse_public_key(_spki(issuer)), listed.scheme)(listed.signature, listed.tbs):
            raise AuthenticityError(
                "a revocation list is not signed by the CA that it names",
                code="crl-signature",
                hint="fetch the list from the Steward: /v1/crl",
            )
        if not listed.this_update <= at < listed.next_update:
            raise CollateralError(
                "the Steward's revocation list is not current",
                code="collateral-expired",
                hint="fetch the list from the Steward: /v1/crl",
            )
        if chain.leaf.serial_number in listed.revoked:
            raise AuthenticityError(
                f"the certificate was revoked at {moment(listed.revoked[chain.leaf.serial_number])}",
                code="certificate-revoked",
                hint="its Steward has withdrawn it; trust this Keep with nothing",
            )
        found = True
    return found


def _check_form(encoded: bytes) -> None:
    """What ``cryptography`` lets pass, or only warns of: so that a certificate has one encoding (RFC 5280 4.1)."""
    whole = der.only(encoded, der.SEQUENCE, CERTIFICATE_MAX_BYTES)
    tbs = der.expect(encoded, whole.start, whole.stop, der.SEQUENCE)
    algorithm = der.expect(encoded, tbs.stop, whole.stop, der.SEQUENCE)
    der.bit_string(encoded, der.expect(encoded, algorithm.stop, whole.stop, der.BIT_STRING))
    version = der.expect(encoded, tbs.start, tbs.stop, 0xA0)
    if der.natural(encoded, der.expect(encoded, version.stop, tbs.stop, der.INTEGER)) == 0:
        raise _malformed("a certificate has the serial number 0")


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host.lower())


def _any_name(leaf: x509.Certificate) -> x509.DNSName | x509.IPAddress | None:
    """A name that the path can be validated for; None when the leaf has only URIs."""
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return next((name for name in listed if isinstance(name, x509.DNSName | x509.IPAddress)), None)


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _has(certificate: x509.Certificate, oid: str) -> bool:
    return any(one.oid.dotted_string == oid for one in certificate.extensions)


def _extension(certificate: x509.Certificate, oid: str, what: str) -> bytes:
    try:
        value = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound as error:
        raise MalformedError(
            f"the certificate has no {what}: it is not a Keep's, or no Steward of this project issued it",
            code="keep-certificate",
            hint="ask a Keep that runs before a Steward",
        ) from error
    if not isinstance(value, x509.UnrecognizedExtension):
        raise _malformed(f"the certificate's {what} cannot be read")
    return value.value


def _refused(code: str, what: str, hint: str) -> AuthenticityError:
    return AuthenticityError(f"the Keep's certificate is not acceptable: {what}", code=f"certificate-{code}", hint=hint)


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"this is no chain of certificates that can be judged: {what}",
        code="keep-certificate",
        hint="ask a Keep that runs before a Steward",
    )
