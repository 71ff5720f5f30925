"""``enarx platform``: what this machine can launch Keeps with, and what to do about the rest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from enarx.cli.terminal import can_show, showable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from enarx.host.platform.rows import Row
    from enarx.host.platform.survey import Survey

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MARKS: Final = ("✔", "✗", "-")
"""Passes; does not, and is required; does not, and is not required."""
PLAIN_MARKS: Final = ("+", "x", "-")
"""The same for a terminal that cannot show them."""


def add_parser(subparsers: Subparsers) -> None:
    """Add ``platform info``."""
    actions = subparsers.add_parser(
        "platform", help="what this machine can launch Keeps with, and what to do about the rest"
    ).add_subparsers(dest="action", required=True, metavar="ACTION")
    info = actions.add_parser(
        "info",
        help="look at processor, firmware, kernel, devices, QEMU and image, for each kind of Keep",
        description="Look at processor, firmware, kernel, devices, QEMU and image, for each kind of Keep. Nothing is "
        "launched or changed.",
        epilog="Exit status: 0 whatever was found. `have` in the JSON says which kinds of Keep can be launched.",
    )
    info.add_argument("-j", "--json", action="store_true", help="print JSON, as docs/platform.md describes it")
    info.add_argument("--image", metavar="DIR", help="the image to be launched (default: $ENARX_IMAGE or the user's)")
    info.add_argument("--firmware", metavar="FILE", help="firmware to be launched instead of the image's")
    info.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> int:
    from enarx.host.platform.machine import Machine
    from enarx.host.platform.survey import gather, survey

    found = survey(gather(Machine(), image=args.image, firmware=args.firmware))
    if args.json:
        import json

        print(json.dumps(found.as_json(), indent=2))
        return 0
    marks = MARKS if can_show("".join(MARKS)) else PLAIN_MARKS
    for line in render(found, marks):
        print(showable(line))
    return 0


def render(found: Survey, marks: tuple[str, str, str] = MARKS) -> Iterator[str]:
    """The survey for a terminal, line by line."""
    from enarx import __version__
    from enarx.host.contract import printable

    yield f"Enarx version {__version__}"
    yield printable(f"System Info: {found.system}").replace("\n", " ")
    yield ""
    yield "This machine"
    yield from _lines(found.machine, marks, 1)
    for backend in found.backends:
        yield ""
        yield f"{marks[0] if backend.have else marks[1]} Backend: {backend.name}"
        yield from _lines(backend.rows, marks, 1)


def _lines(rows: Iterable[Row], marks: tuple[str, str, str], depth: int) -> Iterator[str]:
    from enarx.host.contract import printable

    indent = "  " * depth
    for row in rows:
        mark = marks[0] if row.passed else marks[1] if row.required else marks[2]
        info = f": {row.info}" if row.info else ""
        yield printable(f"{indent}{mark} {row.name}{info}").replace("\n", " ")
        if row.advice:
            yield printable(f"{indent}    {row.advice}").replace("\n", " ")
        yield from _lines(row.rows, marks, depth + 1)
