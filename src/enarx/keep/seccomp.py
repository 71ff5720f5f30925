"""A seccomp filter for the Keep's process: the system calls that a running workload needs, and no others.

The filter allows by list. Anything else fails with EPERM, except ``clone3``, which fails with ENOSYS so that libc
falls back to ``clone``, whose flags can be checked: threads yes, processes no. ``ioctl`` is limited to asking how
many bytes wait on a socket and whether something is a terminal, and to making a socket block or not; ``tgkill`` and
``prlimit64`` to the process itself, and ``fcntl`` to flags, for there is no process namespace that hides the user's
other processes, and signals can be sent through ``fcntl`` too. ``socket`` is not on the list at all: streams
come from the host, over the link. Nor is ``openat``, unless a certificate is still to come, which OpenSSL reads from a
path only: then files may be opened, for reading alone, and nothing but the process's own descriptors is left to open.

Source: Linux seccomp(2), the classic BPF of <linux/filter.h>, and the syscall tables of x86_64 and aarch64.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

_X86_64: Final = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17,
    "pwrite64": 18, "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "dup3": 292,
    "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "getsockname": 51,
    "getpeername": 52, "socketpair": 53, "setsockopt": 54, "getsockopt": 55, "clone": 56, "exit": 60, "fcntl": 72,
    "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186, "futex": 202,
    "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "ppoll": 271,
    "set_robust_list": 273, "epoll_pwait": 281, "eventfd2": 290, "epoll_create1": 291, "getrandom": 318,
    "memfd_create": 319, "membarrier": 324, "rseq": 334, "nanosleep": 35, "prlimit64": 302,
    "newfstatat": 262, "close_range": 436, "sched_getparam": 143,
    "sched_getscheduler": 145, "get_robust_list": 274, "getuid": 102, "geteuid": 107, "getgid": 104, "getegid": 108,
}  # fmt: skip
_AARCH64: Final = {
    "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap": 215,
    "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "ioctl": 29, "pread64": 67,
    "pwrite64": 68, "readv": 65, "writev": 66, "sched_yield": 124, "mremap": 216, "madvise": 233, "dup": 23, "dup3": 24,
    "getpid": 172, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "shutdown": 210,
    "getsockname": 204, "getpeername": 205, "socketpair": 199, "setsockopt": 208, "getsockopt": 209, "clone": 220,
    "exit": 93, "fcntl": 25, "gettimeofday": 169, "getrusage": 165, "sysinfo": 179, "sigaltstack": 132,
    "gettid": 178, "futex": 98, "sched_getaffinity": 123, "restart_syscall": 128, "clock_gettime": 113,
    "clock_getres": 114, "clock_nanosleep": 115, "exit_group": 94, "epoll_ctl": 21, "tgkill": 131, "ppoll": 73,
    "set_robust_list": 99, "epoll_pwait": 22, "eventfd2": 19, "epoll_create1": 20, "getrandom": 278,
    "memfd_create": 279, "membarrier": 283, "rseq": 293, "nanosleep": 101, "prlimit64": 261,
    "newfstatat": 79, "close_range": 436, "sched_getparam": 121,
    "sched_getscheduler": 120, "get_robust_list": 100, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
}  # fmt: skip
_CLONE3: Final = 435
_OPENAT: Final = {"x86_64": 257, "aarch64": 56}

# machine -> (AUDIT_ARCH of <linux/audit.h>, syscall numbers)
ARCHITECTURES: Final = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_BITS: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_JUMP_ABOVE: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000  # SECCOMP_RET_KILL_PROCESS
_ERRNO: Final = 0x00050000
_EPERM: Final = 1
_ENOSYS: Final = 38

_OFFSET_NUMBER: Final = 0  # of struct seccomp_data
_OFFSET_ARCH: Final = 4
_OFFSET_ARG0: Final = 16
_OFFSET_ARG1: Final = 24
_OFFSET_ARG2: Final = 32
_CLONE_THREAD: Final = 0x00010000
_FIONREAD: Final = 0x541B
_FIONBIO: Final = 0x5421
_TCGETS: Final = 0x5401
_F_GETFD: Final = 1
_F_SETFD: Final = 2
_F_GETFL: Final = 3
_F_SETFL: Final = 4
_F_DUPFD_CLOEXEC: Final = 1030
_O_CLOEXEC: Final = 0o2000000
_X32_BIT: Final = 0x3FFFFFFF


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """``struct sock_filter``; jumps are relative to the next instruction."""
    return struct.pack("HBBI", code, if_true, if_false, value)


def _argument(number: int, offset: int, jump: int, values: Sequence[int]) -> list[bytes]:
    """Allow system call ``number`` only if ``jump`` holds for its argument at ``offset`` and one of ``values``."""
    return [
        _instruction(_JUMP_EQUAL, number, 0, len(values) + 3),
        _instruction(_LOAD, offset),
        *[_instruction(jump, value, len(values) - index, 0) for index, value in enumerate(values)],
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def program(machine: str, pid: int, *, may_read_files: bool = False) -> bytes:
    """The filter for process ``pid`` on ``machine`` (as ``os.uname`` names it): ``struct sock_filter``, one by one.

    ``may_read_files``: whether ``openat`` is on the list, for reading. Raises KeyError for a machine that it does not
    know.
    """
    arch, numbers = ARCHITECTURES[machine]
    checked = {
        "clone": (_OFFSET_ARG0, _JUMP_BITS, [_CLONE_THREAD]),
        "ioctl": (_OFFSET_ARG1, _JUMP_EQUAL, [_FIONREAD, _FIONBIO, _TCGETS]),
        "fcntl": (_OFFSET_ARG1, _JUMP_EQUAL, [_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC]),
        "tgkill": (_OFFSET_ARG0, _JUMP_EQUAL, [pid]),
        "prlimit64": (_OFFSET_ARG0, _JUMP_EQUAL, [0, pid]),
    }
    out = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, arch, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_ABOVE, _X32_BIT, 0, 1),
        _instruction(_RETURN, _KILL),
        _instruction(_JUMP_EQUAL, _CLONE3, 0, 1),
        _instruction(_RETURN, _ERRNO | _ENOSYS),
    ]
    for name, (offset, jump, values) in checked.items():
        out += _argument(numbers[name], offset, jump, values)
    if may_read_files:  # O_RDONLY is 0
        out += _argument(_OPENAT[machine], _OFFSET_ARG2, _JUMP_EQUAL, [0, _O_CLOEXEC])
    for name, number in numbers.items():
        if name not in checked:
            out += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
    out.append(_instruction(_RETURN, _ERRNO | _EPERM))
    return b"".join(out)
