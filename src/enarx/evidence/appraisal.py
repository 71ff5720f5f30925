"""The last of the three types of verification: a verdict that can be read.

``Report`` (parsed) -> ``Authentic[Report]`` (signed, see ``authentic.py``) -> ``Appraisal`` (this module).
Every technology uses the same two types, so that a relying party can log, count and explain them in one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from enarx.errors import PolicyError

_new = tuple.__new__


class Rule(NamedTuple):
    """One check: what it expected, what it saw, who asked for it, and what to do when it failed.

    ``name`` is stable and lower-case (``debug``, ``tcb-reported-snp``); ``code`` is the reason that a failure gives
    (``debug-enabled``), the name when empty. ``source`` says where the expectation came from: ``policy snp.debug``,
    ``built-in``, ``VCEK extension 1.3.6.1.4.1.3704.1.3.3``. A tuple and not a dataclass: a verification that takes
    200 us makes some forty of these.
    """

    name: str
    passed: bool
    expected: str
    seen: str
    source: str
    hint: str = ""
    code: str = ""

    @property
    def reason(self) -> str:
        """The stable reason of a failure: ``code``, or the rule's name where it has no code of its own."""
        return self.code or self.name

    def as_json(self) -> Mapping[str, str | bool]:
        """The rule as plain values, keys in a fixed order; ``hint`` and ``reason`` only for a failed rule."""
        plain: dict[str, str | bool] = {
            "name": self.name,
            "passed": self.passed,
            "expected": self.expected,
            "seen": self.seen,
            "source": self.source,
        }
        if not self.passed:
            plain["reason"] = self.reason
            plain["hint"] = self.hint
        return plain


@dataclass(frozen=True, slots=True)
class Appraisal:
    """A policy's verdict on authentic evidence: every rule, in the order it was judged.

    ``technology`` is ``snp``, ``sev``, ...; ``simulated`` says that the evidence ends in the root of a simulator.
    An appraisal without a single rule accepts nothing: silence is no consent.
    """

    technology: str
    rules: tuple[Rule, ...]
    simulated: bool = False

    @property
    def accepted(self) -> bool:
        """True when there is at least one rule and every rule passed."""
        return bool(self.rules) and False not in [rule.passed for rule in self.rules]

    @property
    def failures(self) -> tuple[Rule, ...]:
        """The rules that refused, in the order they were judged."""
        return tuple(rule for rule in self.rules if not rule.passed)

    def require(self) -> None:
        """Raise PolicyError with the first failure's reason and hint unless the evidence is accepted."""
        if self.accepted:
            return
        if not self.rules:
            raise PolicyError(
                "the policy judged nothing, so nothing is accepted",
                code="policy-empty",
                hint="state what is expected of the evidence in the policy",
            )
        raise refusal(self.failures)


def refusal(failures: Iterable[Rule]) -> PolicyError:
    """The error for one or more failed rules: reason and hint of the first, all of them in the message."""
    failed = list(failures)
    first = failed[0]
    said = "; ".join(f"{rule.name}: expected {rule.expected}, saw {rule.seen}" for rule in failed)
    return PolicyError(f"refused by policy: {said}", code=first.reason, hint=first.hint)


def judge(
    rules: list[Rule],
    name: str,
    passed: bool,
    expected: str,
    seen: str,
    *,
    source: str,
    hint: str = "",
    code: str = "",
) -> None:
    """Append one rule; hint and code are kept only for a failure."""
    # Not through the constructor: its handling of defaults takes as long as everything else here.
    if passed:
        rules.append(_new(Rule, (name, True, expected, seen, source, "", "")))
    else:
        rules.append(Rule(name, False, expected, seen, source, hint, code))


def judge_listed(
    rules: list[Rule],
    name: str,
    seen: bytes,
    accepted: tuple[bytes, ...],
    *,
    source: str,
    hint: str,
    code: str = "",
) -> None:
    """Append a rule that ``seen`` is one of ``accepted``; nothing is judged when the policy lists none."""
    if not accepted:
        return
    expected = accepted[0].hex() if len(accepted) == 1 else f"one of {len(accepted)}: {accepted[0].hex()}, ..."
    judge(rules, name, seen in accepted, expected, seen.hex(), source=source, hint=hint, code=code)
