"""``enarx steward token``: a token for somebody whom a policy names by its digest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

TOKEN_BYTES: Final = 32
"""Random bytes in a token: nobody finds one by trying, nor from its digest."""


def add_parser(modes: Subparsers) -> None:
    """Add ``token``."""
    parser = modes.add_parser(
        "token", help="make a token for a reader of the console or the policy; prints its digest, for the policy"
    )
    parser.add_argument("file", metavar="FILE", help="new file for the token, readable by its owner alone")
    parser.set_defaults(run=_token)


def _token(args: argparse.Namespace) -> int:
    import hashlib
    import secrets

    from enarx.tenant.steward.files import write_new

    token = secrets.token_urlsafe(TOKEN_BYTES)
    write_new(args.file, f"{token}\n".encode(), 0o600)
    print(f"sha256:{hashlib.sha256(token.encode()).hexdigest()}")
    return 0
