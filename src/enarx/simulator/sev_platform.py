"""The identity of a SIMULATED SEV platform: a chain of its own from ARK to PDH, made once and kept.

Formats are AMD's (SEV API 55766, appendix B and C); the key ids of ARK and ASK begin with SIMULATED, which is the only
place where such certificates can say so. The private keys of ARK, ASK, CEK, OCA and PEK are thrown away when the
platform is made: nothing more is ever signed under this root. The PDH's is kept, with which sessions are opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from enarx.errors import EnarxError
from enarx.evidence.sev import signing
from enarx.evidence.sev.certs import (
    SIGNATURE_BYTES,
    UNSIGNED,
    CaCertificate,
    SevCertificate,
    Signature,
    parse_chain,
)
from enarx.evidence.sev.kinds import Algorithm, Usage
from enarx.evidence.sev.owner import create_oca
from enarx.evidence.sev.simulated import MARK
from enarx.simulator.store import Store, broken
from enarx.simulator.store import default_directory as of_snp

RSA_BITS: Final = 2048
"""Size of ARK and ASK (bits), as of AMD's first product: nothing depends on them, and they are quickly made."""
CHIP_ID_BYTES: Final = 64
"""Size of what GET_ID returns for one socket (bytes; 55766, 5.14)."""
API: Final = (1, 55)

_CHAIN: Final = "chain.cert"
_PDH_KEY: Final = "pdh.key"
_CHIP_ID: Final = "chip.id"


@dataclass(frozen=True, slots=True)
class Identity:
    """A platform's certificates as its host can get them, and the key behind its PDH certificate."""

    pdh: SevCertificate
    pek: SevCertificate
    oca: SevCertificate
    cek: SevCertificate
    ask: CaCertificate
    ark: CaCertificate
    chip_id: bytes
    pdh_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def root(self) -> bytes:
        """ARK and ASK, for policies that are to accept this platform under ``[simulated_sev]``."""
        return self.ark.to_bytes() + self.ask.to_bytes()


def default_directory() -> Path:
    """Where a user's simulated platform is: beside the simulator of SEV-SNP. HostError without a home."""
    return of_snp().with_name("simulator-sev")


def open_identity(directory: Path) -> Identity:
    """The platform kept in ``directory``, made where there is none. HostError when it is damaged or exposed."""
    store = Store(directory)
    if not store.check():
        store.create(lambda: _files(make_identity()))
    return _read(store)


def make_identity() -> Identity:
    """A platform with a chain of its own."""
    ark_key, ask_key = (rsa.generate_private_key(65537, RSA_BITS) for _ in range(2))
    ark_id, ask_id = (MARK + secrets.token_bytes(16 - len(MARK)) for _ in range(2))
    ark = _authority(ark_key, ark_id, Usage.ARK, ark_key, ark_id)
    ask = _authority(ask_key, ask_id, Usage.ASK, ark_key, ark_id)
    cek_key, oca_key, pek_key, pdh_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(4))
    cek = _bare(cek_key, Usage.CEK)
    cek = replace(cek, signatures=(_rsa(ask_key, cek.body, Usage.ASK), UNSIGNED))
    oca = create_oca(oca_key)
    pek = _bare(pek_key, Usage.PEK)
    by_owner = signing.sign(pek.body, oca_key, Usage.OCA, Algorithm.ECDSA_SHA256)
    by_chip = signing.sign(pek.body, cek_key, Usage.CEK, Algorithm.ECDSA_SHA256)
    pek = replace(pek, signatures=(by_owner, by_chip))
    pdh = _bare(pdh_key, Usage.PDH, Algorithm.ECDH_SHA256)
    by_platform = signing.sign(pdh.body, pek_key, Usage.PEK, Algorithm.ECDSA_SHA256)
    pdh = replace(pdh, signatures=(by_platform, UNSIGNED))
    return Identity(pdh, pek, oca, cek, ask, ark, secrets.token_bytes(CHIP_ID_BYTES), pdh_key)


def _authority(
    key: rsa.RSAPrivateKey, key_id: bytes, usage: Usage, signer: rsa.RSAPrivateKey, signer_id: bytes
) -> CaCertificate:
    numbers = key.public_key().public_numbers()
    bare = CaCertificate(key_id, signer_id, usage, numbers.e, numbers.n, RSA_BITS, RSA_BITS, b"")
    return replace(bare, signature=_pss(signer, bare.body))


def _bare(
    key: ec.EllipticCurvePrivateKey, usage: Usage, algorithm: Algorithm = Algorithm.ECDSA_SHA256
) -> SevCertificate:
    return SevCertificate(*API, usage, algorithm, signing.key_blob(key.public_key()))


def _rsa(key: rsa.RSAPrivateKey, body: bytes, usage: Usage) -> Signature:
    return Signature(usage, Algorithm.RSA_SHA256, _pss(key, body).ljust(SIGNATURE_BYTES, b"\0"))


def _pss(key: rsa.RSAPrivateKey, body: bytes) -> bytes:
    digest = hashes.SHA256()
    return key.sign(body, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)[::-1]


def _files(identity: Identity) -> Mapping[str, bytes]:
    order = (identity.pdh, identity.pek, identity.oca, identity.cek, identity.ask, identity.ark)
    none = serialization.NoEncryption()
    key = identity.pdh_key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, none)
    return {
        _CHAIN: b"".join(one.to_bytes() for one in order),
        _CHIP_ID: identity.chip_id,
        _PDH_KEY: key,
    }


def _read(store: Store) -> Identity:
    try:
        found = parse_chain(store.read(_CHAIN))
        key = serialization.load_der_private_key(store.read(_PDH_KEY), password=None)
        chip_id = store.read(_CHIP_ID)
        pdh, pek, oca, cek, ask, ark = found
    except (EnarxError, ValueError) as error:
        raise broken(store.directory, str(error)) from error
    whole = [one for one in (pdh, pek, oca, cek) if isinstance(one, SevCertificate)]
    if (
        len(whole) != 4
        or not isinstance(ask, CaCertificate)
        or not isinstance(ark, CaCertificate)
        or not isinstance(key, ec.EllipticCurvePrivateKey)
        or len(chip_id) != CHIP_ID_BYTES
        or whole[0].key_blob != signing.key_blob(key.public_key())
    ):
        raise broken(store.directory, "its certificates and its key do not belong together")
    return Identity(whole[0], whole[1], whole[2], whole[3], ask, ark, chip_id, key)
