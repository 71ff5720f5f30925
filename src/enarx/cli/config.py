"""``enarx config init``: start an ``Enarx.toml``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from enarx.errors import ConfigError

FILE_NAME = "Enarx.toml"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``config init``; the parsed arguments carry `run`."""
    config = subparsers.add_parser("config", help="work with Enarx.toml", description="Work with Enarx.toml.")
    commands = config.add_subparsers(dest="config_command", metavar="COMMAND", required=True)
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
    from enarx.config import TEMPLATE  # noqa: PLC0415 - `enarx --help` does without it

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
