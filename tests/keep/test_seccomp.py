"""The system call filter, run by an interpreter of classic BPF: what it says to every system call."""

from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.seccomp import ARCHITECTURES, program
from tests import support

PID = 4242
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = ERRNO | 1, ERRNO | 38
MACHINES = sorted(ARCHITECTURES)
CHECKED = {"clone", "ioctl", "fcntl", "tgkill", "prlimit64"}
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

# What no workload needs and a break-out would want, by the kernel's names.
DANGEROUS = {
    "socket", "connect", "bind", "listen", "accept", "accept4", "open", "openat", "openat2", "creat", "execve",
    "execveat", "fork", "vfork", "clone3", "ptrace", "process_vm_readv", "process_vm_writev", "kill", "tkill",
    "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "mount", "umount2",
    "pivot_root", "chroot", "chdir", "unshare", "setns", "bpf", "perf_event_open", "io_uring_setup", "io_uring_enter",
    "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module", "kexec_load", "prctl",
    "seccomp", "setuid", "setgid", "setresuid", "capset", "personality", "unlink", "unlinkat", "rename", "renameat2",
    "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat", "memfd_secret",
    "name_to_handle_at", "open_by_handle_at", "getdents64", "readlink", "readlinkat", "shmget", "shmat",
    "msgget", "semget", "mq_open",
    "setrlimit", "sched_setaffinity", "setpriority", "quotactl", "swapon", "reboot", "settimeofday", "clock_settime",
    "iopl", "ioperm", "modify_ldt", "landlock_create_ruleset", "fanotify_init", "inotify_init1", "signalfd4",
}  # fmt: skip


def data(number: int, arch: int, arguments: tuple[int, ...] = ()) -> bytes:
    """``struct seccomp_data``."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    return struct.pack("<iIQ6Q", number - (1 << 32) if number >> 31 else number, arch, 0, *padded)


@cache
def decoded(code: bytes) -> list[tuple[int, int, int, int]]:
    """``struct sock_filter``, one by one: operation, jump if true, jump if false, constant."""
    return [(operation, yes, no, value) for operation, yes, no, value in struct.iter_unpack("HBBI", code)]


def interpret(code: bytes, packet: bytes) -> int:
    """Classic BPF with the instructions that the filter uses, as the kernel's seccomp_run_filters would run it."""
    instructions = decoded(code)
    accumulator = counter = 0
    while True:
        operation, if_true, if_false, value = instructions[counter]
        counter += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", packet, value)
        elif operation == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[operation]
            counter += if_true if holds else if_false


assembled = cache(program)


def verdict(machine: str, number: int, *arguments: int) -> int:
    return interpret(assembled(machine, PID), data(number, ARCHITECTURES[machine][0], arguments))


def header_numbers(machine: str) -> dict[str, int]:
    """The kernel's own numbers, from its headers."""
    name = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}
    text = Path(name[machine]).read_text()
    numbers = {name: int(value) for name, value in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    generic = {name: int(value) for name, value in re.findall(r"#define __NR3264_(\w+)\s+(\d+)", text)}
    aliases = re.findall(r"#define __NR_(\w+) __NR3264_(\w+)", text)
    return numbers | {name: generic[target] for name, target in aliases if target in generic}


def headers(machine: str) -> dict[str, int]:
    path = (
        "/usr/include/x86_64-linux-gnu/asm/unistd_64.h" if machine == "x86_64" else "/usr/include/asm-generic/unistd.h"
    )
    if not Path(path).exists():
        support.missing(f"{path} does not exist", "linux-libc-dev")
    return header_numbers(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    kernel = headers(machine)
    listed = ARCHITECTURES[machine][1]
    # The generic table has names of both word sizes; on a 64-bit machine these are the ones in use.
    renamed = {"newfstatat": "fstatat"} if machine == "aarch64" else {}
    for name, number in listed.items():
        assert kernel.get(name, kernel.get(renamed.get(name, name))) == number, name


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_listed_once(machine: str) -> None:
    listed = ARCHITECTURES[machine][1]
    assert len(set(listed.values())) == len(listed)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_well_formed(machine: str) -> None:
    instructions = decoded(program(machine, PID))
    assert len(instructions) <= MAX_INSTRUCTIONS
    for index, (operation, if_true, if_false, value) in enumerate(instructions):
        assert operation in (0x20, 0x06, 0x15, 0x25, 0x45)
        assert operation == 0x06 or index + 1 + max(if_true, if_false) < len(instructions)
        if operation == 0x20:
            assert value % 4 == 0
            assert value < 64
    assert instructions[-1][0] == 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_listed_is_allowed_and_all_else_is_not_permitted(machine: str) -> None:
    listed = {number for name, number in ARCHITECTURES[machine][1].items() if name not in CHECKED}
    checked = {ARCHITECTURES[machine][1][name] for name in CHECKED}
    for number in range(2048):
        if number in checked:
            continue
        expected = ALLOW if number in listed else ENOSYS if number == 435 else EPERM
        assert verdict(machine, number, *[0xFFFFFFFFFFFFFFFF] * 6) == expected, number


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_dangerous_is_listed(machine: str) -> None:
    assert DANGEROUS & ARCHITECTURES[machine][1].keys() == set()
    kernel = headers(machine)
    for name in DANGEROUS & kernel.keys():
        assert verdict(machine, kernel[name]) in (EPERM, ENOSYS), name


@pytest.mark.parametrize("machine", MACHINES)
def test_system_calls_of_another_architecture_end_the_process(machine: str) -> None:
    others = {0x40000003, 0xC000003E, 0xC00000B7, 0x40000028, 0, 0xFFFFFFFF} - {ARCHITECTURES[machine][0]}
    for arch in others:
        for number in (0, 1, 60, 231):
            assert interpret(program(machine, PID), data(number, arch)) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0x40000000, 0xFFFFFFFF))
def test_numbers_with_the_x32_bit_end_the_process(machine: str, number: int) -> None:
    assert verdict(machine, number) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=st.integers(0, (1 << 64) - 1))
def test_clone_makes_threads_and_nothing_else(machine: str, flags: int) -> None:
    clone = ARCHITECTURES[machine][1]["clone"]
    assert verdict(machine, clone, flags) == (ALLOW if flags & 0x00010000 else EPERM)
    assert verdict(machine, clone, flags | 0x00010000) == ALLOW
    assert verdict(machine, clone, flags & ~0x00010000) == EPERM


ARGUMENTS = {  # system call: (position of the argument that counts, values that are allowed)
    "ioctl": (1, {0x541B, 0x5421, 0x5401}),
    "fcntl": (1, {1, 2, 3, 4, 1030}),
    "tgkill": (0, {PID}),
    "prlimit64": (0, {0, PID}),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_is_one_of_a_few_values(name: str, machine: str) -> None:
    number = ARCHITECTURES[machine][1][name]
    position, allowed = ARGUMENTS[name]
    for value in {*range(10_000), *allowed, 0x5412, 0x541C, 0x8901, 0x8902, 0xFFFFFFFF}:
        arguments = [7, 7, 7]
        arguments[position] = value
        assert verdict(machine, number, *arguments) == (ALLOW if value in allowed else EPERM), value


@pytest.mark.parametrize("machine", MACHINES)
def test_files_are_opened_for_reading_and_only_when_a_certificate_is_to_come(machine: str) -> None:
    number, arch = headers(machine)["openat"], ARCHITECTURES[machine][0]
    reading = program(machine, PID, may_read_files=True)
    for flags in {*range(10_000), 0o2000000, 0o2000001, 0o2000002, 0o10000000, 0o20200000, 0xFFFFFFFF}:
        expected = ALLOW if flags in (0, 0o2000000) else EPERM
        assert interpret(reading, data(number, arch, (0, 0, flags))) == expected, flags
        assert verdict(machine, number, 0, 0, flags) == EPERM
    for call in (DANGEROUS - {"openat"}) & headers(machine).keys():
        assert interpret(reading, data(headers(machine)[call], arch)) in (EPERM, ENOSYS), call


def test_the_checked_system_calls_are_all_tested() -> None:
    assert {"clone", *ARGUMENTS} == CHECKED


def test_an_unknown_machine_has_no_program() -> None:
    with pytest.raises(KeyError):
        program("riscv64", PID)
