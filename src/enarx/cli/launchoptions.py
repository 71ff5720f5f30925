"""The options that ``enarx run`` and ``enarx deploy`` share."""

from __future__ import annotations

import argparse
import os


def add_launch(parser: argparse.ArgumentParser) -> None:
    """Add the options of a launch: kind of Keep, attestation, what is said of it, sandbox, cache of compiled code."""
    parser.add_argument(
        "--backend", metavar="KIND", default=os.environ.get("ENARX_BACKEND", "process"),
        help="kind of Keep: `process` (default) or `vm`, a virtual machine that QEMU runs, neither of which isolates "
        "anything from this machine; or `snp`, `sev`, `sev-es` or `tdx`, on a processor that does "
        "(default: $ENARX_BACKEND)",
    )  # fmt: skip
    _add_machine(parser)
    _add_hardware(parser)
    _add_attestation(parser)
    parser.add_argument("--timings", action="store_true", help="print where start-up time went")
    parser.add_argument("--verbose", action="store_true", help="say what the sandbox applied, and more")
    parser.add_argument(
        "--require-sandbox", action="store_true", help="fail unless every layer of the Keep's sandbox can be applied"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="where compiled code is kept (default: the user's cache)")
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write compiled code")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image", metavar="DIR",
        help="image of a virtual machine, as `enarx image build` writes it (default: $ENARX_IMAGE, else the user's)",
    )  # fmt: skip
    parser.add_argument("--memory", metavar="SIZE", type=_memory, help="its memory, such as 512M (default) or 2G")
    parser.add_argument("--cpus", metavar="N", type=_cpus, help="its vCPUs, whose number is measured (default: 1)")


def _add_hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--id-block", metavar="FILE",
        help="with snp: the ID block of the launch, in the file that `enarx sign` writes, or its 96 bytes",
    )  # fmt: skip
    parser.add_argument("--id-auth", metavar="FILE", help="with snp: its authentication information, 4096 bytes")
    parser.add_argument(
        "--certificates", metavar="FILE",
        help="with snp and --steward: the processor's certificate table, for hosts whose QEMU gives guests none; with "
        "sev and sev-es: the signed chip key (CEK) that AMD gives out, and ASK and ARK behind it where they are needed",
    )  # fmt: skip
    parser.add_argument("--firmware", metavar="FILE", help="with tdx: firmware that is built for TDX")


def _memory(text: str) -> int:
    from enarx.host.qemu.machine import parse_memory

    return parse_memory(text)


def _cpus(text: str) -> int:
    from enarx.host.qemu.machine import parse_cpus

    return parse_cpus(text)


def _add_attestation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steward", metavar="URL",
        help="launch on a secure processor (SIMULATED, for a process Keep), prove the Keep to this Steward, and run "
        "with the certificate and the secrets that it gives, which the workload finds below /keep",
    )  # fmt: skip
    parser.add_argument(
        "--steward-ca", metavar="DIGEST|FILE",
        help="the Steward's CA: `sha256:` and the digest of its key, as `enarx steward` prints it, or its certificate",
    )  # fmt: skip
    parser.add_argument(
        "--approver", metavar="URL",
        help="launch on SEV, and have this approver of the tenant's (`enarx launch approve`) verify the launch and "
        "release the Keep's credential; on a SIMULATED platform, for a Keep without a processor of its own",
    )  # fmt: skip
    parser.add_argument(
        "--approver-ca", metavar="DIGEST|FILE", help="the approver's CA, likewise (default: that of --steward-ca)"
    )
    parser.add_argument(
        "--allow", metavar="STREAM", action="append", default=[],
        help="listen:PORT or connect:HOST:PORT that the workload may have, of those in its Enarx.toml (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--simulator-misbehave", metavar="HOW", default="",
        help="let the SIMULATED processor lie, to see that it is found out: `debug`, `replayed`, ...",
    )  # fmt: skip
