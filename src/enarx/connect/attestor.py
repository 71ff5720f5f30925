"""Attestation of one connection, without input and output: what sends and receives is somebody else's.

A connection shakes hands with a context of its own, which offers the challenge and logs the exporter; then
`Handshake.steps` says what to send and how much to receive, until there is a verdict, or an error. Until it returns,
nothing of the caller's may be sent.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypedDict, Unpack

from enarx.challenge import ALPN, HEAD_BYTES, Status, encode_request, parse_head, parse_rest
from enarx.connect.expectation import PathLike, Source, expectation
from enarx.errors import AuthenticityError, ConfigError, StreamError
from enarx.evidence.binding import NONCE_BYTES
from enarx.evidence.signature import PYCA, Verifier
from enarx.exporter import KeyLog, Tls
from enarx.tenant.client import Expectation, Verdict, trust_of, verify
from enarx.tenant.freshness import SessionEvidence, verify_session
from enarx.tenant.peer import chain_of, unreachable, unverifying_context
from enarx.tenant.policy import Policy

CONNECT_SECONDS: Final = 30.0
"""How long handshake, challenge and verdict may take together where the caller sets no limit (seconds)."""
CHIPS_KNOWN: Final = 64
"""Chips whose chains a client remembers as verified, while everything in them is valid (count)."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Receive exactly so many bytes."""

    size: int


Steps = Generator[Send | Receive, bytes, Verdict]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Attestor:
    """Opens attested connections for one client: what is expected, and how.

    ``fresh``: demand evidence over each TLS session, for which the Keep must answer challenges; without it the evidence
    in the certificate is judged alone, which whoever has the Keep's TLS key could relay. ``certificate`` is the
    client's own, as for ``SSLContext.load_cert_chain``, for Keeps that ask for one. ``now`` is the clock, and
    ``verifier`` checks signatures.
    """

    def __init__(
        self,
        expected: Expectation,
        *,
        fresh: bool = True,
        certificate: tuple[str, str | None] | None = None,
        now: Callable[[], datetime] = utc_now,
        verifier: Verifier = PYCA,
    ) -> None:
        self.expected = expected
        self.fresh = fresh
        self.now = now
        self.verifier = verifier
        self.trust = trust_of(expected.policy, verifier, cache_entries=CHIPS_KNOWN)
        self._certificate = certificate
        self._quiet = unverifying_context()

    def begin(self) -> Handshake:
        """The start of a connection. Raises ConfigError when the client's certificate cannot be read."""
        return Handshake(self, self._context(), KeyLog(self._quiet) if self.fresh else None)

    def _context(self) -> ssl.SSLContext:
        context = unverifying_context()
        if self._certificate is not None:
            try:
                context.load_cert_chain(*self._certificate)
            except (OSError, ValueError, TypeError) as error:
                raise ConfigError(
                    f"the client's certificate {self._certificate[0]} cannot be used",
                    code="client-certificate",
                    hint="a PEM file with the certificate and its private key, without a password",
                ) from error
        return context


class Demands(TypedDict, total=False):
    """Arguments that all attested clients take beside the policy: `expectation`'s and `Attestor`'s."""

    manifest: Source | None
    ca: PathLike | bytes | None
    chain: Source | None
    crls: Sequence[Source]
    signatures: Sequence[Source]
    fresh: bool
    certificate: tuple[str, str | None] | None
    now: Callable[[], datetime]
    verifier: Verifier


def make_attestor(policy: Policy | PathLike, **demands: Unpack[Demands]) -> Attestor:
    """The attestor of a client that was given these arguments; raises what `expectation` does."""
    expected = expectation(
        policy,
        manifest=demands.get("manifest"),
        ca=demands.get("ca"),
        chain=demands.get("chain"),
        crls=demands.get("crls", ()),
        signatures=demands.get("signatures", ()),
    )
    return Attestor(
        expected,
        fresh=demands.get("fresh", True),
        certificate=demands.get("certificate"),
        now=demands.get("now", utc_now),
        verifier=demands.get("verifier", PYCA),
    )


class Handshake:
    """One connection on its way to a verdict; ``context`` is for its TLS handshake alone. Close it when it is over."""

    def __init__(self, attestor: Attestor, context: ssl.SSLContext, log: KeyLog | None) -> None:
        self.context = context
        self.chain: tuple[bytes, ...] = ()
        self.session: SessionEvidence | None = None
        self.verdict: Verdict | None = None
        self._attestor = attestor
        self._log = log
        if log is not None:
            log.attach(context)
            context.set_alpn_protocols([ALPN])

    def steps(self, tls: Tls, host: str) -> Steps:
        """Judge the peer of ``tls``, which has shaken hands, as ``host``. The generator returns the verdict.

        Raises EvidenceError when it is not accepted, and MalformedError or StreamError (``challenge-...``) for a peer
        that has no fresh evidence to give.
        """
        attestor = self._attestor
        exporter = None
        if self._log is not None:
            exporter = self._log.exporter()
            self._log.silence(tls)
        self.chain = chain_of(tls)
        expected, verifier, trust = attestor.expected, attestor.verifier, attestor.trust
        verdict = self._accept(verify(self.chain, host, expected, attestor.now(), verifier=verifier, trust=trust))
        if self._log is None:
            return verdict
        if exporter is None or tls.selected_alpn_protocol() != ALPN:
            raise AuthenticityError(
                f"the Keep at {host} does not answer challenges: it has no fresh evidence over this session",
                code="challenge-unsupported",
                hint="run it with a newer Enarx; without fresh evidence (fresh=False, --no-fresh) whoever has its TLS "
                "key can relay its certificate",
            )
        nonce = os.urandom(NONCE_BYTES)
        yield Send(encode_request(nonce))
        head = parse_head((yield Receive(HEAD_BYTES)))
        if head.status is not Status.OK:
            busy = head.status is Status.BUSY
            raise StreamError(
                f"the Keep at {host} {'is asked for evidence by too many' if busy else 'could not have evidence made'}",
                code="challenge-busy" if busy else "challenge-failed",
                hint="try again later" if busy else "see what its host says; nothing was sent",
            )
        answer = parse_rest(head, (yield Receive(head.rest)))
        self.session = SessionEvidence(nonce, exporter, answer.digests, answer.evidence)
        now = attestor.now()
        return self._accept(verify_session(verdict, self.session, expected, now, verifier=verifier, trust=trust))

    def _accept(self, verdict: Verdict) -> Verdict:
        self.verdict = verdict
        if verdict.error is not None:
            raise verdict.error
        return verdict

    def close(self) -> None:
        """Give up what the handshake needed; the connection itself is the caller's."""
        if self._log is not None:
            self._log.close()
            self._log = None


def hung_up(host: str) -> StreamError:
    """The error for a connection that ends before it is attested."""
    return unreachable(host, None, ConnectionError("it hung up before it had answered"))
