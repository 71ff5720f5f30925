"""What the workload finds when it starts: descriptors in the order of the config, arguments, environment, files."""

from __future__ import annotations

import io
import os
import select
import socket
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator

import pytest

from enarx.errors import ConfigError, LimitError, StreamError, WorkloadError
from enarx.keep import keepdir
from enarx.keep.accept import CONNECTIONS
from enarx.keep.loop import Loop
from enarx.keep.package import contents
from enarx.keep.tls import server_context, start_server
from enarx.keep.wasi.abi import Fdflags, Filetype, Rights
from enarx.keep.wasi.descriptor import Null
from enarx.keep.wasi.openfile import OpenDirectory
from enarx.keep.wasi.stdio import Stdio
from enarx.keep.wasi.stream import Listener, Stream
from enarx.keep.wasi.tls_stream import TlsStream
from enarx.keep.wasi.tree import Directory, File
from enarx.keep.workload import Launch
from enarx.keep.world import World
from tests.archives import pack
from tests.keep.test_tls import OURS, THEIRS, in_background

SECONDS = 60.0
"""What no step takes, however busy the machine is."""


class Streams:
    """Real sockets, and a record of what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.listeners: dict[int, Callable[[socket.socket], None]] = {}
        self.peers: list[socket.socket] = []

    def stdio(self, name: str) -> tuple[int, str]:
        self.asked.append(("stdio", name))
        return os.open(os.devnull, os.O_RDWR), ""

    def connect(self, host: str, port: int) -> socket.socket:
        self.asked.append(("connect", host, port))
        ours, theirs = socket.socketpair()
        self.peers.append(theirs)
        return ours

    def listen(self, addr: str, port: int, on_connection: Callable[[socket.socket], None]) -> int:
        self.asked.append(("listen", addr, port))
        number = len(self.asked)
        self.listeners[number] = on_connection
        return number

    def credit(self, listener: int, count: int) -> None:
        self.asked.append(("credit", listener, count))

    def close(self, listener: int) -> None:
        self.asked.append(("close", listener))


@pytest.fixture
def streams() -> Iterator[Streams]:
    streams = Streams()
    yield streams
    for peer in streams.peers:
        peer.close()


def launch(config: str | None = None, **fields: object) -> Launch:
    made = Launch([], [], b"", False, False, [("config", "c", 1)] if config is not None else [])
    if config is not None:
        made.configure(config.encode(), None)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def archive(**files: bytes) -> bytearray:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return bytearray(buffer.getvalue())


def opened(streams: Streams, made: Launch) -> World:
    world = World(made, streams, Loop())
    assert streams.asked == []  # nothing is opened before the sandbox is complete
    world.open()
    return world


def kinds(world: World) -> list[type]:
    return [type(descriptor) for descriptor in world.context.table]


def test_without_a_config_there_are_the_three_standard_streams(streams: Streams) -> None:
    world = opened(streams, launch(args=["a"], env=[("A", "1")]))
    assert streams.asked == [("stdio", "stdin"), ("stdio", "stdout"), ("stdio", "stderr")]
    assert (world.context.args, world.context.environment) == ([b"main.wasm", b"a"], [b"A=1"])
    world.context.table.close_all(1)


SECRET_ENV = '[[files]]\nkind = "stdout"\n[secret_env]\nPASSWORD = "db"\n'


def test_secrets_become_variables_where_the_config_asks(streams: Streams) -> None:
    world = World(launch(SECRET_ENV, env=[("A", "1")]), streams, Loop(), certified=True)
    world.reveal({"db": "größe".encode(), "other": b"x"})
    assert list(world.context.environment)[-2:] == [b"A=1", "PASSWORD=größe".encode()]


@pytest.mark.parametrize(
    ("secrets", "code"),
    [
        ({}, "secret-missing"),
        ({"DB": b"x"}, "secret-missing"),
        ({"db": b"\xff"}, "secret-text"),
        ({"db": b"a\0"}, "secret-text"),
    ],
)
def test_secret_that_cannot_be_a_variable_stops_the_workload(
    secrets: dict[str, bytes], code: str, streams: Streams
) -> None:
    world = World(launch(SECRET_ENV), streams, Loop(), certified=True)
    with pytest.raises(ConfigError) as caught:
        world.reveal(secrets)
    assert caught.value.code == code
    assert "db" in caught.value.message


def test_without_a_steward_no_secret_can_be_asked_for(streams: Streams) -> None:
    with pytest.raises(ConfigError) as caught:
        World(launch(SECRET_ENV), streams, Loop())
    assert caught.value.code == "secret-missing"


def test_files_of_a_package_are_its_root_directory(streams: Streams) -> None:
    archive_ = bytearray(pack([("main.wasm", b"\0asm\1\0\0\0"), ("files", None), ("files/a", b"A")]))
    world = opened(streams, launch(package=contents(archive_)))
    assert [descriptor.preopen for descriptor in world.context.table][3:] == [b"/"]
    world.context.table.close_all(1)


def test_descriptors_are_in_the_order_of_the_config(streams: Streams) -> None:
    world = opened(streams, launch("""
        args = ["one"]
        env = { B = "2" }
        [[files]]
        kind = "null"
        [[files]]
        kind = "listen"
        name = "web"
        prot = "tcp"
        addr = "127.0.0.1"
        port = 80
        [[files]]
        kind = "stdout"
        [[files]]
        kind = "connect"
        prot = "tcp"
        host = "example.com"
        port = 25
        [[files]]
        kind = "stdin"
    """, args=["two"], env=[("A", "1")], layers=[("/", archive(page=b"x")), ("/data", archive())]))  # fmt: skip
    assert kinds(world)[:5] == [Null, Listener, Stdio, Stream, Stdio]
    assert [descriptor.preopen for descriptor in world.context.table][5:] == [b"/", b"/data"]
    assert world.context.args == [b"main.wasm", b"one", b"two"]
    assert set(world.context.environment) == {
        b"B=2",
        b"FD_COUNT=5",
        b"FD_NAMES=null:web:stdout:example.com:stdin",
        b"A=1",
    }
    assert streams.asked[:2] == [("listen", "127.0.0.1", 80), ("credit", 1, CONNECTIONS)]
    assert [descriptor.filetype for descriptor in world.context.table][1] == Filetype.SOCKET_STREAM
    world.context.table.close_all(1)
    assert streams.asked[-1] == ("close", 1)


def test_a_plain_listener_blocks_and_gets_its_connections(streams: Streams) -> None:
    world = opened(streams, launch('[[files]]\nkind = "listen"\nname = "L"\nprot = "tcp"\nport = 1\n'))
    listener = world.context.table.get(0)
    assert isinstance(listener, Listener)
    assert not listener.flags & Fdflags.NONBLOCK
    ours, theirs = socket.socketpair()
    with theirs:
        streams.listeners[1](ours)
        stream = listener.accept(0)
        assert type(stream) is Stream
        assert streams.asked[-1] == ("credit", 1, 1)
        stream.close()
    world.context.table.close_all(1)


TLS_LISTEN = '[[files]]\nkind = "listen"\nname = "L"\nport = 1\n'
TLS_CONNECT = '[[files]]\nkind = "connect"\nhost = "localhost"\nport = 1\nca = ["ca.pem"]\n'


@pytest.mark.usefixtures("keep_tls_env")
def test_a_tls_listener_does_not_block(streams: Streams) -> None:
    world = opened(streams, launch(TLS_LISTEN))
    listener = world.context.table.get(0)
    assert isinstance(listener, Listener)
    assert listener.flags & Fdflags.NONBLOCK
    world.context.table.close_all(1)


@pytest.mark.usefixtures("keep_tls_env")
def test_a_tls_connection_is_made_with_the_anchors_of_the_config(streams: Streams) -> None:
    real = streams.connect

    def connect(host: str, port: int) -> socket.socket:
        ours = real(host, port)

        def server() -> None:
            with start_server(server_context(OURS), streams.peers[-1]) as tls:
                tls.settimeout(SECONDS)
                tls.do_handshake()
                tls.sendall(b"hello")

        finishes.append(in_background(server))
        return ours

    finishes: list[Callable[[], BaseException | None]] = []
    streams.connect = connect  # type: ignore[method-assign]
    world = opened(streams, launch(TLS_CONNECT, ca_files={"ca.pem": OURS.certificate_pem}))
    stream = world.context.table.get(0)
    assert isinstance(stream, TlsStream)
    buffer = bytearray(5)
    assert (stream.read([memoryview(buffer)]), bytes(buffer)) == (5, b"hello")
    world.context.table.close_all(1)
    with pytest.raises(StreamError):
        World(launch(TLS_CONNECT, ca_files={"ca.pem": THEIRS.certificate_pem}), streams, Loop()).open()
    for finish in finishes:
        finish()


@pytest.mark.usefixtures("keep_tls_env")
def test_clients_of_a_listener_are_asked_for_the_certificates_of_the_config(streams: Streams) -> None:
    made = launch(TLS_LISTEN + 'client_ca = ["ca.pem"]\n', ca_files={"ca.pem": THEIRS.certificate_pem})
    loop = Loop()
    world = World(made, streams, loop)
    world.open()
    thread = threading.Thread(target=loop.run, daemon=True)
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    streams.listeners[1](ours)
    wake, waker = socket.socketpair()
    loop.watch(wake, select.EPOLLIN, loop.stop)
    thread.start()
    try:
        theirs.settimeout(SECONDS)
        with context.wrap_socket(theirs, server_hostname="localhost") as client, pytest.raises(OSError):
            client.recv(1)  # the refusal comes after the client's own handshake is done
    finally:
        waker.send(b"x")
        thread.join(SECONDS)
        wake.close()
        waker.close()
    listener = world.context.table.get(0)
    assert isinstance(listener, Listener)
    assert listener._backlog.pop() is None
    world.context.table.close_all(1)


@pytest.mark.usefixtures("keep_tls_env")
def test_a_ca_file_that_did_not_come_is_an_error_of_the_config(streams: Streams) -> None:
    with pytest.raises(ConfigError):
        World(launch(TLS_CONNECT), streams, Loop())


def test_more_descriptors_than_the_limit_allows_end_it(streams: Streams) -> None:
    made = launch("[limits]\ndescriptors = 3\n" + '[[files]]\nkind = "null"\n' * 3, layers=[("/", archive())])
    with pytest.raises(LimitError) as caught:
        opened(streams, made)
    assert caught.value.code == "limit-descriptors"


def test_an_archive_that_is_none_ends_it(streams: Streams) -> None:
    with pytest.raises(WorkloadError):
        opened(streams, launch("", layers=[("/", bytearray(b"no archive" * 100))]))


def test_bytes_of_the_command_line_that_are_no_utf_8_arrive(streams: Streams) -> None:
    world = opened(streams, launch("", args=["\udcff"], env=[("A", "\udcfe")], layers=[("/\udcfd", archive())]))
    assert world.context.args[1] == b"\xff"
    assert b"A=\xfe" in world.context.environment
    assert [descriptor.preopen for descriptor in world.context.table] == [b"/\xfd"]


def text_of(world: World, path: str) -> bytes:
    """A file below the last directory of the workload."""
    *_, directory = world.context.table
    assert isinstance(directory, OpenDirectory)
    node: object = directory._node
    for part in path.split("/"):
        assert isinstance(node, Directory)
        node = node.entries[part]
    assert isinstance(node, File)
    return bytes(node.data)


def test_what_a_keep_tells_of_itself_is_a_read_only_directory_that_is_replaced_at_once(streams: Streams) -> None:
    world = World(launch(manifest_size=1), streams, Loop(), certified=True)
    world.tell(keepdir.archive(keepdir.files(b"first", secrets={"a": b"1"})))
    world.open()
    *_, directory = world.context.table
    assert directory.preopen == b"/keep"
    assert not (directory.rights | directory.inheriting) & Rights.CHANGE
    assert (text_of(world, "certificate.pem"), text_of(world, "secrets/a")) == (b"first", b"1")
    for number in range(200):  # the room for it is not used up
        world.tell(keepdir.archive(keepdir.files(b"second", secrets={"b": bytes([number]) * 65536})))
    assert (text_of(world, "certificate.pem"), text_of(world, "secrets/b")[:1]) == (b"second", bytes([199]))
    root = world._keep_root
    assert root is not None
    secrets = root.entries["secrets"]
    assert isinstance(secrets, Directory)
    assert (secrets.parent, "a" in secrets.entries) == (root, False)
    world.context.table.close_all(1)
