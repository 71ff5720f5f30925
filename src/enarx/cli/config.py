"""``enarx config init``: start an ``Enarx.toml``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from enarx.errors import ConfigError

FILE_NAME = "Enarx.toml"
TEMPLATE = """\
## Configuration of a workload that runs in an Enarx Keep.
##
## Lines that start with two hash signs explain; remove "# " from the others to use them.

## Arguments of the workload, from argv[1] on. argv[0] is always "main.wasm".
# args = ["--verbose", "input"]

## The Steward that attests the Keep and issues its certificate. Without one the Keep signs its own.
# steward = "https://attest.example.com"

## Environment variables. The workload gets these, FD_COUNT and FD_NAMES, and none of the host's.
# [env]
# GREETING = "hello"

## Secrets that the Steward releases to this workload, as environment variables: VARIABLE = "name of the secret".
# [secret_env]
# DATABASE_PASSWORD = "database-password"

## Limits, here with their defaults. Sizes take B, KiB, MiB or GiB. There is no deadline unless one is set.
# [limits]
# memory = "1 GiB"
# filesystem = "256 MiB"
# descriptors = 1024
# module = 100000000
# deadline = "24h"

## File descriptors, in order from 0. Kinds: null, stdin, stdout, stderr, listen, connect.
[[files]]
kind = "stdin"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

## A listening socket. prot is "tls" (the default, it ends inside the Keep) or "tcp".
## With client_ca, clients must show a certificate from one of these authorities.
# [[files]]
# kind = "listen"
# name = "LISTEN"
# prot = "tls"
# addr = "::"
# port = 12345
# client_ca = ["clients.pem"]

## A connected socket. With ca, only these authorities are trusted for the server's certificate.
# [[files]]
# kind = "connect"
# name = "CONNECT"
# prot = "tls"
# host = "localhost"
# port = 23456
# ca = ["server-ca.pem"]
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``config init``; the parsed arguments carry `run`."""
    config = subparsers.add_parser("config", help="work with Enarx.toml", description="Work with Enarx.toml.")
    commands = config.add_subparsers(dest="config_command", metavar="COMMAND", required=True, prog=config.prog)
    init = commands.add_parser(
        "init",
        help="write a commented Enarx.toml into the current directory",
        description="Write a commented Enarx.toml into the current directory. An existing one is never overwritten.",
    )
    init.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the template to ``./Enarx.toml``: whole or not at all, and never over anything that has that name.

    Raises `ConfigError`: ``config-exists``, or ``config-write`` when the directory does not take the file.
    """
    exists = ConfigError(
        f'"{FILE_NAME}" does already exist.', code="config-exists", hint="edit it, or move it away to start afresh"
    )
    if os.path.lexists(FILE_NAME):
        raise exists
    draft = Path(f".{FILE_NAME}.{os.urandom(8).hex()}")
    try:
        with draft.open("xb") as file:
            file.write(TEMPLATE.encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, FILE_NAME)  # unlike rename, fails when the name has been taken meanwhile
    except FileExistsError as error:
        raise exists from error
    except OSError as error:
        raise ConfigError(
            f'cannot write "{FILE_NAME}": {error.strerror}',
            code="config-write",
            hint="run the command in a directory that you may write to",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return 0
