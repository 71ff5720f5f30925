"""A whole sigstore in memory: certificate authority, certificate transparency log, signature log, trusted root.

Made from the specifications (RFC 6962 for both logs, Fulcio's certificate profile, the bundle's JSON), not with the
library that is to verify it, and able to do each step wrong.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.tenant.signature.dsse import pae

WORKFLOW = "https://forge.example/acme/web/.ci/release.yml@refs/heads/main"
ISSUER = "https://token.forge.example"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)

_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def log_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(spki(key.public_key())).digest()


def signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class Plan:
    """How a bundle is made; the defaults are as they should be."""

    identity: str = WORKFLOW
    issuer: str = ISSUER
    certified: datetime = NOW
    logged: datetime = NOW + timedelta(minutes=1)
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING
    timestamps: int = 1
    """Signed certificate timestamps in the certificate (count)."""
    promise: bool = True


class Forge:
    """One sigstore; two of different names share nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root_key, self.authority_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
        self.ct_key, self.log_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = self._name("root")
        self.root = self._authority(root, self.root_key, root, self.root_key, 1)
        self.authority = self._authority(self._name("intermediate"), self.authority_key, root, self.root_key, 0)

    def trusted_root(self, **changes: Any) -> bytes:
        """``trusted_root.json``, as the TUF repository of a sigstore distributes it."""
        since = {"start": "2020-01-01T00:00:00Z"}

        def log(key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
            public = {"rawBytes": b64(spki(key.public_key())), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
            return {
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": public | {"validFor": since},
                "logId": {"keyId": b64(log_id(key))},
            }

        chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (self.authority, self.root)]
        value = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log_key, "https://log.example")],
            "certificateAuthorities": [
                {
                    "subject": {"organization": self.name, "commonName": "intermediate"},
                    "uri": "https://authority.example",
                    "certChain": {"certificates": chain},
                    "validFor": since,
                }
            ],
            "ctlogs": [log(self.ct_key, "https://ct.example")],
            "timestampAuthorities": [],
        }
        return json.dumps(value | changes).encode()

    def message(self, digest: bytes, plan: Plan = Plan(), **changes: Any) -> dict[str, Any]:
        """A bundle with a signature over a SHA-256, as ``cosign sign-blob`` makes it."""
        plan = replace(plan, **changes)
        key, certificate = self._certify(plan)
        signature = key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return self.bundle(
            certificate,
            self.entry("hashedrekord", message_body(certificate, digest, signature), plan),
            messageSignature={
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64(digest)},
                "signature": b64(signature),
            },
        )

    def envelope(self, kind: str, payload: bytes, plan: Plan = Plan(), **changes: Any) -> dict[str, Any]:
        """A bundle with a DSSE envelope, as attestations are made."""
        plan = replace(plan, **changes)
        key, certificate = self._certify(plan)
        signature = signed(key, pae(kind, payload))
        envelope = {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": b64(signature)}]}
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(dumps(envelope)).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": b64(signature), "verifier": b64(certificate.public_bytes(Encoding.PEM))}],
            },
        }
        return self.bundle(certificate, self.entry("dsse", body, plan), dsseEnvelope=envelope)

    def statement(self, digest: str, plan: Plan = Plan(), **changes: Any) -> dict[str, Any]:
        """A bundle with an in-toto statement of provenance about the package with this SHA-256 (hexadecimal)."""
        value = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": "other", "digest": {"sha256": "00" * 32}},
                {"name": "p", "digest": {"sha256": digest}},
            ],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {},
        }
        return self.envelope("application/vnd.in-toto+json", json.dumps(value | changes).encode(), plan)

    def entry(self, kind: str, body: dict[str, Any], plan: Plan, version: str = "0.0.1") -> dict[str, Any]:
        """The log's entry for a body: its place among others, the signed head, and the promise to include it."""
        encoded, index = dumps(body), 5
        leaves = [b"%d" % number for number in range(11)]
        leaves[index] = encoded
        root, proof = tree_head(leaves), inclusion_proof(index, leaves)
        when = int(plan.logged.timestamp())
        note = f"log.example - 1\n{len(leaves)}\n{b64(root)}\n"
        head = f"{note}\n\u2014 log.example {b64(log_id(self.log_key)[:4] + signed(self.log_key, note.encode()))}\n"
        promised = {
            "body": b64(encoded),
            "integratedTime": when,
            "logID": log_id(self.log_key).hex(),
            "logIndex": index + 100,
        }
        made = {
            "logIndex": str(index + 100),
            "logId": {"keyId": b64(log_id(self.log_key))},
            "kindVersion": {"kind": kind, "version": version},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": b64(signed(self.log_key, dumps(promised)))},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(root),
                "treeSize": str(len(leaves)),
                "hashes": list(map(b64, proof)),
                "checkpoint": {"envelope": head},
            },
            "canonicalizedBody": b64(encoded),
        }
        if not plan.promise:
            del made["inclusionPromise"], made["integratedTime"]
        return made

    @staticmethod
    def bundle(certificate: x509.Certificate, entry: dict[str, Any], **content: Any) -> dict[str, Any]:
        material = {
            "certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
            "tlogEntries": [entry],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            **content,
        }

    def _certify(self, plan: Plan) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A key for one signature and its certificate, which the log has seen before it was issued (RFC 6962 3.1)."""
        key = ec.generate_private_key(ec.SECP256R1())
        bare = self._builder(key, plan)
        tbs = bare.sign(self.authority_key, hashes.SHA384()).tbs_certificate_bytes
        milliseconds = int(plan.certified.timestamp() * 1000)
        issuer = hashlib.sha256(spki(self.authority_key.public_key())).digest()
        logged = struct.pack(">BBQH", 0, 0, milliseconds, 1) + issuer + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        one = (
            struct.pack(">B32sQH", 0, log_id(self.ct_key), milliseconds, 0)
            + b"\4\3"
            + _vector(signed(self.ct_key, logged))
        )
        listed = _vector(_vector(one) * plan.timestamps)
        value = b"\x04" + _der_length(len(listed)) + listed
        built = bare.add_extension(x509.UnrecognizedExtension(_SCT_LIST, value), False) if plan.timestamps else bare
        return key, built.sign(self.authority_key, hashes.SHA384())

    def _builder(self, key: ec.EllipticCurvePrivateKey, plan: Plan) -> x509.CertificateBuilder:
        who = x509.UniformResourceIdentifier if "://" in plan.identity else x509.RFC822Name
        issuer = plan.issuer.encode()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(plan.certified)
            .not_valid_after(plan.certified + LIFETIME)
            .add_extension(_usage(signing=True), True)
            .add_extension(x509.ExtendedKeyUsage([plan.usage]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(authority, False)
            .add_extension(x509.SubjectAlternativeName([who(plan.identity)]), True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer), False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, b"\x0c" + _der_length(len(issuer)) + issuer), False)
        )

    def _name(self, common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.name),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    @staticmethod
    def _authority(
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Name,
        issuer_key: ec.EllipticCurvePrivateKey,
        length: int,
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(True, length), True)
            .add_extension(_usage(signing=False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
            .sign(issuer_key, hashes.SHA384())
        )


@functools.cache
def forge(name: str = "sigstore.example") -> Forge:
    return Forge(name)


def message_body(certificate: x509.Certificate, digest: bytes, signature: bytes) -> dict[str, Any]:
    """A hashedrekord of version 0.0.1."""
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {
                "content": b64(signature),
                "publicKey": {"content": b64(certificate.public_bytes(Encoding.PEM))},
            },
        },
    }


def dumps(value: object) -> bytes:
    """RFC 8785 of what stands in log entries."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def tree_head(leaves: list[bytes]) -> bytes:
    """Merkle tree hash (RFC 6962 2.1)."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_head(leaves[:split]) + tree_head(leaves[split:])).digest()


def inclusion_proof(index: int, leaves: list[bytes]) -> list[bytes]:
    """Merkle audit path (RFC 6962 2.1.1)."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*inclusion_proof(index, leaves[:split]), tree_head(leaves[split:])]
    return [*inclusion_proof(index - split, leaves[split:]), tree_head(leaves[:split])]


def _usage(*, signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signing,
        crl_sign=not signing,
        encipher_only=False,
        decipher_only=False,
    )


def _vector(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _der_length(length: int) -> bytes:
    if length < 128:
        return bytes((length,))
    return b"\x81" + bytes((length,)) if length < 256 else b"\x82" + length.to_bytes(2, "big")
