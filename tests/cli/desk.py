"""A desk with evidence on it: files that a test gives to ``enarx evidence``."""

from __future__ import annotations

from pathlib import Path

from enarx.cli.main import main
from tests.evidence.snp.forge import Machine, Vendor


def enarx(*arguments: str | Path) -> int:
    """What the command line's entry does with these arguments: the exit status of the command or of its error."""
    return main(["evidence", *map(str, arguments)])


class Desk:
    """A directory with a forged machine's report and certificates. The forged vendor is no accepted root, so what is
    to be accepted is taken from the published package."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = Machine(Vendor())

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path
