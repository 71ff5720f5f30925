"""Descriptors of a test: counting what it may not leave behind, and waiting for one of any number."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator


def open_descriptors() -> set[tuple[int, str]]:
    """This process's descriptors, and what each is."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def becomes_ready(fileno: int, events: int = select.POLLIN, seconds: float = 60.0) -> bool:
    """Wait for one of ``events`` (of ``poll``, as ``select`` takes no number above 1023); whether it came in time."""
    poller = select.poll()
    poller.register(fileno, events)
    return bool(poller.poll(seconds * 1000))


@contextlib.contextmanager
def nothing_left_open(seconds: float = 60.0) -> Iterator[None]:
    """Fail when the block leaves a descriptor or a thread behind; threads get a while to end."""
    before, threads = open_descriptors(), set(threading.enumerate())
    yield
    end = time.monotonic() + seconds
    while (open_descriptors() - before or set(threading.enumerate()) - threads) and time.monotonic() < end:
        time.sleep(0.005)
    assert set(threading.enumerate()) - threads == set()
    assert open_descriptors() - before == set()
