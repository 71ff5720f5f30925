"""The process Keep's sandbox: what the process gives up before it touches a byte of the workload.

This protects the host from a workload that breaks out of WebAssembly. It does not protect the workload from the
host: only a TEE does that. ``begin`` runs first, while there is a single thread; ``finish`` runs when everything
that the Keep reads from its own image has been read, and nothing of the workload has been compiled.

Each layer reports ``applied`` or the reason why it is not; a kernel that forbids one does not stop the Keep unless
the caller says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from collections.abc import Callable
from typing import Final

from enarx.errors import SandboxError
from enarx.keep.seccomp import program

APPLIED: Final = "applied"

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUTS: Final = 0x04000000
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_REMOUNT: Final = 32
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_SCRATCH: Final = "/tmp"  # noqa: S108 - a directory to mount over in a namespace of our own
DESCRIPTORS: Final = "/proc/self/fd"
"""Where Linux has a process's own descriptors."""
OWN_DESCRIPTORS: Final = "/fd"
"""Where the empty root directory has the process's own descriptors, if anywhere."""
MAX_OPEN_FILES: Final = 1 << 17
"""Limit on host descriptors: the workload's limit and the Keep's own."""


class Sandbox:
    """Applies the layers and remembers how each went, in ``report``."""

    def __init__(self) -> None:
        self.report: dict[str, str] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._machine = os.uname().machine

    def _apply(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, KeyError, ValueError) as error:
            self.report[name] = f"not applied: {error}"
        else:
            self.report[name] = APPLIED

    def _call(self, result: int, what: str) -> None:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"{what}: {os.strerror(error)}")

    def begin(self) -> None:
        """Before anything else: privileges, limits and namespaces."""
        self._apply("no_new_privs", self._no_new_privs)
        self._apply("rlimits", self._rlimits)
        self._apply("user_namespace", self._user_namespace)
        self._apply("network_namespace", lambda: self._unshare(_CLONE_NEWNET))
        self._apply("ipc_namespace", lambda: self._unshare(_CLONE_NEWIPC | _CLONE_NEWUTS))
        self._apply("mount_namespace", self._mount_namespace)

    def finish(self, *, certificates: bool = False) -> None:
        """Before the workload: an empty root directory, no capabilities, and the system call filter.

        With ``certificates`` the Keep can still give OpenSSL a certificate, which OpenSSL reads from a path only: the
        Keep's own descriptors are in the directory ``descriptors()`` and may be opened again, for reading.
        """
        if self.report.get("mount_namespace") == APPLIED:
            self._apply("empty_root", lambda: self._empty_root(certificates))
        else:
            self.report["empty_root"] = "not applied: needs the mount namespace"
        self._apply("no_capabilities", self._drop_capabilities)
        self._apply("not_dumpable", lambda: self._prctl(_PR_SET_DUMPABLE, 0))
        self._apply("seccomp", lambda: self._seccomp(certificates))

    def descriptors(self) -> str:
        """The directory of the process's own descriptors."""
        return OWN_DESCRIPTORS if self.report.get("empty_root") == APPLIED else DESCRIPTORS

    def require(self) -> None:
        """Raise SandboxError unless every layer was applied."""
        missing = [f"{name} ({result})" for name, result in self.report.items() if result != APPLIED]
        if missing:
            raise SandboxError(
                f"the sandbox is incomplete: {', '.join(missing)}",
                code="sandbox-incomplete",
                hint="allow unprivileged user namespaces and seccomp, or run without --require-sandbox",
            )

    def _prctl(self, option: int, value: int, pointer: int = 0) -> None:
        # Varargs: each must be passed as wide as the kernel reads it.
        arguments = [ctypes.c_ulong(value), ctypes.c_ulong(pointer), ctypes.c_ulong(0), ctypes.c_ulong(0)]
        self._call(self._libc.prctl(option, *arguments), "prctl")

    def _no_new_privs(self) -> None:
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def _rlimits(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    def _unshare(self, flags: int) -> None:
        self._call(self._libc.unshare(ctypes.c_int(flags)), "unshare")

    def _user_namespace(self) -> None:
        uid, gid = os.getuid(), os.getgid()
        self._unshare(_CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def _mount(self, source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        encoded = [text.encode() if text is not None else None for text in (source, target, kind)]
        options = data.encode() if data is not None else None
        self._call(self._libc.mount(*encoded, ctypes.c_ulong(flags), options), f"mount {target}")

    def _mount_namespace(self) -> None:
        self._unshare(_CLONE_NEWNS)
        self._mount("none", "/", None, _MS_REC | _MS_PRIVATE)

    def _empty_root(self, certificates: bool) -> None:
        """Make an empty, read-only file system the root; the old one is unmounted and cannot be reached again."""
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        self._mount("none", _SCRATCH, "tmpfs", flags, "size=4k,nr_inodes=3,mode=0700")
        if certificates:
            os.mkdir(_SCRATCH + OWN_DESCRIPTORS, 0o500)
            self._mount(DESCRIPTORS, _SCRATCH + OWN_DESCRIPTORS, None, _MS_BIND)
        os.chmod(_SCRATCH, 0o500)
        os.chdir(_SCRATCH)
        number = _SYS_PIVOT_ROOT[self._machine]
        self._call(self._libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
        self._call(self._libc.umount2(b".", ctypes.c_int(_MNT_DETACH)), "umount2")
        os.chdir("/")
        self._mount("none", "/", None, flags | _MS_REMOUNT | _MS_RDONLY)

    def _drop_capabilities(self) -> None:
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        self._call(self._libc.capset(header, struct.pack("6I", *[0] * 6)), "capset")

    def _seccomp(self, certificates: bool) -> None:
        code = program(self._machine, os.getpid(), may_read_files=certificates)
        buffer = ctypes.create_string_buffer(code, len(code))
        fprog = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        pointer = ctypes.create_string_buffer(fprog, len(fprog))
        self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(pointer))


def close_inherited(keep: int) -> None:
    """Close every descriptor above ``keep``: a Keep is born with its link, and a channel to a processor, alone."""
    with contextlib.suppress(OSError):
        os.closerange(keep + 1, MAX_OPEN_FILES)
