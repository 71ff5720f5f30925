"""Memory for keys and secrets: locked where the machine permits it, zeroed, and honest about what it is not."""

from __future__ import annotations

import mmap
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.lockedmemory import APPLIED, LockedBytes, lock_process

SECRET = b"correct horse battery staple"


@given(st.binary(min_size=1, max_size=3 * mmap.PAGESIZE))
def test_what_is_held_is_what_was_given(data: bytes) -> None:
    with LockedBytes(data) as held:
        assert len(held) == len(data)
        assert held.reveal() == data


def test_it_does_not_show_itself() -> None:
    with LockedBytes(SECRET) as held:
        assert repr(held) == f"LockedBytes({len(SECRET)} bytes)"


def test_it_is_written_whole_to_a_descriptor() -> None:
    data = os.urandom(100_000)
    descriptor = os.memfd_create("test")
    with LockedBytes(data) as held:
        held.write_to(descriptor)
    assert os.pread(descriptor, len(data) + 1, 0) == data
    os.close(descriptor)


class Pages(bytearray):
    """Stands in for the pages, and stays to be looked at after it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_it_is_zeroed_when_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = LockedBytes(SECRET)
    held._pages.close()
    pages = Pages(SECRET)
    monkeypatch.setattr(held, "_pages", pages)
    held.close()
    assert bytes(pages) == bytes(len(SECRET))
    assert pages.closed


def test_it_is_gone_when_closed() -> None:
    held = LockedBytes(SECRET)
    held.close()
    held.close()
    with pytest.raises(ValueError, match="closed"):
        held.reveal()


def test_pages_are_locked_as_the_kernel_sees_it() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and soft < 1 << 20:
        pytest.skip(f"RLIMIT_MEMLOCK is {soft} bytes")
    before = _locked_kib()
    with LockedBytes(bytes(16 * mmap.PAGESIZE)) as held:
        assert held.locked
        assert _locked_kib() - before == 16 * mmap.PAGESIZE // 1024
    assert _locked_kib() == before


def _locked_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmLck"))


def test_nothing_cannot_be_held() -> None:
    with pytest.raises(ValueError, match="nothing"):
        LockedBytes(b"")


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
