"""What a Keep asks a Steward and what it makes of the answer: bytes in, bytes out, no I/O.

An answer is believed only as far as it is proved: the chain by the pinned CA, the Keep's key and the manifest; secrets
by their seal, which only that key opens, under that manifest, under that name. The attestation result (EAR) is for
those who ask the workload for it; the Keep checks its shape and draws no conclusion from it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import AuthenticityError, EvidenceError, MalformedError, PolicyError
from enarx.evidence import binding
from enarx.keep.attested import EVIDENCE_OIDS, Attested, Key, attest_request, repeatable_evidence
from enarx.keep.certified import Certified, check_issued
from enarx.sealing import ENCAPSULATION_BYTES, HYBRID, P384

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ANSWER_MAX_BYTES: Final = 1024 * 1024
"""Largest body of an answer (bytes)."""
SECRETS_MAX: Final = 64
"""Secrets in one answer (count)."""
SECRET_MAX_BYTES: Final = 64 * 1024
"""Largest secret (bytes)."""
EAR_MAX_CHARS: Final = 256 * 1024
"""Longest attestation result (characters)."""
SHOWN_CHARS: Final = 600
"""How much of a Steward's text an error shows (characters)."""
RULES_SHOWN: Final = 8
"""Failed rules that an error shows (count)."""

_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_EAR: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ANSWER_KEYS: Final = ("chain", "ear", "secrets")
_SECRET_KEYS: Final = ("name", "kem", "enc", "ciphertext")
_TAG_BYTES: Final = 16  # of AES-256-GCM


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, in full: status, media type (without parameters, in lower case) and body."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """What the Steward gave: a verified chain, its attestation result, and secrets by name, opened."""

    certified: Certified
    ear: str
    secrets: Mapping[str, bytes] = field(repr=False)


def request(attested: Attested, signatures: Sequence[bytes] = ()) -> bytes:
    """The body to send: see `attested.attest_request`."""
    return attest_request(attested, signatures)


def accept(attested: Attested, answer: Answer, now: datetime) -> Grant:
    """What an answer to `request` grants; ``now`` is timezone-aware.

    Raises PolicyError (``steward-refused``) when the Steward's policy refuses, EvidenceError (``steward-failed``) when
    it cannot answer, MalformedError (``steward-answer``), or AuthenticityError when what it says is not proved.
    """
    if answer.status != 200:
        raise _problem(answer)
    fields = _object(answer, "application/json", _ANSWER_KEYS)
    chain = [_bytes(item, "a certificate") for item in _list(fields["chain"], "chain")]
    if attested.manifest.steward is None:
        raise _bad("nobody was asked: the manifest names no Steward")
    certified = check_issued(
        chain,
        spki=attested.key.spki,
        manifest_digest=attested.manifest.digest(),
        evidence=repeatable_evidence(attested),
        evidence_oid=EVIDENCE_OIDS[attested.evidence.technology],
        ca=attested.manifest.steward.ca,
        now=now,
    )
    ear = fields["ear"]
    if not isinstance(ear, str) or len(ear) > EAR_MAX_CHARS or not _EAR.fullmatch(ear):
        raise _bad("its attestation result is not a compact JWS")
    sealed = _list(fields["secrets"], "secrets")
    if len(sealed) > SECRETS_MAX:
        raise _bad(f"it has more than {SECRETS_MAX} secrets")
    secrets: dict[str, bytes] = {}
    for item in sealed:
        name, secret = _open(attested.key, attested.manifest.digest(), item)
        if name in secrets:
            raise _bad("two secrets have the same name")
        secrets[name] = secret
    return Grant(certified, ear, secrets)


def _open(key: Key, manifest_digest: bytes, item: object) -> tuple[str, bytes]:
    """Open one sealed secret: HPKE (RFC 9180) base mode, as `enarx.sealing` says."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PrivateKey, Suite

    if not isinstance(item, dict) or item.keys() != set(_SECRET_KEYS):
        raise _bad(f"a secret does not have exactly the keys {', '.join(_SECRET_KEYS)}")
    name = item["name"]
    if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
        raise _bad("the name of a secret is not a plain file name of at most 128 characters")
    kem = item["kem"]
    private: EllipticCurvePrivateKey | MLKEM1024P384PrivateKey = key.private
    encapsulation = KEM.P384
    if kem == HYBRID and key.sealing is not None:
        encapsulation, private = KEM.MLKEM1024_P384, MLKEM1024P384PrivateKey(key.sealing, key.private)
    elif kem != P384:
        raise _bad(f"a secret is sealed by {_shown(kem)!r}, for which this Keep has no key")
    enc, ciphertext = _bytes(item["enc"], "a secret's key"), _bytes(item["ciphertext"], "a secret")
    if len(enc) != ENCAPSULATION_BYTES[kem] or not _TAG_BYTES <= len(ciphertext) <= SECRET_MAX_BYTES + _TAG_BYTES:
        raise _bad(f"a secret is larger than {SECRET_MAX_BYTES} bytes, or its sizes are not those of its cipher")
    suite = Suite(encapsulation, KDF.HKDF_SHA384, AEAD.AES_256_GCM)
    try:
        return name, suite.decrypt(enc + ciphertext, private, binding.secret_info(manifest_digest, name))
    except (InvalidTag, ValueError) as error:
        raise AuthenticityError(
            f"the secret {name!r} does not open: it is not sealed to this Keep, under its manifest and this name",
            code="secret-seal",
            hint="the Steward answered for another Keep, or the answer was changed",
        ) from error


def _problem(answer: Answer) -> EvidenceError:
    """The error that a refusal, or a failure of the Steward, comes to (RFC 9457)."""
    text, hint = f"status {answer.status}", ""
    if answer.media_type == "application/problem+json":
        found = _json(answer.body)
        if isinstance(found, dict):
            text = _shown(found.get("detail")) or _shown(found.get("title")) or text
            hint = _shown(found.get("hint"))
            rules = [said for name, said in _failed_rules(found) if name not in text]
            text += f" ({'; '.join(rules)})" if rules else ""
    if answer.status in (400, 401, 403, 409, 413, 422):
        see = "the Steward's log has its decision"
        return PolicyError(
            f"the Steward refused this Keep: {text}", code="steward-refused", hint=f"{hint}; {see}" if hint else see
        )
    return EvidenceError(
        f"the Steward could not answer: {text}",
        code="steward-failed",
        hint=hint or "try again later, and see the Steward's log",
    )


def _failed_rules(problem: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rules of the appraisal that failed: name, and in words what was expected and what was seen."""
    rules = problem.get("appraisal")
    found: list[tuple[str, str]] = []
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and rule.get("passed") is False and len(found) < RULES_SHOWN:
            name, expected, seen = (_shown(rule.get(key)) for key in ("rule", "expected", "seen"))
            name = name or "a rule"
            found.append((name, f"{name}: expected {expected or '?'}, saw {seen or '?'}"))
    return found


def _shown(value: object) -> str:
    """Text of the Steward's, fit for a terminal and a log."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:SHOWN_CHARS])


def _object(answer: Answer, media_type: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if answer.media_type != media_type:
        raise _bad(f"it is {_shown(answer.media_type)!r}, not {media_type}")
    found = _json(answer.body)
    if not isinstance(found, dict) or found.keys() != set(keys):
        raise _bad(f"it does not have exactly the keys {', '.join(keys)}")
    return found


def _json(body: bytes) -> object:
    if len(body) > ANSWER_MAX_BYTES:
        raise _bad(f"it has more than {ANSWER_MAX_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON") from error


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"{what} is not a list")
    return value


def _bytes(value: object, what: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise _bad(f"{what} is not base64")


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"the Steward's answer is malformed: {what}",
        code="steward-answer",
        hint="check that the URL is that of a Steward of a fitting version",
    )
