"""``enarx key package``: keys that sign packages."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.tenant.signature.keys import Passphrase, PrivateKey, PublicKey

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

TYPES = ("ed25519", "p256", "p384")


def add_parser(subparsers: Subparsers) -> None:
    """Add ``package create|public|digest`` to the technologies of ``enarx key``."""
    actions = subparsers.add_parser("package", help="keys that sign packages").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    create = actions.add_parser(
        "create", help="make a key pair; PKCS#8 PEM, readable by its owner only; prints the key's digest"
    )
    create.add_argument("--type", choices=TYPES, default=TYPES[0], help=f"default: {TYPES[0]}")
    create.add_argument("--out", metavar="FILE", required=True, help="write the key to FILE, which must not exist")
    how = create.add_mutually_exclusive_group()
    how.add_argument("--passphrase", action="store_true", help="encrypt it under a passphrase that is asked for")
    how.add_argument("--passphrase-file", metavar="FILE", help="encrypt it under the passphrase in FILE, mode 0600")
    create.set_defaults(run=_create)

    public = actions.add_parser("public", help="the public half, for policies and for whoever verifies")
    public.add_argument("key", metavar="KEY", help="private or public key, PEM")
    public.add_argument("--out", metavar="FILE", help="write it to FILE (default: stdout)")
    add_passphrase(public)
    public.set_defaults(run=_public)

    digest = actions.add_parser("digest", help="the digest by which verdicts and logs name a key")
    digest.add_argument("key", metavar="KEY", help="private or public key, PEM")
    add_passphrase(digest)
    digest.set_defaults(run=_digest)


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """The option of every command that reads a private key."""
    parser.add_argument(
        "--passphrase-file", metavar="FILE", help="passphrase of an encrypted key, mode 0600 (default: ask)"
    )


def load_private(path: str, passphrase_file: str | None) -> PrivateKey:
    """The private key in a file that its owner alone may read; ConfigError, UsageError."""
    from enarx.tenant.signature.keys import KEY_FILE_MAX_BYTES, parse_private
    from enarx.tenant.steward.files import read

    pem = read(path, KEY_FILE_MAX_BYTES, private=True)
    try:
        return parse_private(pem, _passphrase(path, passphrase_file))
    except UsageError as error:
        raise _named(path, error) from error


def load_public(path: str) -> PublicKey:
    """The public key in a file; UsageError."""
    from enarx.cli.keyfile import read_input
    from enarx.tenant.signature.keys import KEY_FILE_MAX_BYTES, parse_public

    try:
        return parse_public(read_input(path, KEY_FILE_MAX_BYTES, "key"))
    except UsageError as error:
        raise error if error.code.startswith("file-") else _named(path, error) from error


def _either(args: argparse.Namespace) -> PublicKey:
    from enarx.cli.keyfile import read_input
    from enarx.tenant.signature.keys import KEY_FILE_MAX_BYTES

    if b"PRIVATE KEY-----" in read_input(args.key, KEY_FILE_MAX_BYTES, "key"):
        return load_private(args.key, args.passphrase_file).public
    return load_public(args.key)


def _create(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_private
    from enarx.tenant.signature.keys import Algorithm, create

    passphrase = None
    if args.passphrase:
        passphrase = _ask(f"Passphrase for {args.out}: ")
        if _ask("The same again: ") != passphrase:
            raise UsageError("the two passphrases differ", code="key-passphrase", hint="run the command again")
    elif args.passphrase_file is not None:
        passphrase = _passphrase(args.out, args.passphrase_file)()
    key = create(Algorithm(args.type))
    write_private(args.out, key.pem(passphrase))
    print(key.public.id)
    return 0


def _public(args: argparse.Namespace) -> int:
    from enarx.cli.keyfile import write_output

    write_output(args.out, _either(args).pem())
    return 0


def _digest(args: argparse.Namespace) -> int:
    print(_either(args).id)
    return 0


def _passphrase(path: str, file: str | None) -> Passphrase:
    if file is None:
        return lambda: _ask(f"Passphrase of {path}: ")

    def read_it() -> bytes:
        from enarx.tenant.signature.keys import PASSPHRASE_MAX_BYTES
        from enarx.tenant.steward.files import read

        return read(file, PASSPHRASE_MAX_BYTES + 2, private=True).removesuffix(b"\n").removesuffix(b"\r")

    return read_it


def _ask(prompt: str) -> bytes:
    """A passphrase from the terminal, which does not show it; never from a pipe, where it would be a mistake."""
    import getpass
    from pathlib import Path

    try:
        Path("/dev/tty").open("rb").close()
    except OSError as error:
        raise UsageError(
            "the key is encrypted, and there is no terminal to ask for the passphrase",
            code="key-passphrase",
            hint="give --passphrase-file",
        ) from error
    try:
        return getpass.getpass(prompt).encode()
    except (EOFError, UnicodeError) as error:
        raise UsageError("no passphrase was given", code="key-passphrase", hint="run the command again") from error


def _named(path: str, error: UsageError) -> UsageError:
    return UsageError(f"{path}: {error.message}", code=error.code, hint=error.hint)
