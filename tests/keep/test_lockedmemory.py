"""Memory for keys and secrets: locked where the machine permits it, and honest about it where it does not."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from enarx.keep.lockedmemory import APPLIED, lock_process


class LockAll(list[int]):
    """mlockall(2) that succeeds and remembers its flags."""

    def __call__(self, flags: int) -> int:
        self.append(flags)
        return 0


def test_process_is_not_locked_under_a_limit() -> None:
    lock_all = LockAll()
    said = lock_process(limit=lambda: 8 << 20, lock_all=lock_all)
    assert said.startswith("not applied: RLIMIT_MEMLOCK is 8388608 bytes")
    assert lock_all == []


def test_process_is_locked_on_fault_and_for_the_future_without_a_limit() -> None:
    lock_all = LockAll()
    assert lock_process(limit=lambda: resource.RLIM_INFINITY, lock_all=lock_all) == APPLIED
    assert lock_all == [1 | 2 | 4]


def test_refusal_of_the_kernel_is_reported() -> None:
    said = lock_process(limit=lambda: resource.RLIM_INFINITY, lock_all=lambda flags: -1)
    assert said.startswith("not applied: mlockall")


UNLIMITED = """
import resource
try:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except (PermissionError, ValueError):
    print("limited", 0)
    raise SystemExit
from pathlib import Path
from enarx.keep.lockedmemory import lock_process
said = lock_process()
print(said, next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmLck" in line))
"""


def test_process_is_locked_as_the_kernel_sees_it() -> None:
    done = subprocess.run([sys.executable, "-c", UNLIMITED], capture_output=True, text=True, check=True)
    said, locked_kib = done.stdout.split()
    if said == "limited":
        pytest.skip("RLIMIT_MEMLOCK cannot be lifted by this user")
    assert said == APPLIED
    assert int(locked_kib) > 1000
