"""``enarx steward``: make a Steward, run it, ask it offline, read its log, revoke, add secrets, make tokens.

Exit statuses: 0, 1 for a wrong configuration or database, 4 for a log that was changed, 5 for a refused request.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from enarx.cli.policy import add_collateral

if TYPE_CHECKING:
    from enarx.tenant.steward.ca import CertificateAuthority
    from enarx.tenant.steward.ear import Position

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

CONFIG = "steward.toml"
CERTIFICATE = "ca.pem"
KEY = "ca.key"
DATABASE = "steward.db"
PORT = 3000
WORKERS_MAX = 64
REASONS = ("unspecified", "keyCompromise", "superseded", "cessationOfOperation", "privilegeWithdrawn")
"""Why a certificate is withdrawn (RFC 5280 5.3.1); words of our own, so that no name gets into the log."""


def add_parser(subparsers: Subparsers) -> None:
    """Add ``steward init|serve|check|log|revoke|secret|token``."""
    parser = subparsers.add_parser("steward", help="run the service that attests Keeps and issues their certificates")
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE")

    init = modes.add_parser("init", help="make a directory with a CA and a configuration; prints the CA's digest")
    init.add_argument("directory", metavar="DIRECTORY")
    init.add_argument("--name", metavar="HOST", action="append", default=[], help="name or address of the Steward")
    init.set_defaults(run=_init)

    serve = modes.add_parser("serve", help="serve until told to stop; SIGHUP reloads the policy")
    add_place(serve)
    _add_authority(serve)
    serve.add_argument("--addr", metavar="HOST", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="PORT", type=int, default=PORT, help=f"port, 0 for any (default: {PORT})")
    serve.add_argument("--workers", metavar="N", type=int, default=1, help="processes (default: 1)")
    serve.add_argument("--san", metavar="NAME", action="append", default=[], help="further name in its TLS certificate")
    serve.add_argument("--fast", action="store_true", help="verify P-384 with AWS-LC (pip install 'enarx[fast]')")
    serve.set_defaults(run=_serve)

    check = modes.add_parser(
        "check", help="the service's decision on a request, offline", epilog="exit status: 0 accepted, 5 refused"
    )
    check.add_argument("csr", metavar="CSR", help="certification request, DER or PEM, or a bundle of them")
    check.add_argument(
        "--config", metavar="FILE", required=True, help="policy file, or configuration of an Enarx Steward"
    )
    check.add_argument("--manifest", metavar="FILE", help="manifest; without it the request is in the published form")
    add_collateral(check)
    check.set_defaults(run=_check)

    log = modes.add_parser("log", help="list the log of decisions, or check that nobody changed it")
    add_place(log)
    log.add_argument("--verify", action="store_true", help="check every entry; exit status 4 when one does not fit")
    log.add_argument("--expect", metavar="N:HASH", help="a position that was noted, as in an attestation result")
    log.add_argument("--after", metavar="N", type=int, default=0, help="only entries after this one")
    log.set_defaults(run=_log)

    revoke = modes.add_parser("revoke", help="withdraw a certificate; it is on the next revocation list")
    revoke.add_argument("serial", metavar="SERIAL", help="serial number in hexadecimal")
    revoke.add_argument("--reason", choices=REASONS, default=REASONS[0])
    add_place(revoke)
    revoke.set_defaults(run=_revoke)

    from enarx.cli.stewardsecret import add_parser as add_secrets
    from enarx.cli.stewardtoken import add_parser as add_token

    add_secrets(modes, add_place)
    add_token(modes)


def run(args: argparse.Namespace) -> int:
    """Run the mode that was parsed; returns the exit status, raises EnarxError."""
    status: int = args.run(args)
    return status


def add_place(parser: argparse.ArgumentParser) -> None:
    """The options that say where a Steward keeps its things."""
    parser.add_argument("--directory", metavar="DIRECTORY", default=".", help="what `steward init` made (default: .)")
    parser.add_argument("--config", metavar="FILE", help=f"policy file (default: {CONFIG} of the directory)")
    parser.add_argument(
        "--database", metavar="DB", default=os.environ.get("STEWARD_DATABASE"),
        help=f"path, or postgresql://... (default: $STEWARD_DATABASE, else {DATABASE} of the directory)",
    )  # fmt: skip


def _add_authority(parser: argparse.ArgumentParser) -> None:
    environment = os.environ
    parser.add_argument(
        "--crt", metavar="FILE", default=environment.get("STEWARD_CRT"), help="the CA's certificate, PEM"
    )
    parser.add_argument("--key", metavar="FILE", default=environment.get("STEWARD_KEY"), help="the CA's key, PEM, 0600")


def _init(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from enarx.errors import ConfigError
    from enarx.tenant.policy import parse_policy
    from enarx.tenant.policytables import no_files
    from enarx.tenant.steward.ca import load_authority, make_authority
    from enarx.tenant.steward.files import write_new

    names = args.name or ["localhost", "127.0.0.1"]
    config = _TEMPLATE.format(names=", ".join(f'"{_plain(name)}"' for name in names)).encode()
    parse_policy(config, CONFIG, no_files)  # a name that cannot be in a certificate is refused before anything is made
    directory = Path(args.directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make {directory}: {error.strerror}", code="file-unwritable", hint="choose another directory"
        ) from error
    key, certificate = make_authority(f"Enarx Steward {names[0]}", datetime.now(UTC))
    write_new(directory / KEY, key, 0o600)  # first: what exists already is never overwritten
    write_new(directory / CERTIFICATE, certificate, 0o644)
    write_new(directory / CONFIG, config, 0o600)
    print(f"{directory / CONFIG}: say there which guests and workloads are accepted; nothing is so far")
    print(f"sha256:{load_authority(certificate, key).spki_digest.hex()}")
    return 0


def _plain(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _serve(args: argparse.Namespace) -> int:
    import logging

    from enarx.errors import UsageError
    from enarx.tenant.steward.serve import serve
    from enarx.tenant.steward.settings import Settings

    if not 1 <= args.workers <= WORKERS_MAX:
        raise UsageError(f"--workers {args.workers} is not 1 to {WORKERS_MAX}", hint="one for each core is enough")
    if not 0 <= args.port <= 65_535:
        raise UsageError(f"--port {args.port} is not a port", hint="0 to 65535")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = Settings(
        config=config_of(args),
        certificate=args.crt or _in_directory(args, CERTIFICATE),
        key=args.key or _in_directory(args, KEY),
        database=_database(args),
        names=tuple(args.san),
        fast=args.fast,
    )
    return serve(settings, args.addr, args.port, args.workers, _announce)


def _announce(host: str, port: int, authority: CertificateAuthority) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"steward: https://{shown}:{port}/ CA sha256:{authority.spki_digest.hex()}", flush=True)


def _check(args: argparse.Namespace) -> int:
    from enarx.cli.policy import read_requests, report
    from enarx.tenant.authority import authority_bytes
    from enarx.tenant.steward.decide import make_judge
    from enarx.tenant.steward.files import read_policy

    requests = read_requests(args, args.csr, args.manifest)
    authority = authority_bytes("--ca", args.ca)
    return report(args, requests, make_judge(read_policy(args.config), authority=authority, cache_entries=0))


def _log(args: argparse.Namespace) -> int:
    from contextlib import closing

    from enarx.errors import AuthenticityError
    from enarx.tenant.steward.log import verify
    from enarx.tenant.steward.store import connect

    with closing(connect(_existing(args))) as store:
        if not args.verify:
            for row in store.rows(args.after):
                print(f"{row.sequence} {row.hash} {row.body}")
            return 0
        head = verify(store.rows(), expected=_position(args.expect) if args.expect else None)
        stray = store.unlogged_certificates()
    if stray:
        raise AuthenticityError(
            f"{len(stray)} certificates have no entry in the log, the first is {stray[0]}",
            code="log-broken",
            hint="somebody wrote to the database",
        )
    print(f"valid: {head.sequence} entries, the last {head.sequence}:{head.hash}")
    return 0


def _position(text: str) -> Position:
    from enarx.errors import UsageError
    from enarx.tenant.steward.ear import Position

    sequence, _, digest = text.partition(":")
    if not (sequence.isascii() and sequence.isdigit()) or len(sequence) > 18 or len(digest) != 64:
        raise UsageError(f"--expect {text!r} is not a position", hint="write N:HASH, as `steward log --verify` prints")
    return Position(int(sequence), digest)


def _revoke(args: argparse.Namespace) -> int:
    from contextlib import closing
    from datetime import UTC, datetime

    from enarx.errors import UsageError
    from enarx.tenant.steward.log import revocation_entry
    from enarx.tenant.steward.store import connect

    serial = args.serial.lower().replace(":", "").removeprefix("0x").zfill(32)
    with closing(connect(_existing(args))) as store:
        found = store.certificate(serial)
        if found is None:
            raise UsageError(
                f"no certificate with serial {serial} was issued here", code="serial", hint="see `enarx steward log`"
            )
        if found[1] is not None:
            print(f"{serial} was revoked at {found[1].isoformat()}")
            return 0
        position = store.append([revocation_entry(serial, args.reason, datetime.now(UTC))])[0]
    print(f"{serial} is revoked, log entry {position.sequence}")
    return 0


def _in_directory(args: argparse.Namespace, name: str) -> str:
    return str(Path(args.directory, name))


def config_of(args: argparse.Namespace) -> str:
    """The policy file that is meant."""
    return args.config or _in_directory(args, CONFIG)


def _database(args: argparse.Namespace) -> str:
    return args.database or _in_directory(args, DATABASE)


def _existing(args: argparse.Namespace) -> str:
    """The database, which must exist: reading a log must not make an empty one."""
    from enarx.errors import ConfigError

    database = _database(args)
    path = database.removeprefix("sqlite:")
    elsewhere = database.startswith(("postgres:", "postgresql:")) or "://" in path
    if not elsewhere and not Path(path).exists():
        raise ConfigError(f"there is no database {database}", code="database-missing", hint="give --database")
    return database


_TEMPLATE = """\
# What this Steward accepts, and what it gives. Whatever is not stated is refused.
# Check with `enarx policy check`, reload with SIGHUP: a file with an error changes nothing.

[service]
names = [{names}]

# [snp]
# measurement = ["..."]          # enarx measure snp computes it

# [simulated]
# root = "simulator.pem"         # enarx simulator root prints it; proves nothing about hardware
# measurement = ["..."]

# [workload.web]
# digest = ["sha256:..."]        # of main.wasm
# config = ["sha256:..."]        # of its Enarx.toml

# [console]
# readers = ["sha256:..."]       # digests of tokens of those who may look at https://.../console

# [certificate]
# lifetime = "24h"
# dns = ["web.example.com"]
# trust_domain = "example.com"   # spiffe://example.com/keep/web
"""
