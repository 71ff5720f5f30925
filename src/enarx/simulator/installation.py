"""One installation of the simulator: its ARK, its ASK and its chip, made once and kept.

As on hardware a chip has one secret, and its VCEK is derived from that secret and the TCB (57230 chapter 2): another
TCB is another key with another certificate, and none needs to be stored. Certificates and the revocation list are made
by the ASK and the ARK of the same directory when they are first asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from enarx.errors import EvidenceError
from enarx.evidence.certificate import Certificate, parse_certificate, parse_crl
from enarx.evidence.snp import certtable
from enarx.evidence.snp.product import Product
from enarx.evidence.snp.simulated import MARK, product_of_root, root_name
from enarx.simulator.certificates import (
    ARK_SERIAL,
    ASK_SERIAL,
    VCEK_SERIAL,
    ark_plan,
    ask_plan,
    make_crl,
    simulated_name,
    spki,
    vcek_plan,
)
from enarx.simulator.store import Store, broken

RSA_BITS: Final = 4096
"""Size of the ARK's and the ASK's keys (bits), as AMD's."""
SECRET_BYTES: Final = 48
CLOCK_SKEW: Final = timedelta(hours=1)
"""How far certificates and lists reach back, for verifiers whose clock is behind."""
AUTHORITY_LIFE: Final = timedelta(days=25 * 365)
VCEK_LIFE: Final = timedelta(days=7 * 365)
"""Lives of certificates, as AMD's: 25 and 7 years."""
VCEK_RENEWAL: Final = timedelta(days=30)
CRL_LIFE: Final = timedelta(days=365)
CRL_RENEWAL: Final = timedelta(days=300)
"""A certificate or list with less than this left is made again."""

_ARK: Final = "ark.der"
_ASK: Final = "ask.der"
_ARK_KEY: Final = "ark.key"
_ASK_KEY: Final = "ask.key"
_SECRET: Final = "chip.secret"  # noqa: S105 - the name of a file
_CRL: Final = "crl.der"
_P384_ORDER: Final = 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D
_SCALAR_BYTES: Final = 56  # 64 bits more than the order has, so that the remainder is uniform (FIPS 186-5 A.2.1)


@dataclass(frozen=True, slots=True)
class Endorsements:
    """What vouches for a platform, DER; ``table`` is the same as a host's certificate table."""

    vcek: bytes
    ask: bytes
    ark: bytes
    crl: bytes

    @property
    def table(self) -> bytes:
        """The certificate table of an extended report."""
        return certtable.encode(
            (
                (certtable.VCEK_GUID, self.vcek),
                (certtable.ASK_GUID, self.ask),
                (certtable.ARK_GUID, self.ark),
                (certtable.CRL_GUID, self.crl),
            )
        )


def crl_url(product: Product) -> str:
    """The distribution point that simulated certificates name: a list's name, nothing that could be fetched."""
    return f"https://simulator.invalid/vcek/v1/{product.value}/crl"


class Installation:
    """A simulator's keys and certificates. Safe to share between threads, and between processes by its directory."""

    def __init__(self, store: Store) -> None:
        """Use ``open_installation``; this reads a directory that exists. HostError when it is damaged or exposed."""
        self._store = store
        self.ark = store.read(_ARK)
        self.ask = store.read(_ASK)
        self._secret = store.read(_SECRET)
        root = self._parsed(self.ark)
        product = product_of_root(root)
        if product is None or len(self._secret) != SECRET_BYTES:
            raise broken(store.directory, "the root or the chip's secret is not one that was made here")
        self.product = product
        self.name = root.subject
        self.not_after = datetime.fromtimestamp(root.not_after, UTC)
        self.intermediate_name = self._parsed(self.ask).subject
        self.chip_id = self._derive(b"chip id", product.facts.hardware_id_bytes)

    @property
    def directory(self) -> Path:
        """Where it is kept."""
        return self._store.directory

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate in hexadecimal."""
        return self._parsed(self.ark).sha256.hex()

    def vcek_key(self, tcb: bytes) -> ec.EllipticCurvePrivateKey:
        """The chip's P-384 signing key at a TCB (8 bytes as stored)."""
        scalar = int.from_bytes(self._derive(b"VCEK" + tcb, _SCALAR_BYTES), "big")
        return ec.derive_private_key(scalar % (_P384_ORDER - 1) + 1, ec.SECP384R1())

    def endorse(self, tcb: bytes, now: datetime) -> Endorsements:
        """Everything that vouches for the chip at ``tcb``, valid at ``now``; made where it is not there yet."""
        return Endorsements(self.vcek(tcb, now), self.ask, self.ark, self.crl(now))

    def vcek(self, tcb: bytes, now: datetime) -> bytes:
        """The VCEK certificate for a TCB."""
        name = f"vcek-{tcb.hex()}.der"
        if self._store.has(name):
            known = self._store.read(name)
            if _is_current(self._parsed(known), now, VCEK_RENEWAL):
                return known
        made = self.sign_vcek(tcb, now, self.authority_key(_ASK_KEY))
        self._store.write(name, made)
        return made

    def sign_vcek(self, tcb: bytes, now: datetime, issuer_key: rsa.RSAPrivateKey) -> bytes:
        """A VCEK certificate in the ASK's name under a key of the caller's choice."""
        return vcek_plan(
            simulated_name("SEV-VCEK"),
            self.intermediate_name,
            spki(self.vcek_key(tcb)),
            product=self.product,
            tcb=tcb,
            hardware_id=self.chip_id,
            not_before=_seconds(now - CLOCK_SKEW),
            not_after=_seconds(now + VCEK_LIFE),
        ).sign(issuer_key)

    def crl(self, now: datetime) -> bytes:
        """The ARK's revocation list of ``now``, which names nobody."""
        if self._store.has(_CRL):
            known = self._store.read(_CRL)
            try:
                listed = parse_crl(known)
            except EvidenceError as error:
                raise broken(self.directory, f"{_CRL}: {error.message}") from error
            if listed.this_update <= now.timestamp() < listed.next_update - CRL_RENEWAL.total_seconds():
                return known
        made = self.sign_crl((), now)
        self._store.write(_CRL, made)
        return made

    def sign_crl(self, serials: Iterable[int], now: datetime) -> bytes:
        """The ARK's list that revokes these serial numbers: ``ASK_SERIAL`` or ``VCEK_SERIAL``. Not kept."""
        begin = _seconds(now - CLOCK_SKEW)
        return make_crl(
            self.name,
            self.authority_key(_ARK_KEY),
            dict.fromkeys(serials, begin),
            this_update=begin,
            next_update=begin + CRL_LIFE,
            number=int(begin.timestamp()),
        )

    def self_made(self, tcb: bytes, now: datetime) -> Endorsements:
        """The same names, serial numbers and dates under another root: ARK and ASK with their keys exchanged."""
        ark_key, ask_key = self.authority_key(_ASK_KEY), self.authority_key(_ARK_KEY)
        ark, ask = _authorities(self.product, (self.name, self.intermediate_name), (ark_key, ask_key), now)
        crl = make_crl(
            self.name, ark_key, {}, this_update=_seconds(now - CLOCK_SKEW), next_update=now + CRL_LIFE, number=1
        )
        return Endorsements(self.sign_vcek(tcb, now, ask_key), ask, ark, crl)

    def authority_key(self, name: str) -> rsa.RSAPrivateKey:
        """The key in a file of the directory."""
        try:
            # Checking the primes of a key that nobody else could write takes longer than everything else together.
            key = serialization.load_der_private_key(self._store.read(name), None, unsafe_skip_rsa_key_validation=True)
        except ValueError as error:
            raise broken(self.directory, f"{name} holds no key") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise broken(self.directory, f"{name} holds no RSA key")
        return key

    def _derive(self, label: bytes, size: int) -> bytes:
        return HKDFExpand(hashes.SHA384(), size, b"enarx simulator v1 " + label).derive(self._secret)

    def _parsed(self, encoded: bytes) -> Certificate:
        try:
            return parse_certificate(encoded)
        except EvidenceError as error:
            raise broken(self.directory, error.message) from error


def open_installation(
    directory: Path,
    now: datetime,
    *,
    product: Product = Product.MILAN,
    progress: Callable[[str], None] = lambda line: None,
) -> Installation:
    """The installation in ``directory``, made first if there is none: ``product`` and ``now`` count only then.

    Making takes seconds, of which ``progress`` is told in a line. Starts that meet make one installation. Raises
    HostError: ``simulator-permissions``, ``simulator-directory``, ``simulator-broken``.
    """
    store = Store(directory)
    if not store.check():

        def make() -> Mapping[str, bytes]:
            progress(f"making a SIMULATED secure processor in {directory} (once, takes seconds)")
            return _make(product, now)

        store.create(make)
    return Installation(store)


def _make(product: Product, now: datetime) -> Mapping[str, bytes]:
    ark_key, ask_key = (rsa.generate_private_key(65537, RSA_BITS) for _ in range(2))
    identity = secrets.token_hex(8)
    ark_name = simulated_name(root_name(product, identity))
    ask_name = simulated_name(f"{MARK} SEV-{product.value} {identity}")
    ark, ask = _authorities(product, (ark_name, ask_name), (ark_key, ask_key), now)
    return {
        _ARK: ark,
        _ASK: ask,
        _ARK_KEY: _private(ark_key),
        _ASK_KEY: _private(ask_key),
        _SECRET: secrets.token_bytes(SECRET_BYTES),
    }


def _authorities(
    product: Product,
    names: tuple[bytes, bytes],
    keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey],
    now: datetime,
) -> tuple[bytes, bytes]:
    """The certificates of an ARK and its ASK, from their names and keys."""
    begin, end, url = _seconds(now - CLOCK_SKEW), _seconds(now + AUTHORITY_LIFE), crl_url(product)
    ark_key, ask_key = keys
    ark = ark_plan(names[0], spki(ark_key), not_before=begin, not_after=end, crl_url=url)
    ask = ask_plan(names[1], ark, spki(ask_key), not_before=begin, not_after=end, crl_url=url)
    return ark.sign(ark_key), ask.sign(ark_key)


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_current(certificate: Certificate, now: datetime, margin: timedelta) -> bool:
    return certificate.not_before <= now.timestamp() < certificate.not_after - margin.total_seconds()


def _seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


REVOCABLE: Final = {"ark": ARK_SERIAL, "ask": ASK_SERIAL, "vcek": VCEK_SERIAL}
"""Serial numbers that a list can name, by what they belong to."""
