"""What a signature says of itself, for people to read. Nothing here is verified, and nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from enarx.errors import MalformedError
from enarx.tenant.signature import dsse
from enarx.tenant.signature.signers import is_bundle
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement, parse


@dataclass(frozen=True, slots=True)
class Claim:
    """``keys`` are the key ids that it names; ``fits`` whether it says that it is over the package, None if unknown."""

    kind: Literal["dsse", "sigstore", "unreadable"]
    keys: tuple[str, ...] = ()
    fits: bool | None = None


def claim_of(data: bytes, statement: Statement) -> Claim:
    """What the signature object ``data`` claims about the package of ``statement``."""
    if is_bundle(data):
        return Claim("sigstore")
    try:
        envelope = dsse.parse(data)
        signed = parse(envelope.payload) if envelope.payload_type == PAYLOAD_TYPE else None
    except MalformedError:
        return Claim("unreadable")
    return Claim("dsse", tuple(one.keyid for one in envelope.signatures), signed == statement)
