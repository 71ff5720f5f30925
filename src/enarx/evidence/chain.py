"""Whether a certificate is to be believed at a given time: links, validity, constraints, revocation (RFC 5280 6).

Nothing here is fetched and nothing reads a clock. Each function checks one thing and raises the error that says which:
AuthenticityError when a signature or a constraint does not hold, CollateralError when something has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from enarx.errors import AuthenticityError, CollateralError, MalformedError
from enarx.evidence import der
from enarx.evidence.certificate import (
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_BASIC_CONSTRAINTS,
    OID_CRL_DISTRIBUTION_POINTS,
    OID_KEY_USAGE,
    OID_SUBJECT_KEY_IDENTIFIER,
    Certificate,
    RevocationList,
)
from enarx.evidence.name import common_name
from enarx.evidence.signature import PublicKey, Scheme, Verifier

_KEY_CERT_SIGN = 0x80 >> 5
_CRL_SIGN = 0x80 >> 6
"""Bits 5 and 6 of KeyUsage, counted from the most significant one (RFC 5280 4.2.1.3)."""

_UNDERSTOOD = frozenset(
    (
        OID_BASIC_CONSTRAINTS,
        OID_KEY_USAGE,
        OID_SUBJECT_KEY_IDENTIFIER,
        OID_AUTHORITY_KEY_IDENTIFIER,
        OID_CRL_DISTRIBUTION_POINTS,
    )
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A key that signs certificates: a root or an intermediate, stated as a fact or read from a verified certificate.

    ``name`` is its common name, ``subject`` its name as encoded, times are seconds since 1970 (inclusive), ``scheme``
    is the algorithm it signs with and ``sha256`` the fingerprint of its certificate.
    """

    name: str
    subject: bytes
    serial: int
    not_before: int
    not_after: int
    key: PublicKey
    scheme: Scheme
    sha256: bytes
    signs_crls: bool = False
    path_length: int | None = None


def seconds(now: datetime) -> int:
    """``now`` as seconds since 1970; ValueError for a time without a zone, which would mean the machine's own."""
    if now.tzinfo is None:
        raise ValueError("the time of verification needs a time zone")
    return int(now.timestamp())


def moment(at: int) -> str:
    """Seconds since 1970 as people write them: ``2025-01-09T22:14:21Z``; as the number outside of the calendar."""
    try:
        return f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()}Z"
    except (ValueError, OverflowError, OSError):
        return f"{at} seconds after 1970-01-01"


def check_validity(name: str, not_before: int, not_after: int, at: int) -> None:
    """Raise unless ``at`` lies within the validity of the certificate called ``name``, ends included."""
    if at < not_before:
        raise AuthenticityError(
            f"{name} is not valid before {moment(not_before)}, and this is judged at {moment(at)}",
            code="certificate-not-yet-valid",
            hint="check the clock, or the time given with --at",
        )
    if at > not_after:
        raise CollateralError(
            f"{name} expired at {moment(not_after)}, and this is judged at {moment(at)}",
            code="certificate-expired",
            hint="fetch the certificate again, or judge old evidence at its own time with --at",
        )


def check_issued(certificate: Certificate, name: str, issuer: Authority, verifier: Verifier, *, below: int = 0) -> None:
    """Raise unless ``certificate`` names ``issuer`` as its issuer and carries its signature.

    ``below`` is how many authorities the path has from ``certificate`` (included) down: 0 for an end certificate.
    """
    if certificate.issuer != issuer.subject:
        raise AuthenticityError(
            f"{name} was issued by {common_name(certificate.issuer)!r}, not by {issuer.name!r}",
            code="untrusted-chain",
            hint="give the chain that belongs to this certificate, or none to use the embedded one",
        )
    if issuer.path_length is not None and issuer.path_length < below:
        raise AuthenticityError(
            f"{issuer.name} may not certify the authority {name}",
            code="untrusted-chain",
            hint="the chain is longer than its root permits",
        )
    if certificate.scheme is not issuer.scheme:
        raise AuthenticityError(
            f"{name} is signed with {certificate.scheme.value}, {issuer.name} signs with {issuer.scheme.value}",
            code="unsupported-algorithm",
            hint="the certificate is not what its issuer would have made",
        )
    if not verifier.load(issuer.key, issuer.scheme)(certificate.signature, certificate.tbs):
        raise AuthenticityError(
            f"the signature of {issuer.name} on {name} does not verify",
            code="bad-signature",
            hint="the certificate was altered, or made by somebody else under the same name",
        )


def check_extensions(certificate: Certificate, name: str) -> None:
    """Raise when a critical extension is not one that this verifier acts on (RFC 5280 4.2)."""
    for identifier, extension in certificate.extensions.items():
        if extension.critical and identifier not in _UNDERSTOOD:
            raise AuthenticityError(
                f"{name} has a critical extension {der.dotted_oid(identifier)} that is not understood",
                code="unsupported-extension",
                hint="the certificate restricts its use in a way that cannot be honoured",
            )


def authority(certificate: Certificate, scheme: Scheme) -> Authority:
    """The authority that a certificate makes of its subject; AuthenticityError when it makes none.

    Basic constraints must say CA and the key usage, which AMD always states, must include signing certificates.
    """
    name = common_name(certificate.subject)
    check_extensions(certificate, name)
    is_authority, path_length = _basic_constraints(certificate)
    usage = _key_usage(certificate)
    if not is_authority or not usage & _KEY_CERT_SIGN:
        raise AuthenticityError(
            f"{name} is not allowed to issue certificates",
            code="untrusted-chain",
            hint="an end certificate was given in place of an authority",
        )
    return Authority(
        name=name,
        subject=certificate.subject,
        serial=certificate.serial,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        key=certificate.key,
        scheme=scheme,
        sha256=certificate.sha256,
        signs_crls=bool(usage & _CRL_SIGN),
        path_length=path_length,
    )


def check_crl(crl: RevocationList, issuer: Authority, verifier: Verifier) -> None:
    """Raise unless the revocation list is the issuer's and carries its signature."""
    if crl.issuer != issuer.subject or not issuer.signs_crls:
        raise AuthenticityError(
            f"{issuer.name} does not issue this revocation list", code="untrusted-chain", hint="give the issuer's own"
        )
    if crl.scheme is not issuer.scheme or not verifier.load(issuer.key, issuer.scheme)(crl.signature, crl.tbs):
        raise AuthenticityError(
            f"the signature of {issuer.name} on its revocation list does not verify",
            code="bad-collateral-signature",
            hint="fetch the list again from the vendor",
        )


def check_crl_current(crl: RevocationList, at: int) -> None:
    """Raise unless the revocation list is current at ``at``: what it does not name may be revoked since."""
    name = common_name(crl.issuer)
    if at < crl.this_update:
        raise CollateralError(
            f"the revocation list of {name} is of {moment(crl.this_update)}, after {moment(at)}",
            code="collateral-not-yet-valid",
            hint="check the clock, or the time given with --at",
        )
    if at >= crl.next_update:
        raise CollateralError(
            f"the revocation list of {name} was due for renewal at {moment(crl.next_update)}",
            code="collateral-expired",
            hint="fetch the current list from the vendor",
        )


def revoked_error(name: str, serial: int, since: int, source: str) -> AuthenticityError:
    """The error for a certificate that its issuer has withdrawn."""
    return AuthenticityError(
        f"{name} (serial {serial:#x}) was revoked at {moment(since)}, says {source}",
        code="certificate-revoked",
        hint="use evidence endorsed by a certificate that is in force",
    )


def _basic_constraints(certificate: Certificate) -> tuple[bool, int | None]:
    extension = certificate.extensions.get(OID_BASIC_CONSTRAINTS)
    if extension is None:
        return False, None
    value = extension.value
    whole = der.only(value, der.SEQUENCE, len(value))
    if whole.start == whole.stop:
        return False, None
    flag = der.element(value, whole.start, whole.stop)
    is_authority = der.boolean(value, flag)
    if flag.stop == whole.stop:
        return is_authority, None
    length = der.expect(value, flag.stop, whole.stop, der.INTEGER)
    if length.stop != whole.stop:
        raise der.malformed("trailing bytes in the basic constraints")
    return is_authority, der.natural(value, length)


def _key_usage(certificate: Certificate) -> int:
    """The first octet of KeyUsage, which holds every bit that matters here; 0 without the extension."""
    extension = certificate.extensions.get(OID_KEY_USAGE)
    if extension is None:
        return 0
    value = extension.value
    whole = der.only(value, der.BIT_STRING, len(value))
    if not 2 <= whole.stop - whole.start <= 3 or value[whole.start] > 7:
        raise MalformedError("malformed key usage", code="malformed", hint="the certificate is damaged")
    return value[whole.start + 1]
