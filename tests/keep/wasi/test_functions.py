"""All functions of WASI under arguments that no honest compiler makes, in any order.

Whatever a workload passes, it gets an error number that WASI knows, or is ended for a reason that has a name. What
a fault of ours would look like (an exception that is neither) fails the test.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import LimitError
from enarx.keep.wasi import abi
from enarx.keep.wasi.abi import MODULE, SIGNATURES, Errno, Fdflags
from enarx.keep.wasi.context import Context, WorkloadExited
from enarx.keep.wasi.descriptor import DescriptorTable, Null
from enarx.keep.wasi.functions import functions
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.stdio import Stdio
from enarx.keep.wasi.stream import Listener, Stream
from enarx.keep.wasi.tree import FileSystem
from tests.keep.wasi.guest import PAGE, Guest, binder_named, on_clock, on_read, on_write
from tests.keep.wasi.sockets import Queue, tls_stream

KNOWN = {int(errno) for errno in Errno}
ARENA = 4096
"""Where the memory that arguments point to lies: paths, lists of buffers and subscriptions, and room."""
IOVECS = ARENA + 4096
MANY_IOVECS = ARENA + 8192
"""10 000 buffers begin here."""
SUBSCRIPTIONS = ARENA + 0x20000
ROOM = ARENA + 0x30000
PATHS = [
    b"file",
    b"dir",
    b"dir/inner",
    b"link",
    b"loop",
    b"new",
    b"dir/",
    b"..",
    b"/",
    b".",
    b"",
    b"\xff",
    b"a\0b",
    b"x" * 300,
]
SIZE = 32 * PAGE


def arena() -> bytes:
    """Paths from 0 on, 64 bytes apart; then three lists of buffers; then 10 000 buffers; then subscriptions."""
    paths = b"".join(path[:64].ljust(64, b"\0") for path in PATHS)
    good = [(ROOM, 16), (ROOM + 16, 0), (ROOM + 32, 5000)]
    wild = [(ROOM, 8), (SIZE - 4, 8), (0xFFFFFFFF, 2), (0, 0xFFFFFFFF)]
    buffers = b"".join(abi.IOVEC.pack(*pair) for pair in good + wild)
    many = abi.IOVEC.pack(ROOM, 1) * 10_000
    past = on_clock(0, userdata=1)
    subscriptions = b"".join([past, *[f(fd) for fd in range(12) for f in (on_read, on_write)], bytes([0xFF] * 48)])
    return (
        paths.ljust(IOVECS - ARENA, b"\0")
        + buffers.ljust(MANY_IOVECS - IOVECS, b"\0")
        + many.ljust(SUBSCRIPTIONS - MANY_IOVECS, b"\0")
        + subscriptions
    )


@contextlib.contextmanager
def crowded(binder: str) -> Iterator[Guest]:
    """A guest with one of everything: stdio, files, sockets, TLS, a listener. None of it can block."""
    with contextlib.ExitStack() as stack:
        stdin, other_in = os.pipe()
        os.close(other_in)
        other_out, stdout = os.pipe()
        stack.callback(os.close, other_out)
        fs = FileSystem(1 << 20, itertools.count().__next__)
        fs.create_file(fs.root, "file", b"content" * 100)
        fs.create_symlink(fs.root, "link", "dir/inner")
        fs.create_symlink(fs.root, "loop", "loop")
        fs.create_file(fs.create_directory(fs.root, "dir"), "inner")
        ours, peer = socket.socketpair()
        stack.enter_context(peer)
        peer.sendall(b"bytes that wait")
        secure, secure_peer = tls_stream(nonblocking=True)
        stack.enter_context(secure_peer)
        secure_peer.sendall(b"secret bytes that wait")
        connection, connected = socket.socketpair()
        stack.enter_context(connected)
        queue = Queue()
        queue.push(connection)
        table = DescriptorTable(40)
        context = Context(table, (b"main.wasm", b"argument"), (b"NAME=value",))
        for descriptor in (
            Stdio(stdin, readable=True),
            Stdio(stdout, readable=False),
            Null(),
            preopen(fs, fs.root, b"/"),
            preopen(fs, fs.new_root(), b"/other"),
            Stream(ours, nonblocking=True),
            secure,
            Listener(queue, context.interrupt.wait, nonblocking=True),
        ):
            table.add(descriptor)
        stack.callback(table.close_all, 10)
        guest = Guest(context, binder_named(binder))
        guest.do("fd_fdstat_set_flags", 1, Fdflags.NONBLOCK)
        guest.open("file")
        guest.open_directory("dir")
        guest.poke(ARENA, arena())
        yield guest


EDGES = [
    0,
    1,
    2,
    3,
    8,
    255,
    4096,
    SIZE - 8,
    SIZE - 1,
    SIZE,
    SIZE + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 8,
    (1 << 32) - 1,
]
WIDE_EDGES = [*EDGES, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1]
POINTERS = [*range(ARENA, ARENA + 64 * len(PATHS), 64), IOVECS, IOVECS + 24, MANY_IOVECS, SUBSCRIPTIONS, ROOM, ROOM + 1]
NARROW = st.one_of(
    st.integers(0, 12),
    st.sampled_from(POINTERS),
    st.sampled_from(EDGES),
    st.sampled_from([10_000, 1024, 1025]),
    st.integers(0, (1 << 32) - 1),
)
WIDE = st.one_of(st.integers(0, 64), st.sampled_from(WIDE_EDGES), st.integers(0, (1 << 64) - 1))
ENDS = ("proc_exit", "proc_raise")


def sensible(name: str) -> st.SearchStrategy[tuple[int, ...]]:
    """Arguments that are right in most places, so that calls get beyond their first check."""
    pointer, fd = st.sampled_from(POINTERS), st.integers(0, 12)
    parameter = {"i": st.one_of(fd, pointer, st.integers(0, 64)), "I": st.one_of(WIDE, st.just((1 << 30) - 1))}
    if name == "poll_oneoff":
        return st.tuples(st.just(SUBSCRIPTIONS), st.just(ROOM), st.integers(0, 26), st.just(ROOM + 0x4000))
    if name in ("fd_read", "fd_write"):
        return st.tuples(fd, st.sampled_from([IOVECS, IOVECS + 24]), st.integers(0, 6), pointer)
    if name in ("fd_pread", "fd_pwrite"):
        return st.tuples(fd, st.just(IOVECS), st.integers(0, 4), WIDE, pointer)
    if name in ("sock_recv", "sock_send"):
        extra = [pointer] if name == "sock_recv" else []
        return st.tuples(fd, st.just(IOVECS), st.integers(0, 4), st.integers(0, 4), pointer, *extra)
    return st.tuples(*[parameter[kind] for kind in SIGNATURES[name]])


def call() -> st.SearchStrategy[tuple[str, tuple[int, ...]]]:
    def of(name: str) -> st.SearchStrategy[tuple[str, tuple[int, ...]]]:
        wild = st.tuples(*[NARROW if kind == "i" else WIDE for kind in SIGNATURES[name]])
        return st.tuples(st.just(name), st.one_of(wild, sensible(name)))

    names = [name for name in SIGNATURES if name not in ENDS]
    return st.sampled_from([*names, *ENDS, *names, *names]).flatmap(of)


def may_block(name: str, arguments: tuple[int, ...], guest: Guest) -> bool:
    """Calls that would wait for ever, as they should: a clock that has not rung, a stream made to block."""
    if name == "fd_fdstat_set_flags":
        return not arguments[1] & Fdflags.NONBLOCK
    if name == "poll_oneoff" and 0 < arguments[2] <= abi.MAX_SUBSCRIPTIONS:
        # Only lists that begin with the clock that has rung; memory may have been overwritten.
        return arguments[0] + 48 > SIZE or guest.peek(arguments[0], 48) != on_clock(0, userdata=1)
    if name == "sock_accept":
        return not arguments[1] & Fdflags.NONBLOCK and arguments[1] == 0
    return False


def test_every_function_is_offered_once_under_its_signature() -> None:
    offered = functions(Context(DescriptorTable(1)))
    assert [(function.module, function.name, function.params) for function in offered] == [
        (MODULE, name, params) for name, params in SIGNATURES.items()
    ]
    assert len(offered) == 46
    assert [function.name for function in offered if not function.returns] == ["proc_exit"]


@pytest.mark.parametrize("binder", ["unchecked", "checked"])
@settings(max_examples=150)
@given(calls=st.lists(call(), min_size=1, max_size=40))
def test_no_sequence_of_calls_gets_anything_but_error_numbers_and_named_ends(
    binder: str, calls: list[tuple[str, tuple[int, ...]]]
) -> None:
    with crowded(binder) as guest:
        for name, arguments in calls:
            if may_block(name, arguments, guest):
                continue
            try:
                errno = guest.call(name, *arguments)
            except WorkloadExited:
                assert name in ENDS
                break
            except LimitError as limit:
                assert limit.code in ("limit-descriptors", "limit-filesystem")
                break
            assert errno in KNOWN, (name, arguments)
        assert guest.size == SIZE


@pytest.mark.parametrize("binder", ["unchecked", "checked"])
@pytest.mark.parametrize("name", [name for name in SIGNATURES if name not in ENDS])
def test_every_edge_in_every_place_of_every_function(binder: str, name: str) -> None:
    """Each parameter in turn takes each value of the edges, with others that are right or wrong alike."""
    params = SIGNATURES[name]
    with crowded(binder) as guest:
        for fill in (0, 3, 5, 6, 7, ROOM, (1 << 32) - 1):
            for place, kind in enumerate(params):
                for value in EDGES if kind == "i" else WIDE_EDGES:
                    arguments = [fill] * len(params)
                    arguments[place] = value
                    if may_block(name, tuple(arguments), guest):
                        continue
                    with contextlib.suppress(LimitError):
                        assert guest.call(name, *arguments) in KNOWN
