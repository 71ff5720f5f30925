"""The example servers and tools, run as their README says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import workloads
from tests.e2e import peers

pytestmark = pytest.mark.usefixtures("both_links")


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[workloads.Server]:
    with workloads.serving(workloads.example("echo"), workloads.example_config("echo"), cwd=tmp_path) as server:
        yield server


def test_hello_prints_its_line_and_has_two_descriptors(tmp_path: Path) -> None:
    done = workloads.run(workloads.example("hello"), cwd=tmp_path, config=workloads.example_config("hello"))
    assert (done.returncode, done.stdout) == (0, b"Hello from inside a Keep!\n")


def test_echo_serves_tls_and_tcp_at_once(echo: workloads.Server) -> None:
    tls, tcp = echo.ports
    with peers.client(tls, tls=True) as one, peers.client(tcp, tls=False) as other:
        for sock in (one, other, one, other):
            assert peers.echoed(sock, b"hello") == b"hello"
    assert echo.stop() == 130


def test_echo_returns_what_a_client_sent_before_it_finished(echo: workloads.Server) -> None:
    import socket

    data = bytes(range(256)) * 4000
    with socket.create_connection((workloads.ADDRESS, echo.ports[0]), workloads.SECONDS) as plain:
        half = peers.HalfClosing(plain)
        half.send(data[:1000])
        half.finish()
        assert half.receive_to_the_end() == data[:1000]


def test_echo_without_a_socket_says_what_it_misses(tmp_path: Path) -> None:
    done = workloads.run(workloads.example("echo"), cwd=tmp_path)
    assert done.returncode == 1
    assert b'echo: Enarx.toml gives no socket whose name begins with "listen"' in done.stderr


def test_echo_by_openssl_as_its_readme_says(require_tool: Callable[[str, str], Path], echo: workloads.Server) -> None:
    """s_client sends the line, then close_notify at the end of its input, and prints what comes until then."""
    openssl = require_tool("openssl", "openssl")
    process = subprocess.Popen(
        [openssl, "s_client", "-connect", f"127.0.0.1:{echo.port}", "-tls1_3", "-quiet"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"a line\n"
    finally:
        process.kill()
        process.communicate()


def test_rust_echo_returns_lines_and_survives_clients_that_vanish(tmp_path: Path) -> None:
    module, config = workloads.example("rust-echo"), workloads.example_config("rust-echo")
    with workloads.serving(module, config, cwd=tmp_path) as server:
        with peers.client(server.port, tls=True) as sock:
            assert peers.echoed(sock, b"one\ntwo\n") == b"one\ntwo\n"
            sock.sendall(b"cut of")
            sock.shutdown(2)  # under TLS, without close_notify
        with peers.client(server.port, tls=True) as sock:
            assert peers.echoed(sock, b"three\n") == b"three\n"
        server.stop()
    assert "rust-echo: a client went away: " in server.stderr


# --- files


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "sub" / "deeper").mkdir(parents=True)
    (site / "a.txt").write_text("alpha\n")
    (site / "sub" / "b.bin").write_bytes(bytes(range(256)) * 1000)
    (site / "link").symlink_to("a.txt")
    return site


def files(site: Path, command: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return workloads.run(
        workloads.example("files"), *command.split(), cwd=site.parent, config=workloads.example_config("files"),
        options=["--dir", "site::/"], data=data,
    )  # fmt: skip


def test_files_shows_the_tree_it_was_given(site: Path) -> None:
    done = files(site, "tree /")
    assert done.returncode == 0, done.stderr.decode()
    expected = "/\n|-- a.txt\n|-- link -> a.txt\n`-- sub/\n    |-- b.bin\n    `-- deeper/\n"
    assert done.stdout.decode() == expected


def test_files_lists_kinds_links_sizes_and_names(site: Path) -> None:
    done = files(site, "ln /a.txt /other , ls / , ls /sub/b.bin")
    assert [line.split() for line in done.stdout.decode().splitlines()] == [
        ["-", "2", "6", "a.txt"],
        ["l", "1", "5", "link", "->", "a.txt"],
        ["-", "2", "6", "other"],
        ["d", "3", "0", "sub"],
        ["-", "1", "256000", "/sub/b.bin"],
    ]


def test_files_copies_moves_links_and_removes_in_the_keep_alone(site: Path) -> None:
    before = sorted(path.relative_to(site) for path in site.rglob("*"))
    done = files(
        site,
        "mkdir /new , cp /sub/b.bin /new/copy , mv /new/copy /new/moved , rm /a.txt , ln -s moved /new/soft , "
        "rm -r /sub , tree / , cat /new/soft",
    )
    assert done.returncode == 0, done.stderr.decode()
    listing, _, content = done.stdout.partition(b"\x00")
    assert listing.decode() == "/\n|-- link -> a.txt\n`-- new/\n    |-- moved\n    `-- soft -> moved\n"
    assert b"\x00" + content == bytes(range(256)) * 1000
    assert sorted(path.relative_to(site) for path in site.rglob("*")) == before
    assert (site / "a.txt").read_text() == "alpha\n"


def test_files_writes_what_comes_on_stdin(site: Path) -> None:
    data = b"written\n" * 50_000
    done = files(site, "write /sub/new , cp /sub/new /sub/again , cat /sub/again", data)
    assert (done.returncode, done.stdout == data) == (0, True)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("cat /none", 1, "files: cat: /none: No such file or directory"),
        ("rm /sub", 1, "files: rm: /sub: Is a directory"),
        ("mkdir /a.txt", 1, "files: mkdir: /a.txt: File exists"),
        ("cp /a.txt /link", 1, "files: cp: /a.txt and /link are the same file"),
        ("ls /a.txt/x", 1, "files: ls: /a.txt/x: Not a directory"),
        ("ln -s", 2, "usage: files COMMAND"),
        ("frobnicate", 2, "usage: files COMMAND"),
        ("mv /sub /sub/inner", 1, "files: mv: /sub: Invalid argument"),
    ],
)
def test_files_says_what_fails(command: str, status: int, said: str, site: Path) -> None:
    done = files(site, f"{command} , ls /")
    assert (done.returncode, done.stdout) == (status, b"")  # what follows a failure is not done
    assert said in done.stderr.decode()


def test_files_may_not_write_more_than_its_config_allows(site: Path) -> None:
    done = files(site, "write /big", bytes(17 << 20))
    assert done.returncode == 124
    assert "Code: limit-filesystem\n" in done.stderr.decode()


# --- Go


def test_go_http_serves_many_clients(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    """One test for all: the module has nine megabytes."""
    import socket
    import threading

    curl = require_tool("curl", "curl")

    def ask(port: int, *options: str) -> str:
        done = subprocess.run(
            [curl, "--silent", "--insecure", *options], capture_output=True, text=True, timeout=workloads.SECONDS,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    module, config = workloads.example("go-http"), workloads.example_config("go-http")
    with workloads.serving(module, config, cwd=tmp_path) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert "on wasip1/wasm, inside a Keep.\n" in ask(server.port, f"{url}/")
        assert ask(server.port, "--data", "in upper case", f"{url}/upper") == "IN UPPER CASE"
        assert ask(server.port, "--output", "/dev/null", "--write-out", "%{http_code}", f"{url}/none") == "404"
        large = tmp_path / "large"
        large.write_bytes(b"x" * ((1 << 20) + 1))
        told = ask(server.port, "--data-binary", f"@{large}", "--write-out", " %{http_code}", f"{url}/upper")
        assert told == "at most 1 MiB\n 413"
        with socket.create_connection((workloads.ADDRESS, server.port)):  # says nothing, meanwhile
            answers: list[str] = []
            threads = [
                threading.Thread(target=lambda: answers.append(ask(server.port, "--data", "a" * 9999, f"{url}/upper")))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(workloads.SECONDS)
            assert answers == ["A" * 9999] * 8
        assert server.stop() == 130
