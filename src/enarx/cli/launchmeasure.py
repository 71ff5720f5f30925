"""The launches that ``enarx measure`` and ``enarx sign`` describe on the command line, measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Final

from enarx.cli.keyfile import write_new
from enarx.errors import UsageError
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.launchfile import LaunchFile, file_digest, kernel_hashes, read_bounded, read_firmware
from enarx.evidence.ovmf import MAX_FIRMWARE_BYTES, parse_firmware
from enarx.evidence.sev import measure as sev
from enarx.evidence.snp import measure as snp
from enarx.evidence.vcpu import cpu_signature, vcpu_signature
from enarx.evidence.vmsa import SEV_FEATURE_SNP_ACTIVE, Vcpus, vmm_by_name

STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A launch digest, what else ``--json`` says of it, and the VMSA pages that went into it."""

    digest: bytes
    facts: Mapping[str, object] = field(default_factory=dict)
    vmsas: Iterable[bytes] = ()


def _measure_snp(args: argparse.Namespace) -> Measurement:
    _check_stdin(args, "ovmf", "kernel", "initrd")
    vcpus = _vcpus(args, args.guest_features)
    kernel = _kernel(args)
    image = read_firmware(_source(args.ovmf))
    if args.snp_ovmf_hash is None:
        firmware = snp.measure_firmware(image)
    else:
        firmware = snp.known_firmware(args.snp_ovmf_hash, image)
    digest = snp.launch_digest(firmware, vcpus, kernel)
    facts = {
        "snp_ovmf_hash": firmware.digest.hex(),
        **_vcpu_facts(vcpus),
        "guest_features": hex(vcpus.features),
        **_kernel_facts(kernel),
    }
    return Measurement(digest, facts, snp.vmsa_pages(firmware.layout, vcpus))


def _measure_svsm(args: argparse.Namespace) -> Measurement:
    _check_stdin(args, "ovmf", "svsm")
    vcpus = _vcpus(args, SEV_FEATURE_SNP_ACTIVE)
    if args.vars_file is None:
        vars_size = args.vars_size
    else:
        try:
            vars_size = Path(args.vars_file).stat().st_size
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot read the size of {args.vars_file}", code="launch-file", hint="name the OVMF_VARS file"
            ) from error
    image = read_firmware(_source(args.ovmf))
    svsm = read_bounded(_source(args.svsm), MAX_FIRMWARE_BYTES, "SVSM image")
    digest = snp.svsm_launch_digest(image, svsm, vars_size, vcpus)
    vmsa = snp.svsm_vmsa(image, svsm, vars_size, vcpus)
    return Measurement(digest, {**_vcpu_facts(vcpus), "vars_size": vars_size}, repeat(vmsa, vcpus.count))


def _measure_ovmf(args: argparse.Namespace) -> Measurement:
    return Measurement(snp.measure_firmware(read_firmware(_source(args.ovmf))).digest)


def _measure_sev(args: argparse.Namespace) -> Measurement:
    _check_stdin(args, "ovmf", "kernel", "initrd")
    kernel = _kernel(args)
    return Measurement(sev.launch_digest(read_firmware(_source(args.ovmf)), kernel), _kernel_facts(kernel))


def _measure_seves(args: argparse.Namespace) -> Measurement:
    _check_stdin(args, "ovmf", "kernel", "initrd")
    vcpus = _vcpus(args, 0)
    kernel = _kernel(args)
    image = read_firmware(_source(args.ovmf))
    digest = sev.es_launch_digest(image, vcpus, kernel)
    facts = {**_vcpu_facts(vcpus), **_kernel_facts(kernel)}
    return Measurement(digest, facts, sev.vmsa_pages(parse_firmware(image).layout, vcpus))


def _vcpus(args: argparse.Namespace, features: int) -> Vcpus:
    parts = (args.vcpu_family, args.vcpu_model, args.vcpu_stepping)
    ways = [args.vcpu_type is not None, args.vcpu_sig is not None, any(part is not None for part in parts)]
    if sum(ways) > 1:
        raise UsageError(
            "the vCPU model is given in more than one way",
            code="vcpu-type",
            hint="give --vcpu-type, or --vcpu-sig, or --vcpu-family with --vcpu-model and --vcpu-stepping",
        )
    signature: int | None = args.vcpu_sig
    if args.vcpu_type is not None:
        signature = vcpu_signature(args.vcpu_type)
    elif ways[2]:
        if any(part is None for part in parts):
            raise UsageError(
                "the vCPU model is given in part",
                code="vcpu-type",
                hint="--vcpu-family, --vcpu-model and --vcpu-stepping belong together",
            )
        signature = cpu_signature(*parts)
    return Vcpus(args.vcpus, signature, features, vmm_by_name(args.vmm_type))


def _kernel(args: argparse.Namespace) -> KernelHashes | None:
    if args.kernel is None and args.kernel_sha256 is None:
        if args.initrd is not None or args.initrd_sha256 is not None or args.append is not None:
            raise UsageError(
                "an initrd or a command line is measured with a kernel only",
                code="kernel-missing",
                hint="give --kernel or --kernel-sha256 as well",
            )
        return None
    cmdline = args.append or ""
    if args.kernel is not None and args.initrd_sha256 is None:
        return kernel_hashes(_source(args.kernel), None if args.initrd is None else _source(args.initrd), cmdline)
    kernel = args.kernel_sha256 or file_digest(_source(args.kernel), "kernel")
    if args.initrd is not None:
        return KernelHashes(kernel, file_digest(_source(args.initrd), "initrd"), cmdline_digest(cmdline))
    if args.initrd_sha256 is not None:
        return KernelHashes(kernel, args.initrd_sha256, cmdline_digest(cmdline))
    return KernelHashes(kernel, cmdline=cmdline_digest(cmdline))


def _vcpu_facts(vcpus: Vcpus) -> dict[str, object]:
    signature = None if vcpus.signature is None else hex(vcpus.signature)
    return {"vcpus": vcpus.count, "vcpu_signature": signature, "vmm_type": str(vcpus.vmm)}


def _kernel_facts(kernel: KernelHashes | None) -> dict[str, object]:
    if kernel is None:
        return {}
    return {
        "kernel_sha256": kernel.kernel.hex(),
        "initrd_sha256": kernel.initrd.hex(),
        "cmdline_sha256": kernel.cmdline.hex(),
    }


def _source(path: str) -> LaunchFile:
    return sys.stdin.buffer if path == STDIN else path


def _check_stdin(args: argparse.Namespace, *names: str) -> None:
    if sum(getattr(args, name) == STDIN for name in names) > 1:
        raise UsageError("standard input can be only one of the files", code="stdin", hint="name the others by path")


def dump_vmsas(folder: str, measurement: Measurement) -> None:
    """Write the VMSA page of vCPU N to ``folder/vmsaN.bin``; no file may exist yet."""
    for number, page in enumerate(measurement.vmsas):
        write_new(str(Path(folder) / f"vmsa{number}.bin"), page)


MEASURES: Final[Mapping[str, Callable[[argparse.Namespace], Measurement]]] = {
    "snp": _measure_snp,
    "svsm": _measure_svsm,
    "ovmf-hash": _measure_ovmf,
    "sev": _measure_sev,
    "seves": _measure_seves,
}
"""How to measure a launch, by kind."""
