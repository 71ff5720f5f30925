"""Who signed: each key once, nobody for another package, and a bound on what hostile objects cost."""

from __future__ import annotations

import functools
import json

from hypothesis import given
from hypothesis import strategies as st

from enarx.mediatype import PACKAGE as PACKAGE_TYPE
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.signature import dsse
from enarx.tenant.signature.dsse import Envelope, Signature, pae
from enarx.tenant.signature.keys import Algorithm, PrivateKey, PublicKey, create
from enarx.tenant.signature.signers import ATTEMPTS_MAX, OBJECT_MAX_BYTES, Presented, Signers, Verdict
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement

PACKAGE = Statement("sha256:" + "ab" * 32, PACKAGE_TYPE)
OTHER = Statement("sha256:" + "cd" * 32, PACKAGE_TYPE)


@functools.cache
def key(name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    del name
    return create(algorithm)


def envelope(*keys: PrivateKey, statement: Statement = PACKAGE, hints: bool = True, kind: str = PAYLOAD_TYPE) -> bytes:
    payload = statement.encode()
    made = [Signature(one.sign(pae(kind, payload)), one.public.id if hints else "") for one in keys]
    return Envelope(kind, payload, tuple(made)).encode()


def verdict(*objects: bytes, keys: tuple[PrivateKey, ...]) -> Verdict:
    return Presented(objects).verdict(PACKAGE, [one.public for one in keys])


def test_every_type_of_key_is_told_with_and_without_hints() -> None:
    keys = tuple(key("a", algorithm) for algorithm in Algorithm)
    for hints in (True, False):
        found = verdict(envelope(*keys, hints=hints), keys=keys)
        assert found.signed == tuple(one.public for one in keys)
        assert not found.notes


def test_one_key_counts_once_however_often_it_signs() -> None:
    a, b = key("a"), key("b", Algorithm.P256)
    signers = Signers((a.public, b.public), 2)
    repeated = [envelope(a, a), envelope(a, hints=False), envelope(b, statement=OTHER)]
    found = verdict(*repeated, keys=(a, b))
    assert found.signed == (a.public,)
    assert not found.satisfies(signers)
    assert verdict(*repeated, envelope(b), keys=(a, b)).satisfies(signers)


def test_ecdsa_signatures_that_differ_are_of_one_key() -> None:
    a = key("a", Algorithm.P256)
    made = envelope(a, a)
    assert len({one.sig for one in dsse.parse(made).signatures}) == 2
    assert verdict(made, keys=(a,)).signed == (a.public,)


def test_signatures_over_anything_else_are_noted_and_count_for_nothing() -> None:
    a = key("a")
    for made, why in (
        (envelope(a, statement=OTHER), "over another package, sha256:cdcd"),
        (envelope(a, statement=Statement(PACKAGE.digest, MODULE_TYPE)), f"({MODULE_TYPE})"),
        (envelope(a, kind="application/vnd.in-toto+json"), "another type of payload"),
        (envelope(key("b")), "by none of the accepted keys"),
        (envelope(key("b")).replace(key("b").public.id.encode(), a.public.id.encode()), "by none of the accepted keys"),
        (b"junk", "not one of DSSE"),
        (b"x" * (OBJECT_MAX_BYTES + 1), "more than 65536"),
        (
            json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}).encode(),
            "no identity is accepted",
        ),
    ):
        found = verdict(made, keys=(a,))
        assert not found.signed
        assert len(found.notes) == 1
        assert why in found.notes[0]
        assert why in str(found)
        both = verdict(made, envelope(a), keys=(a,))
        assert both.signed == (a.public,)
        assert both.notes == found.notes


def test_a_signature_made_for_another_type_of_payload_is_none_under_ours() -> None:
    a = key("a")
    other = dsse.parse(envelope(a, kind="application/vnd.example"))
    relabelled = Envelope(PAYLOAD_TYPE, other.payload, other.signatures)
    assert not verdict(relabelled.encode(), keys=(a,)).signed


def test_hostile_envelopes_are_tried_no_more_often_than_bounded() -> None:
    keys = tuple(create(Algorithm.ED25519) for _ in range(16))
    tried = 0

    class Counting(PublicKey):
        def ready(self, verifier: object = None) -> object:  # type: ignore[override]
            nonlocal tried
            tried += 1
            return lambda signature, message: False

    counting = [Counting(one.public.algorithm, one.public.spki, None) for one in keys]
    strangers = [envelope(*(create(Algorithm.ED25519) for _ in range(16)), hints=False) for _ in range(8)]
    found = Presented(tuple(strangers)).verdict(PACKAGE, counting)
    assert tried == ATTEMPTS_MAX
    assert not found.signed
    assert "tried in vain" in found.notes[-1]


def test_a_hint_finds_the_key_among_as_many_as_a_policy_may_name() -> None:
    keys = tuple(create(Algorithm.ED25519) for _ in range(64))
    assert verdict(envelope(*keys[-16:]), keys=keys).signed == tuple(one.public for one in keys[-16:])
    assert verdict(envelope(keys[-1], hints=False), keys=keys).signed == (keys[-1].public,)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_objects_come_to_a_verdict(objects: list[bytes]) -> None:
    found = Presented(tuple(objects)).verdict(PACKAGE, [key("a").public])
    assert not found.signed
    assert len(found.notes) == len(objects)


@given(st.integers(0, 5000), st.integers(0, 7))
def test_no_changed_bit_of_an_envelope_signs_another_package(index: int, bit: int) -> None:
    data = bytearray(envelope(key("a")))
    data[index % len(data)] ^= 1 << bit
    found = Presented((bytes(data),)).verdict(OTHER, [key("a").public])
    assert not found.signed
