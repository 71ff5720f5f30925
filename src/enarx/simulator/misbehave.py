"""Lies that a simulated secure processor tells when it is asked to, so that every refusal can be shown end to end.

Each is something that a host, an old platform or a forger could bring about; hardware is not believed to do any of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import Flag, auto

from enarx.errors import UsageError
from enarx.evidence.snp.abi import POLICY_DEBUG
from enarx.evidence.snp.report import Report
from enarx.simulator.platform import Platform

TRUNCATED_BYTES = 672
"""What is left of a truncated report (bytes): all that is signed, and no signature."""


class Misbehave(Flag):
    """What to do wrong. Any may be combined; the honest processor has none."""

    NONE = 0
    WRONG_NONCE = auto()
    """Reports are over other data than was asked for."""
    OLD_TCB = auto()
    """The platform runs old firmware, with the VCEK that belongs to it."""
    DEBUG = auto()
    """The guest was launched with a policy that lets the host read its memory."""
    REVOKED = auto()
    """The revocation list names the VCEK."""
    TRUNCATED = auto()
    """Reports end before the signature."""
    REPLAYED = auto()
    """Every request gets the same report, made before over other data."""
    OTHER_KEEP = auto()
    """Reports are about another launch, over the data that was asked for."""
    WRONG_HOST_DATA = auto()
    """The host launched with the digest of another manifest."""
    SELF_MADE_ROOT = auto()
    """The chain has the right names and ends in a root of another key."""


def parse_misbehaviour(text: str) -> Misbehave:
    """Names as in ``old-tcb,debug``; UsageError (``misbehave-unknown``) for any other."""
    names = {name.lower().replace("_", "-"): value for name, value in Misbehave.__members__.items() if value}
    chosen = Misbehave.NONE
    for name in text.split(","):
        if name.strip() not in names:
            raise UsageError(
                f"a secure processor cannot misbehave by {name.strip()[:80]!r}",
                code="misbehave-unknown",
                hint=f"one or more of {', '.join(names)}",
            )
        chosen |= names[name.strip()]
    return chosen


def distort_platform(platform: Platform, lies: Misbehave) -> Platform:
    """The platform that is claimed."""
    return platform.older() if Misbehave.OLD_TCB in lies else platform


def distort_report(report: Report, lies: Misbehave) -> Report:
    """The report that is signed in place of the honest one."""
    if Misbehave.WRONG_NONCE in lies:
        report = replace(report, report_data=_inverted(report.report_data))
    if Misbehave.DEBUG in lies:
        report = replace(report, policy=report.policy | POLICY_DEBUG)
    if Misbehave.OTHER_KEEP in lies:
        other = hashlib.sha384(report.measurement).digest()
        report = replace(report, measurement=other, report_id=other[:32])
    if Misbehave.WRONG_HOST_DATA in lies:
        report = replace(report, host_data=_inverted(report.host_data))
    return report


def distort_encoded(encoded: bytes, lies: Misbehave) -> bytes:
    """The bytes that are handed out in place of the whole report."""
    return encoded[:TRUNCATED_BYTES] if Misbehave.TRUNCATED in lies else encoded


def _inverted(data: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in data)
