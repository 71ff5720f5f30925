"""The Python in docs/client.md does what it says, against a Keep's own accepting side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.connect.keeps import KeepServer, client_files
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("keep_tls_env")
TEXT = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PRINTED = [
    ["GET /page HTTP/1.1", "True " + "ab" * 48],
    ["[200, 200, 200]"],
    ["GET /page HTTP/1.1", "b'HTTP/1.1 200 OK"],
    ["certificate-ca"],
]
"""What each block prints, or begins to: line by line."""


def test_every_block_is_expected_to_print_something() -> None:
    assert len(BLOCKS) == len(PRINTED)


@pytest.mark.parametrize(("block", "printed"), list(zip(BLOCKS, PRINTED, strict=True)), ids=range(len(BLOCKS)))
def test_documented_python_works(
    block: str,
    printed: list[str],
    server: KeepServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = block.replace("https://keep.example.com", server.url)
    exec(compile(code, "docs/client.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(printed)
    assert all(line.startswith(start) for line, start in zip(lines, printed, strict=True)), lines
