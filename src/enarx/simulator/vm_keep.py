"""What a virtual machine is launched from, put through the simulated secure processor page by page, as QEMU would.

The digest is the one that SEV-SNP hardware reports of a launch from the same files: the same reference values hold for
both, and only the root that signs differs.
"""

from __future__ import annotations

from enarx.evidence.gctx import PageType
from enarx.evidence.hashtable import KernelHashes
from enarx.evidence.snp.measure import add_pages
from enarx.evidence.vmsa import Vcpus
from enarx.simulator.processor import Launch


def measure_vm_keep(launch: Launch, firmware: bytes, vcpus: Vcpus, kernel: KernelHashes) -> None:
    """Measure a direct boot. Raises HostError, MalformedError or UsageError for what no SNP guest can start from."""
    add_pages(_LaunchPages(launch), firmware, vcpus, kernel)


class _LaunchPages:
    """`enarx.evidence.snp.measure.Pages` of a launch."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def add_data(self, gpa: int, data: bytes) -> None:
        self._launch.update(PageType.NORMAL, gpa, data)

    def add_blank(self, kind: PageType, gpa: int, size: int) -> None:
        self._launch.update(kind, gpa, bytes(size))

    def add_vmsa(self, page: bytes, count: int = 1) -> None:
        for _ in range(count):
            self._launch.update(PageType.VMSA, 0, page)
