"""A machine as files below a root directory: the only module that looks at the system for `enarx platform`.

Whatever is read is bounded, and what cannot be read is None: a survey of a machine ends with a list of what is missing,
never with an error. Tests give a directory that holds another machine's files.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from enarx.host.platform.cpuid import Registers, execute, read_device

TEXT_MAX_BYTES: Final = 64 << 10
"""How much of a file is read (bytes); of /proc/cpuinfo that is the first dozens of processors."""
FILE_MAX_BYTES: Final = 64 << 20
"""Largest firmware image that is read (bytes)."""
GROUPS_MAX_BYTES: Final = 1 << 20
"""How much of /etc/group is read (bytes)."""

_IPC_LOCK: Final = 14  # bit number of CAP_IPC_LOCK, linux/capability.h

Ioctl = Callable[[int, int, bytearray | int], int]


def _ioctl(descriptor: int, request: int, argument: bytearray | int) -> int:
    return fcntl.ioctl(descriptor, request, argument)


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody on a machine: user number and group numbers."""

    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Node:
    """A file or a device. ``usable``: whether it may be both read and written."""

    path: str
    mode: int
    uid: int
    group: str
    usable: bool

    def permissions(self) -> str:
        """As ``ls -l`` shows them: type and permissions, then user and group."""
        return f"{stat.filemode(self.mode)} {'root' if self.uid == 0 else self.uid} {self.group}"

    @property
    def group_may(self) -> bool:
        """Whether members of its group may read and write."""
        return self.mode & 0o060 == 0o060


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, or the one whose files are below ``root``.

    ``identity``: who asks; None is this process, with everything that the kernel grants it. ``ioctl`` and ``execute``
    are for tests: devices and CPUID are no files.
    """

    root: str = "/"
    identity: Identity | None = None
    ioctl: Ioctl = field(default=_ioctl)
    execute: Callable[[int, int], Registers | None] | None = None

    def path(self, name: str) -> str:
        """Where the file ``name``, an absolute path on the machine, is."""
        return os.path.join(self.root, name.lstrip("/"))

    def text(self, name: str, limit: int = TEXT_MAX_BYTES) -> str | None:
        """The first ``limit`` bytes of a file as text without surrounding blanks; None where it cannot be read."""
        data = self.head(name, limit)
        return None if data is None else data.decode("utf-8", "replace").strip()

    def head(self, name: str, limit: int) -> bytes | None:
        """The first ``limit`` bytes of a regular file; None where there is none that can be read."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            found = bytearray()
            while len(found) < limit and (part := os.read(descriptor, limit - len(found))):
                found += part
            return bytes(found)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def exists(self, name: str) -> bool:
        """Whether there is such a file or directory."""
        return os.path.exists(self.path(name))

    def switch(self, name: str) -> bool | None:
        """A parameter of a module that is on or off; None where it is not there or says something else."""
        return {"Y": True, "1": True, "N": False, "0": False}.get(self.text(name, 16) or "")

    def node(self, name: str) -> Node | None:
        """What is known about a file or device; None where there is none."""
        path = self.path(name)
        try:
            info = os.stat(path)
        except (OSError, ValueError):
            return None
        return Node(name, info.st_mode, info.st_uid, self._group(info.st_gid), self._usable(path, info))

    def locked_memory(self) -> int | None:
        """How many bytes of memory a process of ours may lock; None for as many as it likes."""
        capabilities = re.search(r"^CapEff:\s*([0-9a-f]{1,16})$", self.text("/proc/self/status") or "", re.MULTILINE)
        if self.identity is None and capabilities is not None and int(capabilities[1], 16) >> _IPC_LOCK & 1:
            return None
        limit = re.search(
            r"^Max locked memory\s+(\d{1,20}|unlimited)", self.text("/proc/self/limits") or "", re.MULTILINE
        )
        if limit is None:
            return 0
        return None if limit[1] == "unlimited" else int(limit[1])

    def cpuid(self, leaf: int, subleaf: int = 0) -> Registers | None:
        """EAX, EBX, ECX and EDX of a leaf: from the ``cpuid`` module's device, else by the instruction itself.

        None where neither can be had; leaves beyond the processor's last are not looked up (they repeat another).
        """
        base = leaf & 0xC000_0000  # of the basic leaves, of those of a hypervisor, of the extended ones
        last = self._cpuid(base, 0)
        if last is None or (last[0] < leaf and leaf != base):
            return None
        return self._cpuid(leaf, subleaf)

    def _cpuid(self, leaf: int, subleaf: int) -> Registers | None:
        found = read_device(self.path("/dev/cpu/0/cpuid"), leaf, subleaf)
        if found is not None:
            return found
        if self.execute is not None:
            return self.execute(leaf, subleaf)
        return execute(leaf, subleaf) if self.root == "/" else None

    def _usable(self, path: str, info: os.stat_result) -> bool:
        who = self.identity
        if who is None:
            return os.access(path, os.R_OK | os.W_OK, effective_ids=True)
        if who.uid == 0:
            return True
        shift = 6 if who.uid == info.st_uid else 3 if info.st_gid in who.groups else 0
        return info.st_mode >> shift & 0o6 == 0o6

    def _group(self, number: int) -> str:
        """The name of a group from /etc/group, or its number."""
        for line in (self.text("/etc/group", GROUPS_MAX_BYTES) or "").splitlines():
            name, _, rest = line.partition(":")
            if rest.split(":")[1:2] == [str(number)]:
                return name
        return str(number)
