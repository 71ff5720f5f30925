"""Both sides of an attested Keep for tests: a platform that vouches for it, and a Steward with a CA that answers it.

The Steward here is written from the protocol's description with ``cryptography`` alone, so that what the Keep sends is
read by other code than ours. It judges nothing; what it can do is answer wrongly, on purpose, in one respect.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PublicKey, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.evidence import binding
from enarx.evidence.snp import certtable
from enarx.keep.attested import Attested, attest
from enarx.keep.attester import RawEvidence
from enarx.keep.attester_simulated import Source
from enarx.manifest import Manifest, StewardPin, Workload, digest_of
from enarx.sealing import SEALING_KEY_OID
from enarx.simulator import certificates
from tests.evidence.snp.forge import FAR_OFF, LONG_AGO, Machine, Vendor, spki

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CRL_URL = "https://kdsintf.example/vcek/v1/Milan/crl"
MODULE = b"\0asm\1\0\0\0"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Platform:
    """A secure processor and its host: evidence over what is asked, for a launch with ``host_data``."""

    machine: Machine
    host_data: bytes
    table: bytes

    def attest(self, report_data: bytes) -> RawEvidence:
        report = self.machine.report_bytes(report_data=report_data, host_data=self.host_data, version=2)
        return RawEvidence("snp", report, self.table)


@functools.cache
def machine() -> Machine:
    return Machine(Vendor(name="attested keeps"))


@functools.cache
def table() -> bytes:
    vendor = machine().vendor
    ask = certificates.ask_plan(
        vendor.ask_name, vendor.ark_plan, spki(vendor.ask_key), not_before=LONG_AGO, not_after=FAR_OFF, crl_url=CRL_URL
    )
    return certtable.encode(
        (
            (certtable.VCEK_GUID, machine().certificate),
            (certtable.ASK_GUID, ask.sign(vendor.ark_key)),
            (certtable.ARK_GUID, vendor.ark),
            (certtable.CRL_GUID, vendor.crl()),
        )
    )


def platform(manifest: Manifest) -> Platform:
    return Platform(machine(), manifest.digest(), table())


def launch(manifest: Manifest) -> Attested:
    """A Keep that was launched with ``manifest`` and has its evidence."""
    return attest(manifest.encode(), [Source("simulated", platform(manifest))])


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_der(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bytes:
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _usage(**set_: bool) -> x509.KeyUsage:
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    names += " key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: set_.get(name, False) for name in names.split()})


class Authority:
    """A CA with a key on P-384."""

    def __init__(self, name: str = "the tenant's CA", *, parent: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = parent or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(signer.identifier, critical=False)
            .sign(signer.key, hashes.SHA384())
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pin(self) -> str:
        return f"sha256:{sha256(public_der(self.key)).hexdigest()}"

    @property
    def identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def sign(
        self,
        key: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        *,
        extensions: Mapping[str, bytes] | None = None,
        begin: datetime = NOW - MINUTE,
        end: datetime = NOW + timedelta(hours=24),
        ca: bool = False,
        critical: bool = False,
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    ) -> bytes:
        """A certificate with an empty subject, DER."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(self.identifier, critical=False)
        )
        for oid, value in (extensions or {}).items():
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical)
        return builder.sign(self.key, hashes.SHA384()).public_bytes(Encoding.DER)


def host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


SECRETS = {"database-password": b"hunter2", "empty": b"", "key.bin": bytes(range(256))}


@dataclass
class Steward:
    """What a Steward would answer to one request. Its fields say what it does; `change` breaks the JSON at the end."""

    ca: Authority = field(default_factory=Authority)
    secrets: Mapping[str, bytes] = field(default_factory=lambda: SECRETS)
    hybrid: bool = True
    certify: ec.EllipticCurvePublicKey | None = None
    seal_to: ec.EllipticCurvePublicKey | None = None
    manifest_digest: bytes | None = None
    extensions: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda found: found
    certificate: Mapping[str, Any] = field(default_factory=dict)
    chain: Callable[[list[bytes]], list[bytes]] = lambda chain: chain
    change: Callable[[dict[str, Any]], Any] = lambda answer: answer
    seen: list[dict[str, Any]] = field(default_factory=list)
    lattice: mlkem.MLKEM1024PublicKey | None = None

    def answer(self, body: bytes) -> bytes:
        request = json.loads(body)
        self.seen.append(request)
        csr = x509.load_der_x509_csr(base64.b64decode(request["csr"]))
        assert csr.is_signature_valid
        asked = {
            extension.oid.dotted_string: extension.value.value
            for extension in csr.extensions
            if isinstance(extension.value, x509.UnrecognizedExtension)
        }
        manifest = base64.b64decode(request["manifest"])
        assert asked[binding.MANIFEST_OID] == binding.manifest_extension(manifest)
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        digest = self.manifest_digest or sha256(manifest).digest()
        lattice = asked.get(SEALING_KEY_OID, b"")
        assert not lattice or lattice[:4] == b"\x04\x82\x06\x20"  # OCTET STRING of 1568 bytes
        self.lattice = mlkem.MLKEM1024PublicKey.from_public_bytes(lattice[4:]) if lattice and self.hybrid else None
        extensions = self.extensions(
            {
                binding.SNP_EVIDENCE_OID: asked[binding.SNP_EVIDENCE_OID],
                binding.MANIFEST_DIGEST_OID: binding.manifest_digest_extension(digest),
            }
        )
        names = [x509.UniformResourceIdentifier("spiffe://tenant.example/keep/web")]
        leaf = self.ca.sign(self.certify or key, names, extensions=extensions, **self.certificate)
        answer = {
            "chain": [_text(der) for der in self.chain([leaf, self.ca.der])],
            "ear": "eyJhbGciOiJFUzM4NCJ9.e30.c2ln",
            "secrets": [self._seal(name, value, self.seal_to or key, digest) for name, value in self.secrets.items()],
        }
        return json.dumps(self.change(answer)).encode()

    def _seal(self, name: str, value: bytes, key: ec.EllipticCurvePublicKey, digest: bytes) -> dict[str, str]:
        info = b"enarx secret v1\0" + digest + name.encode()
        rest = KDF.HKDF_SHA384, AEAD.AES_256_GCM
        if self.lattice is None:
            kem, size = "P-384", 97
            sealed = Suite(KEM.P384, *rest).encrypt(value, key, info)
        else:
            kem, size = "MLKEM1024-P384", 1665
            sealed = Suite(KEM.MLKEM1024_P384, *rest).encrypt(value, MLKEM1024P384PublicKey(self.lattice, key), info)
        return {"name": name, "kem": kem, "enc": _text(sealed[:size]), "ciphertext": _text(sealed[size:])}

    def pin(self, url: str) -> StewardPin:
        return StewardPin(url, self.ca.pin)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def manifest_for(pin: StewardPin | None, **fields: Any) -> Manifest:
    return replace(Manifest(Workload(digest_of(MODULE)), steward=pin), **fields)


Handler = Callable[[ssl.SSLSocket], None]


@contextlib.contextmanager
def tls_server(
    handler: Handler,
    chain: Sequence[bytes],
    key: ec.EllipticCurvePrivateKey,
    *,
    versions: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Iterator[int]:
    """Serve TLS on loopback for as long as the context lasts; the port. Connections are handled one by one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = versions
    pem = private_pem(key) + "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "identity.pem"
        file.write_bytes(pem)
        context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                stream, _ = listener.accept()
                with stream, contextlib.suppress(OSError), context.wrap_socket(stream, server_side=True) as tls:
                    handler(tls)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            with contextlib.suppress(OSError), socket.create_connection(listener.getsockname(), timeout=1):
                pass
            thread.join(60)
            assert not thread.is_alive()


def read_request(tls: ssl.SSLSocket) -> tuple[str, dict[str, str], bytes]:
    """One HTTP request: its first line, its headers in lower case, its body."""
    with tls.makefile("rb") as file:
        first = file.readline().decode().strip()
        headers: dict[str, str] = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return first, headers, file.read(int(headers.get("content-length", "0")))


def response(body: bytes, status: str = "200 OK", media_type: str = "application/json", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join((*lines, "", "")).encode() + body


def server_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
