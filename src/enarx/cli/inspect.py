"""``enarx inspect``: what is known of one deployment, in words or as JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from enarx.host.deployments import Seen
    from enarx.host.facts import Facts

ISOLATION: Final = {
    "process": "none: a process Keep is for development and tests, and whoever controls this machine can read it",
    "vm": "none: the virtual machine's memory is in the clear, and whoever controls this machine can read it",
}
"""What keeps this machine out of a Keep, by its kind."""
WIDTH: Final = 12
STATES: Final = {
    "starting": "starting: the workload does not run yet",
    "gone": "gone: its supervisor was killed, and the Keep with it",
    "unreadable": "unreadable: what is noted of it is not what Enarx wrote",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what is known of a detached Keep",
        description="Show what is known of a deployment that was started with `enarx deploy --detach`.",
    )
    parser.add_argument("name", metavar="NAME", help="its name, as `enarx ps` has it")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    from enarx.host.contract import printable
    from enarx.host.deployments import Deployments, default_directory

    seen = Deployments(default_directory()).get(args.name)
    if args.json:
        import json

        print(json.dumps(as_json(seen), indent=2))
        return 0
    rows = [("name", seen.name), ("state", _state(seen)), *(_rows(seen.facts) if seen.facts else [])]
    rows.append(("directory", str(seen.directory)))
    for name, text in rows:
        if text:
            print(f"{name:<{WIDTH}}" + printable(text).replace("\n", "\n" + " " * WIDTH))
    return 0


def as_json(seen: Seen) -> dict[str, Any]:
    """Everything that is known. Without facts it is name, state and directory."""
    from dataclasses import asdict

    from enarx.host.contract import EVIDENCE_SOURCES

    known: dict[str, Any] = {"name": seen.name, "state": seen.state, "directory": str(seen.directory)}
    if seen.facts is None:
        return known
    facts = asdict(seen.facts)
    meaning = EVIDENCE_SOURCES.get(seen.facts.evidence, "unknown")
    steward = {"url": facts.pop("steward"), "ca": facts.pop("steward_ca")}
    workload = {"digest": facts.pop("digest"), "media_type": facts.pop("media_type")}
    rest = {
        "evidence": {"source": facts.pop("evidence"), "meaning": meaning},
        "isolation": ISOLATION.get(seen.facts.backend, "unknown"),
        "steward": steward if steward["url"] else None,
        "workload": workload if workload["digest"] else None,
    }
    return facts | known | rest


def _state(seen: Seen) -> str:
    facts = seen.facts
    if facts is None or seen.state in STATES:
        return STATES[seen.state]
    if seen.living:
        return f"running since {facts.started}"
    why = "" if facts.status is None else f", exit status {facts.status}"
    return f"{seen.state} at {facts.ended}{why}"


def _rows(facts: Facts) -> list[tuple[str, str]]:
    from enarx.host.contract import EVIDENCE_SOURCES

    processes = [f"supervisor {facts.supervisor.pid}"] + ([f"Keep {facts.keep.pid}"] if facts.keep else [])
    return [
        ("error", facts.message),
        ("code", facts.code),
        ("hint", facts.hint),
        ("reference", facts.reference),
        ("resolved", facts.resolved),
        ("workload", f"{facts.digest} ({facts.media_type})" if facts.digest else ""),
        ("manifest", facts.manifest),
        ("Steward", f"{facts.steward} CA {facts.steward_ca}" if facts.steward else "none"),
        ("evidence", EVIDENCE_SOURCES.get(facts.evidence, "unknown")),
        ("machine", f"{facts.machine}, on {facts.accelerator}" if facts.machine else ""),
        ("isolation", ISOLATION.get(facts.backend, "unknown")),
        ("listening", " ".join(facts.listening)),
        ("created", facts.created),
        ("started", facts.started),
        ("ended", facts.ended),
        ("processes", "" if facts.ended else ", ".join(processes)),
    ]
