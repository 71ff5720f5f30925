"""Fixtures for tests of WASI functions. Every test that uses them runs with both ways of calling into the Keep."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Descriptor, DescriptorTable, Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.tree import FileSystem
from tests.keep.wasi.guest import Guest, binder_named

MakeGuest = Callable[..., Guest]
FILESYSTEM_LIMIT = 1 << 20
DESCRIPTORS = 64


@pytest.fixture(params=["unchecked", "checked"])
def binder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fs() -> FileSystem:
    """An empty file system of 1 MiB whose clock ticks once a microsecond each time that it is read."""
    ticks = itertools.count(1_700_000_000_000_000_000, 1000)
    return FileSystem(FILESYSTEM_LIMIT, lambda: next(ticks))


@pytest.fixture
def make_guest(binder: str, fs: FileSystem) -> Iterator[MakeGuest]:
    """``make_guest(*descriptors, ...)``: a guest with null for stdio, ``/`` as 3, and what is given from 4 on."""
    contexts: list[Context] = []

    def make(*descriptors: Descriptor, args: tuple[bytes, ...] = (), environment: tuple[bytes, ...] = ()) -> Guest:
        table = DescriptorTable(DESCRIPTORS)
        for descriptor in (Null(), Null(), Null(), preopen(fs, fs.root, b"/"), *descriptors):
            table.add(descriptor)
        context = Context(table, args, environment)
        contexts.append(context)
        return Guest(context, binder_named(binder))

    yield make
    for context in contexts:
        context.table.close_all(10)


@pytest.fixture
def guest(make_guest: MakeGuest) -> Guest:
    return make_guest()


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """``later(seconds, action)``: do something in another thread while the guest waits."""
    timers: list[threading.Timer] = []

    def start(seconds: float, action: Callable[[], object]) -> None:
        timers.append(threading.Timer(seconds, action))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()
