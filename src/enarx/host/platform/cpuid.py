"""CPUID: what a processor says about itself, in four registers a leaf.

Linux shows it through the ``cpuid`` module's device, which by default only root may read. The instruction is not
privileged, so without the device it is executed here: a guest or a host may lie to it, and does so to itself.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from typing import Final, TypeAlias

Registers: TypeAlias = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

_REGISTERS: Final = struct.Struct("<4I")
_CODE: Final = bytes.fromhex(
    "53"  # push rbx                which CPUID writes and a caller expects unchanged
    "89f8"  # mov eax, edi          the leaf
    "89f1"  # mov ecx, esi          the subleaf
    "4989d0"  # mov r8, rdx         where the registers go; CPUID writes rdx
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8+4], ebx
    "41894808"  # mov [r8+8], ecx
    "4189500c"  # mov [r8+12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
"""A function of (leaf, subleaf, address of 16 bytes) in the System V calling convention for x86-64."""


def read_device(path: str, leaf: int, subleaf: int) -> Registers | None:
    """One leaf from ``/dev/cpu/N/cpuid``: 16 bytes at the offset that leaf and subleaf make (``cpuid(4)``).

    None where the device is not there or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.pread(descriptor, _REGISTERS.size, leaf | subleaf << 32)
    except (OSError, OverflowError):
        return None
    finally:
        os.close(descriptor)
    if len(data) != _REGISTERS.size:
        return None
    eax, ebx, ecx, edx = _REGISTERS.unpack(data)
    return eax, ebx, ecx, edx


def execute(leaf: int, subleaf: int) -> Registers | None:
    """One leaf by the instruction; None on another architecture, or where memory may not be made executable."""
    if platform.machine() != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # SELinux and systemd can forbid it
        return None
    page.write(_CODE)
    start = ctypes.c_char.from_buffer(page)
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(ctypes.addressof(start))
    result = (ctypes.c_uint32 * 4)()
    function(leaf, subleaf, ctypes.addressof(result))
    del function, start
    page.close()
    eax, ebx, ecx, edx = result
    return eax, ebx, ecx, edx
