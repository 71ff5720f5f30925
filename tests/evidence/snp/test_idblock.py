"""ID blocks: byte for byte against the published tool, signatures that hold, and forgeries that do not."""

from __future__ import annotations

import base64
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure.id_block import snp_calc_id_block

from enarx.errors import AuthenticityError, EnarxError, MalformedError, UsageError
from enarx.evidence.snp import idblock
from enarx.evidence.snp.idblock import Endorsement, IdAuth, IdBlock

ID_KEY = ec.generate_private_key(ec.SECP384R1())
AUTHOR_KEY = ec.generate_private_key(ec.SECP384R1())
BLOCK = IdBlock(bytes(range(48)))
AUTH = idblock.authorize(BLOCK, ID_KEY, idblock.endorse(AUTHOR_KEY, ID_KEY.public_key()))

SIGNATURES = ((64, 576), (1664, 2176))
"""Where IdAuth has what differs from one signing to the next."""


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def without_signatures(auth: bytes) -> bytes:
    data = bytearray(auth)
    for start, end in SIGNATURES:
        data[start:end] = bytes(end - start)
    return bytes(data)


def test_structures_equal_the_published_tool_but_for_the_nonces(tmp_path: Path) -> None:
    (tmp_path / "id").write_bytes(pem(ID_KEY))
    (tmp_path / "author").write_bytes(pem(AUTHOR_KEY))
    printed = snp_calc_id_block(BLOCK.launch_digest, str(tmp_path / "id"), str(tmp_path / "author"))
    properties, id_hash, author_hash = printed.split("\n")
    block, auth = (base64.b64decode(part.partition("=")[2]) for part in properties.split(","))
    assert BLOCK.to_bytes() == block
    assert without_signatures(AUTH.to_bytes()) == without_signatures(auth)
    idblock.verify(IdBlock.from_bytes(block), IdAuth.from_bytes(auth))
    assert idblock.key_digest(ID_KEY.public_key()) == base64.b64decode(id_hash.partition(": ")[2])
    assert idblock.key_digest(AUTHOR_KEY.public_key()) == base64.b64decode(author_hash.partition(": ")[2])


def test_recorded_key_digests_and_id_block(vectors: Path) -> None:
    cases = tomllib.loads((vectors / "INDEX.toml").read_text())["case"]
    fields = next(case["fields"] for case in cases if case["name"] == "measure-idblock")
    for name in ("id", "author"):
        key = load_pem_public_key((vectors / f"measure/idblock/{name}-key.pub.pem").read_bytes())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert idblock.key_digest(key) == base64.b64decode(fields[f"{name}_key_digest_b64"])
    block = IdBlock(bytes.fromhex(fields["launch_digest"]))
    assert block.to_bytes() == base64.b64decode(fields["id_block_b64"])


def test_structures_are_read_back() -> None:
    block = IdBlock(bytes(48), b"f" * 16, b"i" * 16, 7, 0x3_001F)
    assert IdBlock.from_bytes(block.to_bytes()) == block
    assert IdAuth.from_bytes(AUTH.to_bytes()) == AUTH
    assert len(AUTH.to_bytes()) == 4096
    assert AUTH.endorsement is not None
    assert Endorsement.from_bytes(AUTH.endorsement.to_bytes()) == AUTH.endorsement


def test_author_key_is_optional() -> None:
    auth = idblock.authorize(BLOCK, ID_KEY)
    data = auth.to_bytes()
    assert data[:8] == bytes([1, 0, 0, 0, 0, 0, 0, 0])
    assert not any(data[1664:])
    assert IdAuth.from_bytes(data) == auth


def test_endorsement_of_another_id_key_is_refused_before_the_launch() -> None:
    endorsement = idblock.endorse(AUTHOR_KEY, AUTHOR_KEY.public_key())
    with pytest.raises(AuthenticityError) as caught:
        idblock.authorize(BLOCK, ID_KEY, endorsement)
    assert caught.value.code == "id-key-signature"


def test_id_block_of_another_launch_is_refused() -> None:
    for other in (
        replace(BLOCK, launch_digest=bytes(48)),
        replace(BLOCK, guest_svn=1),
        replace(BLOCK, policy=BLOCK.policy | 1 << 19),
        replace(BLOCK, family_id=b"x" * 16),
        replace(BLOCK, image_id=b"x" * 16),
    ):
        with pytest.raises(AuthenticityError) as caught:
            idblock.verify(other, AUTH)
        assert caught.value.code == "id-block-signature"


def test_author_key_that_did_not_sign_is_refused() -> None:
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert AUTH.endorsement is not None
    forged = replace(AUTH.endorsement, author_key=idblock.encode_public_key(stranger.public_key()))
    with pytest.raises(AuthenticityError) as caught:
        idblock.verify(BLOCK, replace(AUTH, endorsement=forged))
    assert caught.value.code == "id-key-signature"


@given(st.integers(0, idblock.ID_AUTH_BYTES - 1), st.integers(0, 7))
def test_no_flipped_bit_is_accepted(at: int, bit: int) -> None:
    data = bytearray(AUTH.to_bytes())
    data[at] ^= 1 << bit
    with pytest.raises((MalformedError, AuthenticityError)):
        idblock.verify(BLOCK, IdAuth.from_bytes(bytes(data)))


def test_swapped_r_and_s_are_refused() -> None:
    r, s, rest = AUTH.block_signature[:72], AUTH.block_signature[72:144], AUTH.block_signature[144:]
    with pytest.raises(AuthenticityError):
        idblock.verify(BLOCK, replace(AUTH, block_signature=s + r + rest))


def test_zero_signature_is_refused() -> None:
    with pytest.raises(AuthenticityError):
        idblock.verify(BLOCK, replace(AUTH, block_signature=bytes(512)))


@given(st.binary(max_size=200), st.sampled_from([96, 512, 1028, 1540, 4096]))
def test_any_bytes_are_read_or_refused(data: bytes, size: int) -> None:
    padded = data.ljust(size, b"\0")
    for parse in (
        IdBlock.from_bytes,
        IdAuth.from_bytes,
        Endorsement.from_bytes,
        idblock.decode_public_key,
        idblock.decode_signature,
    ):
        for given_bytes in (data, padded):
            try:
                parse(given_bytes)
            except EnarxError as error:
                assert isinstance(error, MalformedError)


def test_point_that_is_not_on_the_curve_is_refused() -> None:
    data = bytearray(idblock.encode_public_key(ID_KEY.public_key()))
    data[4] ^= 1
    with pytest.raises(MalformedError) as caught:
        idblock.decode_public_key(bytes(data))
    assert caught.value.code == "key-format"


def test_key_on_another_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for use in (partial(idblock.sign, key, b""), partial(idblock.key_digest, key.public_key())):
        with pytest.raises(UsageError) as caught:
            use()
        assert caught.value.code == "key-curve"


@pytest.mark.parametrize(
    "build",
    [
        partial(IdBlock, bytes(32)),
        partial(IdBlock, bytes(48), family_id=bytes(15)),
        partial(IdBlock, bytes(48), image_id=bytes(17)),
        partial(IdBlock, bytes(48), guest_svn=1 << 32),
        partial(IdBlock, bytes(48), guest_svn=-1),
        partial(IdBlock, bytes(48), policy=1 << 64),
        partial(IdBlock, bytes(48), policy=-1),
    ],
)
def test_values_that_the_block_cannot_carry_are_refused(build: partial[IdBlock]) -> None:
    with pytest.raises(UsageError) as caught:
        build()
    assert caught.value.code == "id-block-field"


def test_block_of_another_version_is_refused() -> None:
    data = bytearray(BLOCK.to_bytes())
    data[80] = 2
    with pytest.raises(MalformedError):
        IdBlock.from_bytes(bytes(data))
