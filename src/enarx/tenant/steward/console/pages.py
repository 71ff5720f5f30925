"""What each page shows: made from the database, the policy in force and the metrics, in the reader's thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from enarx import __version__
from enarx.errors import EvidenceError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.tenant.policy import Policy
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.console import queries
from enarx.tenant.steward.console.lines import Line, is_serial, read_line
from enarx.tenant.steward.console.logcheck import LogCheck
from enarx.tenant.steward.console.render import render
from enarx.tenant.steward.console.stack import stack_of
from enarx.tenant.steward.console.summary import summarise
from enarx.tenant.steward.log import Row
from enarx.tenant.steward.metrics import Metrics
from enarx.tenant.steward.record import Explanation, read_explanation, read_keep
from enarx.tenant.steward.store import Store
from enarx.tenant.workloads import written
from enarx.trust.clean import clean
from enarx.trust.model import Status
from enarx.trust.page import groups, owners_of, towers_of
from enarx.trust.words import Words

PAGE_ROWS: Final = 50
"""Lines on one page (count)."""
RECENT_ROWS: Final = 8
"""Decisions on the overview (count)."""
LIVE_SECONDS: Final = 5
"""How often a page that shows the newest asks for itself again, where scripts run (seconds)."""
MESSAGE_MAX: Final = 600
"""Longest message of a refusal that is shown (characters)."""


class NotFoundError(Exception):
    """There is no such page, entry or certificate."""


@dataclass(frozen=True, slots=True)
class View:
    """What a page is made for: the time, and when the reader's session ends."""

    now: datetime
    ends: datetime
    policy: Policy
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CertificateLine:
    """A certificate and the entry of its decision; ``name`` is what the policy called the workload, if that was kept.

    ``sound``: whether the entry names the certificate.
    """

    certificate: queries.Certificate
    line: Line
    name: str

    @property
    def sound(self) -> bool:
        return self.line.serial == self.certificate.serial


class Pages:
    """Every method makes a page with a store, in one thread. StoreError, NotFoundError."""

    def __init__(self, authority: CertificateAuthority, metrics: Metrics) -> None:
        self._authority = authority
        self._metrics = metrics
        self._check = LogCheck()

    def overview(self, store: Store, view: View) -> str:
        """What a manager looks at."""
        recent, _ = queries.rows_before(store, queries.NEWEST, _is_decision, RECENT_ROWS)
        certificate = self._authority.certificate
        return self._render(
            "overview.html",
            view,
            live=True,
            totals=queries.totals(store, view.now),
            recent=[read_line(row) for row in recent],
            log=self._check.step(store, view.now),
            summary=summarise(self._metrics.samples()),
            authority_digest=written(self._authority.spki_digest),
            authority_ends=certificate.not_valid_after_utc,
            authority_valid=certificate.not_valid_before_utc <= view.now < certificate.not_valid_after_utc,
        )

    def keeps(self, store: Store, view: View) -> str:
        """Certificates that have not expired, a page at a time."""
        before = _page_of_certificates(view.query.get("before"))
        found = queries.certificates(store, view.now, before, PAGE_ROWS + 1)
        shown = [_certificate_line(store, one) for one in found[:PAGE_ROWS]]
        last = found[PAGE_ROWS - 1] if len(found) > PAGE_ROWS else None
        older = f"{int(last.not_after.timestamp())}-{last.serial}" if last else ""
        totals = queries.totals(store, view.now)
        return self._render("keeps.html", view, live=before is None, keeps=shown, older=older, totals=totals)

    def keep(self, store: Store, view: View, serial: str) -> str:
        """A certificate, and the trust stack of the Keep that has it."""
        found = queries.certificate(store, serial) if is_serial(serial) else None
        if found is None:
            raise NotFoundError
        one = _certificate_line(store, found)
        kept, tower, problem = queries.keep(store, serial), None, ""
        incomplete = False
        values: dict[str, Any] = {}
        if kept is not None:
            try:
                evidence = read_keep(kept)
                if written(hashlib.sha256(evidence.certificate).digest()) != one.line.certificate:
                    raise MalformedError(
                        "the certificate that was kept is not the one that the log names",
                        code="record-malformed",
                        hint="somebody changed the database",
                    )
                incomplete = evidence.incomplete
                if dict(one.line.facts).get("manifest"):
                    stack = stack_of(evidence, serial, view.policy, self._authority, view.now)
                    (tower,) = towers_of([stack], Words("en"))
                    values = {
                        "layers": groups([tower], [stack.rows]),
                        "around": groups([tower], [stack.around]),
                        "owners": owners_of([stack]),
                        "statuses": list(Status),
                    }
            except EvidenceError as error:
                problem = clean(error.message, MESSAGE_MAX)
        return self._render(
            "keep.html", view, one=one, kept=kept is not None, incomplete=incomplete, tower=tower, problem=problem,
            many=False, **values,
        )  # fmt: skip

    def decisions(self, store: Store, view: View) -> str:
        """Decisions, newest first, a page at a time; all of them, or one outcome."""
        outcome = view.query.get("outcome", "")
        if outcome not in ("", "issued", "refused"):
            raise NotFoundError
        before = _page_of_log(view.query.get("before"))

        def wanted(row: Row) -> bool:
            return _is_decision(row) and (not outcome or read_line(row).issued is (outcome == "issued"))

        found, older = queries.rows_before(store, before, wanted, PAGE_ROWS)
        lines = [read_line(row) for row in found]
        live = before == queries.NEWEST
        return self._render("decisions.html", view, live=live, lines=lines, older=older, outcome=outcome)

    def decision(self, store: Store, view: View, sequence: int) -> str:
        """One decision with its reasons."""
        row = queries.row(store, sequence)
        line = read_line(row) if row is not None else None
        if row is None or line is None or line.event != "decision":
            raise NotFoundError
        kept, problem = queries.explanation(store, sequence), ""
        explanation: Explanation | None = None
        if kept is not None:
            try:
                explanation = _clean(read_explanation(kept))
                if written(hashlib.sha256(kept.encode()).digest()) != line.explanation:
                    explanation, problem = None, "what was kept of this decision is not what the log has the digest of"
            except MalformedError as error:
                problem = error.message
        found = queries.certificate(store, line.serial) if line.has_serial else None
        return self._render(
            "decision.html", view, line=line, previous=clean(row.previous), explanation=explanation, problem=problem,
            kept=kept is not None, certificate=found,
        )  # fmt: skip

    def policy(self, store: Store, view: View) -> str:
        """The policy in force: its digest, what it accepts, and its text unless secrets are in it."""
        del store
        policy = view.policy
        text = policy.public_text
        tables = ("snp", "sev", "simulated", "simulated_sev")
        return self._render(
            "policy.html",
            view,
            text="\n".join(clean(line, 10_000) for line in text.split("\n")) if text is not None else None,
            accepted=[name for name in tables if getattr(policy, name) is not None],
        )

    def log(self, store: Store, view: View) -> str:
        """The log: its head, what a check of it found, and its entries, newest first."""
        before = _page_of_log(view.query.get("before"))
        found, older = queries.rows_before(store, before, lambda row: True, PAGE_ROWS)
        lines = [read_line(row) for row in found]
        state = self._check.step(store, view.now)
        return self._render("log.html", view, live=before == queries.NEWEST, lines=lines, older=older, log=state)

    @staticmethod
    def _render(template: str, view: View, *, live: bool = False, **values: Any) -> str:
        page = {"version": __version__, "live": LIVE_SECONDS if live else 0, "now": view.now, "ends": view.ends}
        return render(template, **page, policy=view.policy, policy_digest=written(view.policy.digest), **values)


def _certificate_line(store: Store, one: queries.Certificate) -> CertificateLine:
    line = read_line(Row(one.sequence, "", "", one.body))
    name = ""
    kept = queries.explanation(store, one.sequence)
    if kept is not None and written(hashlib.sha256(kept.encode()).digest()) == line.explanation:
        try:
            name = clean(read_explanation(kept).workload)
        except MalformedError:
            name = ""
    return CertificateLine(one, line, name)


def _clean(found: Explanation) -> Explanation:
    def rule(one: Rule) -> Rule:
        return Rule(clean(one.name), one.passed, *(clean(text, 400) for text in one[2:]))

    return Explanation(
        tuple(map(rule, found.rules)),
        clean(found.workload),
        clean(found.message, MESSAGE_MAX),
        clean(found.hint, MESSAGE_MAX),
        found.left_out,
    )


def _is_decision(row: Row) -> bool:
    return read_line(row).event == "decision"


def _page_of_log(text: str | None) -> int:
    """Before which entry a page is; all for none."""
    if text is None:
        return queries.NEWEST
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise NotFoundError
    return int(text)


def _page_of_certificates(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    at, _, serial = text.partition("-")
    if not (at.isascii() and at.isdigit()) or len(at) > 12 or not is_serial(serial):
        raise NotFoundError
    return int(at), serial
