from __future__ import annotations

import errno as host_errno
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LimitError
from enarx.keep.wasi.abi import Errno, Fdflags, Rights, WasiError
from enarx.keep.wasi.descriptor import Descriptor, DescriptorTable, Null, Readiness, from_host, host_errors
from tests.keep.wasi.guest import fails


class Probe(Descriptor):
    """A descriptor that tells whether it was closed."""

    def __init__(self) -> None:
        super().__init__(Rights.FD_READ)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_kind_that_can_do_nothing_says_so_in_wasi_terms() -> None:
    nothing = Descriptor(0)
    refusals: dict[Errno, tuple[Callable[[], object], ...]] = {
        Errno.BADF: (
            lambda: nothing.read([]),
            lambda: nothing.write([]),
            lambda: nothing.allocate(0, 1),
            lambda: nothing.set_times(None, None),
        ),
        Errno.SPIPE: (
            lambda: nothing.pread([], 0),
            lambda: nothing.pwrite([], 0),
            lambda: nothing.seek(0, 0),
            nothing.advise,
        ),
        Errno.INVAL: (lambda: nothing.set_size(0), lambda: nothing.set_flags(Fdflags.APPEND)),
    }
    for expected, attempts in refusals.items():
        for attempt in attempts:
            with fails(expected):
                attempt()
    nothing.sync()
    nothing.wake()
    nothing.close()
    nothing.set_flags(Fdflags.NONBLOCK)
    assert nothing.flags == Fdflags.NONBLOCK
    assert nothing.poll_read() == nothing.poll_write() == Readiness(True)
    assert nothing.waiting() == 1


@pytest.mark.parametrize(
    ("number", "errno"),
    [
        (host_errno.EPIPE, Errno.PIPE),
        (host_errno.ECONNRESET, Errno.CONNRESET),
        (host_errno.EAGAIN, Errno.AGAIN),
        (host_errno.ENOTCONN, Errno.NOTCONN),
        (host_errno.ENOTBLK, Errno.IO),
    ],
)
def test_errors_of_the_system_become_those_of_wasi(number: int, errno: Errno) -> None:
    assert from_host(OSError(number, os.strerror(number))).errno is errno
    with fails(errno), host_errors():
        raise OSError(number, "")


def test_an_error_without_a_number_is_an_io_error() -> None:
    assert from_host(TimeoutError()).errno is Errno.IO


def test_a_descriptor_that_does_not_fit_is_closed() -> None:
    table = DescriptorTable(1)
    table.add(Null())
    probe = Probe()
    with pytest.raises(LimitError, match="more than 1 descriptors"):
        table.add(probe)
    assert probe.closed == 1


def test_a_descriptor_that_cannot_be_closed_does_not_stop_the_others() -> None:
    class Stubborn(Probe):
        def close(self) -> None:
            super().close()
            raise WasiError(Errno.IO) if self.rights else OSError

    table = DescriptorTable(10)
    probes = [Probe(), Stubborn(), Stubborn(), Probe()]
    probes[2].rights = 0
    for probe in probes:
        table.add(probe)
    table.close_all(10)
    assert [probe.closed for probe in probes] == [1, 1, 1, 1]
    assert list(table) == []


def test_closing_everything_stops_when_the_time_is_up() -> None:
    table = DescriptorTable(10)
    probe = Probe()
    table.add(probe)
    table.close_all(0)
    assert probe.closed == 0


def test_renumbering_closes_what_was_replaced_and_nothing_else() -> None:
    table = DescriptorTable(10)
    probes = [Probe(), Probe(), Probe()]
    for probe in probes:
        table.add(probe)
    table.renumber(2, 0)
    assert [probe.closed for probe in probes] == [1, 0, 0]
    assert table.get(0) is probes[2]
    table.renumber(0, 0)
    assert probes[2].closed == 0


@given(st.lists(st.one_of(st.none(), st.integers(0, 9), st.tuples(st.integers(0, 9), st.integers(0, 9))), max_size=60))
def test_numbers_are_always_the_lowest_that_are_free(steps: list[int | tuple[int, int] | None]) -> None:
    """None opens, a number closes, a pair renumbers; a set of numbers is the model."""
    table, model = DescriptorTable(100), set[int]()
    for step in steps:
        if step is None:
            fd = table.add(Probe())
            assert fd == next(number for number in range(100) if number not in model)
            model.add(fd)
            continue
        needed = {step} if isinstance(step, int) else set(step)
        if not needed <= model:
            with fails(Errno.BADF):
                table.close(step) if isinstance(step, int) else table.renumber(*step)
        elif isinstance(step, int):
            table.close(step)
            model.remove(step)
        else:
            table.renumber(*step)
            model -= {step[0]} - {step[1]}
    assert len(list(table)) == len(model)
