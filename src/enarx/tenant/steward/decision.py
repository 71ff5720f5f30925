"""What the Steward is asked and what it answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from enarx.errors import EvidenceError
from enarx.evidence.appraisal import Rule
from enarx.tenant.policy import Secret


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a certificate. ``compatible`` marks one in the published Steward's form: a CSR and nothing else.

    ``manifest``, ``chain``, ``crls`` and ``signatures`` (of the package, of any kind) are what came beside the CSR
    (``/v1/attest``); all of it is hostile.
    """

    csr: bytes
    manifest: bytes | None = None
    chain: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    compatible: bool = False
    signatures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What an accepted request is given: a certificate over ``spki`` until ``not_after`` at most, and secrets.

    ``evidence`` is (OID, value) of the extension that the certificate repeats, ``workload`` the name in the policy and
    ``manifest_digest`` that of the manifest (empty and None without one). ``sealing_key`` is the ML-KEM-1024 key of the
    request, if it has one, for the secrets.
    """

    spki: bytes
    evidence: tuple[str, bytes]
    manifest_digest: bytes | None
    workload: str
    not_after: datetime | None
    secrets: tuple[Secret, ...]
    sealing_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one request: every rule judged, in order; a grant when all passed, else the error that says why.

    ``facts`` are what the evidence proved or claimed (measurement, product, ...), for the log and the attestation
    result; they hold no names and no secrets.
    """

    rules: tuple[Rule, ...]
    grant: Grant | None
    error: EvidenceError | None
    technology: str
    simulated: bool
    facts: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether a certificate may be issued."""
        return self.grant is not None and self.error is None

    @property
    def code(self) -> str:
        """``accepted``, or the stable reason of the refusal."""
        return self.error.code if self.error is not None else "accepted"

    def appraisal(self) -> list[Mapping[str, Any]]:
        """The rules as plain values: rule, passed, expected, seen, source, and for a failure reason and hint."""
        return [{"rule": rule.name, **{k: v for k, v in rule.as_json().items() if k != "name"}} for rule in self.rules]
