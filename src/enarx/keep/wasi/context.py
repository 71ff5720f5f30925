"""What all WASI functions of one workload share."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from dataclasses import dataclass, field

from enarx.keep.wasi.descriptor import DescriptorTable
from enarx.keep.wasi.memory import GuestMemory


class WorkloadExited(BaseException):
    """The workload called ``proc_exit``. A BaseException: it passes through every handler of ordinary errors."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WorkloadStopped(BaseException):
    """The workload was told to stop while it was in a host call."""


class Interrupt:
    """Lets the main thread end a wait of the workload's thread."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._set = False

    def __del__(self) -> None:
        os.close(self._event)

    def set(self) -> None:
        """End the current wait and every later one."""
        self._set = True
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        """A descriptor that becomes readable with ``set``."""
        return self._event

    def check(self) -> None:
        """Raise WorkloadStopped once ``set`` was called."""
        if self._set:
            raise WorkloadStopped

    def wait(self, fileno: int) -> None:
        """Block until ``fileno`` is readable. Raises WorkloadStopped."""
        poller = select.poll()
        poller.register(fileno, select.POLLIN)
        poller.register(self._event, select.POLLIN)
        poller.poll()
        self.check()


@dataclass(slots=True)
class Context:
    """The world of one workload: its memory, descriptors, arguments (argv[0] first) and environment."""

    table: DescriptorTable
    args: Sequence[bytes] = ()
    environment: Sequence[bytes] = ()
    memory: GuestMemory = field(default_factory=GuestMemory)
    interrupt: Interrupt = field(default_factory=Interrupt)

    def wake(self) -> None:
        """From another thread: end every wait of the workload, as it is to stop."""
        self.interrupt.set()
        for descriptor in self.table:
            descriptor.wake()
