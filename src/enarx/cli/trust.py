"""``enarx trust``: the layers under a workload, whose each is, and what is proved, assumed or not protected.

Exit statuses: 0 shown, and evidence where there was some was accepted or, without a policy, is genuine; 1 nobody there;
2 usage; 3 malformed, 4 not authentic, 5 refused by the policy, 6 collateral: these after the stack has been shown, with
nothing established. ``--json`` prints the object that ``enarx.trust.jsonform`` documents.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from enarx.cli.terminal import can_show, showable
from enarx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from enarx.cli.trustevidence import Seen
    from enarx.trust.model import Stack
    from enarx.trust.terminal import Style
    from enarx.trust.words import Words

COLUMNS_MAX: Final = 6
"""Stacks side by side (count)."""
KEEPS: Final = ("process", "vm", "snp", "sev", "sev-es", "tdx")
CHOICES: Final = ("vm", "container", "keep", *(f"keep-{kind}" for kind in KEEPS))
"""What can be compared. ``keep`` is the Keep that is looked at, or else one on SEV-SNP as it is built."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "trust",
        help="show who has to be trusted: the layers under a workload, and what is proved about them",
        description="Show the layers under a workload, whose each is, and what is proved, assumed or not protected: of "
        "a Keep that serves, of evidence in a file, of this machine, or of kinds of things as they are built.",
        epilog="exit status: 0 shown, 1 nobody there, 2 usage; after showing what is left when evidence is not "
        "accepted: 3 malformed, 4 not authentic, 5 refused, 6 collateral",
    )
    parser.add_argument("subject", metavar="URL", nargs="?", help="https://HOST:PORT of a Keep that serves")
    parser.add_argument(
        "--evidence", metavar="FILE",
        help="an SEV-SNP report (with --vcek, --vlek or --certs), a chain that a Keep has shown, or SEV certificates",
    )  # fmt: skip
    parser.add_argument("--bundle", metavar="FILE", help="what `enarx bundle save` has written")
    parser.add_argument("--host", action="store_true", help="this machine, by its own account")
    parser.add_argument(
        "--compare", metavar="LIST", help=f"show these side by side: {', '.join(CHOICES[:3])}, or keep-KIND of "
        f"{', '.join(KEEPS)}",
    )  # fmt: skip
    parser.add_argument("--policy", metavar="FILE", help="judge evidence by this policy; without, little is proved")
    parser.add_argument("--manifest", metavar="FILE", help="manifest of the launch that is expected")
    parser.add_argument("--ca", metavar="DIGEST|FILE", help="the Steward's CA that is trusted")
    parser.add_argument("--chain", metavar="FILE", help="ASK (or ASVK) and ARK; default: the embedded ones")
    parser.add_argument("--crl", metavar="FILE", action="append", default=[], help="revocation list, DER or PEM")
    parser.add_argument("--signature", metavar="FILE", action="append", default=[], help="signature of the package")
    endorsement = parser.add_mutually_exclusive_group()
    endorsement.add_argument("--vcek", metavar="FILE", help="VCEK certificate of the chip, for a report")
    endorsement.add_argument("--vlek", metavar="FILE", help="VLEK certificate of the provider, for a report")
    endorsement.add_argument("--certs", metavar="FILE", help="certificate table from an extended report")
    parser.add_argument(
        "--fresh", action="store_true", help="also demand fresh evidence, over this TLS session and a nonce"
    )
    parser.add_argument("--at", metavar="TIME", help="judge as of this time (2025-01-09T22:14:21Z); default: now")
    parser.add_argument(
        "--sbom", metavar="FILE", help="bill of materials (CycloneDX) of the image or package, for versions and digests"
    )
    parser.add_argument("--lang", choices=("en", "ja"), default="en", help="language (default: en)")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="colours on a terminal (default: auto: where there is one, and NO_COLOR is not set)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--html", metavar="FILE", help="write a page instead, in one file that needs no other")
    parser.add_argument("--svg", metavar="FILE", help="write a picture instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the stacks; returns the exit status. Raises EnarxError when there is nothing to show."""
    from enarx.trust.words import Words

    seen = _subject(args)
    stacks = _stacks(args, seen)
    words = Words(args.lang)
    if args.html or args.svg:
        _write(args, stacks, words)
    elif args.json:
        import json

        from enarx.trust.jsonform import as_json

        print(json.dumps(as_json(stacks, words)))
    else:
        from enarx.trust.terminal import render

        print_lines(render(stacks, words, terminal_style(args.color)))
    error = seen.error if seen else None
    if error is not None and not args.json:
        from enarx.cli.main import show_error

        show_error(error)
    return error.exit_status if error else 0


def _subject(args: argparse.Namespace) -> Seen | None:
    """What is looked at, where anything is."""
    from enarx.cli import trustevidence

    given = [name for name in ("subject", "evidence", "bundle", "host") if getattr(args, name)]
    if len(given) > 1 or not (given or args.compare):
        raise UsageError(
            "one of URL, --evidence, --bundle and --host says what to look at, or --compare what to show",
            code="usage",
            hint="try `enarx trust --compare vm,container,keep`",
        )
    if given == ["subject"]:
        return trustevidence.served(args)
    if given == ["evidence"]:
        from enarx.cli.trustfile import in_file

        return in_file(args)
    if given == ["bundle"]:
        return trustevidence.in_bundle(args)
    for option in ("policy", "manifest", "ca", "chain", "crl", "signature", "vcek", "vlek", "certs", "at", "fresh"):
        if getattr(args, option):
            raise UsageError(f"--{option} goes with a URL, --evidence or --bundle", code="usage", hint="name the Keep")
    if args.host:
        from enarx.cli.trusthost import this_machine
        from enarx.host.platform.machine import Machine

        return trustevidence.Seen(this_machine(Machine()), None)
    return None


def _stacks(args: argparse.Namespace, seen: Seen | None) -> Sequence[Stack]:
    """The subject and what it is compared with, in the order that was asked for."""
    looked_at = _with_sbom(args, seen.stack) if seen else None
    if not args.compare:
        assert looked_at is not None  # noqa: S101 - the command line names one or the other
        return (looked_at,)
    names = args.compare.split(",")
    found: list[Stack] = []
    for name in names:
        if name == "keep" and looked_at is not None and not args.host:
            found.append(looked_at)
            looked_at = None
        else:
            found.append(_by_name(args, name))
    if looked_at is not None:
        found.append(looked_at)
    if len(found) > COLUMNS_MAX or len(set(names)) != len(names):
        raise UsageError(
            f"--compare {args.compare} names one twice, or comes to more than {COLUMNS_MAX}", code="usage",
            hint="try --compare vm,container,keep",
        )  # fmt: skip
    return found


def _by_name(args: argparse.Namespace, name: str) -> Stack:
    from enarx.trust import classic, keep
    from enarx.trust.model import Kind

    if name == "vm":
        return classic.vm()
    if name == "container":
        return classic.container()
    if name not in CHOICES:
        raise UsageError(
            f"--compare has no {name[:40]!r}", code="usage", hint=f"a list, with commas, of: {', '.join(CHOICES)}"
        )
    stack = keep.design(Kind.SNP if name == "keep" else Kind(name))
    return _with_sbom(args, stack) if name == "keep" else stack


def _with_sbom(args: argparse.Namespace, stack: Stack) -> Stack:
    """The stack with the components of ``--sbom`` on the layers that they are of."""
    from enarx.cli.keyfile import read_input
    from enarx.trust.bom import BOM_MAX_BYTES, read_bom
    from enarx.trust.model import Fact, Layer, Source, Status

    if not args.sbom:
        return stack
    bom = read_bom(read_input(args.sbom, BOM_MAX_BYTES, "bill of materials"))
    present = {row.place for row in stack.rows if row.status is not Status.ABSENT}
    for layer, facts in bom.facts.items():
        stack = stack.with_versions(layer if layer in present else Layer.USERLAND, facts)
    return stack.with_versions(Layer.MIDDLEWARE, [Fact("fact.digests", str(bom.files), Source.SBOM)])


def _write(args: argparse.Namespace, stacks: Sequence[Stack], words: Words) -> None:
    from datetime import UTC, datetime

    from enarx.cli.keyfile import write_output

    now = datetime.now(UTC)
    if args.html:
        from enarx.trust.page import page

        write_output(None if args.html == "-" else args.html, page(stacks, words, now).encode())
    if args.svg:
        from enarx.trust.picture import picture

        write_output(None if args.svg == "-" else args.svg, picture(stacks, words).encode())


def terminal_style(color: str = "auto") -> Style:
    """How this terminal shows a stack. ``NO_COLOR`` (no-color.org) and ``TERM=dumb`` mean no colours, if not asked."""
    import shutil

    from enarx.trust.terminal import SYMBOLS, Style

    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colored = color == "always" or (color == "auto" and sys.stdout.isatty() and not plain)
    return Style(shutil.get_terminal_size((88, 24)).columns, colored, ascii_only=not can_show(SYMBOLS))


def print_lines(lines: Iterable[str]) -> None:
    """Print, with a question mark for each character that the terminal's encoding does not have."""
    for line in lines:
        print(showable(line))
