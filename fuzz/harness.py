"""What the fuzz targets share: readers chosen by an input's first byte, seeds, and what ends a run.

A reader takes bytes and may raise nothing but the errors of ``enarx.errors``; anything else that leaves it ends the
run, and so does a broken promise, an input that takes longer than ``-timeout`` or more memory than ``-rss_limit_mb``
(libFuzzer's options, set by ``make fuzz``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import atheris

from enarx.errors import EnarxError

Reader = Callable[[bytes], None]
Seed = tuple[Reader, bytes]


class BrokenPromiseError(Exception):
    """A reader returned something that it promises not to return."""


def expect(promise: bool) -> None:
    """Raise BrokenPromiseError, which ends the run, unless the promise was kept."""
    if not promise:
        raise BrokenPromiseError


def fuzz(readers: Sequence[Reader], seeds: Callable[[], Iterable[Seed]]) -> None:
    """Fuzz with libFuzzer's options from the command line; the first argument that is no option is the corpus.

    The corpus gets new seeds: well-formed inputs, signed with keys of this process, so that the fuzzer starts behind
    the first checks. A file in its place is an input to be run once, such as one that ended an earlier run.
    """

    def one_input(data: bytes) -> None:
        if not data:
            return
        try:
            readers[data[0] % len(readers)](data[1:])
        except EnarxError:
            return

    corpus = next((Path(one) for one in sys.argv[1:] if not one.startswith("-")), None)
    if corpus is not None and not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for i, (reader, data) in enumerate(seeds()):
            (corpus / f"seed-{i:02}").write_bytes(bytes((readers.index(reader),)) + data)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
