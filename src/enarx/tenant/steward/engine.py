"""Decide, issue, log, answer: the one path that every request takes, whatever form it came in.

The order is the promise: the entry is durable before a certificate leaves, and a certificate whose entry is not written
is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from enarx.errors import CollateralError, EvidenceError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.signature import PYCA, Verifier
from enarx.tenant.policy import Policy
from enarx.tenant.steward.ca import CertificateAuthority, Issued
from enarx.tenant.steward.decide import Judge, decide, make_judge
from enarx.tenant.steward.decision import Decision, Request
from enarx.tenant.steward.ear import make_result
from enarx.tenant.steward.journal import Journal
from enarx.tenant.steward.log import Entry, decision_entry, policy_entry
from enarx.tenant.steward.record import make_record
from enarx.tenant.steward.seal import SealedSecret, seal

INLINE_MAX_BYTES: Final = 64 * 1024
"""Requests up to this size (bytes) are judged in the event loop, which takes milliseconds; larger ones in a thread, and
those with signatures, each of which takes milliseconds more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision that is in the log, and what it gives: all None and empty for a refusal."""

    decision: Decision
    issued: Issued | None = None
    ear: str = ""
    secrets: tuple[SealedSecret, ...] = ()


class Engine:
    """The Steward without HTTP. ``clock`` gives the time with its zone; ``threads`` judge what is large."""

    def __init__(
        self,
        authority: CertificateAuthority,
        policy: Policy,
        journal: Journal,
        *,
        clock: Callable[[], datetime],
        threads: Executor,
        verifier: Verifier = PYCA,
    ) -> None:
        self.authority = authority
        self.clock = clock
        self._journal = journal
        self._threads = threads
        self._verifier = verifier
        self._judge = self._ready(policy)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._judge.policy

    async def adopt(self, policy: Policy) -> None:
        """Judge by ``policy`` from now on, which the log says first. Requests on their way keep theirs."""
        judge = self._ready(policy)
        await self._journal.append(policy_entry(policy.digest, self.clock()))
        self._judge = judge

    async def serve(self, request: Request, route: str) -> Outcome:
        """Decide on one request and log it. StoreError when the log cannot be written: then nothing was decided."""
        return (await self.serve_all((request,), route))[0]

    async def serve_all(self, requests: Sequence[Request], route: str) -> list[Outcome]:
        """Decide on a bundle, which fails as a whole: one refused outcome alone, else one for each request."""
        now, judge = self.clock(), self._judge
        if sum(map(_size, requests)) <= INLINE_MAX_BYTES and not any(one.signatures for one in requests):
            made = self._decide_all(requests, judge, now)
        else:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._threads, self._decide_all, requests, judge, now)
        digest = judge.policy.digest
        entries: list[Entry] = []
        for request, one in zip(requests, made, strict=False):
            # For the console alone: without one, nothing but the log is kept.
            record = make_record(request, one.decision, one.issued, now) if judge.policy.console else None
            entries.append(decision_entry(one.decision, one.issued, digest, route, now, record=record))
        positions = await asyncio.gather(*map(self._journal.append, entries))
        finished: list[Outcome] = []
        for request, one, position in zip(requests, made, positions, strict=False):
            if one.issued is not None and not request.compatible:
                ear = make_result(
                    one.decision, one.issued, self.authority, policy_digest=digest, position=position, now=now
                )
                finished.append(replace(one, ear=ear))
            else:
                finished.append(one)
        return finished

    def _ready(self, policy: Policy) -> Judge:
        return make_judge(policy, verifier=self._verifier, authority=self.authority.spki_digest)

    def _decide_all(self, requests: Sequence[Request], judge: Judge, now: datetime) -> list[Outcome]:
        made: list[Outcome] = []
        for request in requests:
            one = self._decide(request, judge, now)
            if one.issued is None:
                return [one]
            made.append(one)
        return made

    def _decide(self, request: Request, judge: Judge, now: datetime) -> Outcome:
        decision = decide(request, judge, now)
        grant = decision.grant
        if grant is None:
            return Outcome(decision)
        try:
            issued = self.authority.issue(grant, judge.policy.certificate, now)
            secrets = (
                seal(grant.secrets, grant.spki, grant.manifest_digest, grant.sealing_key)
                if grant.manifest_digest
                else ()
            )
        except (CollateralError, MalformedError) as error:
            return Outcome(_withdrawn(decision, error))
        return Outcome(decision, issued, secrets=secrets)


def _size(request: Request) -> int:
    return sum(map(len, (request.csr, request.manifest or b"", *request.chain, *request.crls)))


def _withdrawn(decision: Decision, error: EvidenceError) -> Decision:
    """A decision that was accepted and whose certificate could not be made."""
    rule = Rule(error.code, False, "a certificate can be issued", error.message, "certificate", error.hint)
    return replace(decision, rules=(*decision.rules, rule), grant=None, error=error)
