"""``enarx``: the command line's entry, and the one place where errors become words and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from enarx import __version__
from enarx.errors import EnarxError, UsageError


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing and exiting, so that all errors look the same."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    from enarx.cli import config, demo, evidence, key, measure, run, sign

    parser = _Parser(
        prog="enarx",
        description="Run WebAssembly workloads in Keeps.",
        epilog="`enarx COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"enarx {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in (run, config, evidence, measure, key, sign, demo):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, the workload's own, 2 for usage, or an error's."""
    try:
        arguments = list(sys.argv[1:] if argv is None else argv)
        parsed = _parser().parse_args(_hide_workload_arguments(arguments))
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except EnarxError as error:
        show_error(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return status


def _hide_workload_arguments(arguments: list[str]) -> list[str]:
    if arguments[:1] == ["run"]:
        from enarx.cli.run import separate

        return separate(arguments)
    return arguments


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
