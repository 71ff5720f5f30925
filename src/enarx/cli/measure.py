"""``enarx measure``: the launch measurement to expect of a guest, from what it is launched with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add ``measure snp|snp:svsm|snp:ovmf-hash|sev|seves``."""
    modes = subparsers.add_parser("measure", help="compute the launch measurement to expect").add_subparsers(
        dest="mode", required=True, metavar="MODE"
    )

    snp = modes.add_parser("snp", help="SEV-SNP guest: SHA-384 launch digest of its reports")
    add_snp_arguments(snp)
    _add_output_arguments(snp, "snp", with_vmsa=True)

    svsm = modes.add_parser("snp:svsm", aliases=["svsm"], help="SEV-SNP guest under COCONUT-SVSM on QEMU")
    _add_firmware_argument(svsm)
    svsm.add_argument("--svsm", metavar="FILE", required=True, help="SVSM image")
    variables = svsm.add_mutually_exclusive_group(required=True)
    variables.add_argument("--vars-size", metavar="BYTES", type=parse_number, help="size of the OVMF_VARS file")
    variables.add_argument("--vars-file", metavar="FILE", help="OVMF_VARS file, of which only the size matters")
    _add_vcpu_arguments(svsm)
    _add_output_arguments(svsm, "svsm", with_vmsa=True)

    ovmf_hash = modes.add_parser(
        "snp:ovmf-hash", aliases=["ovmf-hash"], help="the firmware's part of an SNP digest, for --snp-ovmf-hash"
    )
    _add_firmware_argument(ovmf_hash)
    _add_output_arguments(ovmf_hash, "ovmf-hash", with_vmsa=False)

    sev = modes.add_parser("sev", help="SEV guest: SHA-256 launch digest")
    _add_firmware_argument(sev)
    _add_kernel_arguments(sev)
    _add_output_arguments(sev, "sev", with_vmsa=False)

    seves = modes.add_parser("seves", aliases=["sev-es"], help="SEV-ES guest: SHA-256 launch digest")
    _add_firmware_argument(seves)
    _add_kernel_arguments(seves)
    _add_vcpu_arguments(seves)
    _add_output_arguments(seves, "seves", with_vmsa=True)


def add_snp_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the arguments that describe the launch of an SNP guest, as ``enarx.cli.launchmeasure`` reads them."""
    _add_firmware_argument(parser, required=required)
    parser.add_argument(
        "--snp-ovmf-hash", metavar="HEX", type=_sha384, help="digest of the firmware, of which the end is then enough"
    )
    _add_kernel_arguments(parser)
    _add_vcpu_arguments(parser, required=required)
    parser.add_argument(
        "--guest-features",
        metavar="BITS",
        type=parse_number,
        default=1,
        help="SEV features of the VMSA: 0x1 SNP (default), 0x21 with debug swap",
    )


def _add_firmware_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--ovmf", metavar="FILE", required=required, help="OVMF image, - for standard input")


def _add_kernel_arguments(parser: argparse.ArgumentParser) -> None:
    kernel = parser.add_mutually_exclusive_group()
    kernel.add_argument("--kernel", metavar="FILE", help="kernel of a measured direct boot")
    kernel.add_argument("--kernel-sha256", metavar="HEX", type=_sha256, help="its SHA-256 instead")
    initrd = parser.add_mutually_exclusive_group()
    initrd.add_argument("--initrd", metavar="FILE", help="initial RAM disk")
    initrd.add_argument("--initrd-sha256", metavar="HEX", type=_sha256, help="its SHA-256 instead")
    parser.add_argument("--append", metavar="CMDLINE", help="kernel command line")


def _add_vcpu_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--vcpus", metavar="N", type=parse_number, required=required, help="number of vCPUs")
    parser.add_argument("--vcpu-type", metavar="TYPE", help="QEMU's name of the vCPU model, such as EPYC-v4")
    parser.add_argument("--vcpu-sig", metavar="NUMBER", type=parse_number, help="its CPUID signature instead")
    parser.add_argument(
        "--vcpu-family", metavar="NUMBER", type=parse_number, help="its family, with the next two, instead"
    )
    parser.add_argument("--vcpu-model", metavar="NUMBER", type=parse_number)
    parser.add_argument("--vcpu-stepping", metavar="NUMBER", type=parse_number)
    parser.add_argument(
        "--vmm-type", metavar="VMM", default="QEMU", help="QEMU (default), QEMU-no-fpu, ec2, ec2-2023 or gce"
    )


def _add_output_arguments(parser: argparse.ArgumentParser, launch: str, *, with_vmsa: bool) -> None:
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--output-format", choices=["hex", "base64"], default="hex")
    output.add_argument("--json", action="store_true", help="print the digest with what went into it as JSON")
    if with_vmsa:
        parser.add_argument("--dump-vmsa", metavar="FOLDER", help="write each vCPU's VMSA to FOLDER/vmsaN.bin")
    parser.set_defaults(run=run, launch=launch)


def run(args: argparse.Namespace) -> int:
    """Print the measurement that the arguments ask for; returns the exit status."""
    import base64
    import json

    from enarx.cli import launchmeasure

    measurement = launchmeasure.MEASURES[args.launch](args)
    if getattr(args, "dump_vmsa", None) is not None:
        launchmeasure.dump_vmsas(args.dump_vmsa, measurement)
    if args.json:
        print(json.dumps({"mode": args.mode, "launch_digest": measurement.digest.hex(), **measurement.facts}))
    elif args.output_format == "base64":
        print(base64.b64encode(measurement.digest).decode())
    else:
        print(measurement.digest.hex())
    return 0


def parse_number(text: str) -> int:
    """A number in decimal or with a prefix such as 0x, as an argparse type uses it."""
    try:
        return int(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 33 or 0x21") from error


def _sha256(text: str) -> bytes:
    return parse_hex(text, 32)


def _sha384(text: str) -> bytes:
    return parse_hex(text, 48)


def parse_hex(text: str, size: int) -> bytes:
    """``size`` bytes from hex digits, as an argparse type uses it."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not hexadecimal") from error
    if len(data) != size:
        raise argparse.ArgumentTypeError(f"{text!r} has {len(data)} bytes, expected {size}")
    return data
