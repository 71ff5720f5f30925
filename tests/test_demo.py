"""``enarx demo``, run as a user runs it, and what is left behind when it is cut short."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from enarx.cli.page_text import text_of_page
from tests import images, support, workloads

DEMO = [str(support.INSTALLED), "demo"]
MACHINE = workloads.CACHE.parent / "test-machine"
"""Data and cache of the machine that demos run on: making its simulated processor takes seconds, once."""


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    done = subprocess.run([support.INSTALLED, "simulator", "root"], env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def environment() -> dict[str, str]:
    return workloads.environment() | {"XDG_DATA_HOME": str(MACHINE / "data"), "XDG_CACHE_HOME": str(MACHINE / "cache")}


def run_demo(*arguments: str, seconds: float = workloads.SECONDS, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*DEMO, *arguments], env=environment() | env, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=seconds, check=False,
    )  # fmt: skip


def children_of(pid: int) -> list[int]:
    """Its child processes, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children_of(child)]
    return found


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + workloads.SECONDS
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, f"still there: {pids}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Not gone, and not merely waiting for somebody to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_demo_shows_what_each_party_did_and_what_it_proved() -> None:
    done = run_demo()
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode()
    steps = re.findall(r"^ *\d+\.\d\d s  (\w+): (.*(?:\n {10}.*)*)", said, re.MULTILINE)
    flat = [(who, re.sub(r"\s+", " ", what)) for who, what in steps]
    expected = [
        ("Tenant", "a policy that accepts a Keep of measurement"),
        ("Steward", "it serves https://127.0.0.1:"),
        ("Host", "enarx run https-page.wasm --steward https://127.0.0.1:"),
        ("Keep", "the Steward accepted it and certified its key"),
        ("Client", "TLS 1.3, TLS_"),
        ("Client", "a SIMULATED SEV-SNP report"),
        ("Client", "evidence and certificate name manifest sha256:"),
        ("Client", "200 OK"),
        ("Host", "another workload in its place"),
        ("Keep", "the workload never ran: the Steward refused this Keep: refused by policy: workload: expected"),
        ("Steward", "its log of decisions is valid: 3 entries"),
    ]
    assert [who for who, _ in flat] == [who for who, _ in expected]
    for (_, what), (_, word) in zip(flat, expected, strict=True):
        assert word in what
    assert "  | Enarx: this page came out of a Keep" in said
    assert "  | Request: GET / HTTP/1.1" in said
    assert "SIMULATED: a process Keep has no hardware behind it" in " ".join(said.split())
    assert "\x1b" not in said


def test_demo_ends_with_who_had_to_be_trusted() -> None:
    said = run_demo().stdout.decode().partition("Who has to be trusted?")[2]
    assert "Process Keep (SIMULATED) (from its evidence)" in said
    assert "Nothing is proved about the host" in " ".join(said.split())
    assert re.search(r"^ \[C\] Hypervisor +Cloud provider +● assumed$", said, re.MULTILINE)
    assert "9 of 9 layers have to be trusted: 0 proved" in said


def test_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    done = run_demo(TMPDIR=str(tmp_path))
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
    ports = [int(port) for port in re.findall(rb"127\.0\.0\.1:\s*(\d+)", done.stdout)]
    assert len(set(ports)) == 2  # the Steward's and the Keep's
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((workloads.ADDRESS, port), workloads.SECONDS)


@pytest.mark.parametrize("columns", [24, 40, 200])
def test_demo_fits_the_terminal(columns: int) -> None:
    done = run_demo(COLUMNS=str(columns))
    assert done.returncode == 0
    # A word that is longer than the line is the terminal's own to break, but here none is.
    longest = max((line for line in done.stdout.decode().splitlines()), key=len)
    assert len(longest) <= min(columns, 88), longest


def test_demo_works_where_the_terminal_has_no_unicode() -> None:
    done = run_demo(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr.decode()


def test_demo_says_which_port_is_taken() -> None:
    with socket.create_server((workloads.ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        done = run_demo("--port", str(port))
    said = done.stderr.decode()
    assert done.returncode == 1
    assert f"Error: failed to setup listening socket on 127.0.0.1:{port}: Address already in use" in said
    assert "Code: listen-failed" in said


@pytest.mark.parametrize("port", ["65536", "-1", "x", "1e3", "١"])
def test_demo_refuses_what_is_no_port(port: str) -> None:
    done = run_demo(f"--port={port}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Code: usage" in done.stderr


def test_demo_says_when_the_keep_does_not_start(tmp_path: Path) -> None:
    """A Keep that lacks its libraries: the demo's own process has none of them to need."""
    broken = tmp_path / "wasmtime"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('broken for this test')\n")
    done = run_demo(PYTHONPATH=str(tmp_path))
    said = done.stderr.decode()
    assert done.returncode == 1
    assert said.startswith("Error: the Keep ended unexpectedly")
    assert "Code: keep-died" in said


class Demo:
    """``enarx demo --keep-open`` while it serves."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [*DEMO, "--keep-open"], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.port = 0
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match = re.fullmatch(r"Serving https://localhost:(\d+)/ until Ctrl-C\n", line)
            if match:
                self.port = int(match[1])
                break
        self.children = children_of(self.process.pid)

    def end(self) -> tuple[int, str]:
        _, stderr = self.process.communicate(timeout=workloads.SECONDS)
        wait_until_gone(self.children)
        return self.process.returncode, stderr


@pytest.fixture
def demo() -> Demo:
    demo = Demo()
    assert demo.port
    assert len(demo.children) >= 3  # the Steward, `enarx run`, and the Keep
    return demo


def test_demo_that_is_kept_open_serves_until_ctrl_c(demo: Demo) -> None:
    certificate = ssl.get_server_certificate((workloads.ADDRESS, demo.port))
    assert certificate.startswith("-----BEGIN CERTIFICATE-----")
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_outlives_a_demo_that_is_ended(demo: Demo, number: signal.Signals) -> None:
    demo.process.send_signal(number)
    status, stderr = demo.end()
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in stderr


def test_demo_says_when_the_keep_ends_while_it_is_kept_open(demo: Demo) -> None:
    run = next(pid for pid in demo.children if "run" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    os.kill(run, signal.SIGKILL)
    status, stderr = demo.end()
    assert status == 1
    assert "Error: the Keep ended by itself with exit status -9" in stderr
    assert "Code: demo-keep" in stderr


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.0, 1.4, 1.8])
def test_ctrl_c_at_any_moment_leaves_nothing(delay: float) -> None:
    process = subprocess.Popen(
        DEMO, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(0.1 + delay)
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=workloads.SECONDS)
    wait_until_gone(children)
    if b"Fatal Python error: init_" not in stderr:  # the interpreter itself was not ready: it says so, and ends with 1
        assert process.returncode in (130, 0, -2)  # before it began to listen to signals, or after all was done
    if process.returncode == 130:
        assert stderr == b""


def test_demo_module_is_part_of_the_package() -> None:
    assert (files("enarx") / "data" / "https-page.wasm").read_bytes().startswith(b"\0asm")


def test_demo_imports_nothing_from_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "enarx").mkdir()
    (tmp_path / "enarx" / "__init__.py").write_text("raise SystemExit('from the wrong place')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "enarx.cli.main", "demo"], cwd=tmp_path, env=environment(),
        capture_output=True, timeout=workloads.SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


# --- the words of a page


def test_text_of_page_has_title_paragraphs_and_facts() -> None:
    page = text_of_page(
        "<title>A &amp; B</title><style>p { x }</style><h1>One\n <em>two</em></h1><p>three<p>four"
        "<dl><dt>name</dt><dd>va<b>lue</b></dd></dl><script>five</script>"
    )
    assert page.title == "A & B"
    assert page.paragraphs == ["One two", "three", "four"]
    assert page.facts == [("name", "value")]


@pytest.mark.parametrize("html", ["", "<", "<p", "</p></p>", "<style>", "<!doctype", "<p>" * 5000, "\0\x1b[2J"])
def test_text_of_page_survives_bad_html(html: str) -> None:
    page = text_of_page(html)
    assert page.paragraphs in ([], [html])


@pytest.mark.timeout(600)
def test_the_whole_flow_runs_in_virtual_machines_as_well() -> None:
    image = str(images.stock_image())
    done = run_demo("--backend", "vm", "--image", image, seconds=500, ENARX_ACCEL="tcg", COLUMNS="200")
    assert done.returncode == 0, done.stderr.decode()
    said = " ".join(done.stdout.decode().split())
    assert "SIMULATED: a Keep in a plain virtual machine has no hardware behind it." in said
    assert "HTTP/1.1 200 OK" in said
    assert "the workload never ran: the Steward refused this Keep" in said


def test_an_image_is_for_a_virtual_machine_and_has_to_be_there(tmp_path: Path) -> None:
    for arguments, code in ((["--image", "x"], b"usage"), (["--backend", "vm", "--image", "x"], b"image-missing")):
        done = run_demo(*arguments)
        assert done.returncode in (1, 2)
        assert b"Code: " + code in done.stderr
