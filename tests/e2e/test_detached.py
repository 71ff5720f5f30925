"""Detached Keeps: they outlive the command and its terminal, never their supervisor, and what is left is told apart."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import programs, support, workloads
from tests.e2e import peers
from tests.e2e.command import SECONDS, STDIO, code_of, config, module, wait_for
from tests.e2e.detached import Gate, User, alive, gate, user


@pytest.fixture
def me(tmp_path: Path) -> Iterator[User]:
    with user(tmp_path) as found:
        yield found


@pytest.fixture
def waiting(me: User) -> str:
    """A deployment whose workload waits for an hour: its name."""
    return me.deploy(module(me.home, programs.WAIT_CLOCK, "wait.wasm"))


# --- a life


def test_a_deployment_is_listed_inspected_stopped_and_removed(me: User) -> None:
    path = module(me.home, programs.WAIT_CLOCK)
    done = me.enarx("deploy", "-d", "--name", "web", "file://./app.wasm")
    assert (done.returncode, done.stdout) == (0, b"web\n")
    (listed,) = me.ps()
    assert (listed["name"], listed["state"], listed["reference"]) == ("web", "running", path.as_uri())
    assert listed == me.facts("web")
    assert listed["evidence"] == {"source": "", "meaning": "none"}
    assert listed["isolation"].startswith("none: ")
    supervisor, keep = me.processes("web")
    assert alive(supervisor)
    assert alive(keep)
    table = me.enarx("ps").stdout.decode().splitlines()
    assert [line.split()[0] for line in table] == ["NAME", "web"]
    said = me.enarx("stop", "web")
    assert (said.returncode, said.stdout) == (0, b"web: stopped\n")
    assert not alive(supervisor)
    assert not alive(keep)
    assert me.ps() == []
    assert (me.facts("web")["state"], me.facts("web")["status"]) == ("stopped", 143)
    assert me.enarx("rm", "web").returncode == 0
    assert me.ps("--all") == []
    assert not me.directory("web").exists()


def test_what_the_workload_wrote_can_be_read_while_it_runs_and_afterwards(me: User, waiting: str) -> None:
    wait_for(lambda: me.enarx("logs", waiting).stdout == b"ready\n", "the workload wrote nothing")
    me.enarx("stop", waiting)
    done = me.enarx("logs", waiting)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")


@pytest.mark.parametrize(
    ("content", "state", "status", "code"),
    [
        (programs.HELLO, "exited", 0, ""),
        (programs.exiting(7), "exited", 7, ""),
        (programs.TRAP, "failed", 134, "trap"),
    ],
)
def test_how_a_workload_ended_is_kept(content: bytes, state: str, status: int, code: str, me: User) -> None:
    name = me.deploy(module(me.home, content))
    facts = me.wait_for_state(name, state)
    assert (facts["status"], facts["code"]) == (status, code)
    assert facts["started"] <= facts["ended"]
    shown = me.enarx("inspect", name).stdout.decode()
    assert f"exit status {status}" in shown
    if code:
        assert "unreachable" in shown
        assert "unreachable" in me.enarx("logs", "--stderr", name).stderr.decode()


@pytest.mark.parametrize(
    ("content", "code"), [(b"\0asm\1\0\0\0\xff", "wasm-invalid"), (b"no module", "package-not-found")]
)
def test_a_launch_that_fails_fails_the_command_with_the_error(content: bytes, code: str, me: User) -> None:
    done = me.enarx("deploy", "-d", "--name", "bad", module(me.home, content).as_uri())
    assert (done.returncode, done.stdout, code_of(done.stderr)) == (1, b"", code)
    facts = me.facts("bad")
    assert (facts["state"], facts["code"], facts["status"], facts["started"]) == ("failed", code, 1, "")


def test_a_port_that_is_taken_fails_the_command(me: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = '[[files]]\nkind = "listen"\nname = "L"\nprot = "tcp"\naddr = "127.0.0.1"\nport = %d\n'
        package = me.home / "package"
        package.mkdir()
        module(package, programs.WAIT_ACCEPT, "main.wasm")
        config(package, STDIO + listen % server.getsockname()[1])
        done = me.enarx("deploy", "-d", package.as_uri())
    assert (done.returncode, code_of(done.stderr)) == (1, "listen-failed")


def test_where_a_workload_listens_is_told_and_it_serves(me: User) -> None:
    package = me.home / "package"
    package.mkdir()
    shutil.copy(workloads.example("echo"), package / "main.wasm")
    config(package, workloads.example_config("echo"))
    done = me.enarx("deploy", "-d", package.as_uri())
    assert done.returncode == 0, done.stderr.decode()
    name = done.stdout.decode().strip()
    listening = me.facts(name)["listening"]
    assert len(listening) == 2
    for endpoint in listening:
        assert f"listening on {endpoint}" in done.stderr.decode()
        assert endpoint in me.enarx("ps").stdout.decode()
    port = int(listening[1].rpartition(":")[2])
    with peers.client(port, tls=False) as sock:
        assert peers.echoed(sock, b"hello") == b"hello"
    me.enarx("stop", name)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_the_workload_has_no_input_and_nothing_of_the_command_stays_open(me: User) -> None:
    """Whoever reads the command's output, or another descriptor that it was given, comes to an end."""
    path = module(me.home, programs.WAIT_CLOCK)
    read, write = os.pipe()
    try:
        done = me.enarx("deploy", "-d", path.as_uri(), pass_fds=[write])  # waits until its pipes are closed
    finally:
        os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b""
    assert done.returncode == 0
    other = me.deploy(module(me.home, programs.CAT, "cat.wasm"))
    assert me.wait_for_state(other, "exited")["status"] == 0


# --- names


def test_a_name_that_lives_is_taken_and_one_that_has_ended_is_free(me: User) -> None:
    path = module(me.home, programs.WAIT_CLOCK)
    assert me.deploy(path, "--name", "web") == "web"
    before = me.facts("web")
    done = me.enarx("deploy", "-d", "--name", "web", path.as_uri())
    assert (done.returncode, code_of(done.stderr)) == (1, "deployment-name-taken")
    assert me.facts("web") == before
    me.enarx("stop", "web")
    assert me.deploy(path, "--name", "web") == "web"
    assert me.facts("web")["supervisor"] != before["supervisor"]


def test_of_many_that_want_one_name_at_once_one_gets_it(me: User) -> None:
    path = module(me.home, programs.WAIT_CLOCK)
    started = [me.start("deploy", "-d", "--name", "web", path.as_uri()) for _ in range(6)]
    results = [(process.communicate(timeout=SECONDS), process.returncode) for process in started]
    assert sorted(status for _, status in results) == [0, 1, 1, 1, 1, 1]
    assert {code_of(err) for (_, err), status in results if status} == {"deployment-name-taken"}
    assert me.states() == {"web": "running"}


def test_unknown_names_are_errors(me: User) -> None:
    for command in (["stop"], ["inspect"], ["logs"], ["rm"]):
        done = me.enarx(*command, "nobody")
        assert (done.returncode, code_of(done.stderr)) == (1, "deployment-unknown")
        done = me.enarx(*command, "../nobody")
        assert (done.returncode, code_of(done.stderr)) == (2, "deployment-name")


# --- stopping


def test_stop_can_be_repeated_and_concurrent(me: User, waiting: str) -> None:
    started = [me.start("stop", waiting) for _ in range(4)]
    results = [process.communicate(timeout=SECONDS)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert {text.partition(": ")[2] for text in results} <= {"stopped\n", "had ended already\n"}
    done = me.enarx("stop", waiting)
    assert (done.returncode, done.stdout.decode()) == (0, f"{waiting}: had ended already\n")
    assert me.facts(waiting)["status"] == 143


def test_one_that_cannot_be_stopped_keeps_no_other_running(me: User, waiting: str) -> None:
    done = me.enarx("stop", "nobody", waiting)
    assert (done.returncode, code_of(done.stderr)) == (1, "deployment-unknown")
    assert done.stdout.decode() == f"{waiting}: stopped\n"


def test_a_workload_that_loops_is_stopped(me: User) -> None:
    name = me.deploy(module(me.home, programs.LOOP))
    _, keep = me.processes(name)
    assert me.enarx("stop", name).stdout.decode() == f"{name}: stopped\n"
    assert not alive(keep)


def test_a_supervisor_that_does_not_answer_is_killed_with_its_keep(me: User, waiting: str) -> None:
    supervisor, keep = me.processes(waiting)
    os.kill(supervisor, signal.SIGSTOP)
    done = me.enarx("stop", "--timeout", "0.2", waiting)
    assert (done.returncode, done.stdout.decode()) == (0, f"{waiting}: killed\n")
    assert not alive(supervisor)
    assert not alive(keep)
    assert me.states() == {waiting: "gone"}


@pytest.mark.parametrize("missing", ["control", "facts.json"])
def test_a_deployment_is_stopped_without_its_socket_or_its_facts(missing: str, me: User, waiting: str) -> None:
    _, keep = me.processes(waiting)
    (me.directory(waiting) / missing).unlink()
    done = me.enarx("stop", waiting)
    assert (done.returncode, done.stdout.decode()) == (0, f"{waiting}: stopped\n")
    assert not alive(keep)


def test_the_process_that_has_the_number_of_a_former_supervisor_is_left_alone(me: User, waiting: str) -> None:
    """Socket and true start time are gone: what remains is a number, and a number is not trusted."""
    directory = me.directory(waiting)
    facts = json.loads((directory / "facts.json").read_text())
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        try:
            facts["supervisor"]["pid"] = bystander.pid
            (directory / "facts.json").write_text(json.dumps(facts))
            (directory / "control").unlink()
            done = me.enarx("stop", "--timeout", "0.2", waiting)
            assert (done.returncode, code_of(done.stderr)) == (1, "deployment-unreachable")
            assert bystander.poll() is None
        finally:
            bystander.kill()
    os.kill(facts["keep"]["pid"], signal.SIGKILL)
    wait_for(lambda: me.ps() == [], "the supervisor is still there")


def starting(me: User, closed: Gate, **settings: Any) -> subprocess.Popen[bytes]:
    """``deploy --detach`` of a deployment "slow", whose Keep has been started and waits for its workload."""
    process = me.start("deploy", "-d", "--name", "slow", closed.url, **settings)
    closed.wait()
    assert me.states() == {"slow": "starting"}
    return process


@pytest.fixture
def closed() -> Iterator[Gate]:
    """Before a workload that prints a line."""
    with gate(programs.HELLO) as found:
        yield found


def test_a_stop_before_the_workload_runs_ends_the_command_too(me: User, closed: Gate) -> None:
    process = starting(me, closed)
    _, keep = me.processes("slow")
    assert me.enarx("stop", "slow").stdout == b"slow: stopped\n"
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (143, b""), err.decode()
    assert (me.facts("slow")["state"], me.facts("slow")["started"]) == ("stopped", "")
    assert not alive(keep)


# --- killed parents


def test_a_deployment_outlives_its_terminal(me: User) -> None:
    path = module(me.home, programs.WAIT_CLOCK)
    ours, theirs = pty.openpty()
    process = me.start(
        "deploy", "-d", "--name", "web", path.as_uri(), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert process.wait(SECONDS) == 0
    os.close(ours)
    assert me.states() == {"web": "running"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_command_that_is_killed_before_the_workload_runs_leaves_a_deployment_that_starts(
    number: signal.Signals, me: User, closed: Gate
) -> None:
    ours, theirs = pty.openpty()
    process = starting(me, closed, stdout=theirs, stderr=theirs)
    os.close(theirs)
    process.send_signal(number)
    assert process.wait(SECONDS) == -number
    os.close(ours)  # what the supervisor may say to the terminal goes nowhere
    closed.open()
    assert me.wait_for_state("slow", "exited")["status"] == 0


def test_an_interrupt_before_the_workload_runs_stops_it(me: User, closed: Gate) -> None:
    process = starting(me, closed)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, b""), err.decode()
    assert b"Traceback" not in err
    assert me.states() == {"slow": "stopped"}


def test_a_keep_dies_with_its_supervisor_and_the_deployment_is_gone(me: User, waiting: str) -> None:
    supervisor, keep = me.processes(waiting)
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not alive(keep), "the Keep is still there")
    assert me.ps() == []
    assert me.states() == {waiting: "gone"}
    assert b"gone: its supervisor was killed" in me.enarx("inspect", waiting).stdout
    assert me.enarx("stop", waiting).stdout.decode() == f"{waiting}: had ended already\n"
    assert me.enarx("logs", waiting).stdout == b"ready\n"
    assert me.enarx("rm", "--ended").stdout.decode() == f"{waiting}\n"
    assert list((me.runtime / "enarx" / "deployments").iterdir()) == []


def test_a_supervisor_that_is_killed_before_the_workload_runs_fails_the_command(me: User, closed: Gate) -> None:
    process = starting(me, closed)
    supervisor, keep = me.processes("slow")
    os.kill(supervisor, signal.SIGKILL)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, code_of(err)) == (1, b"", "supervisor-died")
    assert b"signal 9" in err
    wait_for(lambda: not alive(keep), "the Keep is still there")


def test_a_keep_that_is_killed_is_a_failure_that_is_noted(me: User, waiting: str) -> None:
    os.kill(me.processes(waiting)[1], signal.SIGKILL)
    facts = me.wait_for_state(waiting, "failed")
    assert (facts["code"], facts["status"]) == ("keep-died", 1)
    assert b"keep-died" in me.enarx("logs", waiting).stderr


# --- logs


def writes(count: int) -> bytes:
    """Writes the numbers 0 to ``count``, and "ready" and a newline at the end."""
    return programs.program(f"""
        (local $number i32) (local $rest i32) (local $at i32)
        (loop $next
            (local.set $rest (local.get $number)) (local.set $at (i32.const 1040))
            (i32.store8 (local.get $at) (i32.const 10))
            (loop $digit
                (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $rest) (i32.const 10))))
                (br_if $digit (local.tee $rest (i32.div_u (local.get $rest) (i32.const 10)))))
            (call $print (local.get $at) (i32.sub (i32.const 1041) (local.get $at)))
            (local.set $number (i32.add (local.get $number) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $number) (i32.const {count}))))
        (call $ready)""")


def test_logs_are_bounded_and_their_end_is_kept(me: User) -> None:
    name = me.deploy(module(me.home, writes(400_000)))
    me.wait_for_state(name, "exited")
    directory = me.directory(name)
    sizes = {path.name: path.stat().st_size for path in directory.glob("*.log*")}
    assert sizes.keys() == {"stdout.log", "stdout.log.1"}
    assert max(sizes.values()) <= 1 << 20
    lines = me.enarx("logs", name).stdout.decode().splitlines()
    assert lines[-1] == "ready"
    numbers = [int(line) for line in lines[1:-1]]  # the first may be cut in two
    assert numbers == list(range(numbers[0], 400_000))
    assert len(numbers) > 100_000


def test_logs_can_be_followed_to_the_end(me: User, closed: Gate) -> None:
    process = starting(me, closed)
    following = me.start("logs", "--follow", "slow")
    closed.open()
    assert process.communicate(timeout=SECONDS)[0] == b"slow\n"
    assert following.communicate(timeout=SECONDS) == (b"ready\n", b"")
    assert following.returncode == 0
    name = me.deploy(module(me.home, writes(20_000), "writes.wasm"))
    out, _ = me.start("logs", "--follow", name).communicate(timeout=SECONDS)
    assert out.decode().splitlines() == [*map(str, range(20_000)), "ready"]


HOSTILE = programs.assemble(
    '(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))'
    ' (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\10\\00\\00\\00a\\1b[2Jb")'
    ' (data (i32.const 16) "a\\1b]0;x\\07\\tb\\ff\\c3\\a4\\n\\0d\\n")'
    ' (func (export "_start") (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 900)))))'
)


def on_a_terminal(me: User, *arguments: str) -> bytes:
    """What a command prints to a terminal, without the carriage returns that the terminal adds."""
    ours, theirs = pty.openpty()
    process = me.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait(SECONDS) == 0
    return shown.replace(b"\r\n", b"\n")


def test_what_a_workload_wrote_cannot_drive_a_terminal(me: User) -> None:
    name = me.deploy(module(me.home, HOSTILE))
    me.wait_for_state(name, "exited")
    raw = me.enarx("logs", name).stdout
    assert raw.startswith(b"a\x1b]0;x\x07\tb\xff\xc3\xa4\n")
    shown = on_a_terminal(me, "logs", name)
    assert b"\x1b" not in shown
    assert b"\x07" not in shown
    assert shown.decode().startswith("a\ufffd]0;x\ufffd\tb\ufffd\u00e4\n\ufffd\n")
    assert on_a_terminal(me, "logs", "--raw", name).startswith(b"a\x1b]0;x\x07\tb\xff")


# --- the directory


@pytest.mark.parametrize("command", [["ps"], ["stop", "x"], ["logs", "x"], ["inspect", "x"], ["rm", "x"]])
def test_a_runtime_directory_that_others_can_use_is_refused(command: list[str], me: User) -> None:
    (me.runtime / "enarx").mkdir(mode=0o755)
    done = me.enarx(*command)
    assert (done.returncode, code_of(done.stderr)) == (1, "runtime-directory")
    done = me.enarx("deploy", "-d", module(me.home, programs.HELLO).as_uri())
    assert (done.returncode, code_of(done.stderr)) == (1, "runtime-directory")


def test_without_a_runtime_directory_nothing_is_listed_and_nothing_made(me: User) -> None:
    missing = me.environment() | {"XDG_RUNTIME_DIR": str(me.runtime / "missing")}
    assert me.enarx("ps", "--json", env=missing).stdout == b"[]\n"
    done = me.enarx("deploy", "-d", module(me.home, programs.HELLO).as_uri(), env=missing)
    assert (done.returncode, code_of(done.stderr)) == (1, "runtime-directory")


def test_garbage_among_the_deployments_disturbs_nobody(me: User, waiting: str) -> None:
    place = me.runtime / "enarx" / "deployments"
    (place / "file").write_text("x")
    (place / "link").symlink_to("/etc")
    (place / "empty").mkdir()
    (place / "fifo").mkdir()
    os.mkfifo(place / "fifo" / "facts.json")
    (place / "large").mkdir()
    (place / "large" / "facts.json").write_bytes(b"[" * (1 << 20))
    (place / "words").mkdir()
    (place / "words" / "facts.json").write_text('{"version": 1, "name": "\\u001b[2J"}')
    (place / ".left.new").mkdir()
    (place / "a b").mkdir()
    states = me.states()
    garbage = ["empty", "fifo", "file", "large", "link", "words"]
    assert states == {waiting: "running"} | dict.fromkeys(garbage, "unreadable")
    assert me.enarx("ps", "--all").returncode == 0
    for name in garbage:
        assert b"unreadable" in me.enarx("inspect", name).stdout
        assert me.enarx("stop", name).returncode == 0
        assert me.enarx("logs", name).returncode in (0, 1)
    assert me.enarx("rm", *garbage).returncode == 0
    assert me.states() == {waiting: "running"}
    assert Path("/etc/hostname").exists()
    me.deploy(module(me.home, programs.HELLO), "--name", "next")
    assert not (place / ".left.new").exists()
    assert (place / "a b").exists()


def test_a_living_deployment_is_not_removed(me: User, waiting: str) -> None:
    done = me.enarx("rm", waiting)
    assert (done.returncode, code_of(done.stderr)) == (1, "deployment-living")
    assert me.enarx("rm", "--ended").stdout == b""
    assert me.states() == {waiting: "running"}


def test_old_deployments_that_have_ended_make_room(me: User) -> None:
    place = me.runtime / "enarx" / "deployments"
    place.mkdir(mode=0o700, parents=True)
    place.parent.chmod(0o700)
    for number in range(20):
        (place / f"old-{number}").mkdir()
        os.utime(place / f"old-{number}", (number, number))
    me.deploy(module(me.home, programs.WAIT_CLOCK), "--name", "new")
    assert me.states().keys() == {"new", *(f"old-{number}" for number in range(4, 20))}


FULL_DISK = """
mount -t tmpfs -o size=8m none {runtime}
{enarx} deploy -d --name web file://{module} || exit 1
dd if=/dev/zero of={runtime}/filler bs=4k 2>/dev/null
{enarx} deploy -d --name second file://{module} && exit 2
{enarx} stop web || exit 3
{enarx} ps --all --json
{enarx} logs web
rm {runtime}/filler
{enarx} deploy -d --name third file://{module} || exit 4
{enarx} stop third
"""


def test_a_full_disk_fails_new_deployments_and_those_that_run_go_on(
    me: User, require_tool: Callable[[str, str], Path]
) -> None:
    """In a mount namespace of our own, with a small disk."""
    unshare = require_tool("unshare", "util-linux")
    path = module(me.home, programs.WAIT_CLOCK)
    script = FULL_DISK.format(runtime=me.runtime, enarx=support.INSTALLED, module=path)
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", script], env=me.environment(), cwd=me.home,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    if b"unshare failed" in done.stderr or b"mount:" in done.stderr:
        pytest.skip("this kernel gives no mount namespaces to users")
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Code: runtime-directory" in done.stderr
    listed, _ = json.JSONDecoder().raw_decode(done.stdout.decode().partition("web: stopped\n")[2])
    assert {one["name"]: (one["state"], one["status"]) for one in listed} == {"web": ("stopped", 143)}
