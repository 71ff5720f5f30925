from __future__ import annotations

import time

import pytest

from enarx.keep.wasi.abi import Errno
from enarx.keep.wasi.context import WorkloadExited
from tests.keep.wasi.conftest import MakeGuest
from tests.keep.wasi.guest import Guest, fails


def test_arguments_and_environment_arrive_as_given(make_guest: MakeGuest) -> None:
    args = (b"main.wasm", b"", "größe".encode(), b"x" * 5000)
    guest = make_guest(args=args, environment=(b"A=1", b"EMPTY=", b"\xff\xfe=raw"))
    assert guest.strings("args") == list(args)
    assert guest.strings("environ") == [b"A=1", b"EMPTY=", b"\xff\xfe=raw"]


def test_a_guest_without_arguments_gets_empty_lists(guest: Guest) -> None:
    assert guest.strings("args") == guest.strings("environ") == []


def test_strings_that_do_not_fit_in_memory_are_a_fault(make_guest: MakeGuest) -> None:
    guest = make_guest(args=(b"main.wasm", b"second"))
    with fails(Errno.FAULT):
        guest.do("args_get", guest.room(8), guest.size - 12)
    with fails(Errno.FAULT):
        guest.do("args_get", guest.size - 4, guest.room(32))
    with fails(Errno.FAULT):
        guest.do("environ_sizes_get", guest.room(4), guest.size - 3)


def test_clocks_tell_the_time_of_the_machine(guest: Guest) -> None:
    out = guest.room(8)
    before = time.time_ns()
    guest.do("clock_time_get", 0, 0, out)
    assert before <= guest.u64(out) <= time.time_ns()
    earlier = time.monotonic_ns()
    guest.do("clock_time_get", 1, 1 << 63, out)
    assert earlier <= guest.u64(out) <= time.monotonic_ns()


@pytest.mark.parametrize("clock", [2, 3])
def test_cpu_clocks_advance_with_work(guest: Guest, clock: int) -> None:
    out = guest.room(8)
    guest.do("clock_time_get", clock, 0, out)
    first = guest.u64(out)
    for _ in range(100):
        guest.do("clock_time_get", clock, 0, out)
    assert guest.u64(out) > first


@pytest.mark.parametrize("clock", range(4))
def test_every_clock_has_a_resolution(guest: Guest, clock: int) -> None:
    out = guest.room(8)
    guest.do("clock_res_get", clock, out)
    assert 0 < guest.u64(out) <= 1_000_000_000


@pytest.mark.parametrize("clock", [4, 0xFFFFFFFF])
def test_an_unknown_clock_is_invalid(guest: Guest, clock: int) -> None:
    with fails(Errno.INVAL):
        guest.do("clock_time_get", clock, 0, guest.room(8))
    with fails(Errno.INVAL):
        guest.do("clock_res_get", clock, guest.room(8))


@pytest.mark.parametrize("size", [0, 1, 1_500_000])
def test_random_bytes_fill_exactly_the_buffer(guest: Guest, size: int) -> None:
    pointer = guest.room(size + 8)
    guest.do("random_get", pointer, size)
    data = guest.peek(pointer, size + 8)
    assert data[size:] == b"\xaa" * 8
    if size > 1:
        assert len(set(data[-512:-8])) > 100  # the last chunk as well as the first
        assert len(set(data[:512])) > 100


def test_random_bytes_past_the_end_of_memory_are_a_fault_and_write_nothing(guest: Guest) -> None:
    guest.poke(guest.size - 16, bytes(16))
    with fails(Errno.FAULT):
        guest.do("random_get", guest.size - 16, 17)
    assert guest.peek(guest.size - 16, 16) == bytes(16)


def test_yield_returns(guest: Guest) -> None:
    guest.do("sched_yield")


@pytest.mark.parametrize("code", [0, 1, 125, 126, 255, 0x80000000, 0xFFFFFFFF])
def test_exit_ends_the_workload_with_its_code(guest: Guest, code: int) -> None:
    with pytest.raises(WorkloadExited) as exited:
        guest.call("proc_exit", code)
    assert exited.value.code == code


def test_a_raised_signal_ends_the_workload_as_a_shell_reports_it(guest: Guest) -> None:
    with pytest.raises(WorkloadExited) as exited:
        guest.call("proc_raise", 6)
    assert exited.value.code == 134


def test_signal_none_does_nothing_and_an_unknown_one_is_invalid(guest: Guest) -> None:
    guest.do("proc_raise", 0)
    with fails(Errno.INVAL):
        guest.do("proc_raise", 31)
