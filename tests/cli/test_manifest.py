"""``enarx manifest`` says what ``enarx run`` would launch with."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx import archive, envelope
from enarx.cli.main import main
from enarx.manifest import Allow, StewardPin, Workload, digest_of, parse
from tests import programs
from tests.archives import pack
from tests.keep.sealing import seal

PACKAGE = pack([("main.wasm", programs.HELLO)])
PIN = "sha256:" + 64 * "5"
STEWARD = ("--steward", "https://steward.example", "--steward-ca", PIN)


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "app.wasm").write_bytes(programs.HELLO)
    return str(tmp_path / "app.wasm")


def test_it_names_what_is_handed_over(module: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "Enarx.toml").write_text('args = ["one"]\n')
    options = ("--wasmcfgfile", str(tmp_path / "Enarx.toml"), "--env", "A=b", "--allow", "listen:443", "--verbose")
    assert main(["manifest", module, *STEWARD, *options, "--serve", "--digest"]) == 0
    found = parse(capfdbinary.readouterr().out)
    assert found.workload.digest == digest_of(programs.HELLO)
    assert found.config == digest_of(b'args = ["one"]\n')
    assert (found.args, found.env) == (("--serve", "--digest"), (("A", "b"),))
    assert found.steward == StewardPin("https://steward.example", PIN)
    assert found.allow == Allow((443,))


def test_its_digest_is_printed_and_it_is_written_as_it_is(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", "--digest", module, *STEWARD, "--", "--out"]) == 0
    digest = capsys.readouterr().out.strip()
    assert main(["manifest", module, "--out", str(tmp_path / "m.json"), *STEWARD, "--", "--out"]) == 0
    assert capsys.readouterr().out.strip() == digest == digest_of((tmp_path / "m.json").read_bytes())
    assert parse((tmp_path / "m.json").read_bytes()).args == ("--out",)


def test_an_empty_argument_is_the_workloads(module: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["manifest", *STEWARD, module, "", "--out"]) == 0
    assert parse(capfdbinary.readouterr().out).args == ("", "--out")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(PACKAGE, archive.MEDIA_TYPE), (seal(PACKAGE), envelope.MEDIA_TYPE)],
    ids=["plain", "encrypted"],
)
def test_it_names_a_package_as_deploy_hands_it_over(
    content: bytes, media_type: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "app.package"
    path.write_bytes(content)
    assert main(["manifest", str(path), *STEWARD]) == 0
    found = parse(capfdbinary.readouterr().out)
    assert (found.workload, found.config) == (Workload(digest_of(content), media_type), None)
    assert main(["manifest", str(path), *STEWARD, "--env", "A=b"]) == 2


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ((), 2, "usage"),
        (("--steward", "https://x"), 2, "usage"),
        (("--steward", "http://x", "--steward-ca", PIN), 3, "manifest-steward"),
        ((*STEWARD, "--allow", "listen"), 2, "usage"),
        ((*STEWARD, "--out", "/nonexistent/x"), 2, "file-unwritable"),
    ],
)
def test_what_no_launch_can_have_is_refused(
    options: tuple[str, ...], status: int, code: str, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", module, *options]) == status
    captured = capsys.readouterr()
    assert f"Code: {code}\n" in captured.err
    assert captured.out == ""
