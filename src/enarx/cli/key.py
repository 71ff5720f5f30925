"""``enarx key``: keys that sign what a Keep is launched from, and what it runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``key sev create|digest|sign`` and those of ``key package``."""
    from enarx.cli import packagekey

    technologies = subparsers.add_parser("key", help="make and use signing keys").add_subparsers(
        dest="technology", required=True, metavar="TECHNOLOGY"
    )
    actions = technologies.add_parser("sev", help="P-384 keys for the ID block of an SEV-SNP guest").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )

    create = actions.add_parser("create", help="make a key pair; PKCS#8 PEM, readable by its owner only")
    create.add_argument("--out", metavar="FILE", help="write the key to FILE, which must not exist (default: stdout)")
    create.set_defaults(run=run, act=_create)

    digest = actions.add_parser("digest", help="the digest by which reports and policies name a key")
    digest.add_argument("key", metavar="KEY", help="private or public key, PEM")
    digest.add_argument("--out", metavar="FILE", help="write the digest to FILE (default: stdout)")
    digest.set_defaults(run=run, act=_digest)

    sign = actions.add_parser("sign", help="sign an ID key with an author key")
    sign.add_argument("--author-key", metavar="KEY", required=True, help="private key of the author, PEM")
    sign.add_argument("--id-key", metavar="KEY", required=True, help="the ID key, either half, PEM")
    sign.add_argument("--out", metavar="FILE", required=True, help="write the 1540-byte signature to FILE")
    sign.set_defaults(run=run, act=_sign)

    packagekey.add_parser(technologies)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit status."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _create(args: argparse.Namespace) -> int:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from enarx.cli.keyfile import write_output, write_private

    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if args.out is None:
        write_output(None, pem)
    else:
        write_private(args.out, pem)
    return 0


def _digest(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import load_public_key, write_output
    from enarx.evidence.snp.idblock import key_digest

    # No newline, as the original tool: the output is the digest and nothing else.
    write_output(args.out, key_digest(load_public_key(args.key)).hex().encode())
    return 0


def _sign(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import load_private_key, load_public_key, write_output
    from enarx.evidence.snp.idblock import endorse

    endorsement = endorse(load_private_key(args.author_key), load_public_key(args.id_key))
    write_output(args.out, endorsement.to_bytes())
    return 0
