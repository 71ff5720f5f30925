"""The reference of the command line, from the parsers themselves."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from importlib import import_module
from unittest import mock

from scripts.site.markdown import cell, plain, slug, table

SETTINGS = ("ENARX_", "STEWARD_")
"""Beginnings of environment variables that defaults are taken from, which must not be those of whoever builds."""
USAGE_COLUMNS = "100"


def page() -> str:
    """Markdown: each command and each of its subcommands, with usage, arguments and options."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    with mock.patch.dict(os.environ, kept | {"COLUMNS": USAGE_COLUMNS}, clear=True):
        return "\n".join(line for parser in commands() for line in section(parser))


def commands() -> Iterator[argparse.ArgumentParser]:
    """The parser of every command, in the order of ``enarx --help``."""
    from enarx.cli.main import COMMANDS

    for name in COMMANDS:
        top = argparse.ArgumentParser(prog="enarx")
        inner = top.add_subparsers(prog=top.prog)
        import_module(f"enarx.cli.{name}").add_parser(inner)
        yield inner.choices[name]


def section(parser: argparse.ArgumentParser, purpose: str = "", level: int = 2) -> Iterator[str]:
    """One command, and those below it."""
    yield f"({slug(parser.prog)})="
    yield f"{'#' * level} `{parser.prog}`"
    yield ""
    yield plain(parser.description or _sentence(purpose))
    yield ""
    yield "```text"
    yield parser.format_usage().removeprefix("usage: ").rstrip()
    yield "```"
    yield ""
    below: list[tuple[argparse.ArgumentParser, str]] = []
    rows: list[tuple[str, str]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {one.dest: one.help or "" for one in action._choices_actions}
            first = {id(one): name for name, one in reversed(action.choices.items())}  # the others are aliases
            below += [(one, said.get(name, "")) for name, one in action.choices.items() if first[id(one)] == name]
        elif action.dest != "help" and action.help is not argparse.SUPPRESS:
            rows.append((_invocation(action), _help(parser, action)))
    yield from table(("argument", "what it does"), rows)
    if parser.epilog:
        yield plain(_sentence(parser.epilog))
        yield ""
    for one, said_of_it in below:
        yield from section(one, said_of_it, min(level + 1, 4))


def _invocation(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.metavar is None and action.choices is not None:
        shown = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return cell(f"`{shown}`")
    value = "" if action.nargs == 0 else f" {shown}"
    return cell(", ".join(f"`{option}{value}`" for option in action.option_strings))


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    known = {**vars(action), "prog": parser.prog}
    if action.choices is not None:
        known["choices"] = ", ".join(map(str, action.choices))
    said = (action.help or "") % known
    return cell(plain(f"{said} (required)" if action.required and action.option_strings else said))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
