"""``enarx ps``: the deployments of this user."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from enarx.host.deployments import Seen

COLUMNS: Final = ("NAME", "STATE", "FOR", "KEEP", "EVIDENCE", "LISTENING", "REFERENCE")
UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
"""Of what the largest that fits is shown, in seconds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "ps",
        help="list the Keeps that `deploy --detach` has left running",
        description="List this user's deployments that were started with `enarx deploy --detach`.",
    )
    parser.add_argument("-a", "--all", action="store_true", help="those that have ended, too")
    parser.add_argument("--json", action="store_true", help="print a JSON array of all that is known")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List them."""
    from datetime import UTC, datetime

    from enarx.host.deployments import Deployments, default_directory

    found = [seen for seen in Deployments(default_directory()).all() if args.all or seen.living]
    if args.json:
        import json

        from enarx.cli.inspect import as_json

        print(json.dumps([as_json(seen) for seen in found], indent=2))
        return 0
    now = datetime.now(UTC)
    rows = [COLUMNS, *(_row(seen, now) for seen in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(seen: Seen, now: datetime) -> tuple[str, ...]:
    from enarx.host.contract import printable

    facts = seen.facts
    if facts is None:
        return (seen.name, seen.state, *[""] * (len(COLUMNS) - 2))
    state = seen.state
    if facts.status is not None and state in ("exited", "failed"):
        state = f"{state} ({facts.status})"
    since = facts.ended or facts.started or facts.created
    evidence = {"": "none", "simulated": "SIMULATED", "simulated-secret": "SIMULATED"}.get(
        facts.evidence, facts.evidence
    )
    keep = " on ".join(filter(None, (facts.backend, facts.accelerator.partition(" ")[0])))
    cells = (seen.name, state, _age(since, now), keep, evidence, " ".join(facts.listening) or "-", facts.reference)
    return tuple(printable(cell).replace("\n", " ") for cell in cells)


def _age(since: str, now: datetime) -> str:
    """How long ago that was."""
    from datetime import datetime

    try:
        seconds = (now - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError):
        return "?"
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"
