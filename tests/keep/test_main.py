"""A whole Keep: in this process with a real host, and as a process of its own with a host that is hostile."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enarx.errors import HostError, SandboxError
from enarx.host.cache import DiskCache
from enarx.host.contract import Ending, Package
from enarx.host.launch import Host
from enarx.host.process import KeepProcess
from enarx.keep.main import Keep
from enarx.keep.sandbox import Sandbox
from enarx.keep.timings import Timings
from enarx.wire import Type, encode, encode_fields
from tests import programs
from tests.descriptors import becomes_ready
from tests.e2e.command import STDIO

SECONDS = 60.0
"""What nothing here takes, however busy the machine is."""


class OwnKeep:
    """A Keep in a thread of this process, without a sandbox."""

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self.failure = None
        self.link, theirs = socket.socketpair()
        self.status: int | None = None
        self.keep = Keep(theirs, sandbox, Timings(time.monotonic()))
        self._theirs = theirs
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        with self._theirs:
            self.status = self.keep.live()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    def wait(self) -> int:
        self._thread.join(SECONDS)
        assert self.status is not None
        return self.status

    def obituary(self) -> HostError:
        return HostError(f"it ended with {self.wait()}", code="keep-died")


def run(
    module: bytes, config: str | None = None, *, cache: DiskCache | None = None, sandbox: Sandbox | None = None,
    **settings: object,
) -> Ending:  # fmt: skip
    objects: list[tuple[str, str, bytes | bytearray | memoryview]] = []
    if config is not None:
        objects.append(("config", "Enarx.toml", config.encode()))
    package = Package([*objects, ("module", "main.wasm", module)])
    for name, value in settings.items():
        setattr(package, name, value)
    return Host(OwnKeep(sandbox), cache, lambda line: None).run(package)


def test_a_workload_runs_to_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    ending = run(programs.HELLO)
    assert (ending.status, ending.message, capfd.readouterr().out) == (0, "", "ready\n")
    steps = [name for name, _ in ending.timings]
    assert steps[0] == "sandbox, first half"
    assert {"imports", "workload received", "streams open", "engine", "compiled"} <= set(steps)


@pytest.mark.parametrize(
    ("module", "config", "status", "code"),
    [
        (programs.exiting(7), None, 7, ""),
        (programs.exiting(200), None, 125, "exit-not-portable"),
        (programs.TRAP, None, 134, "trap"),
        (programs.MEMORY_THEN_WAIT, STDIO + '[limits]\nmemory = "8 MiB"', 124, "limit-memory"),
        (programs.WAIT_CLOCK, STDIO + '[limits]\ndeadline = "50ms"', 124, "limit-deadline"),
        (programs.EMPTY, "[limits]\nnothing = 1", 1, "config-unknown-key"),
        (b"no module", None, 1, "wasm-magic"),
        (programs.assemble("(module)"), None, 1, "wasm-entry"),
        (programs.assemble('(module (import "a" "b" (func)))'), None, 1, "wasm-import"),
        (b"\0asm\x01\0\0\0\xff", None, 1, "wasm-invalid"),
        (
            programs.EMPTY,
            '[[files]]\nkind = "connect"\nprot = "tcp"\nhost = "127.0.0.1"\nport = 1',
            1,
            "connect-failed",
        ),
        (programs.EMPTY, '[[files]]\nkind = "listen"\nname = "L"\nport = 0', 1, "tls-configuration"),
    ],
)
@pytest.mark.parametrize("checked", [False, True], ids=["fast", "checked"])
def test_every_ending_reaches_the_host(
    module: bytes, config: str | None, status: int, code: str, checked: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = run(module, config, checked_calls=checked)
    assert (ending.status, ending.code) == (status, code)
    assert bool(ending.message) == bool(code)


def test_a_fault_of_the_keep_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Keep) -> None:
        raise RuntimeError("x" * 100_000)

    monkeypatch.setattr(Keep, "_prepare", fail)
    ending = run(programs.EMPTY)
    assert (ending.status, ending.code) == (1, "keep-internal")
    assert "RuntimeError: xxx" in ending.message
    assert len(ending.message) <= 4096
    assert "report" in ending.hint
    assert capfd.readouterr().err == ""


def test_a_keep_without_enough_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Keep) -> None:
        raise MemoryError

    monkeypatch.setattr(Keep, "_prepare", fail)
    ending = run(programs.EMPTY)
    assert (ending.status, ending.code) == (1, "keep-memory")
    assert "--memory" in ending.hint


def test_the_second_run_loads_what_the_first_compiled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cache = DiskCache(tmp_path / "cache")
    assert "compiled" in [name for name, _ in run(programs.HELLO, cache=cache).timings]
    assert "code loaded from the cache" in [name for name, _ in run(programs.HELLO, cache=cache).timings]
    assert capfd.readouterr().out == "ready\n" * 2


class PaperSandbox(Sandbox):
    """Applies nothing, and says so: the real one would close in on the tests."""

    def __init__(self, *, complete: bool) -> None:
        super().__init__()
        self._complete = complete

    def begin(self) -> None:
        self.report["first"] = "applied"

    def finish(self, *, certificates: bool = False) -> None:
        self.report["second"] = "applied" if self._complete else "not applied: because"


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("required", [True, False])
def test_a_sandbox_that_is_required_is_complete_or_the_workload_does_not_run(
    complete: bool, required: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = run(programs.HELLO, sandbox=PaperSandbox(complete=complete), require_sandbox=required)
    ran = complete or not required
    assert (ending.status, ending.code) == ((0, "") if ran else (1, "sandbox-incomplete"))
    assert ending.sandbox == {"first": "applied", "second": "applied" if complete else "not applied: because"}
    assert capfd.readouterr().out == ("ready\n" if ran else "")
    assert SandboxError.exit_status == 1


@pytest.mark.parametrize("module", [programs.WAIT_CLOCK, programs.WAIT_ACCEPT])
def test_a_workload_that_waits_is_woken_to_stop(module: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """By the order to stop, in good time: the host's own deadline would kill this whole process's Keep."""
    config = STDIO + '[[files]]\nkind = "listen"\nname = "L"\nprot = "tcp"\naddr = "127.0.0.1"\nport = 0\n'
    keep = OwnKeep()
    endings: list[Ending] = []
    objects = [("config", "c", config.encode()), ("module", "m", module)]
    thread = threading.Thread(  # not the main thread: no signals, so that the order is ours to give
        target=lambda: endings.append(Host(keep, None, lambda line: None).run(Package(objects)))
    )
    thread.start()
    out = ""
    end = time.monotonic() + SECONDS
    while "ready" not in out and time.monotonic() < end:
        out += capfd.readouterr().out
        time.sleep(0.005)
    keep.link.send(encode_fields(Type.STOP, reason="test"))
    thread.join(SECONDS)
    assert [(ending.status, ending.code) for ending in endings] == [(143, "stopped")]


def test_an_order_to_stop_before_the_workload_runs_is_obeyed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(launch([("module", "m", 8)]) + encode_fields(Type.STOP, reason=""))
        assert Keep(theirs, None, Timings(time.monotonic())).live() == 0
        assert b'"code":"stopped"' in ours.recv(1 << 20)


def test_a_host_that_is_gone_cannot_be_told() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert Keep(theirs, None, Timings(time.monotonic())).live() == 1


# A hostile host against a Keep's own process.

CONFIG = (STDIO + '[[files]]\nkind = "listen"\nname = "L"\nprot = "%s"\naddr = "127.0.0.1"\nport = 0\n').encode()


def launch(objects: list[tuple[str, str, int]], key: str = "00" * 32) -> bytes:
    return encode_fields(
        Type.LAUNCH, args=[], env=[], objects=objects, cache_key=key, sandbox="try", engine="fast"
    )  # fmt: skip


def conversation(prot: str) -> list[bytes]:
    """All that a host says, in order, to a Keep whose workload then waits for a connection."""
    config = CONFIG % prot.encode()
    objects = [("config", "c", len(config)), ("module", "m", len(programs.WAIT_ACCEPT))]
    opened = [encode_fields(Type.OPENED, number, fd=True, name="") for number in (2, 3, 4)]
    return [
        launch(objects), encode(Type.BLOB, 0, config), encode(Type.BLOB, 0, programs.WAIT_ACCEPT),
        encode_fields(Type.CACHED, 1, size=0), *opened, encode_fields(Type.OPENED, 5, name="1"),
        *[encode_fields(Type.INCOMING, 5, fd=True, peer="")] * 3,
    ]  # fmt: skip


def mutated(randomness: random.Random) -> list[bytes]:
    frames = conversation(randomness.choice(["tcp", "tcp", "tcp", "tls"]))
    for _ in range(randomness.randrange(1, 4)):
        index = randomness.randrange(len(frames))
        choice = randomness.randrange(6)
        if choice == 0:
            del frames[index]
        elif choice == 1:
            frames.insert(index, frames[randomness.randrange(len(frames))])
        elif choice == 2:
            frames.insert(index, randomness.randbytes(randomness.randrange(1, 64)))
        elif choice == 3:
            frames[index] = frames[index][: randomness.randrange(len(frames[index]))] or b"\0"
        elif choice == 4:
            frames.insert(index, encode_fields(Type.CACHED, 1, size=randomness.choice([1, 33, 1 << 30, 1 << 32])))
        else:
            damaged = bytearray(frames[index])
            for _ in range(randomness.randrange(1, 5)):
                damaged[randomness.randrange(len(damaged))] ^= 1 << randomness.randrange(8)
            frames[index] = bytes(damaged)
        if not frames:
            return [b"\0"]
    return frames


def objects_to_send(stack: contextlib.ExitStack) -> list[int]:
    """Descriptors of every kind: what a host may send as a stream, and what it should not."""
    pair = [stack.enter_context(sock) for sock in socket.socketpair()]
    datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    lonely = stack.enter_context(socket.socket())
    others = [os.open(os.devnull, os.O_RDWR), os.open("/", os.O_RDONLY), os.eventfd(0)]
    for fd in others:
        stack.callback(os.close, fd)
    return [*[sock.fileno() for sock in (*pair, datagram, lonely)], *others]


def ends_by_itself(speak: Callable[[socket.socket], None]) -> None:
    """Start a Keep, let ``speak`` talk to it and hang up; it must end, by itself, and not by a signal."""
    keep = KeepProcess()
    try:
        with contextlib.suppress(OSError):
            speak(keep.link)
            keep.link.shutdown(socket.SHUT_WR)
        reader = threading.Thread(target=read_all, args=(keep.link,), daemon=True)
        reader.start()
        end = time.monotonic() + SECONDS
        while not os.waitid(os.P_PID, keep.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            assert time.monotonic() < end, "the Keep does not end"
            time.sleep(0.01)
        reader.join(SECONDS)
        assert keep.wait() in (0, 1)
    finally:
        keep.kill()
        keep.wait()
        keep.link.close()


def read_all(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


@pytest.mark.parametrize("prot", ["tcp", "tls"])
def test_the_conversation_that_is_damaged_below_is_a_good_one(prot: str) -> None:
    read, write = os.pipe()

    def speak(sock: socket.socket) -> None:
        for frame in conversation(prot)[:-3]:
            socket.send_fds(sock, [frame], [write] if frame[2] & 1 else [])
        assert becomes_ready(read), "the workload does not start"
        assert os.read(read, 100) == b"ready\n"

    try:
        ends_by_itself(speak)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("group", range(4))
def test_a_keep_survives_no_hostile_host_and_crashes_at_none(group: int) -> None:
    def attack(seed: int) -> None:
        randomness = random.Random(seed)

        def speak(sock: socket.socket) -> None:
            with contextlib.ExitStack() as stack:
                fds = objects_to_send(stack)
                for frame in mutated(randomness):
                    announced = len(frame) > 2 and frame[2] & 1
                    extra = 0 if randomness.randrange(8) else randomness.randrange(3)
                    count = (1 if announced else 0) + extra
                    socket.send_fds(sock, [frame], randomness.choices(fds, k=count))

        ends_by_itself(speak)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attack, range(group * 8, group * 8 + 8)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 12,
        b"\xff" * 4096,
        os.urandom(4096),
        launch([])[:-1],
        launch([]) * 2,
        launch([("module", "m", 1 << 29)]),
    ],
    ids=["nothing", "zeros", "ones", "random", "cut short", "twice", "a module that does not come"],
)
def test_a_keep_ends_with_its_link(data: bytes) -> None:
    ends_by_itself(lambda sock: sock.sendall(data))


def test_a_keep_whose_host_never_reads_ends_with_its_link() -> None:
    keep = KeepProcess()
    try:
        for frame in conversation("tcp")[:3]:
            keep.link.sendall(frame)
        keep.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        time.sleep(0.2)
        keep.link.close()
        assert keep.wait() in (0, 1)
    finally:
        keep.kill()
        keep.wait()


def test_a_keep_leaves_no_core_file_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        keep = KeepProcess()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    for frame in conversation("tcp")[:3]:
        keep.link.sendall(frame)
    keep.link.recv(1)  # its first request: it is in its sandbox by now
    os.kill(keep.pid, signal.SIGABRT)
    _, status = os.waitpid(keep.pid, 0)
    keep.link.close()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []
