"""KVM, asked through ``/dev/kvm``: whether it is there, and which kinds of guest it can make.

Source: Linux ``Documentation/virt/kvm/api.rst`` (KVM_GET_API_VERSION, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from enarx.host.platform.machine import Machine

KVM_DEVICE: Final = "/dev/kvm"
KVM_GET_API_VERSION: Final = 0xAE00
KVM_CHECK_EXTENSION: Final = 0xAE03
KVM_CAP_VM_TYPES: Final = 235
API_VERSION: Final = 12

VM_TYPES: Final = {"sev": 2, "sev-es": 3, "snp": 4, "tdx": 5}
"""By kind of Keep: the bit of KVM_CAP_VM_TYPES (``arch/x86/include/uapi/asm/kvm.h``, KVM_X86_..._VM)."""


@dataclass(frozen=True, slots=True)
class KvmFacts:
    """``failure`` says why KVM cannot be asked. ``vm_types`` is 0 on kernels before 6.8, which do not say."""

    failure: str = ""
    api: int = 0
    vm_types: int = 0

    def makes(self, kind: str) -> bool:
        """Whether it says that it can make guests for this kind of Keep."""
        return bool(self.vm_types >> VM_TYPES[kind] & 1)


def read_kvm(machine: Machine) -> KvmFacts:
    """What KVM says."""
    try:
        descriptor = os.open(machine.path(KVM_DEVICE), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return KvmFacts(f"{KVM_DEVICE}: {error.strerror}")
    try:
        api = machine.ioctl(descriptor, KVM_GET_API_VERSION, 0)
        try:
            types = machine.ioctl(descriptor, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES)
        except OSError:
            types = 0
    except OSError as error:
        return KvmFacts(f"{KVM_DEVICE}: {error.strerror}")
    finally:
        os.close(descriptor)
    return KvmFacts("", api, max(0, types))
