"""The stable JSON of trust stacks.

``format`` names the version; keys may be added, none changes its meaning. Identifiers are those of ``model``; only
``text`` and ``label`` are in the language that was asked for::

    format      "enarx-trust/1"
    language    "en" or "ja"
    stacks      [STACK]

    STACK: kind ("vm", "container", "host", "keep-process", "keep-vm", "keep-simulated", "keep-snp", "keep-sev",
                "keep-sev-es", "keep-tdx", "keep-unknown"), label
           basis ("design", "evidence", "host"), subject, judged_at (ISO 8601 or null), simulated (boolean)
           verdict ("accepted", "authentic", "refused" or null: nothing was judged), error ({code, message} or null)
           notes       [{key, text}]            to be shown wherever the stack is
           summary     {layers, remaining, proved, assumed, unknown, out, owners: [OWNER], owners_gone: [OWNER]}
           layers      [ROW]                    top first, one for each of the eleven layers
           around      [ROW]                    what stands beside every stack
           rules       [RULE]                   every rule that was judged, as `enarx verify --json` has them

    ROW:   id ("application", "middleware", "userland", "container-engine", "guest-os", "hypervisor", "host-os",
               "boot-loader", "bios", "firmware", "cpu"; around: "physical-operator", "side-channels", "verifier",
               "registry", "clock", "denial-of-service"), label
           owner ("tenant", "middleware", "os-vendor", "cloud-provider", "oem", "silicon-vendor", "third-party")
           status ("proved", "assumed", "unknown", "not-protected", "out", "absent")
           reason      {key, text}
           evidence    [FACT]                   what the status rests on
           versions    [FACT]                   as far as known
           checks      [rule name]              of ``rules``

    FACT:  name (a field of the specification, or a stable key), label, value, source ("evidence", "simulated",
           "manifest", "sbom", "host", "verifier")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from enarx.trust.model import Fact, Row, Stack, Status, Text
from enarx.trust.words import Words

FORMAT: Final = "enarx-trust/1"


def as_json(stacks: Sequence[Stack], words: Words) -> dict[str, Any]:
    """The stacks in the format that this module documents."""
    return {"format": FORMAT, "language": words.language, "stacks": [_stack(one, words) for one in stacks]}


def _stack(stack: Stack, words: Words) -> dict[str, Any]:
    error = stack.error
    return {
        "kind": stack.kind.value,
        "label": words(f"kind.{stack.kind.value}"),
        "basis": stack.basis.value,
        "subject": stack.subject,
        "judged_at": stack.judged_at.isoformat() if stack.judged_at else None,
        "simulated": stack.simulated,
        "verdict": stack.verdict or None,
        "error": {"code": error[1], "message": error[0]} if error else None,
        "notes": [_text(note, words) for note in stack.notes],
        "summary": {
            "layers": len(stack.there),
            "remaining": len(stack.remaining),
            "proved": stack.count(Status.PROVED),
            "assumed": stack.count(Status.ASSUMED),
            "unknown": stack.count(Status.UNKNOWN),
            "out": stack.count(Status.OUT),
            "owners": [owner.value for owner in stack.owners],
            "owners_gone": [owner.value for owner in stack.gone],
        },
        "layers": [_row(row, words) for row in stack.rows],
        "around": [_row(row, words) for row in stack.around],
        "rules": [dict(rule.as_json()) for rule in stack.rules],
    }


def _row(row: Row, words: Words) -> dict[str, Any]:
    return {
        "id": row.place.value,
        "label": words(row.name),
        "owner": row.owner.value,
        "status": row.status.value,
        "reason": _text(row.reason, words),
        "evidence": [_fact(fact, words) for fact in row.evidence],
        "versions": [_fact(fact, words) for fact in row.versions],
        "checks": list(row.checks),
    }


def _text(text: Text, words: Words) -> dict[str, str]:
    return {"key": text.key, "text": words(text)}


def _fact(fact: Fact, words: Words) -> dict[str, str]:
    return {
        "name": fact.name,
        "label": words.label(fact.name),
        "value": fact.value,
        "source": fact.source.value,
    }
