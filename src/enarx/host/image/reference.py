"""The launch digests of an image, for every way in which a host may launch it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from enarx.evidence.launchfile import kernel_hashes
from enarx.evidence.reference import LaunchValue
from enarx.evidence.sev import measure as sev
from enarx.evidence.snp import measure as snp
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from enarx.host.image import layout

MODELS: Final = ("EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin")
"""vCPU models, by QEMU's names. Their versions differ in nothing that is measured."""
VCPUS_MAX: Final = 32
"""Most vCPUs of a Keep (count)."""


def launch_values(files: Mapping[str, bytes]) -> Iterator[LaunchValue]:
    """The digests of the image whose launched files are ``files``, by name: SEV, then SEV-ES and SEV-SNP by model and
    number of vCPUs, up to `VCPUS_MAX`. QEMU launches it on Linux 6.10 or newer. Raises MalformedError and UsageError as
    ``enarx.evidence`` does for a firmware that no guest can start from.
    """
    kernel = kernel_hashes(files[layout.KERNEL], files[layout.INITRD], files[layout.CMDLINE].decode())
    firmware = files[layout.FIRMWARE]
    measured = snp.measure_firmware(firmware)
    yield LaunchValue("sev", sev.launch_digest(firmware, kernel))
    for model in MODELS:
        for count in range(1, VCPUS_MAX + 1):
            vcpus = Vcpus(count, vcpu_signature(model))
            yield LaunchValue("snp", snp.launch_digest(measured, vcpus, kernel), model, count)
            yield LaunchValue("sev-es", sev.es_launch_digest(firmware, vcpus, kernel), model, count)
