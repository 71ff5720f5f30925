"""The approver's interface in JSON: what hosts send, read with bounds, and what they are answered.

::

    POST /v1/launch       {"technology", "certificates", "manifest", "signatures"}
                          -> {"launch", "policy", "dh_cert", "session"}
    POST /v1/measurement  {"launch", "firmware": [major, minor, build], "measurement"} -> {"header", "secret"}

Byte strings are in base64; ``signatures`` of the package may be absent. Refused: 400 or 403 with a problem document
(RFC 9457) that has ``code``, ``hint`` and ``appraisal``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from enarx.errors import MalformedError
from enarx.evidence.sev.certs import MAX_CHAIN_BYTES
from enarx.evidence.sev.report import MEASUREMENT_BYTES
from enarx.evidence.snp.enarx import MANIFEST_MAX_BYTES
from enarx.tenant.approver.approve import LaunchRequest, Measured, Released, Report
from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX
from enarx.tenant.steward.answer import problem

BODY_MAX_BYTES: Final = 2 * 1024 * 1024
"""Largest body of a request (bytes): a manifest of 1 MiB in base64, and room for what comes with it."""
NAME_MAX_CHARS: Final = 128
"""Longest name of a launch (characters)."""


def read_launch(body: bytes) -> LaunchRequest:
    """The body of ``POST /v1/launch``; MalformedError."""
    value = _object(body, {"technology", "certificates", "manifest"}, {"signatures"})
    technology = value["technology"]
    if technology not in ("sev", "sev-es"):
        raise _malformed("technology is neither sev nor sev-es")
    listed = value.get("signatures", [])
    if not isinstance(listed, list) or len(listed) > OBJECTS_MAX:
        raise _malformed(f"signatures is not a list of at most {OBJECTS_MAX}")
    return LaunchRequest(
        technology=technology,
        certificates=_bytes(value["certificates"], "certificates", MAX_CHAIN_BYTES),
        manifest=_bytes(value["manifest"], "manifest", MANIFEST_MAX_BYTES),
        signatures=tuple(_bytes(one, "a signature", OBJECT_MAX_BYTES) for one in listed),
    )


def read_measurement(body: bytes) -> tuple[str, Measured]:
    """The body of ``POST /v1/measurement``: the launch's name, and what was measured; MalformedError."""
    value = _object(body, {"launch", "firmware", "measurement"}, set())
    launch, firmware = value["launch"], value["firmware"]
    if not isinstance(launch, str) or not 1 <= len(launch) <= NAME_MAX_CHARS:
        raise _malformed("launch is not the name of one")
    if not isinstance(firmware, list) or len(firmware) != 3 or not all(type(one) is int for one in firmware):
        raise _malformed("firmware is not three numbers")
    if not all(0 <= one <= 0xFF for one in firmware):
        raise _malformed("firmware is not three bytes")
    measurement = _bytes(value["measurement"], "measurement", MEASUREMENT_BYTES)
    if len(measurement) != MEASUREMENT_BYTES:
        raise _malformed(f"a measurement of {len(measurement)} bytes, not {MEASUREMENT_BYTES}")
    return launch, Measured(measurement, (firmware[0], firmware[1], firmware[2]))


def launch_answer(name: str, policy: int, dh_cert: bytes, session: bytes) -> bytes:
    """The body that answers ``POST /v1/launch``."""
    return _json({"launch": name, "policy": policy, "dh_cert": _base64(dh_cert), "session": _base64(session)})


def measurement_answer(released: Released) -> bytes:
    """The body that answers ``POST /v1/measurement``."""
    packet = released.packet
    return _json({"header": _base64(packet.header.to_bytes()), "secret": _base64(packet.payload)})


def refusal(report: Report) -> tuple[int, bytes]:
    """Status and problem document of a refusal: 400 for what cannot be read, else 403."""
    error = report.error
    if error is None:
        raise ValueError("an approved launch is no problem")
    status = 400 if isinstance(error, MalformedError) else 403
    appraisal = [
        {"rule": rule.name, **{key: value for key, value in rule.as_json().items() if key != "name"}}
        for rule in report.rules
    ]
    return status, problem(status, error, appraisal=appraisal, title="The approver refuses")


def _object(body: bytes, needed: set[str], also: set[str]) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed("the body is not JSON") from error
    if not isinstance(value, dict) or not needed <= value.keys() <= needed | also:
        raise _malformed(f"the body does not have the keys {', '.join(sorted(needed | also))}")
    return value


def _bytes(value: object, what: str, limit: int) -> bytes:
    if isinstance(value, str) and len(value) <= 4 * (limit // 3 + 1):
        try:
            data = b64decode(value, validate=True)
        except ValueError:
            pass
        else:
            if len(data) <= limit:
                return data
    raise _malformed(f"{what} is not at most {limit} bytes in base64")


def _malformed(what: str) -> MalformedError:
    return MalformedError(what, code="request-malformed", hint="see the approver's interface: docs/sev-launch.md")


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
