"""DSSE envelopes: as another implementation writes and reads them, and nothing that could be read in two ways."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from enarx.errors import MalformedError
from enarx.tenant.signature import dsse
from enarx.tenant.signature.dsse import Envelope, Signature, pae, parse
from enarx.tenant.signature.keys import Algorithm, PrivateKey, create, parse_private

TYPE = "application/vnd.example+json"
SCHEMES = {
    Algorithm.ED25519: ("ed25519", "ed25519"),
    Algorithm.P256: ("ecdsa", "ecdsa-sha2-nistp256"),
    Algorithm.P384: ("ecdsa", "ecdsa-sha2-nistp384"),
}
KEYS = {algorithm: create(algorithm) for algorithm in Algorithm}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def theirs(key: PrivateKey) -> CryptoSigner:
    """The same key in the other implementation."""
    kind, scheme = SCHEMES[key.public.algorithm]
    if key.public.algorithm is Algorithm.ED25519:
        public = {"public": key.public.spki[-32:].hex()}
    else:
        public = {"public": key.public.pem().decode()}
    return CryptoSigner(key._key, SSlibKey(key.public.id, kind, scheme, public))


def plain(**changes: Any) -> dict[str, Any]:
    signature = {"keyid": "k", "sig": base64.b64encode(b"signature").decode()}
    value = {"payload": base64.b64encode(b"payload").decode(), "payloadType": TYPE, "signatures": [signature]}
    return {key: one for key, one in (value | changes).items() if one is not ...}


def code(data: object) -> str:
    encoded = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(MalformedError) as caught:
        parse(encoded)
    assert caught.value.hint
    return caught.value.code


def test_what_is_signed_is_that_of_the_specification() -> None:
    signed = pae("http://example.com/HelloWorld", b"hello world")
    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("\u00e4", b"") == b"DSSEv1 2 \xc3\xa4 0 "


@given(texts, st.binary(max_size=60))
def test_what_is_signed_is_that_of_another_implementation(kind: str, payload: bytes) -> None:
    if kind.isascii():  # theirs counts characters, the specification bytes
        assert pae(kind, payload) == TheirEnvelope(payload, kind, {}).pae()


@given(st.tuples(texts, st.binary(max_size=20)), st.tuples(texts, st.binary(max_size=20)))
def test_no_two_pairs_are_signed_alike(one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    assert (pae(*one) == pae(*other)) is (one == other)


@pytest.mark.parametrize("algorithm", list(Algorithm))
@given(payload=st.binary(max_size=60))
def test_signatures_of_either_implementation_are_the_others(algorithm: Algorithm, payload: bytes) -> None:
    key, signer = KEYS[algorithm], theirs(KEYS[algorithm])
    made = TheirEnvelope(payload, TYPE, {})
    made.sign(signer)
    read = parse(json.dumps(made.to_dict()).encode())
    assert (read.payload_type, read.payload) == (TYPE, payload)
    (signature,) = read.signatures
    assert signature.keyid == key.public.id
    assert key.public.verify(signature.sig, pae(read.payload_type, read.payload))
    ours = Envelope(TYPE, payload, (Signature(key.sign(pae(TYPE, payload)), key.public.id),))
    back = TheirEnvelope.from_dict(json.loads(ours.encode()))
    assert back.verify([signer.public_key], 1).keys() == {key.public.id}
    changed = TheirEnvelope.from_dict(json.loads(Envelope(TYPE, payload + b"x", ours.signatures).encode()))
    with pytest.raises(VerificationError):
        changed.verify([signer.public_key], 1)


@given(
    texts,
    st.binary(max_size=60),
    st.lists(st.tuples(st.binary(min_size=1, max_size=90), texts), min_size=1, max_size=16),
)
def test_an_envelope_is_read_as_it_was_written(kind: str, payload: bytes, signatures: list[tuple[bytes, str]]) -> None:
    envelope = Envelope(kind, payload, tuple(Signature(*one) for one in signatures))
    assert parse(envelope.encode()) == envelope


def test_either_alphabet_is_read_and_unknown_fields_are_ignored() -> None:
    payload = b"\xfb\xff\xbf??>"
    standard, safe = base64.b64encode(payload).decode(), base64.urlsafe_b64encode(payload).decode()
    assert standard != safe
    for written in (standard, safe):
        assert parse(json.dumps(plain(payload=written)).encode()).payload == payload
    signature = plain()["signatures"][0]
    without = {"sig": signature["sig"]}
    for one in (without, without | {"keyid": ""}, without | {"keyid": None}, without | {"extension": {"kind": "x"}}):
        assert parse(json.dumps(plain(signatures=[one], more=1)).encode()).signatures[0].keyid == ""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "dsse-json"),
        (b"\xff", "dsse-json"),
        (b'{"payload":NaN}', "dsse-json"),
        (b'{"payload":"","payload":"","payloadType":"","signatures":[]}', "dsse-json"),
        (b"[" * 60_000, "dsse-json"),
        (b'{"payload":' + b"9" * 60_000 + b"}", "dsse-json"),
        (b"{}", "dsse-keys"),
        (b"[]", "dsse-keys"),
        (plain(payloadType=...), "dsse-keys"),
        (plain(payloadType=3), "dsse-text"),
        (plain(payloadType="\ud800"), "dsse-text"),
        (plain(payloadType="x" * 1025), "dsse-text"),
        (plain(payload=None), "dsse-base64"),
        (plain(payload="a"), "dsse-base64"),
        (plain(payload="YQ"), "dsse-base64"),
        (plain(payload="YR=="), "dsse-base64"),  # the bits that are left over are not zero
        (plain(payload="YQ==\n"), "dsse-base64"),
        (plain(payload="\u0661Q=="), "dsse-base64"),
        (plain(signatures=[]), "dsse-signatures"),
        (plain(signatures={}), "dsse-signatures"),
        (plain(signatures=plain()["signatures"] * 17), "dsse-signatures"),
        (plain(signatures=[{"keyid": "k"}]), "dsse-signatures"),
        (plain(signatures=[{"sig": ""}]), "dsse-signatures"),
        (plain(signatures=[{"sig": base64.b64encode(bytes(1025)).decode()}]), "dsse-signatures"),
        (plain(signatures=[{"sig": "YQ==", "keyid": 7}]), "dsse-text"),
        (plain(signatures=["YQ=="]), "dsse-signatures"),
        (b" " * (dsse.ENVELOPE_MAX_BYTES + 1), "dsse-size"),
    ],
)
def test_what_is_not_an_envelope_is_refused(data: object, expected: str) -> None:
    assert code(data) == expected


def test_adding_keeps_what_is_there_and_the_bounds() -> None:
    value = plain(more={"kept": True})
    value["signatures"][0]["extension"] = {"kind": "x"}
    made = dsse.add(json.dumps(value).encode(), Signature(b"second", "other"))
    found = json.loads(made)
    assert found["more"] == {"kept": True}
    assert found["signatures"][0] == value["signatures"][0]
    assert [one.sig for one in parse(made).signatures] == [b"signature", b"second"]
    full = json.dumps(plain(signatures=plain()["signatures"] * dsse.SIGNATURES_MAX)).encode()
    with pytest.raises(MalformedError) as caught:
        dsse.add(full, Signature(b"one too many"))
    assert caught.value.code == "dsse-signatures"


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text() | st.integers(),
        lambda one: (
            st.lists(one)
            | st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "sig", "keyid"]), one)
        ),
    ).map(lambda one: json.dumps(one).encode())
)
def test_anything_is_an_envelope_or_malformed(data: bytes) -> None:
    try:
        parse(data)
    except MalformedError as error:
        assert error.code.startswith("dsse-")


def test_keys_of_the_tests_are_the_same_in_both() -> None:
    for key in KEYS.values():
        assert parse_private(theirs(key).private_bytes, lambda: b"").public == key.public
