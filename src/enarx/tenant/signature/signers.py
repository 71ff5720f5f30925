"""Who signed a package: signature objects of any kind against the keys and identities that are accepted.

An object is a DSSE envelope over a `Statement`, or a sigstore bundle. One that does not count for whatever reason is
no error: it is noted, and the others may still do. Several signatures of one key count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from enarx.errors import EvidenceError
from enarx.evidence.signature import PYCA, Verifier
from enarx.tenant.signature import dsse, strictjson
from enarx.tenant.signature.bundle import MEDIA_TYPE_PREFIX, Identity, Sigstore
from enarx.tenant.signature.keys import PublicKey
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement, parse

OBJECTS_MAX: Final = 8
"""Signature objects in one request (count)."""
OBJECT_MAX_BYTES: Final = 64 * 1024
"""Largest signature object (bytes)."""
ATTEMPTS_MAX: Final = 64
"""Signatures that are tried against keys for one request (count): P-384 takes a millisecond each, more or less."""

Signer: TypeAlias = PublicKey | Identity


@dataclass(frozen=True, slots=True)
class Signers:
    """Those who may sign, each once, and how many of them have to."""

    accepted: tuple[Signer, ...]
    threshold: int = 1

    def __str__(self) -> str:
        return f"{self.threshold} of {len(self.accepted)}: {', '.join(map(str, self.accepted))}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who signed, in the order of those who were asked about, and why each object that does not count does not."""

    signed: tuple[Signer, ...]
    notes: tuple[str, ...] = ()

    def satisfies(self, signers: Signers) -> bool:
        """Whether enough of ``signers`` have signed."""
        return len(self.of(signers.accepted)) >= signers.threshold

    def of(self, asked: Iterable[Signer]) -> tuple[Signer, ...]:
        """Those of ``asked`` who have signed."""
        return tuple(one for one in asked if one in self.signed)

    def __str__(self) -> str:
        who = f"signed by {', '.join(map(str, self.signed))}" if self.signed else "signed by none of them"
        return "; ".join((who, *self.notes))


@dataclass(frozen=True, slots=True)
class Presented:
    """The signature objects of one request, and what they are verified with."""

    objects: tuple[bytes, ...] = ()
    sigstore: Sigstore | None = None
    verifier: Verifier = PYCA

    def verdict(self, statement: Statement, accepted: Iterable[Signer]) -> Verdict:
        """Who of ``accepted`` signed the package of ``statement``. Hostile objects are noted, and never raise."""
        asked = tuple(dict.fromkeys(accepted))
        keys = [one for one in asked if isinstance(one, PublicKey)]
        identities = [one for one in asked if isinstance(one, Identity)]
        work = _Work(statement, keys, self.verifier)
        signed: set[Signer] = set()
        notes: list[str] = []
        for number, data in enumerate(self.objects, 1):
            try:
                found = self._bundle(data, statement, identities) if is_bundle(data) else work.envelope(data)
            except EvidenceError as error:
                notes.append(f"signature {number}: {error.message}")
            else:
                signed |= found
        return Verdict(tuple(one for one in asked if one in signed), tuple(notes))

    def _bundle(self, data: bytes, statement: Statement, identities: Sequence[Identity]) -> set[Signer]:
        if self.sigstore is None or not identities:
            raise _uncounted("a sigstore bundle, and no identity is accepted")
        return {self.sigstore.signer(data, statement, identities)}


@dataclass(slots=True)
class _Work:
    """The envelopes of one request, with a bound on the arithmetic that they may cause together."""

    statement: Statement
    keys: Sequence[PublicKey]
    verifier: Verifier
    attempts: int = field(default=0)

    def envelope(self, data: bytes) -> set[Signer]:
        """The keys that signed one envelope, at least one; raises EvidenceError."""
        envelope = dsse.parse(data)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise _uncounted("an envelope with another type of payload")
        if envelope.payload != self.statement.encode():
            raise _uncounted(f"over another package, {parse(envelope.payload)}")
        message = dsse.pae(envelope.payload_type, envelope.payload)
        found = {key for one in envelope.signatures if (key := self._who(one, message)) is not None}
        if not found and self.attempts == ATTEMPTS_MAX:
            raise _uncounted(f"{ATTEMPTS_MAX} signatures were tried in vain, and no more are")
        if not found:
            raise _uncounted("by none of the accepted keys")
        return set(found)

    def _who(self, signature: dsse.Signature, message: bytes) -> PublicKey | None:
        """The key that made a signature, if it is one of ours; the one that the hint names is tried first."""
        for key in sorted(self.keys, key=lambda one: one.id != signature.keyid):
            if key.may_have_made(signature.sig) and self.attempts < ATTEMPTS_MAX:
                self.attempts += 1
                if key.ready(self.verifier)(signature.sig, message):
                    return key
        return None


def is_bundle(data: bytes) -> bool:
    """Whether a signature object is a sigstore bundle, by what it says; anything else is taken for an envelope."""
    try:
        value = strictjson.loads(data) if len(data) <= OBJECT_MAX_BYTES else None
    except ValueError:
        return False
    return isinstance(value, dict) and str(value.get("mediaType", "")).startswith(MEDIA_TYPE_PREFIX)


def _uncounted(what: str) -> EvidenceError:
    return EvidenceError(what, code="signature-mismatch")
