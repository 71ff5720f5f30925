"""``enarx simulator``: the secure processor in software that stands in where there is no TEE. It proves nothing."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from enarx.simulator.installation import Installation

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``simulator root|crl|measure|sev-root|status|reset``."""
    actions = subparsers.add_parser("simulator", help="the SIMULATED secure processor of this machine").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    root = actions.add_parser(
        "root",
        help="print its root certificate, for policies that are to accept it under [simulated]",
        description="Print the root of the simulated secure processor, and its intermediate. Nothing trusts it until "
        "a policy names it, and it proves nothing about hardware.",
    )
    root.add_argument("--out", metavar="FILE", help="write the certificates to FILE (default: stdout)")
    _common(root, _root)

    crl = actions.add_parser("crl", help="print its current revocation list")
    crl.add_argument(
        "--revoke",
        metavar="WHO",
        action="append",
        choices=["ask", "vcek"],
        default=[],
        help="a list that revokes the ask or the vcek, for this once",
    )
    crl.add_argument("--out", metavar="FILE", help="write the list to FILE (default: stdout)")
    _common(crl, _crl)

    measure = actions.add_parser(
        "measure",
        help="print the launch digest of this installation's process Keeps, for policies",
        description="Measure the code of a process Keep as it is installed here: what the SIMULATED processor says of "
        "each Keep that it launches.",
    )
    measure.add_argument("--sev", action="store_true", help="as simulated SEV firmware measures it (SHA-256)")
    measure.set_defaults(run=_measure)

    sev_root = actions.add_parser(
        "sev-root",
        help="write the root of its SEV platform, for policies that are to accept it under [simulated_sev]",
        description="Write the root (ARK and ASK) of the SIMULATED SEV platform of this machine. Nothing trusts it "
        "until a policy names it, and it proves nothing about hardware.",
    )
    sev_root.add_argument("--out", metavar="FILE", help="write it to FILE (default: stdout)")
    sev_root.set_defaults(run=_sev_root)

    _common(actions.add_parser("status", help="say whether there is one, where, and who may read it"), _status)
    reset = actions.add_parser(
        "reset", help="remove it and make a new one: policies that name its root no longer accept it"
    )
    _common(reset, _reset)


def _common(parser: argparse.ArgumentParser, act: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--directory", metavar="DIR", help="where it is kept (default: the user's data directory)")
    parser.set_defaults(run=act)


def _open(args: argparse.Namespace) -> Installation:
    from datetime import UTC, datetime
    from pathlib import Path

    from enarx.simulator.installation import open_installation
    from enarx.simulator.store import default_directory

    directory = Path(args.directory) if args.directory else default_directory()
    return open_installation(directory, datetime.now(UTC), progress=lambda line: print(line, file=sys.stderr))


def _root(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output

    installation = _open(args)
    text = "\n".join(
        (
            "SIMULATED root of trust. It belongs to a simulator and proves nothing about hardware.",
            f"SHA-256 fingerprint: {installation.fingerprint}",
            f"Valid until: {installation.not_after:%Y-%m-%d}",
            "",
            _pem(installation.ark, "CERTIFICATE") + _pem(installation.ask, "CERTIFICATE"),
        )
    )
    write_output(args.out, text.encode())
    if args.out:
        print(f"SIMULATED root, SHA-256 fingerprint {installation.fingerprint}, in {args.out}")
    return 0


def _crl(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from enarx.cli.keyfile import write_output
    from enarx.simulator.installation import REVOCABLE

    installation, now = _open(args), datetime.now(UTC)
    serials = [REVOCABLE[name] for name in args.revoke]
    listed = installation.sign_crl(serials, now) if serials else installation.crl(now)
    write_output(args.out, _pem(listed, "X509 CRL").encode())
    return 0


def _measure(args: argparse.Namespace) -> int:
    import hashlib

    from enarx.host.process import COMMAND, code_directories
    from enarx.simulator.process_keep import measure_process_keep

    measured = measure_process_keep(code_directories(), COMMAND)
    print(hashlib.sha256(measured.pages).hexdigest() if args.sev else measured.digest.hex())
    return 0


def _sev_root(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output
    from enarx.simulator.sev_platform import default_directory, open_identity

    identity = open_identity(default_directory())
    write_output(args.out, identity.root)
    if args.out:
        print(f"SIMULATED SEV root, key id {identity.ark.key_id.hex()}, in {args.out}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from pathlib import Path

    from enarx.simulator.installation import Installation
    from enarx.simulator.store import Store, default_directory

    store = Store(Path(args.directory) if args.directory else default_directory())
    if not store.check():
        print(f"No simulated secure processor in {store.directory}.")
        return 0
    installation = Installation(store)
    print(f"SIMULATED secure processor ({installation.product.value}) in {store.directory}, readable by you alone.")
    print(f"Root SHA-256 fingerprint: {installation.fingerprint}")
    print(f"Root valid until: {installation.not_after:%Y-%m-%d}")
    print("It is trusted only by policies that name this root under [simulated].")
    return 0


def _reset(args: argparse.Namespace) -> int:
    from pathlib import Path

    from enarx.simulator.store import Store, default_directory

    Store(Path(args.directory) if args.directory else default_directory()).remove()
    installation = _open(args)
    print(f"New SIMULATED root, SHA-256 fingerprint: {installation.fingerprint}")
    return 0


def _pem(encoded: bytes, label: str) -> str:
    import base64

    text = base64.b64encode(encoded).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
