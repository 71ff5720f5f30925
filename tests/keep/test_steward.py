"""What a Keep makes of a Steward's answer: nothing in it is believed that is not proved."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, EnarxError, EvidenceError, MalformedError, PolicyError
from enarx.evidence import binding
from enarx.keep.attested import Attested, repeatable_evidence
from enarx.keep.steward import (
    ANSWER_MAX_BYTES,
    EAR_MAX_CHARS,
    RULES_SHOWN,
    SECRET_MAX_BYTES,
    SECRETS_MAX,
    SHOWN_CHARS,
    Answer,
    Grant,
    accept,
    request,
)
from tests.keep.tenants import NOW, SECRETS, Authority, Steward, launch, manifest_for

URL = "https://steward.example"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


def keep_of(steward: Steward) -> Attested:
    return launch(manifest_for(steward.pin(URL)))


def granted(steward: Steward, keep: Attested | None = None) -> Grant:
    keep = keep or keep_of(steward)
    return accept(keep, Answer(200, "application/json", steward.answer(request(keep))), NOW)


def refused(steward: Steward, kind: type[EnarxError] = AuthenticityError, keep: Attested | None = None) -> str:
    with pytest.raises(kind) as caught:
        granted(steward, keep)
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value.code


def other_key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP384R1()).public_key()


@pytest.mark.parametrize("hybrid", [True, False])
def test_grant_has_the_chain_its_validity_and_the_secrets(ca: Authority, hybrid: bool) -> None:
    grant = granted(Steward(ca, hybrid=hybrid))
    assert dict(grant.secrets) == SECRETS
    assert grant.certified.not_after == NOW + timedelta(hours=24)
    assert grant.certified.pem().count(b"BEGIN CERTIFICATE") == 2


def test_answer_for_another_key_is_refused(ca: Authority) -> None:
    assert refused(Steward(ca, certify=other_key())) == "certificate-key"


def test_answer_for_another_keep_is_refused(ca: Authority) -> None:
    """The whole honest answer to another Keep's request, replayed to this one."""
    steward = Steward(ca)
    theirs = Answer(200, "application/json", steward.answer(request(keep_of(steward))))
    with pytest.raises(AuthenticityError) as caught:
        accept(keep_of(steward), theirs, NOW)
    assert caught.value.code == "certificate-key"


def test_certificate_for_another_manifest_is_refused(ca: Authority) -> None:
    assert refused(Steward(ca, manifest_digest=bytes(32))) == "certificate-manifest"


def test_certificate_that_names_no_manifest_is_refused(ca: Authority) -> None:
    def without(found: dict[str, bytes]) -> dict[str, bytes]:
        return {oid: value for oid, value in found.items() if oid != binding.MANIFEST_DIGEST_OID}

    assert refused(Steward(ca, extensions=without)) == "certificate-manifest"


def test_certificate_with_other_evidence_is_refused(ca: Authority) -> None:
    steward = Steward(ca)
    other = repeatable_evidence(keep_of(steward))[0]
    steward.extensions = lambda found: found | {binding.SNP_EVIDENCE_OID: other}
    assert refused(steward) == "certificate-evidence"


def test_certificate_may_leave_out_revocation_lists_or_all_evidence(ca: Authority) -> None:
    steward = Steward(ca)
    keep = keep_of(steward)
    whole, short = repeatable_evidence(keep)
    assert len(short) < len(whole)
    steward.extensions = lambda found: found | {binding.SNP_EVIDENCE_OID: short}
    assert granted(steward, keep).secrets
    steward.extensions = lambda found: {binding.MANIFEST_DIGEST_OID: found[binding.MANIFEST_DIGEST_OID]}
    assert granted(steward, keep).secrets


@pytest.mark.parametrize("name", ["the tenant's CA", "somebody"])
def test_certificate_under_another_ca_is_refused(ca: Authority, name: str) -> None:
    other = Authority(name)
    pinned = launch(manifest_for(Steward(ca).pin(URL)))
    assert refused(Steward(other), keep=pinned) == "certificate-ca"
    forged = Steward(other, chain=lambda chain: [chain[0], ca.der])
    assert refused(forged, keep=pinned) == "certificate-chain"


@pytest.mark.parametrize("length", [0, 1, 7])
def test_chain_of_a_length_that_cannot_be_is_refused(ca: Authority, length: int) -> None:
    steward = Steward(ca, chain=lambda chain: [chain[0], *[chain[1]] * 6][:length])
    assert refused(steward, AuthenticityError if length == 1 else MalformedError).startswith("certificate-")


@pytest.mark.parametrize(
    ("begin", "end"), [(timedelta(hours=-2), timedelta(hours=-1)), (timedelta(hours=1), timedelta(hours=2))]
)
def test_certificate_outside_its_validity_is_refused(ca: Authority, begin: timedelta, end: timedelta) -> None:
    assert refused(Steward(ca, certificate={"begin": NOW + begin, "end": NOW + end})) == "certificate-time"


def test_certificate_of_an_authority_is_refused(ca: Authority) -> None:
    assert refused(Steward(ca, certificate={"ca": True})) == "certificate-chain"


def test_critical_extension_that_nobody_knows_is_refused(ca: Authority) -> None:
    steward = Steward(ca, certificate={"critical": True})
    steward.extensions = lambda found: found | {"2.999.1": b"\x05\x00"}
    assert refused(steward) == "certificate-chain"


def test_chain_that_is_not_of_certificates_is_refused(ca: Authority) -> None:
    version = bytes.fromhex("a003020102")
    odd = ca.der.replace(version, version[:-1] + b"\x09", 1)  # for which there is an exception of its own
    for junk in (b"", b"\x30\x00", b"a" * 70_000, odd):
        assert refused(Steward(ca, chain=lambda chain, junk=junk: [junk, chain[1]]), MalformedError) == (  # type: ignore[misc]
            "certificate-malformed"
        )


@pytest.mark.parametrize("hybrid", [True, False])
def test_secret_sealed_to_another_key_is_refused(ca: Authority, hybrid: bool) -> None:
    assert refused(Steward(ca, seal_to=other_key(), hybrid=hybrid)) == "secret-seal"


def test_keep_without_ml_kem_asks_for_none_and_opens_what_is_sealed_to_p384(ca: Authority) -> None:
    steward = Steward(ca)
    with_it = keep_of(steward)
    without = replace(with_it, key=replace(with_it.key, sealing=None))
    assert dict(granted(steward, without).secrets) == SECRETS
    assert steward.lattice is None
    answer = Answer(200, "application/json", steward.answer(request(with_it)))
    with pytest.raises(MalformedError, match="for which this Keep has no key"):
        accept(without, answer, NOW)


def test_secret_sealed_to_another_ml_kem_key_is_refused(ca: Authority) -> None:
    steward = Steward(ca)
    keep = keep_of(steward)
    answer = Answer(200, "application/json", steward.answer(request(keep)))
    other = replace(keep, key=replace(keep.key, sealing=keep_of(steward).key.sealing))
    with pytest.raises(AuthenticityError) as caught:
        accept(other, answer, NOW)
    assert caught.value.code == "secret-seal"


def changed_secret(**fields: Any) -> Any:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["secrets"][0] |= fields
        return answer

    return change


def test_secret_under_another_name_is_refused(ca: Authority) -> None:
    assert refused(Steward(ca, change=changed_secret(name="other"))) == "secret-seal"


def test_secret_meant_for_another_manifest_is_refused(ca: Authority) -> None:
    """Sealed to this key by whoever has it, but under another manifest, and slipped into an honest answer."""
    steward = Steward(ca)
    keep = keep_of(steward)
    other = json.loads(replace(steward, manifest_digest=bytes(32)).answer(request(keep)))
    steward.change = lambda answer: answer | {"secrets": other["secrets"]}
    assert refused(steward, keep=keep) == "secret-seal"


@pytest.mark.parametrize("at", [0, -1])
def test_changed_ciphertext_is_refused(ca: Authority, at: int) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        sealed = bytearray(base64.b64decode(answer["secrets"][0]["ciphertext"]))
        sealed[at] ^= 1
        answer["secrets"][0]["ciphertext"] = base64.b64encode(sealed).decode()
        return answer

    assert refused(Steward(ca, change=change)) == "secret-seal"


@pytest.mark.parametrize("enc", [b"\x04" + bytes(96), b"\xff" * 97], ids=["point off the curve", "no point"])
def test_key_that_is_no_point_is_refused(ca: Authority, enc: bytes) -> None:
    sealed = Steward(ca, change=changed_secret(enc=base64.b64encode(enc).decode()), hybrid=False)
    assert refused(sealed) == "secret-seal"
    both = Steward(ca, change=changed_secret(enc=base64.b64encode(bytes(1568) + enc).decode()))
    assert refused(both) == "secret-seal"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""}, {"name": ".hidden"}, {"name": "../x"}, {"name": "a/b"}, {"name": "a" * 129}, {"name": "a\n"},
        {"name": "é"}, {"name": 7}, {"name": None}, {"enc": ""}, {"enc": "AAAA"}, {"enc": None}, {"ciphertext": ""},
        {"ciphertext": "!"}, {"ciphertext": "AAAA"}, {"more": ""}, {"kem": ""}, {"kem": "P-384"}, {"kem": []},
        {"kem": None},
        {"ciphertext": base64.b64encode(bytes(SECRET_MAX_BYTES + 17)).decode()},
    ],
    ids=lambda fields: str(fields)[:30],
)  # fmt: skip
def test_secret_that_is_malformed_is_refused(ca: Authority, fields: dict[str, Any]) -> None:
    assert refused(Steward(ca, change=changed_secret(**fields)), MalformedError) == "steward-answer"


def test_two_secrets_of_one_name_are_refused(ca: Authority) -> None:
    steward = Steward(ca, change=lambda answer: answer | {"secrets": answer["secrets"][:1] * 2})
    assert refused(steward, MalformedError) == "steward-answer"


def test_secrets_are_bounded_in_size_and_number(ca: Authority) -> None:
    most = {f"s{number}": b"" for number in range(SECRETS_MAX - 1)} | {"large": bytes(SECRET_MAX_BYTES)}
    assert dict(granted(Steward(ca, secrets=most)).secrets) == most
    assert refused(Steward(ca, secrets=most | {"more": b""}), MalformedError) == "steward-answer"


@pytest.mark.parametrize(
    "change",
    [
        {"chain": "text"}, {"chain": [1]}, {"chain": None}, {"ear": ""}, {"ear": "a.b"}, {"ear": "a.b.c.d"},
        {"ear": "a.b.c\n"}, {"ear": ["a.b.c"]}, {"ear": "a.b." + "c" * EAR_MAX_CHARS}, {"secrets": None},
        {"secrets": {}}, {"secrets": [1]}, {"more": 1},
    ],
    ids=lambda change: str(change)[:30],
)  # fmt: skip
def test_answer_of_another_shape_is_refused(ca: Authority, change: dict[str, Any]) -> None:
    assert refused(Steward(ca, change=lambda answer: answer | change), MalformedError) == "steward-answer"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", b"{}"), ("", b"{}"), ("application/json", b""), ("application/json", b"[]"),
        ("application/json", b"[" * 100_000), ("application/json", b"\xff"), ("application/json", b"{}"),
        ("application/json", b" " * (ANSWER_MAX_BYTES + 1)),
    ],
    ids=lambda value: str(value[:20]),
)  # fmt: skip
def test_answer_that_is_no_json_object_is_refused(ca: Authority, media_type: str, body: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        accept(keep_of(Steward(ca)), Answer(200, media_type, body), NOW)
    assert caught.value.code == "steward-answer"


@given(st.binary(max_size=300))
def test_any_body_is_refused_with_an_error_of_ours(body: bytes) -> None:
    for status in (200, 403, 500):
        with pytest.raises(EvidenceError):
            accept(_KEEP, Answer(status, "application/problem+json" if status > 200 else "application/json", body), NOW)


_KEEP = keep_of(Steward())


def problem(body: object, status: int = 403) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        accept(_KEEP, Answer(status, "application/problem+json", json.dumps(body).encode()), NOW)
    return caught.value


def test_refusal_of_the_policy_says_which_rule_and_why() -> None:
    failed = {"rule": "measurement", "passed": False, "expected": "aa", "seen": "bb", "hint": "h"}
    passed = {"rule": "debug", "passed": True, "expected": "off", "seen": "off"}
    error = problem({"title": "refused", "detail": "by the policy", "appraisal": [passed, failed], "hint": "pin aa"})
    assert isinstance(error, PolicyError)
    assert error.code == "steward-refused"
    assert error.message.endswith("by the policy (measurement: expected aa, saw bb)")
    assert error.hint.startswith("pin aa; ")
    said = "refused by policy: measurement: expected aa, saw bb"
    assert problem({"detail": said, "appraisal": [passed, failed]}).message.endswith(f"this Keep: {said}")
    assert problem({"title": "refused"}).message.endswith("this Keep: refused")


@pytest.mark.parametrize(
    "body",
    [None, [], "text", {}, {"title": 7, "detail": None}, {"appraisal": "x"}, {"appraisal": [1, {"passed": False}]}],
    ids=str,
)
def test_refusal_of_any_shape_is_a_refusal(body: object) -> None:
    assert problem(body).code == "steward-refused"


def test_text_of_a_refusal_is_bounded_and_printable() -> None:
    rules = [{"rule": "n" * 5000, "passed": False, "expected": "\x1b[2J", "seen": "\n"}] * 100
    error = problem({"title": "\x1b]0;x\x07" + "t" * 5000, "detail": "d" * 5000, "appraisal": rules})
    assert error.message.isprintable()
    assert len(error.message) < (RULES_SHOWN + 3) * 2 * SHOWN_CHARS


@pytest.mark.parametrize("status", [404, 429, 500, 503, 302, 204])
def test_steward_that_cannot_answer_is_no_refusal(status: int) -> None:
    assert problem({}, status).code == "steward-failed"
