"""Attestation results: an EAR (draft-ietf-rats-ear-04) with the trustworthiness vector of AR4SI, as a signed JWT.

The CA's key signs it (ES384, or ES256 for a CA on P-256), so whoever trusts the CA can read it; ``kid`` is the SHA-256
of that key's SubjectPublicKeyInfo. ``cnf`` ties it to the certificate that was issued (RFC 7800, RFC 8705 3.1).
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from enarx import __version__
from enarx.tenant.steward.ca import CertificateAuthority, Issued
from enarx.tenant.steward.decision import Decision
from enarx.tenant.workloads import written

PROFILE: Final = "tag:ietf.org,2026:rats/ear#04"
SUBMODULE: Final = "keep"

# Values of draft-ietf-rats-ar4si: 2..31 affirm, 32..95 warn, 96..127 contraindicate.
TRUSTED_INSTANCE: Final = 2
APPROVED_CONFIGURATION: Final = 2
APPROVED_RUNTIME: Final = 2
APPROVED_BOOT: Final = 3
GENUINE_HARDWARE: Final = 2
UNRECOGNISED_HARDWARE: Final = 97
ENCRYPTED_MEMORY: Final = 2
VISIBLE_MEMORY: Final = 96

_WIDTH: Final = {"sha384": 48, "sha256": 32}
_ALGORITHM: Final = {"sha384": "ES384", "sha256": "ES256"}


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the log a decision stands; whoever keeps an attestation result can tell a log that was rewritten."""

    sequence: int
    hash: str


def trustworthiness(decision: Decision) -> Mapping[str, int]:
    """The claims of AR4SI that an accepted decision supports; what was not appraised is left out.

    A simulated Keep contraindicates itself: no hardware vouches for it and its memory is visible, whatever a policy
    for tests accepts.
    """
    grant = decision.grant
    if grant is None or decision.technology == "kvm":
        return {"hardware": UNRECOGNISED_HARDWARE, "runtime-opaque": VISIBLE_MEMORY}
    vector = {"instance-identity": TRUSTED_INSTANCE}
    if grant.manifest_digest is not None:
        vector["configuration"] = APPROVED_CONFIGURATION
    vector["executables"] = APPROVED_BOOT if grant.manifest_digest is None else APPROVED_RUNTIME
    vector["hardware"] = UNRECOGNISED_HARDWARE if decision.simulated else GENUINE_HARDWARE
    vector["runtime-opaque"] = VISIBLE_MEMORY if decision.simulated else ENCRYPTED_MEMORY
    return vector


def status(vector: Mapping[str, int]) -> str:
    """The tier of the least favourable claim (AR4SI 2.3.2)."""
    worst = max(vector.values(), default=0)
    if worst < 2:
        return "none"
    return "affirming" if worst < 32 else "warning" if worst < 96 else "contraindicated"


def make_result(
    decision: Decision,
    issued: Issued,
    authority: CertificateAuthority,
    *,
    policy_digest: bytes,
    position: Position,
    now: datetime,
) -> str:
    """The EAR for a certificate that was issued, as a JWT in compact form (RFC 7519), valid as long as it is."""
    vector = trustworthiness(decision)
    appraisal: dict[str, Any] = {
        "ear_status": status(vector),
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": [f"urn:{written(policy_digest)}"],
        "ear_attester_claims": dict(decision.facts),
        "enarx_technology": decision.technology,
        "enarx_simulated": decision.simulated,
    }
    claims = {
        "eat_profile": PROFILE,
        "iat": int(now.timestamp()),
        "exp": int(issued.not_after.timestamp()),
        "jti": issued.serial,
        "ear_verifier_id": {"developer": "Enarx", "build": f"enarx {__version__}"},
        "cnf": {"x5t#S256": _base64(hashlib.sha256(issued.der).digest())},
        "enarx_log": {"sequence": position.sequence, "hash": position.hash},
        "submods": {SUBMODULE: appraisal},
    }
    algorithm = authority.hash.name
    header = {"alg": _ALGORITHM[algorithm], "typ": "JWT", "kid": written(authority.spki_digest)}
    signed = f"{_base64(_json(header))}.{_base64(_json(claims))}"
    r, s = decode_dss_signature(authority.sign(signed.encode()))
    width = _WIDTH[algorithm]
    return f"{signed}.{_base64(r.to_bytes(width, 'big') + s.to_bytes(width, 'big'))}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
