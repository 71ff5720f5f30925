"""Keys that sign packages: files as other tools write them, one key each, and nothing that is not quite one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import UsageError
from enarx.evidence.awslc import AwsLcVerifier
from enarx.tenant.signature.keys import (
    KEY_FILE_MAX_BYTES,
    PASSPHRASE_MAX_BYTES,
    Algorithm,
    create,
    parse_private,
    parse_public,
)

ALGORITHMS = list(Algorithm)
CURVES = {Algorithm.P256: "P-256", Algorithm.P384: "P-384"}


def nobody() -> bytes:
    raise AssertionError("no passphrase is needed")


def code(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_signs_and_its_public_half_verifies(algorithm: Algorithm) -> None:
    key = create(algorithm)
    signature = key.sign(b"message")
    assert key.public.verify(signature, b"message")
    assert not key.public.verify(signature, b"massage")
    assert not create(algorithm).public.verify(signature, b"message")
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_halves_are_read_as_they_were_written(algorithm: Algorithm) -> None:
    key = create(algorithm)
    assert parse_public(key.public.pem()) == key.public
    assert parse_private(key.pem(), nobody).public == key.public
    assert parse_private(key.pem(b"word"), lambda: b"word").public == key.public
    assert b"ENCRYPTED" in key.pem(b"word")
    assert str(key.public) == f"{algorithm.value} {key.public.id}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_and_signatures_of_openssl_are_read_and_ours_by_it(
    algorithm: Algorithm, tmp_path: Path, require_tool: Callable[[str, str], Path]
) -> None:
    openssl = str(require_tool("openssl", "openssl"))

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=tmp_path, check=True, capture_output=True)

    kind = (
        ["ED25519"] if algorithm is Algorithm.ED25519 else ["EC", "-pkeyopt", f"ec_paramgen_curve:{CURVES[algorithm]}"]
    )
    run("genpkey", "-algorithm", *kind, "-out", "key")
    run("pkey", "-in", "key", "-pubout", "-out", "pub")
    run("pkcs8", "-topk8", "-in", "key", "-scrypt", "-passout", "pass:word", "-out", "encrypted")
    key = parse_private((tmp_path / "key").read_bytes(), nobody)
    assert parse_public((tmp_path / "pub").read_bytes()) == key.public
    assert parse_private((tmp_path / "encrypted").read_bytes(), lambda: b"word").public == key.public
    (tmp_path / "message").write_bytes(b"message")
    digest = {Algorithm.P256: ["-sha256"], Algorithm.P384: ["-sha384"], Algorithm.ED25519: []}[algorithm]
    options = [] if digest else ["-rawin"]
    sign = ["dgst", *digest, "-sign", "key", "-out", "theirs", "message"]
    check = ["dgst", *digest, "-verify", "pub", "-signature", "ours", "message"]
    if not digest:
        sign = ["pkeyutl", "-sign", "-inkey", "key", *options, "-in", "message", "-out", "theirs"]
        check = ["pkeyutl", "-verify", "-pubin", "-inkey", "pub", *options, "-in", "message", "-sigfile", "ours"]
    run(*sign)
    assert key.public.verify((tmp_path / "theirs").read_bytes(), b"message")
    (tmp_path / "ours").write_bytes(key.sign(b"message"))
    run(*check)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_verifiers_agree(algorithm: Algorithm) -> None:
    key = create(algorithm)
    fast = key.public.ready(AwsLcVerifier())
    signature = key.sign(b"message")
    assert fast(signature, b"message")
    assert not fast(signature, b"massage")
    assert not fast(signature[:-1] + bytes([signature[-1] ^ 1]), b"message")
    assert not fast(b"\x30\x06\x02\x01\x00\x02\x01\x00" * 8, b"message")


@given(st.sampled_from(ALGORITHMS), st.integers(0, 200), st.integers(1, 255))
def test_a_signature_with_a_changed_byte_is_none(algorithm: Algorithm, index: int, change: int) -> None:
    key = _KEYS.setdefault(algorithm, create(algorithm))
    signature = bytearray(key.sign(b"message"))
    signature[index % len(signature)] ^= change
    assert not key.public.verify(bytes(signature), b"message")


_KEYS = {algorithm: create(algorithm) for algorithm in ALGORITHMS}


def test_a_compressed_point_is_the_same_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    whole = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    import base64

    short = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    assert parse_public(short) == parse_public(whole)
    assert len({parse_public(short), parse_public(whole)}) == 1


def test_what_is_not_one_key_is_refused() -> None:
    pem = create(Algorithm.ED25519).public.pem()
    for wrong in (
        b"",
        b"key",
        pem + pem,
        b"comment\n" + pem,
        pem + b"comment",
        pem.replace(b"PUBLIC KEY-----\n", b"PUBLIC KEY-----\n=", 1),
        pem.replace(b"MCow", b"MCox"),
        pem.replace(b"END PUBLIC", b"END PRIVATE"),
        pem.replace(b"PUBLIC", b"RSA PUBLIC"),
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        b" " * KEY_FILE_MAX_BYTES + pem,
    ):
        assert code(lambda data=wrong: parse_public(data)) == "key-file"  # type: ignore[misc]
        assert code(lambda data=wrong: parse_private(data, nobody)) == "key-file"  # type: ignore[misc]


def test_halves_are_not_taken_for_one_another() -> None:
    key = create(Algorithm.P256)
    assert code(lambda: parse_public(key.pem())) == "key-file"
    assert code(lambda: parse_private(key.public.pem(), nobody)) == "key-file"


def test_a_key_in_the_old_form_is_refused_with_the_way_to_convert_it() -> None:
    old = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    with pytest.raises(UsageError, match="EC PRIVATE KEY") as caught:
        parse_private(old, nobody)
    assert "openssl pkcs8 -topk8" in caught.value.hint


@pytest.mark.parametrize("kind", ["rsa", "p521", "ed448"])
def test_keys_of_other_types_are_refused(kind: str) -> None:
    makers: dict[str, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey]] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ed448": ed448.Ed448PrivateKey.generate,
    }
    key = makers[kind]()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert code(lambda: parse_private(private, nobody)) == "key-type"
    assert code(lambda: parse_public(public)) == "key-type"


def test_a_wrong_passphrase_is_refused() -> None:
    pem = create(Algorithm.ED25519).pem(b"word")
    for wrong in (b"ward", b"", bytes(PASSPHRASE_MAX_BYTES + 1)):
        assert code(lambda data=wrong: parse_private(pem, lambda: data)) == "key-passphrase"  # type: ignore[misc]
    longest = b"x" * PASSPHRASE_MAX_BYTES
    parse_private(create(Algorithm.ED25519).pem(longest), lambda: longest)


@given(st.binary(max_size=300))
def test_any_bytes_under_a_label_are_a_key_or_an_error(data: bytes) -> None:
    import base64

    for label in (b"PUBLIC KEY", b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"):
        pem = b"-----BEGIN " + label + b"-----\n" + base64.b64encode(data) + b"\n-----END " + label + b"-----\n"
        for parse in (parse_public, lambda text: parse_private(text, lambda: b"word")):
            try:
                parse(pem)
            except UsageError as error:
                assert error.code in ("key-file", "key-type", "key-passphrase")
