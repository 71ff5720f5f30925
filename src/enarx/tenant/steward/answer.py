"""Bodies of requests and answers: JSON of ``/v1/attest``, DER of the published Steward, problems (RFC 9457)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from enarx.errors import EnarxError, MalformedError
from enarx.evidence import der
from enarx.evidence.snp.keychain import CHAIN_MAX_CERTIFICATES, CRLS_MAX
from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX
from enarx.tenant.steward.csr import split_bundle
from enarx.tenant.steward.decision import Decision, Request
from enarx.tenant.steward.seal import SealedSecret

PKCS10: Final = "application/pkcs10"
BUNDLE: Final = "application/vnd.steward.pkcs10-bundle.v1"
OCTETS: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"
BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest body of a request (bytes): a manifest of 1 MiB, twice, in base64, and room for what comes with it."""

_KEYS: Final = {"csr", "manifest", "endorsements", "signatures"}


def read_attest(body: bytes) -> Request:
    """The body of ``POST /v1/attest``; MalformedError."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("the body is not JSON") from error
    if not isinstance(value, dict) or not {"csr", "manifest"} <= value.keys() <= _KEYS:
        raise _malformed("the body does not have the keys csr, manifest, endorsements and signatures")
    endorsements = value.get("endorsements", {})
    if not isinstance(endorsements, dict) or not endorsements.keys() <= {"chain", "crls"}:
        raise _malformed("endorsements does not have the keys chain and crls")
    signatures = _listed(value.get("signatures", []), "signatures", OBJECTS_MAX)
    if any(len(one) > OBJECT_MAX_BYTES for one in signatures):
        raise _malformed(f"a signature has more than {OBJECT_MAX_BYTES} bytes")
    return Request(
        csr=_bytes(value["csr"], "csr"),
        manifest=_bytes(value["manifest"], "manifest"),
        chain=_listed(endorsements.get("chain", []), "chain", CHAIN_MAX_CERTIFICATES),
        crls=_listed(endorsements.get("crls", []), "crls", CRLS_MAX),
        signatures=signatures,
    )


def read_compatible(content_type: str, body: bytes) -> tuple[Request, ...]:
    """The requests in a body of the published Steward's; MalformedError."""
    if content_type == PKCS10:
        return (Request(body, compatible=True),)
    if content_type != BUNDLE:
        raise _malformed("the content type is neither a request nor a bundle of them")
    return tuple(Request(one, compatible=True) for one in split_bundle(body))


def compatible_answer(content_type: str, issuer: bytes, issued: Sequence[bytes]) -> bytes:
    """A PkiPath of issuer and certificate; for a bundle, SEQUENCE { SEQUENCE OF issuer, SEQUENCE OF certificate }."""
    if content_type == PKCS10:
        return der.encode(der.SEQUENCE, issuer + issued[0])
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, issuer) + der.encode(der.SEQUENCE, b"".join(issued)))


def attest_answer(chain: Sequence[bytes], ear: str, secrets: Sequence[SealedSecret]) -> bytes:
    """The body that answers ``POST /v1/attest``: chain leaf first, attestation result, sealed secrets."""
    sealed = [
        {"name": one.name, "kem": one.kem, "enc": _base64(one.enc), "ciphertext": _base64(one.ciphertext)}
        for one in secrets
    ]
    return _json({"chain": [_base64(one) for one in chain], "ear": ear, "secrets": sealed})


def refusal_problem(decision: Decision) -> tuple[int, bytes]:
    """Status and problem document of a refusal, with the whole appraisal: 400 for what cannot be read, else 403."""
    error = decision.error
    if error is None:
        raise ValueError("an accepted decision is no problem")
    status = 400 if isinstance(error, MalformedError) else 403
    return status, problem(status, error, appraisal=decision.appraisal())


def problem(status: int, error: EnarxError, **more: object) -> bytes:
    """A problem document: type by code, what happened, what to do."""
    return _json(
        {
            "type": f"urn:enarx:problem:{error.code}",
            "title": "The Steward refuses" if status < 500 else "The Steward cannot answer",
            "status": status,
            "detail": error.message,
            "code": error.code,
            "hint": error.hint,
            **more,
        }
    )


def _listed(value: object, what: str, most: int) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _malformed(f"{what} is not a list of at most {most}")
    return tuple(_bytes(one, what) for one in value)


def _bytes(value: object, what: str) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise _malformed(f"{what} is not base64")


def _malformed(what: str) -> MalformedError:
    return MalformedError(what, code="request-malformed", hint="see the Steward's interface: POST /v1/attest")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
