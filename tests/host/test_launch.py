"""The host against a Keep that lies, floods, stops or dies: it always comes to an end, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx.errors import EnarxError, HostError, LinkError, UsageError
from enarx.host import launch
from enarx.host.cache import MAX_ENTRY_BYTES, DiskCache
from enarx.host.contract import Ending, Package, Watcher
from enarx.host.filebytes import FileBytes
from enarx.host.launch import MAX_TIMINGS, Host
from enarx.wire import HEADER, MAX_PAYLOAD, SCHEMAS, STARTED, VERSION, Type, encode, encode_fields
from tests.descriptors import nothing_left_open
from tests.host.scripted import ENOUGH, OBJECTS, ScriptedKeep, drain, leave, refused, run, sends


def raw(kind: Type, payload: bytes = b"{}", ident: int = 1, **header: int) -> bytes:
    """A frame with anything in it."""
    fields = {"version": VERSION, "flags": 0, "reserved": 0, "length": len(payload)} | header
    return HEADER.pack(
        fields["version"], kind, fields["flags"], fields["reserved"], ident, fields["length"]
    ) + payload  # fmt: skip


@pytest.mark.parametrize("status", [0, 1, 124, 255])
def test_exit_is_the_ending(status: int) -> None:
    ending = run(sends(leave(status, "code", "message", "hint")))
    assert (ending.status, ending.code, ending.message, ending.hint) == (status, "code", "message", "hint")


def test_status_is_part_of_the_ending() -> None:
    first = encode_fields(Type.STATUS, sandbox={"a": "applied"}, timings=[["one", 1], ["two", 2.5]], evidence="")
    second = encode_fields(Type.STATUS, sandbox={"a": "applied", "b": "not"}, timings=[["three", 3.0]], evidence="")
    ending = run(sends(first, second, leave()))
    assert ending.sandbox == {"a": "applied", "b": "not"}
    assert ending.timings == [("one", 1.0), ("two", 2.5), ("three", 3.0)]


class Recorder(Watcher):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def proves(self, source: str) -> None:
        self.told.append(source)

    def listening(self, endpoints: Sequence[str]) -> None:
        self.told.append(len(endpoints))

    def running(self) -> None:
        self.told.append("running")


def test_a_watcher_is_told_how_the_launch_goes() -> None:
    listen = encode_fields(Type.LISTEN, 1, addr="127.0.0.1", port=0)
    before = encode_fields(Type.STATUS, sandbox={}, timings=[["compiled", 1]], evidence="simulated")
    started = encode_fields(Type.STATUS, sandbox={}, timings=[["x", 1], [STARTED, 2]], evidence="simulated")
    script = sends(listen, listen, before, started * 2, encode_fields(Type.CLOSE, 1) * 2, leave())
    watcher = Recorder()
    with nothing_left_open(ENOUGH):
        Host(ScriptedKeep(script), None, lambda line: None, watcher=watcher).run(Package(OBJECTS))
    assert watcher.told == [1, "simulated", "running", 0]


def test_a_keep_that_ends_before_the_workload_starts_was_not_running() -> None:
    watcher = Recorder()
    script = sends(encode_fields(Type.STATUS, sandbox={}, timings=[["x", 1]], evidence=""), leave(1, "code", "message"))
    with nothing_left_open(ENOUGH):
        Host(ScriptedKeep(script), None, lambda line: None, watcher=watcher).run(Package(OBJECTS))
    assert watcher.told == []


def test_standard_streams_may_be_others_than_ours(tmp_path: Path) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(encode_fields(Type.STDIO, 5, name="stdout"))
        _, fds, _, _ = socket.recv_fds(sock, 1 << 20, 4)
        while not fds:
            _, fds, _, _ = socket.recv_fds(sock, 1 << 20, 4)
        os.write(fds[0], b"written")
        os.close(fds[0])
        sock.sendall(leave())
        drain(sock)

    def stdio(name: str) -> int:
        return os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)

    with nothing_left_open(ENOUGH):
        Host(ScriptedKeep(script), None, lambda line: None, stdio=stdio).run(Package(OBJECTS))
    assert (tmp_path / "stdout").read_bytes() == b"written"


def test_a_package_that_changes_on_its_way_is_what_the_run_fails_with(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(bytes(10 << 20))
    data = FileBytes(os.open(tmp_path / "app", os.O_RDONLY), "app")
    os.truncate(tmp_path / "app", 5 << 20)
    with nothing_left_open(ENOUGH), pytest.raises(HostError) as caught:
        Host(ScriptedKeep(drain), None, lambda line: None).run(Package([("package", "", data)]))
    assert caught.value.code == "file-changed"


def test_a_flood_of_status_is_bounded() -> None:
    status = encode_fields(Type.STATUS, sandbox={}, timings=[["step", 1.0]] * 64, evidence="")
    assert len(run(sends(status * 100, leave())).timings) == MAX_TIMINGS


@pytest.mark.parametrize(
    "status",
    [
        {"sandbox": {"a": 1}, "timings": []},
        {"sandbox": {"a": {"b": "c"}}, "timings": []},
        {"sandbox": {}, "timings": ["step"]},
        {"sandbox": {}, "timings": [["step"]]},
        {"sandbox": {}, "timings": [[1, 1]]},
        {"sandbox": {}, "timings": [["step", "1"]]},
        {"sandbox": {}, "timings": [["step", True]]},
        {"sandbox": {}, "timings": [["step", 1, 2]]},
        {"sandbox": {}, "timings": [["step", 10**400]]},
        {"sandbox": {}, "timings": [], "evidence": "sev"},
    ],
)
def test_a_status_of_other_things_is_refused(status: dict[str, Any]) -> None:
    assert refused(sends(encode_fields(Type.STATUS, **({"evidence": ""} | status)))) == "link-frame"


def test_text_from_the_keep_cannot_drive_a_terminal() -> None:
    nasty = "a\x1b[2Jb\x07\x9b\r\nc\u202e"
    status = encode_fields(Type.STATUS, sandbox={nasty: nasty}, timings=[[nasty, 1]], evidence="")
    ending = run(sends(status, leave(1, "x\x1b", nasty, nasty)))
    shown = [ending.code, ending.message, ending.hint, *ending.sandbox, *ending.sandbox.values(), ending.timings[0][0]]
    assert "\x1b" not in "".join(shown)
    assert (
        ending.message
        == "a\N{REPLACEMENT CHARACTER}[2Jb" + "\N{REPLACEMENT CHARACTER}" * 3 + "\nc\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize(
    "payload",
    [
        b'{"status":256,"code":"","message":"","hint":""}',
        b'{"status":-1,"code":"","message":"","hint":""}',
        b'{"status":true,"code":"","message":"","hint":""}',
        b'{"status":0.5,"code":"","message":"","hint":""}',
        b'{"status":null,"code":"","message":"","hint":""}',
        b'{"status":0,"code":"","message":""}',
        b"{}",
        b"",
    ],
)
def test_an_odd_exit_is_refused(payload: bytes) -> None:
    assert refused(sends(raw(Type.EXIT, payload))) == "link-frame"


@pytest.mark.parametrize("kind", [Type.LAUNCH, Type.STOP, Type.INCOMING, Type.OPENED, Type.FAILED, Type.CACHED])
def test_a_frame_that_only_a_host_sends_is_refused(kind: Type) -> None:
    assert refused(sends(raw(kind))) == "link-frame"


@pytest.mark.parametrize(
    "data",
    [
        b"garbage garbage garbage",
        b"\0" * 100,
        raw(Type.EXIT, version=2),
        raw(Type.EXIT, flags=1),
        raw(Type.EXIT, flags=128),
        raw(Type.EXIT, reserved=1),
        raw(Type.BLOB, b"", length=MAX_PAYLOAD + 1),
        raw(Type.BLOB, b"", length=0xFFFFFFFF),
        raw(Type.BLOB, b"unasked"),
        encode_fields(Type.CACHE_PUT, name="0" * 64, size=0),
        encode_fields(Type.CACHE_PUT, name="0" * 64, size=MAX_ENTRY_BYTES + 1),
        encode_fields(Type.CACHE_PUT, name="0" * 64, size=3) + encode(Type.BLOB, 0, b"four"),
        raw(Type.LISTEN, b'{"addr":"::","port":65536}'),
        raw(Type.ACCEPT, b'{"count":4097}'),
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    assert refused(sends(data)) == "link-frame"


def test_a_keep_that_hangs_up_has_died() -> None:
    assert refused(lambda sock: None) == "keep-died"
    assert refused(lambda sock: sock.sendall(leave()[:-1])) == "keep-died"


def test_a_descriptor_from_the_keep_is_not_taken() -> None:
    def script(sock: socket.socket) -> None:
        with open(os.devnull, "rb") as file:
            socket.send_fds(sock, [leave()], [file.fileno()])
        drain(sock)

    assert run(script).status == 0


def test_an_ending_that_the_keep_does_not_stay_for_is_heard() -> None:
    """With megabytes still to be sent to it."""
    assert run(lambda sock: sock.sendall(leave(3)), env=[("A", "x" * 100_000)]).status == 3


def test_standard_streams_are_handed_over_and_no_others() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(encode_fields(Type.STDIO, 5, name="stdout") + encode_fields(Type.STDIO, 6, name="stdlog"))
        data, descriptors = b"", list[int]()
        while b"stream-stdio" not in data:
            part, fds, _, _ = socket.recv_fds(sock, 1 << 20, 4)
            data, descriptors = data + part, descriptors + fds
        for fd in descriptors:
            os.close(fd)
        sock.sendall(leave(len(descriptors)))
        drain(sock)

    assert run(script).status == 1


def test_a_keep_that_asks_and_never_reads_is_given_up(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    name = "0" * 64
    cache.put(name, bytes(1 << 20))

    def script(sock: socket.socket) -> None:
        while True:
            sock.sendall(encode_fields(Type.CACHE_GET, 1, name=name) * 100)

    with nothing_left_open(ENOUGH), pytest.raises((LinkError, HostError)) as caught:
        Host(ScriptedKeep(script), cache, lambda line: None).run(Package(OBJECTS))
    assert caught.value.code == "link-flood"


def test_a_flood_of_requests_that_is_read_is_served() -> None:
    def script(sock: socket.socket) -> None:
        reader = threading.Thread(target=drain_descriptors, args=(sock,), daemon=True)
        reader.start()
        for _ in range(200):
            sock.sendall(encode_fields(Type.STDIO, 1, name="stdin") * 10 + encode_fields(Type.CACHE_GET, 1, name="x"))
        sock.sendall(leave())
        reader.join(ENOUGH)

    assert run(script).status == 0


def drain_descriptors(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 1 << 20, 64)
            for fd in fds:
                os.close(fd)
            if not data:
                return


def test_the_cache_takes_only_what_was_announced(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    name, other = "a" * 64, "b" * 64
    script = sends(
        encode_fields(Type.CACHE_PUT, name=other, size=100), encode(Type.BLOB, 0, b"part of it"),
        encode_fields(Type.CACHE_PUT, name=name, size=6), encode(Type.BLOB, 0, b"who"), encode(Type.BLOB, 0, b"le!"),
        encode_fields(Type.CACHE_PUT, name="../../escape", size=1), encode(Type.BLOB, 0, b"x"),
        leave(),
    )  # fmt: skip
    assert run(script, cache).status == 0
    assert (cache.get(name), cache.get(other)) == (b"whole!", None)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"key", name}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_each_module_gets_a_key_of_its_own(tmp_path: Path) -> None:
    """So that a Keep that was broken into cannot seal code for another workload."""
    cache = DiskCache(tmp_path / "cache")
    keys = []
    for content in (b"one", b"two", b"one"):
        received = bytearray()

        def script(sock: socket.socket, received: bytearray = received) -> None:
            while b'"cache_key":"' not in received:
                received.extend(sock.recv(1 << 20))
            sock.sendall(leave())
            drain(sock)

        Host(ScriptedKeep(script), cache, lambda line: None).run(Package([("module", "main.wasm", content)]))
        keys.append(received.partition(b'"cache_key":"')[2][:64])
    assert keys[0] == keys[2] != keys[1]
    assert cache.key.hex().encode() not in keys


@pytest.mark.parametrize(
    "package",
    [
        {"args": ["x"] * 4097},
        {"env": [("A", "b")] * 4097},
        {"args": ["x" * (MAX_PAYLOAD // 2)] * 2},
    ],
)
def test_a_launch_that_does_not_fit_is_refused_before_it_is_sent(package: dict[str, Any]) -> None:
    keep = ScriptedKeep(drain)
    with pytest.raises(UsageError):
        Host(keep, None, lambda line: None).run(Package(OBJECTS, **package))
    keep.kill()
    keep.link.close()
    assert keep.wait() == -9


def test_a_signal_is_told_to_the_keep_and_then_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Keep reads the order to stop and does nothing, so it is killed."""
    monkeypatch.setattr(launch, "STOP_SECONDS", 1.0)  # on a busy machine the order may take longer than is usual
    received = bytearray()

    def script(sock: socket.socket) -> None:
        while b"LAUNCH" not in received and b'"args"' not in received:
            received.extend(sock.recv(1 << 20))
        signal.raise_signal(signal.SIGTERM)  # as it would come from outside: handled by the main thread
        while data := sock.recv(1 << 20):
            received.extend(data)

    before = signal.getsignal(signal.SIGTERM)
    ending = run(script)
    assert (ending.status, ending.message) == (128 + signal.SIGTERM, "")
    assert b'{"reason":"SIGTERM"}' in received
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    endings: list[Ending] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: endings.append(run(sends(leave(4)))))
    thread.start()
    thread.join(ENOUGH)
    assert [ending.status for ending in endings] == [4]
    assert signal.getsignal(signal.SIGTERM) is before


NAMES = st.sampled_from(["", "stdin", "stdout", "0" * 64, "127.0.0.1", "::1", "a..b", "\udc80", "x" * 128])


@st.composite
def hostile_frames(draw: st.DrawFn) -> bytes:
    """Frames that are right, wrong in one place, or nothing like a frame."""
    kind = draw(st.sampled_from(Type))
    if kind == Type.EXIT and draw(st.integers(0, 3)):
        kind = Type.STATUS
    shape = draw(st.integers(0, 5))
    if shape == 0:
        return draw(st.binary(max_size=40))
    if shape == 1:
        flags, length = draw(st.integers(0, 3)), draw(st.sampled_from([0, 2, 100, MAX_PAYLOAD, 0xFFFFFFFF]))
        return raw(kind, draw(st.binary(max_size=20)), flags=flags, length=length)
    fields: dict[str, Any] = {
        name: draw({str: NAMES, int: st.sampled_from([0, 1, 5, 1000]), list: st.just([]), dict: st.just({})}[wanted])
        for name, (wanted, _) in SCHEMAS.get(kind, {}).items()
    }
    if "port" in fields:
        fields["port"] = 0 if kind == Type.LISTEN else 1  # nothing answers there
    if "host" in fields:
        fields["host"] = "127.0.0.1"
    try:
        return encode_fields(kind, draw(st.integers(0, 3)), **fields) if fields else encode(kind, 1, b"x")
    except LinkError:
        return encode(kind, 1, b"{}")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(hostile_frames(), max_size=30), reads=st.booleans(), chunk=st.integers(1, 500))
def test_whatever_a_keep_sends_the_host_ends(frames: list[bytes], reads: bool, chunk: int, tmp_path: Path) -> None:
    data = b"".join(frames)

    def script(sock: socket.socket) -> None:
        for start in range(0, len(data), chunk):
            sock.sendall(data[start : start + chunk])
        if reads:
            sock.shutdown(socket.SHUT_WR)
            drain_descriptors(sock)

    with nothing_left_open(ENOUGH):
        host = Host(ScriptedKeep(script), DiskCache(tmp_path / "cache"), lambda line: None)
        try:
            assert isinstance(host.run(Package(OBJECTS)), Ending)
        except (LinkError, HostError) as error:
            assert error.code in ("link-frame", "link-flood", "keep-died")


def test_a_long_random_conversation_ends(tmp_path: Path) -> None:
    """Megabytes of frames with a few flipped bits, many runs, one seed each."""
    frames = [
        encode_fields(Type.STDIO, 1, name="stdin"), encode_fields(Type.LISTEN, 2, addr="127.0.0.1", port=0),
        encode_fields(Type.ACCEPT, 2, count=10), encode_fields(Type.CLOSE, 2),
        encode_fields(Type.CACHE_GET, 3, name="0"),
        encode_fields(Type.CACHE_PUT, 0, name="c" * 64, size=100), encode(Type.BLOB, 0, bytes(100)),
        encode_fields(Type.STATUS, sandbox={}, timings=[], evidence=""),
    ]  # fmt: skip
    for seed in range(40):
        randomness = random.Random(seed)
        data = bytearray(b"".join(randomness.choices(frames, k=500)))
        for _ in range(randomness.randrange(4)):
            data[randomness.randrange(len(data))] ^= 1 << randomness.randrange(8)

        def script(sock: socket.socket, data: bytearray = data) -> None:
            reader = threading.Thread(target=drain_descriptors, args=(sock,), daemon=True)
            reader.start()
            sock.sendall(data)
            sock.sendall(leave(9))
            reader.join(ENOUGH)

        with nothing_left_open(ENOUGH):
            try:
                ending = Host(ScriptedKeep(script), DiskCache(tmp_path / "cache"), lambda line: None).run(
                    Package(OBJECTS)
                )
                assert 0 <= ending.status <= 255
            except EnarxError as error:
                assert error.code in ("link-frame", "keep-died", "link-flood"), seed
