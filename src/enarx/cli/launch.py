"""``enarx launch``: the tenant's part in launches that are proved while they happen, those of SEV and SEV-ES.

Exit status of ``approve``: 0 when it was told to stop, or its one launch was approved; 5 when that was refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from enarx.tenant.approver.approve import Report
    from enarx.tenant.steward.ca import CertificateAuthority

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

PORT = 3001


def add_parser(subparsers: Subparsers) -> None:
    """Add ``launch approve``."""
    modes = subparsers.add_parser(
        "launch", help="approve SEV launches while they happen, as their tenant"
    ).add_subparsers(dest="mode", required=True, metavar="MODE")
    approve = modes.add_parser(
        "approve",
        help="verify SEV and SEV-ES launches while they happen, and release their credentials",
        description="Serve hosts that launch Keeps on SEV or SEV-ES: verify the platform, give the launch a session, "
        "verify what was measured, and release the credential with which the Keep proves itself to the Steward. Runs "
        "where the tenant is. Policy and CA are those of the Steward; SIGHUP reloads the policy.",
    )
    approve.add_argument("--directory", metavar="DIR", default=".", help="what `steward init` made (default: .)")
    approve.add_argument("--config", metavar="FILE", help="policy file (default: steward.toml of the directory)")
    environment = os.environ
    approve.add_argument(
        "--crt", metavar="FILE", default=environment.get("STEWARD_CRT"), help="the CA's certificate, PEM"
    )
    approve.add_argument(
        "--key", metavar="FILE", default=environment.get("STEWARD_KEY"), help="the CA's key, PEM, 0600"
    )
    approve.add_argument(
        "--addr", metavar="HOST", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    approve.add_argument("--port", metavar="PORT", type=int, default=PORT, help=f"port, 0 for any (default: {PORT})")
    approve.add_argument("--san", metavar="NAME", action="append", default=[], help="name in its TLS certificate")
    approve.add_argument("--once", action="store_true", help="end when one launch was decided on; status 0 or 5")
    approve.add_argument("--json", action="store_true", help="print each decision as a line of JSON")
    approve.set_defaults(run=_approve)


def _approve(args: argparse.Namespace) -> int:
    import logging

    from enarx.cli.steward import CERTIFICATE, CONFIG, KEY
    from enarx.errors import UsageError
    from enarx.tenant.approver.serve import Settings, serve

    if not 0 <= args.port <= 65_535:
        raise UsageError(f"--port {args.port} is not a port", hint="0 to 65535")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    place = Path(args.directory)
    settings = Settings(
        config=args.config or str(place / CONFIG),
        certificate=args.crt or str(place / CERTIFICATE),
        key=args.key or str(place / KEY),
        names=tuple(args.san),
        once=args.once,
    )
    return serve(settings, args.addr, args.port, _json_line if args.json else _table, _announcing(args.json))


def _announcing(as_json: bool) -> Callable[[str, int, CertificateAuthority], None]:
    def announce(host: str, port: int, authority: CertificateAuthority) -> None:
        shown = f"[{host}]" if ":" in host else host
        line = f"approver: https://{shown}:{port}/ CA sha256:{authority.spki_digest.hex()}"
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    return announce


def _table(name: str, report: Report) -> None:
    """A decision for a person: what it was about, every rule, and why it was refused."""
    from enarx.cli.ruletable import rule_table

    lines = ["", f"{_verdict(report)}: {'measurement of ' if report.step == 'measurement' else ''}launch {name or '-'}"]
    if report.simulated:
        lines.append("SIMULATED: the platform's root is a simulator's, and proves nothing about hardware")
    lines += [f"  {key:<16}{_plain(str(value))}" for key, value in report.facts.items()]
    lines += rule_table(report.rules)
    if report.error is not None:
        lines += [
            f"Refused: {_plain(report.error.message)}",
            f"Hint: {report.error.hint}",
            f"Code: {report.error.code}",
        ]
    print("\n".join(lines), flush=True)


def _json_line(name: str, report: Report) -> None:
    import json

    error = report.error
    shown = {
        "format": "enarx-launch-decision/1",
        "launch": name,
        "step": report.step,
        "verdict": _verdict(report),
        "simulated": report.simulated,
        "facts": report.facts,
        "rules": [rule.as_json() for rule in report.rules],
        "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
    }
    print(json.dumps(shown), flush=True)


def _verdict(report: Report) -> str:
    if report.error is not None:
        return "refused"
    return "begun" if report.step == "launch" else "approved"


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
