"""``enarx proxy`` as a user runs it: where it listens, and what keeps it from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.cli.main import main
from enarx.cli.proxy import listening_place
from enarx.errors import UsageError
from tests.connect.keeps import Files, KeepServer, client_files
from tests.tenant.keeps import policy_text

pytestmark = pytest.mark.usefixtures("keep_tls_env")


@pytest.fixture
def server() -> Iterator[KeepServer]:
    with KeepServer() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return client_files(tmp_path)


def proxy(url: str, files: Files, *more: str, listen: str = "127.0.0.1:0") -> int:
    options = ["--policy", str(files.policy), "--manifest", str(files.manifest), *more]
    return main(["proxy", url, "--listen", listen, *options])


@pytest.mark.parametrize(
    ("text", "place"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("127.9.9.9:65535", ("127.9.9.9", 65535))],
)
def test_addresses_of_this_machine_are_taken(text: str, place: tuple[str, int]) -> None:
    assert listening_place(text, expose=False) == place


@pytest.mark.parametrize(
    "text", ["8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        listening_place(text, expose=True)
    assert caught.value.code == "usage-listen"


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"])
def test_addresses_that_others_reach_must_be_meant(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        listening_place(text, expose=False)
    assert caught.value.code == "proxy-exposed"
    assert listening_place(text, expose=True)


def test_nothing_listens_in_front_of_a_refused_keep(
    server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.policy.write_text(policy_text().replace("ab" * 48, "cd" * 48))
    assert proxy(server.url, files) == 5
    said = capsys.readouterr()
    assert "Code: measurement-mismatch" in said.err
    assert said.out == ""
    assert proxy("https://localhost:1", files) == 1
    assert "Code: keep-unreachable" in capsys.readouterr().err


def test_a_port_that_is_taken_is_an_error(server: KeepServer, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert proxy(server.url, files, listen=f"127.0.0.1:{server.port}") == 1
    assert "Code: proxy-listen" in capsys.readouterr().err


def test_wrong_usage_is_an_error(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    for url, more, code in (
        ("http://localhost", [], "usage-url"),
        ("https://localhost", ["--connections", "0"], "usage"),
        ("https://localhost", ["--ca", "sha256:1"], "ca-digest"),
    ):
        assert proxy(url, files, *more) == 2
        assert f"Code: {code}\n" in capsys.readouterr().err
