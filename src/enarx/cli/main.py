"""``enarx``: the command line's entry, and the one place where errors become words and exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from enarx import __version__
from enarx.errors import EnarxError, HostError, UsageError


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing and exiting, so that all errors look the same."""

    helpful = ""
    """Whose ``--help`` tells more, where it is not this parser's own: options that nobody knows reach the outermost."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)  # a later option must not change what a script means

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(message, hint=f"see `{self.helpful or self.prog} --help`")


COMMANDS: Final = {
    "run": "run a WebAssembly module in a Keep",
    "deploy": "run a package, or a module, from a registry or a file",
    "ps": "list the Keeps that `deploy --detach` has left running",
    "logs": "show what a detached workload wrote",
    "inspect": "show what is known of a detached Keep",
    "stop": "stop a detached Keep",
    "rm": "remove what is left of a detached Keep that has ended",
    "manifest": "print the manifest of a launch, for policies and clients",
    "verify": "verify a Keep that serves: its certificate, the evidence in it, and what it runs",
    "trust": "show who has to be trusted: the layers under a workload, and what is proved about them",
    "bundle": "save what a Keep shows in one file, and judge it again later",
    "proxy": "an attested tunnel: plain connections in, verified TLS to a Keep out",
    "config": "work with Enarx.toml",
    "package": "build, encrypt, sign, publish and look at packages",
    "evidence": "look at evidence of a TEE, and verify it",
    "measure": "compute the launch measurement to expect",
    "key": "make and use signing keys",
    "sign": "sign what a Keep is launched from",
    "launch": "approve SEV launches while they happen, as their tenant",
    "steward": "run the service that attests Keeps and issues their certificates",
    "policy": "validate a Steward's policy, and explain its decisions",
    "image": "build the image of a VM Keep",
    "platform": "what this machine can launch Keeps with, and what to do about the rest",
    "simulator": "the SIMULATED secure processor of this machine",
    "demo": "an example workload proves itself, serves a page, and is found out when it is swapped",
}
"""Modules of this package, each of which adds the command of its name, and what it is for."""


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of ``command`` alone when it is one of ours, else one that lists them all: few imports either way."""
    parser = _Parser(
        prog="enarx",
        description="Run WebAssembly workloads in Keeps.",
        epilog="`enarx COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"enarx {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser,
        prog=parser.prog,  # argparse would format a usage line to find it, and import shutil and its codecs for that
    )  # fmt: skip
    if command in COMMANDS:
        import_module(f"enarx.cli.{command}").add_parser(commands)
        parser.helpful = f"{parser.prog} {command}"
    else:
        for name, purpose in COMMANDS.items():
            commands.add_parser(name, help=purpose)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, the workload's own, 2 for usage, or an error's.

    Without ``argv`` the command line is this process's own, which ends here: to take the interpreter apart first would
    cost as much time as to start it.
    """
    _open_standard_streams()
    status = _run(list(sys.argv[1:] if argv is None else argv))
    if argv is None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    return status


def _run(arguments: list[str]) -> int:
    try:
        own, workloads = _separate(arguments)
        parsed = _parser(own[0] if own else None).parse_args(own)
        if workloads:
            parsed.arguments = workloads
        if "run" not in parsed:  # only the list of commands was parsed
            raise UsageError("the command must be the first argument", hint="see `enarx --help`")
        status: int = parsed.run(parsed)
        _flush()
    except EnarxError as error:
        show_error(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return status


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed, or the next file, or link to a Keep, would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError("standard output cannot be written", code="stdout") from error


def _separate(arguments: list[str]) -> tuple[list[str], list[str]]:
    if arguments[:1] in (["run"], ["manifest"]):
        from enarx.cli.run import separate

        return separate(arguments)
    return arguments, []


def show_error(error: EnarxError) -> None:
    """Print an error: what happened, why, what to do, and its code."""
    lines = [f"Error: {error.message}"]
    cause = error.__cause__
    reason = cause.strerror if isinstance(cause, OSError) else str(cause or "")
    if reason and reason not in error.message:
        lines += ["", "Caused by:", f"    {reason}"]
    if error.hint:
        lines += ["", f"Hint: {error.hint}"]
    lines.append(f"Code: {error.code}")
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
