"""The Steward's certificate authority: one key, short-lived certificates for Keeps, its own TLS identity, revocation.

A Keep's certificate carries what a client needs to verify again without asking the Steward: the evidence, and the
digest of the manifest (RFC 5280; the extensions are those of ``enarx.evidence.binding``).
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from enarx.errors import CollateralError, ConfigError, MalformedError
from enarx.evidence import binding
from enarx.tenant.keepchain import UNREADABLE
from enarx.tenant.policy import CertificateRules
from enarx.tenant.steward.decision import Grant

AUTHORITY_LIFETIME: Final = timedelta(days=5 * 365)
"""Validity of a CA that ``make_authority`` makes."""
SERVICE_LIFETIME: Final = timedelta(days=7)
"""Validity of the Steward's own TLS certificate, which it renews long before."""
CRL_LIFETIME: Final = timedelta(hours=24)
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a certificate is dated back, for clients whose clock is behind."""
LIFETIME_MIN: Final = timedelta(minutes=1)
"""Shortest validity that is worth issuing."""
EVIDENCE_MAX_BYTES: Final = 6 * 1024
"""Largest evidence extension that a certificate repeats as it is (bytes); a longer one loses its revocation lists."""

_HASHES: Final[Mapping[str, hashes.SHA384 | hashes.SHA256]] = {
    "secp384r1": hashes.SHA384(),
    "secp256r1": hashes.SHA256(),
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate (DER) with what the log says of it: ``serial`` in hexadecimal, and its end of validity."""

    der: bytes
    serial: str
    not_after: datetime


class CertificateAuthority:
    """A CA certificate and its private key on P-384 or P-256. ``spki_digest``, of ``spki``, is what manifests pin."""

    __slots__ = ("_aki", "_key", "certificate", "der", "hash", "spki", "spki_digest")

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        public = key.public_key()
        if certificate.public_key() != public:
            raise ConfigError("certificate and key of the CA do not belong together", code="ca-key", hint="give a pair")
        if key.curve.name not in _HASHES:
            raise ConfigError(f"a CA key on {key.curve.name}", code="ca-key", hint="P-384 or P-256")
        _check_may_issue(certificate)
        self.certificate = certificate
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.hash = _HASHES[key.curve.name]
        self.spki = _spki(public)
        self.spki_digest = hashlib.sha256(self.spki).digest()
        self._key = key
        try:
            named = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            self._aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named.value)
        except x509.ExtensionNotFound:  # the published Steward's test CA has none
            self._aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)

    def issue(self, grant: Grant, rules: CertificateRules, now: datetime) -> Issued:
        """A certificate over ``grant.spki``, from a little before ``now`` and for ``rules.lifetime`` at most.

        Never valid longer than the collateral was found to be, nor than the CA. CollateralError when that leaves less
        than ``LIFETIME_MIN``.
        """
        ends = [now + rules.lifetime, self.certificate.not_valid_after_utc]
        if grant.not_after is not None:
            ends.append(grant.not_after)
        not_after = min(ends).replace(microsecond=0)
        if not_after < now + LIFETIME_MIN or now < self.certificate.not_valid_before_utc:
            raise CollateralError(
                f"a certificate could be valid until {not_after.isoformat()} only",
                code="collateral-expired",
                hint="renew the revocation lists of the evidence, or the CA, or mend the clock",
            )
        oid, value = grant.evidence
        builder = (
            self._builder(_public_key(grant.spki), x509.Name([]), now, not_after)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
            )
            # Critical, because the subject is empty: RFC 5280 4.2.1.6. What the request asks to be called is not read.
            .add_extension(x509.SubjectAlternativeName(_names(grant, rules)), True)
            .add_extension(x509.UnrecognizedExtension(ObjectIdentifier(oid), _bounded(oid, value)), False)
        )
        if grant.manifest_digest is not None:
            digest = binding.manifest_digest_extension(grant.manifest_digest)
            builder = builder.add_extension(
                x509.UnrecognizedExtension(ObjectIdentifier(binding.MANIFEST_DIGEST_OID), digest), False
            )
        signed = builder.sign(self._key, self.hash)
        return Issued(signed.public_bytes(serialization.Encoding.DER), f"{signed.serial_number:032x}", not_after)

    def issue_service(self, names: Iterable[str], now: datetime) -> tuple[bytes, bytes]:
        """A fresh key and the Steward's own TLS certificate for ``names``: (PKCS#8 PEM, PEM chain, leaf first)."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = [_general_name(name) for name in names]
        end = min(now + SERVICE_LIFETIME, self.certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Enarx Steward")])
        signed = (
            self._builder(key.public_key(), subject, now, end)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(x509.SubjectAlternativeName(sans), False)
            .sign(self._key, self.hash)
        )
        pem = serialization.Encoding.PEM
        chain = signed.public_bytes(pem) + self.certificate.public_bytes(pem)
        return _private_pem(key), chain

    def revocation_list(self, revoked: Iterable[tuple[str, datetime]], number: int, now: datetime) -> bytes:
        """A DER CRL (RFC 5280 5) of ``(serial in hexadecimal, time)``; ``number`` must grow with every change."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + CRL_LIFETIME)
            .add_extension(self._aki, False)
            .add_extension(x509.CRLNumber(number), False)
        )
        for serial, moment in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(moment).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, self.hash).public_bytes(serialization.Encoding.DER)

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature (DER) by the CA's key, with the digest of its curve."""
        return self._key.sign(message, ec.ECDSA(self.hash))

    def _builder(
        self, public: ec.EllipticCurvePublicKey, subject: x509.Name, now: datetime, not_after: datetime
    ) -> x509.CertificateBuilder:
        begin = max((now - CLOCK_SKEW).replace(microsecond=0), self.certificate.not_valid_before_utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(int.from_bytes(os.urandom(16), "big") >> 1 | 1)
            .not_valid_before(begin)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(_usage(digital_signature=True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(self._aki, False)
        )


def make_authority(name: str, now: datetime) -> tuple[bytes, bytes]:
    """A fresh self-signed CA on P-384 called ``name``: (PKCS#8 PEM, certificate PEM). It can certify no other CA."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_usage(digital_signature=True, signs_certificates=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA384())
    )
    return _private_pem(key), signed.public_bytes(serialization.Encoding.PEM)


def load_authority(certificate_pem: bytes, key_pem: bytes) -> CertificateAuthority:
    """The CA in two PEM files, as the published Steward has them (``--crt``, ``--key``); ConfigError."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except UNREADABLE as error:
        raise ConfigError("the CA's certificate cannot be read", code="ca-certificate", hint="give PEM") from error
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key is encrypted
        hint = "a PKCS#8 PEM without a password, readable by its owner alone"
        raise ConfigError("the CA's key cannot be read", code="ca-key", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("the CA's key is not an elliptic curve key", code="ca-key", hint="P-384 or P-256")
    return CertificateAuthority(certificate, key)


def _check_may_issue(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        fit = constraints.ca and usage.key_cert_sign
    except x509.ExtensionNotFound:
        fit = False
    if not fit:
        hint = "basic constraints must say CA, key usage keyCertSign; see `enarx steward init`"
        raise ConfigError("the CA's certificate may not issue certificates", code="ca-certificate", hint=hint)


def _usage(*, digital_signature: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(grant: Grant, rules: CertificateRules) -> list[x509.GeneralName]:
    """The policy's names; where it states none, the key's own name (RFC 6920), for an empty list is not allowed."""
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in rules.dns]
    if rules.trust_domain and grant.workload:
        names.append(x509.UniformResourceIdentifier(f"spiffe://{rules.trust_domain}/keep/{grant.workload}"))
    if not names:
        digest = urlsafe_b64encode(hashlib.sha256(grant.spki).digest()).rstrip(b"=").decode()
        names.append(x509.UniformResourceIdentifier(f"ni:///sha-256;{digest}"))
    return names


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _bounded(oid: str, value: bytes) -> bytes:
    if oid != binding.SNP_EVIDENCE_OID or len(value) <= EVIDENCE_MAX_BYTES:
        return value
    from enarx.evidence.snp.enarx import parse_evidence

    evidence = parse_evidence(value)
    return binding.snp_evidence(evidence.report, evidence.vcek)


def _public_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("the request's key cannot be used", code="key-invalid", hint=str(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MalformedError("the request's key is not on a curve", code="key-invalid", hint="P-384 or P-256")
    return key


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
