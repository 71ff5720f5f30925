"""Counting what a test may not leave behind."""

from __future__ import annotations

import contextlib
import os
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
