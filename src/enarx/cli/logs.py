"""``enarx logs``: what a detached workload wrote, and what its supervisor said of it."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from codecs import IncrementalDecoder

FOLLOW_SECONDS: Final = 0.1
"""How often --follow looks for more, in seconds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "logs",
        help="show what a detached workload wrote",
        description="Show the last of what a detached workload wrote: its standard output on standard output, its "
        "standard error, and what Enarx has to say, on standard error. Of each, at least the last MiB is kept.",
        epilog="What goes to a terminal is made printable: no control character of a workload's reaches it.",
    )
    parser.add_argument("name", metavar="NAME", help="its name, as `enarx ps` has it")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the workload has ended")
    streams = parser.add_mutually_exclusive_group()
    streams.add_argument("--stdout", action="store_true", help="standard output alone")
    streams.add_argument("--stderr", action="store_true", help="standard error alone")
    parser.add_argument("--raw", action="store_true", help="every byte as it is, to a terminal too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it, and with --follow what comes."""
    import sys

    from enarx.errors import HostError
    from enarx.host.deployments import Deployments, default_directory
    from enarx.host.logs import STREAMS, Reader

    deployments = Deployments(default_directory())
    seen = deployments.get(args.name)
    wanted = [name for name in STREAMS if not (args.stdout or args.stderr) or getattr(args, name)]
    outputs = [
        (Reader(seen.directory, name), _Output(sys.stdout if name == "stdout" else sys.stderr, args.raw))
        for name in wanted
    ]
    while True:
        living = seen.living  # asked before reading: what an ended workload wrote is all there
        for reader, output in outputs:
            for part in reader.parts():
                output.write(part)
            output.flush()
        if not (args.follow and living):
            break
        time.sleep(FOLLOW_SECONDS)
        try:
            seen = deployments.get(args.name)
        except HostError:  # it was removed
            break
    return 0


class _Output:
    """Where a stream goes: as it is, or, to a terminal, without what could drive it."""

    def __init__(self, stream: TextIO, raw: bool) -> None:
        self._stream = stream
        self._decoder: IncrementalDecoder | None = None
        if not raw and stream.isatty():
            import codecs

            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        if self._decoder is None:
            self._stream.buffer.write(data)
        else:
            from enarx.host.contract import printable

            self._stream.write("\t".join(map(printable, self._decoder.decode(data).split("\t"))))

    def flush(self) -> None:
        self._stream.flush()
