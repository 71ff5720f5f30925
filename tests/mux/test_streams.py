"""Streams over a port of bytes: complete, in order, each with its own pace, and each with its own end."""

from __future__ import annotations

import contextlib
import random
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx.mux import table
from enarx.mux.stream import WINDOW_BYTES
from enarx.wire import Type, encode_fields
from tests.descriptors import nothing_left_open
from tests.mux.ends import Ends, tcp_pair

MORE = 32 << 20
"""More than all buffers on the way of one stream hold, in bytes."""


@pytest.fixture
def ends() -> Iterator[Ends]:
    with nothing_left_open(), Ends() as ends:
        yield ends


def fill(ends: Ends, sock: socket.socket, limit: int = MORE) -> int:
    """Write until nothing more is taken: how many bytes were."""
    count = 0
    chunk = bytes(50_000)
    while count < limit:
        try:
            count += sock.send(chunk, socket.MSG_DONTWAIT)
        except BlockingIOError:
            before = progress(ends)
            ends.settle()
            if progress(ends) == before:
                break
    return count


def progress(ends: Ends) -> tuple[int, ...]:
    return ends.keep._transit.received, ends.host._transit.received


def drain(ends: Ends, sock: socket.socket, wanted: int) -> bytes:
    data = bytearray()
    while len(data) < wanted:
        try:
            part = sock.recv(100_000, socket.MSG_DONTWAIT)
        except ConnectionResetError:  # an end, behind what came
            break
        except BlockingIOError:
            before = progress(ends)
            ends.settle()
            if progress(ends) == before and not select.select([sock], [], [], 0)[0]:
                break
        else:
            if not part:
                break
            data += part
    return bytes(data)


def test_bytes_go_both_ways(ends: Ends) -> None:
    client, workload = ends.open()
    with client, workload:
        client.sendall(b"question")
        ends.settle()
        assert workload.recv(100) == b"question"
        workload.sendall(b"answer")
        ends.settle()
        assert client.recv(100) == b"answer"


def test_each_stream_has_its_own_bytes(ends: Ends) -> None:
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(sock) for sock in ends.open()] for _ in range(20)]
        for number, (client, workload) in enumerate(pairs):
            client.sendall(b"to %d" % number)
            workload.sendall(b"from %d" % number)
        ends.settle()
        for number, (client, workload) in enumerate(pairs):
            assert (workload.recv(100), client.recv(100)) == (b"to %d" % number, b"from %d" % number)


@pytest.mark.parametrize("first", ["client", "workload"])
def test_one_direction_ends_and_the_other_goes_on(first: str, ends: Ends) -> None:
    client, workload = ends.open()
    one, other = (client, workload) if first == "client" else (workload, client)
    with client, workload:
        one.sendall(b"last words")
        one.shutdown(socket.SHUT_WR)
        ends.settle()
        assert (other.recv(100), other.recv(100)) == (b"last words", b"")
        other.sendall(b"goes on")
        ends.settle()
        assert one.recv(100) == b"goes on"
        other.shutdown(socket.SHUT_WR)
        ends.settle()
        assert one.recv(100) == b""
    ends.settle()
    assert ends.open_streams() == (0, 0)


@pytest.mark.parametrize("first", ["client", "workload"])
def test_what_was_written_before_closing_arrives(first: str, ends: Ends) -> None:
    """The whole of it, at a reader that begins afterwards; and nothing of the stream is left then."""
    client, workload = ends.open()
    one, other = (client, workload) if first == "client" else (workload, client)
    data = random.Random(1).randbytes(100_000)
    with other:
        other.sendall(b"never read")
        ends.settle()
        one.sendall(data)
        one.close()
        ends.settle()
        assert drain(ends, other, len(data) + 1) == data
    ends.settle()
    assert ends.open_streams() == (0, 0)


@pytest.mark.parametrize("first", ["client", "workload"])
def test_writing_to_who_has_closed_is_an_error(first: str, ends: Ends) -> None:
    client, workload = ends.open()
    one, other = (client, workload) if first == "client" else (workload, client)
    one.close()
    ends.settle()
    with other, pytest.raises(BrokenPipeError):
        other.sendall(b"x")
    ends.settle()
    assert ends.open_streams() == (0, 0)


def test_a_workload_that_reads_no_more_can_still_write(ends: Ends) -> None:
    client, workload = ends.open()
    with client, workload:
        workload.shutdown(socket.SHUT_RD)
        assert fill(ends, client) >= MORE  # thrown away, as TCP does
        workload.sendall(b"still here")
        ends.settle()
        assert client.recv(100) == b"still here"


def test_a_client_that_resets_ends_the_stream(ends: Ends) -> None:
    client, far = tcp_pair()
    _, workload = ends.open(far)
    with workload:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        ends.settle()
        assert workload.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            workload.sendall(b"x")
    ends.settle()
    assert ends.open_streams() == (0, 0)


def test_a_client_of_a_workload_that_closed_reads_to_an_ordinary_end(ends: Ends) -> None:
    """Though the client has sent what nobody read: a reset would take the answer away with it."""
    client, far = tcp_pair()
    _, workload = ends.open(far)
    with client:
        client.sendall(b"never read")
        ends.settle()
        workload.sendall(b"answer")
        workload.close()
        ends.settle()
        assert (client.recv(100), client.recv(100)) == (b"answer", b"")


# --- pace


@pytest.mark.parametrize("reader", ["client", "workload"])
def test_a_reader_that_stops_stops_its_writer_and_nobody_else(reader: str, ends: Ends) -> None:
    client, workload = ends.open()
    others = ends.open()
    slow, writer = (client, workload) if reader == "client" else (workload, client)
    with client, workload, others[0], others[1]:
        taken = fill(ends, writer)
        assert taken < MORE
        pending = max(len(stream.pending) for end in ends.tables() for stream in end.by_socket.values())
        assert 0 < pending <= 8 * table.PAIR_BYTES  # its window has not grown far
        others[0].sendall(b"not held up")
        ends.host_link.sendall(encode_fields(Type.STOP, reason="nor is this"))
        ends.settle()
        assert others[1].recv(100) == b"not held up"
        assert [frame.type for frame in ends.to_keep()] == [Type.STOP]
        assert len(drain(ends, slow, taken)) == taken
        assert fill(ends, writer, 100_000) >= 100_000


def test_windows_grow_for_readers_that_keep_up_and_shrink_with_their_stream(ends: Ends) -> None:
    (keep_table,) = [end for end in ends.tables() if end is ends.keep._table]
    client, workload = ends.open()
    with client, workload:
        for _ in range(40):
            sent = fill(ends, client, 50_000)
            assert len(drain(ends, workload, sent)) == sent
        (stream,) = keep_table.by_number.values()
        assert stream.window == table.PAIR_BYTES  # all of it fits into the socket
        assert keep_table._supply == table.SUPPLY_BYTES - table.PAIR_BYTES + WINDOW_BYTES
    ends.settle()
    assert keep_table._supply == table.SUPPLY_BYTES


def test_all_windows_together_are_bounded(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SUPPLY_BYTES", 20_000)
    ends.keep._table._supply = 20_000
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(sock) for sock in ends.open()] for _ in range(3)]
        for _ in range(10):
            for client, workload in pairs:
                sent = fill(ends, client, 50_000)
                assert len(drain(ends, workload, sent)) == sent
        windows = [stream.window for stream in ends.keep._table.by_number.values()]
        assert sum(windows) == 3 * WINDOW_BYTES + 20_000 - ends.keep._table._supply
        assert ends.keep._table._supply >= 0


def test_sixty_four_streams_share_the_link(ends: Ends) -> None:
    """Each has more to send than goes through at once; none falls behind by more than its fair share of a round."""
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(sock) for sock in ends.open()] for _ in range(64)]
        got = [0] * len(pairs)
        chunk, buffer = bytes(1 << 16), bytearray(1 << 18)
        while sum(got) < 64 * (1 << 19):
            for number, (client, workload) in enumerate(pairs):
                with contextlib.suppress(BlockingIOError):
                    client.send(chunk, socket.MSG_DONTWAIT)
                with contextlib.suppress(BlockingIOError):
                    got[number] += workload.recv_into(buffer, 0, socket.MSG_DONTWAIT)
            ends.host.turn(wait=False)
            ends.keep.turn(wait=False)
        assert min(got) > max(got) / 2


# --- how many


def test_a_connection_that_is_too_many_waits_until_another_ends(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_STREAMS", 2)
    first, second = ends.open(), ends.open()
    near, far = socket.socketpair()
    with near, far:
        socket.send_fds(ends.host_link, [encode_fields(Type.INCOMING, 1, fd=True, peer="")], [far.fileno()])
        ends.settle()
        assert ends.to_keep() == []
    first[0].close()
    first[1].close()
    ends.settle()
    (frame,) = ends.to_keep()
    assert frame.fd >= 0
    frame.close()
    for sock in second:
        sock.close()


def test_numbers_are_not_given_twice(ends: Ends) -> None:
    kept = ends.open()
    ends.host._last_number = 0xFFFFFFFF
    more = ends.open()
    assert sorted(ends.host._table.by_number) == [1, 2]
    for sock in (*kept, *more):
        sock.close()


# --- everything at once


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test_whatever_happens_in_whatever_order_bytes_arrive_complete_and_in_order(data: st.DataObject) -> None:
    """Writes, reads, ends, closing and turns in any order, and then all is read to the end."""
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    sizes = st.sampled_from([1, 17, 1000, 16_384, 70_000, 300_000])
    with nothing_left_open(), Ends() as ends, contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(sock) for sock in ends.open()] for _ in range(data.draw(st.integers(1, 4)))]
        sockets = [(number, side) for number in range(len(pairs)) for side in (0, 1)]
        sent = {key: bytearray() for key in sockets}
        got = {key: bytearray() for key in sockets}
        ended, closed = set[tuple[int, int]](), set[tuple[int, int]]()
        steps = st.tuples(
            st.sampled_from(["write", "write", "read", "host", "keep", "end", "close"]), st.sampled_from(sockets), sizes
        )
        for step, key, size in data.draw(st.lists(steps, max_size=60)):
            sock = pairs[key[0]][key[1]]
            if step == "write" and key not in ended:
                payload = dice.randbytes(size)
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    sent[key] += payload[: sock.send(payload, socket.MSG_DONTWAIT)]
            elif step == "read" and key not in closed:
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    got[key] += sock.recv(size, socket.MSG_DONTWAIT)
            elif step == "end" and key not in ended:
                ended.add(key)
                sock.shutdown(socket.SHUT_WR)
            elif step == "close":
                ended.add(key)
                closed.add(key)
                sock.close()
            elif step in ("host", "keep"):
                (ends.host if step == "host" else ends.keep).turn(wait=False)
            for end in ends.tables():
                assert all(len(stream.pending) <= stream.window for stream in end.by_socket.values())
        for key in sockets:
            if key not in ended:
                pairs[key[0]][key[1]].shutdown(socket.SHUT_WR)
        for number, side in sockets:
            if (number, side) not in closed:
                wanted = len(sent[number, 1 - side]) - len(got[number, side]) + 1
                got[number, side] += drain(ends, pairs[number][side], wanted)
                assert got[number, side] == sent[number, 1 - side]
        ends.settle()
        for end in ends.tables():
            assert not end.by_number
