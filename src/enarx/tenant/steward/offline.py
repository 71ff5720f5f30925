"""The service's decision without the service: one request, one policy, one time, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from enarx.tenant.steward.decide import Judge, decide
from enarx.tenant.steward.decision import Decision, Request
from enarx.tenant.workloads import written

FORMAT: Final = "enarx-steward-decision/1"


BUNDLE_FORMAT: Final = "enarx-steward-bundle-decision/1"


def check_bundle(requests: Sequence[Request], judge: Judge, now: datetime) -> tuple[list[Decision], Mapping[str, Any]]:
    """The decisions on a bundle, which fails as a whole: up to the first that is refused; as plain values too.

    Keys: format, accepted, requests (how many the bundle has), decisions (as of `check`).
    """
    decisions: list[Decision] = []
    plain: list[Mapping[str, Any]] = []
    for request in requests:
        decision, told = check(request, judge, now)
        decisions.append(decision)
        plain.append(told)
        if not decision.accepted:
            break
    accepted = all(one.accepted for one in decisions)
    return decisions, {
        "format": BUNDLE_FORMAT,
        "accepted": accepted,
        "requests": len(requests),
        "decisions": plain,
    }


def check(request: Request, judge: Judge, now: datetime) -> tuple[Decision, Mapping[str, Any]]:
    """The decision on ``request`` and the same as plain values, in the stable format ``FORMAT``.

    Keys: format, accepted, code, technology, simulated, policy, facts, workload, secrets (how many), appraisal (rules),
    error ({code, message, hint} or null).
    """
    decision = decide(request, judge, now)
    error, grant = decision.error, decision.grant
    plain = {
        "format": FORMAT,
        "accepted": decision.accepted,
        "code": decision.code,
        "technology": decision.technology,
        "simulated": decision.simulated,
        "policy": written(judge.policy.digest),
        "facts": dict(decision.facts),
        "workload": grant.workload if grant else "",
        "secrets": len(grant.secrets) if grant else 0,
        "appraisal": decision.appraisal(),
        "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
    }
    return decision, plain
