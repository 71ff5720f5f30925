"""A buffer in pieces: what is read and written is what `os.readv` and `os.writev` would, and nothing beside it."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.mux.pieces import MAX_PIECES, Pieces

SIZE, UNIT = 4096, 64


@given(st.binary(max_size=2 * SIZE))
def test_what_comes_is_at_the_beginning(data: bytes) -> None:
    pieces, (near, far) = Pieces(SIZE, UNIT), socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.sendall(data)
        if not data:
            assert pieces.read(near.fileno()) is None
            return
        count = min(len(data), SIZE)
        assert pieces.read(near.fileno()) == count
        assert pieces.view[:count] == data[:count]
        assert not any(pieces.view[count:])


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)), min_size=1, max_size=5))
def test_any_part_is_written_and_leaves_the_pieces_as_they_were(parts: list[tuple[int, int]]) -> None:
    pieces = Pieces(SIZE, UNIT)
    pieces.view[:] = os.urandom(SIZE)
    near, far = socket.socketpair()
    with near, far:
        for start, length in parts:
            end = min(start + length, SIZE)
            assert pieces.write(near.fileno(), start, end) == end - start
            assert far.recv(SIZE) == pieces.view[start:end]
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5), (0, SIZE + 1), (SIZE, SIZE + 1)])
def test_nothing_outside_the_buffer_is_written(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Pieces(SIZE, UNIT).write(-1, start, end)


@pytest.mark.parametrize(("size", "unit"), [(0, 8), (100, 8), (8 * (MAX_PIECES + 1), 8)])
def test_a_buffer_has_whole_pieces_and_not_too_many(size: int, unit: int) -> None:
    with pytest.raises(ValueError, match="pieces"):
        Pieces(size, unit)


def test_the_end_full_and_broken_are_told_apart() -> None:
    pieces, (near, far) = Pieces(1 << 16, UNIT), socket.socketpair()
    near.setblocking(False)
    with near:
        while pieces.write(near.fileno(), 0, 1 << 16) is not None:
            pass
        far.close()
        with pytest.raises(BrokenPipeError):
            pieces.write(near.fileno(), 0, 1)
    one, other = socket.socketpair()
    other.close()
    with one:
        assert pieces.read(one.fileno()) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        pieces.read(-1)
