from __future__ import annotations

import mmap
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.wasi.abi import IOVEC, MAX_IOVECS, Errno, WasiError
from enarx.keep.wasi.memory import GuestMemory
from tests.keep.wasi.guest import fails

SIZE = 256
CANARY = b"\xcc" * 64
"""What lies on both sides of the memory, and must never change."""


class Arena:
    """A memory in the middle of a larger buffer, so that a byte outside it would be seen to change."""

    def __init__(self) -> None:
        self.buffer = bytearray(CANARY + bytes(2 * SIZE) + CANARY)
        self.size = SIZE
        self.memory = GuestMemory()
        self.memory.attach(self.window)

    def window(self) -> memoryview:
        return memoryview(self.buffer)[len(CANARY) : len(CANARY) + self.size]

    def check(self) -> None:
        assert self.buffer[: len(CANARY)] == CANARY
        assert self.buffer[len(CANARY) + self.size :] == bytes(2 * SIZE - self.size) + CANARY


def test_a_memory_that_is_not_attached_has_no_bytes() -> None:
    with fails(Errno.FAULT):
        GuestMemory().read(0, 1)
    assert GuestMemory().read(0, 0) == b""


def test_the_window_is_taken_again_only_when_an_access_does_not_fit() -> None:
    arena = Arena()
    taken = []

    def window() -> memoryview:
        taken.append(1)
        return arena.window()

    arena.memory.attach(window)
    arena.memory.write(0, b"x" * SIZE)
    assert len(taken) == 1
    with fails(Errno.FAULT):
        arena.memory.read(SIZE, 1)
    assert len(taken) == 2
    arena.size = 2 * SIZE
    arena.memory.write(SIZE, b"grown")
    assert arena.memory.read(SIZE - 1, 6) == b"xgrown"


def test_numbers_are_little_endian() -> None:
    arena = Arena()
    arena.memory.set_u16(0, 0x0102)
    arena.memory.set_u32(2, 0x01020304)
    arena.memory.set_u64(6, 0x0102030405060708)
    assert arena.memory.read(0, 14).hex() == "0201" + "04030201" + "0807060504030201"


def test_buffers_of_more_than_32_bits_together_are_invalid() -> None:
    largest = 0xFFFFFFFF // MAX_IOVECS
    with mmap.mmap(-1, largest + 1) as pages:  # untouched, so they take no space
        memory = GuestMemory()
        window = memoryview(pages)
        memory.attach(lambda: window)
        for length, fits in ((largest, True), (largest + 1, False)):
            memory.write(0, IOVEC.pack(0, length) * MAX_IOVECS)
            if fits:
                assert sum(map(len, memory.iovecs(0, MAX_IOVECS))) == largest * MAX_IOVECS
            else:
                with fails(Errno.INVAL):
                    memory.iovecs(0, MAX_IOVECS)
        memory.attach(lambda: memoryview(b""))
        window.release()


EDGES = st.one_of(
    st.integers(0, SIZE + 8),
    st.sampled_from([1 << 31, (1 << 31) - 1, (1 << 32) - 1, (1 << 32) - SIZE, (1 << 32) - 8]),
)
ACCESSES: list[Callable[[GuestMemory, int, int], object]] = [
    lambda memory, pointer, length: memory.slice(pointer, length).__setitem__(slice(None), b"\x55" * length),
    lambda memory, pointer, length: memory.read(pointer, length),
    lambda memory, pointer, length: memory.write(pointer, b"\x55" * min(length, 4096)),
    lambda memory, pointer, length: memory.set_u16(pointer, 0x5555),
    lambda memory, pointer, length: memory.set_u32(pointer, 0x55555555),
    lambda memory, pointer, length: memory.set_u64(pointer, 0x5555555555555555),
    lambda memory, pointer, length: memory.iovecs(pointer, length),
]


@given(st.sampled_from(ACCESSES), EDGES, EDGES)
def test_nothing_outside_the_memory_is_ever_touched(
    access: Callable[[GuestMemory, int, int], object], pointer: int, length: int
) -> None:
    arena = Arena()
    try:
        access(arena.memory, pointer, length)
    except WasiError as error:
        assert error.errno in (Errno.FAULT, Errno.INVAL)
    arena.check()


@given(st.lists(st.tuples(EDGES, EDGES), max_size=8), EDGES)
def test_a_list_of_buffers_gives_views_of_the_memory_or_an_error(buffers: list[tuple[int, int]], pointer: int) -> None:
    arena = Arena()
    raw = b"".join(IOVEC.pack(*buffer) for buffer in buffers)
    if pointer + len(raw) <= SIZE:
        arena.memory.write(pointer, raw)
    try:
        views = arena.memory.iovecs(pointer, len(buffers))
    except WasiError as error:
        assert error.errno == Errno.FAULT
    else:
        assert [len(view) for view in views] == [length for _, length in buffers if length]
        for view in views:
            view[:] = b"\x55" * len(view)
    arena.check()


@pytest.mark.parametrize("count", [MAX_IOVECS + 1, 10_000, (1 << 32) - 1])
def test_too_many_buffers_are_refused_before_any_is_read(count: int) -> None:
    with fails(Errno.INVAL):
        Arena().memory.iovecs(0, count)
