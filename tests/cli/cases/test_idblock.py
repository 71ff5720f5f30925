"""Cases about signed launches: digests of keys, ID blocks and the authentication that goes with them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.cli.cases import CaseResult, snp
from enarx.errors import AuthenticityError, MalformedError, UsageError
from enarx.evidence.snp import idblock
from tests.evidence.snp.forge import ec_key

KEYS = [ec_key(name).public_key() for name in ("id", "author")]
BLOCK = idblock.IdBlock(b"\1" * 48, guest_svn=1)


def pem(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


FILES = [pem(key) for key in KEYS]


def judge(*data: bytes, **fields: object) -> CaseResult:
    files = {str(i): one for i, one in enumerate(data)}
    return snp.run({"name": "case", "inputs": list(files), "fields": fields}, files.__getitem__, {})


def text(data: bytes) -> str:
    return b64encode(data).decode()


def test_public_keys_get_the_digests_that_firmware_reports() -> None:
    result = judge(*FILES, id_block_b64=text(BLOCK.to_bytes()))
    assert result.fields["id_key_digest"] == idblock.key_digest(KEYS[0]).hex()
    assert result.fields["author_key_digest"] == idblock.key_digest(KEYS[1]).hex()
    assert result.fields["launch_digest"] == "01" * 48
    assert "author_key_digest" not in judge(FILES[0]).fields


def test_id_block_is_made_for_a_launch_digest_and_held_to_one() -> None:
    made = judge(FILES[0], launch_digest="02" * 48)
    assert made.fields["id_block_b64"] == text(idblock.IdBlock(b"\2" * 48).to_bytes())
    assert judge(FILES[0], BLOCK.to_bytes(), launch_digest="01" * 48).fields["id_block_b64"] == text(BLOCK.to_bytes())
    with pytest.raises(AuthenticityError) as caught:
        judge(FILES[0], BLOCK.to_bytes(), launch_digest="02" * 48)
    assert caught.value.code == "measurement-mismatch"


def test_authentication_is_put_together_and_verified() -> None:
    """Signatures are random bytes: whatever they begin with, they are told by their sizes."""
    auth = idblock.authorize(BLOCK, ec_key("id"), idblock.endorse(ec_key("author"), KEYS[0]))
    assert auth.endorsement is not None
    signatures = (auth.block_signature, auth.endorsement.signature)
    for structures in (signatures, (auth.to_bytes(),)):
        result = judge(*FILES, *structures, BLOCK.to_bytes())
        assert (result.verdict, result.fields["id_auth_b64"]) == ("ok", text(auth.to_bytes()))
    for first in b"{[0":
        alone = idblock.IdAuth(bytes((first,)) + bytes(511), idblock.encode_public_key(KEYS[0]))
        assert judge(FILES[0], alone.block_signature).fields["id_auth_b64"] == text(alone.to_bytes())
    alone = idblock.authorize(BLOCK, ec_key("id"))
    assert judge(FILES[0], alone.block_signature).fields["id_auth_b64"] == text(alone.to_bytes())
    with pytest.raises(AuthenticityError):
        judge(*FILES, *signatures, idblock.IdBlock(b"\3" * 48).to_bytes())


def test_what_is_no_key_or_no_block_is_refused() -> None:
    for key in (
        b"-----BEGIN PUBLIC KEY-----",
        pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
        pem(rsa.generate_private_key(65537, 2048).public_key()),
    ):
        with pytest.raises(MalformedError):
            judge(key)
    for fields in ({"id_block_b64": "!"}, {"launch_digest": "zz"}, {"launch_digest": "00"}):
        with pytest.raises(UsageError):
            judge(FILES[0], **fields)
