"""A Keep in a SEV or SEV-ES guest: measured before it runs, approved of by its tenant, and given its credential then.

Never run on hardware. The guest is stopped until the approver has seen the platform's certificates and the measurement;
the order of things, and what each end checks, is ``enarx.host.sev.launch``'s.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Final

from enarx.errors import HostError, UsageError
from enarx.host.image.layout import default_directory, open_image
from enarx.host.kinds import Approval, Plan, Started, refuse_hardware_options, refuse_simulator
from enarx.host.kinds.platform import checked
from enarx.host.kinds.vm import machine_of
from enarx.host.qemu.child import QemuProcess
from enarx.host.qemu.command import Descriptors
from enarx.host.qemu.console import Console
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.hardware import Sev, capabilities_arguments, sev_arguments
from enarx.host.qemu.monitor import Monitor
from enarx.host.sev.launch import Session, Technology, launch_files, platform_certificates, release
from enarx.host.sev.monitor import CERTIFICATES_MAX_BYTES, Capabilities, query_capabilities

SHOWN_LINES: Final = 4
"""Lines of what QEMU says that an error shows."""
JOIN_SECONDS: Final = 1.0
"""How long the monitor's thread has to end after QEMU, in seconds."""
_ENCRYPTED_STATE: Final = 0x4  # of a guest policy (55766 table 2): SEV-ES required


def start(plan: Plan) -> Started:
    """Start a SEV guest. Raises HostError (``platform-unsuitable``) and starts nothing on a machine that cannot."""
    return launch("sev", plan)


def launch(kind: Technology, plan: Plan) -> Started:
    """The same for SEV or SEV-ES."""
    refuse_simulator(kind, plan)
    refuse_hardware_options(kind, plan.hardware, "--certificates")
    machine = machine_of(plan)
    facts = checked(kind, plan, machine.memory)
    image = open_image(plan.image or default_directory())
    if plan.approval is None:
        raise UsageError(
            f"a {kind} guest runs when its tenant has approved of its launch, and no approver is named",
            code="approver-missing",
            hint="name it by --approver, with --steward; the tenant runs it by `enarx launch approve`",
        )
    capabilities = ask_capabilities(facts.qemu.path)
    certificates = platform_certificates(capabilities, _further(plan.hardware.certificates))
    session = _begin(kind, plan.approval, certificates)
    with tempfile.TemporaryDirectory(prefix="enarx-sev-") as directory:
        owner_key, parameters = _write(Path(directory), launch_files(session))
        sev = Sev(capabilities.cbitpos, owner_key, parameters, session.policy)

        def arguments(descriptors: Descriptors) -> list[str]:
            return sev_arguments(image, machine, descriptors, sev)

        plan.detail(f"{kind} guest: {machine}, policy {sev.policy:#x}")
        guest = Guest(facts.qemu.path, arguments, detail=plan.detail)
        try:
            release(guest.monitor, plan.approval.approver, session)
        except HostError as error:
            if error.code == "qmp-closed":  # what QEMU said before it ended is why
                raise guest.obituary() from error
            _end(guest)
            raise
        except BaseException:
            _end(guest)
            raise
    return Started(guest.carry(), guest.pid, None, str(machine), f"KVM with {kind.upper()}")


def ask_capabilities(program: str) -> Capabilities:
    """What the platform is, of a QEMU that is started without a guest, and ended. HostError."""
    ours, theirs = socket.socketpair()
    try:
        process = QemuProcess(program, capabilities_arguments(theirs.fileno()), (theirs.fileno(),))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    said, monitor = Console(process.errors), Monitor(ours)
    try:
        return query_capabilities(monitor)
    except HostError as error:
        process.kill()
        process.wait()
        lines = "".join(f"\n  {line}" for line in said.lines()[-SHOWN_LINES:])
        raise HostError(
            f"QEMU cannot say what SEV this platform has: {error.message}{lines}",
            code="sev-capabilities",
            hint="`enarx platform info` shows what this machine has; the kernel's log says more, after `ccp`",
        ) from error
    finally:
        process.kill()
        process.wait()
        monitor.join(JOIN_SECONDS)


def _further(path: Path | None) -> bytes:
    """Certificates that the host has got from AMD. Raises UsageError."""
    if path is None:
        return b""
    from enarx.evidence.launchfile import read_bounded

    return read_bounded(path, CERTIFICATES_MAX_BYTES, "file of SEV certificates")


def _begin(kind: Technology, approval: Approval, certificates: bytes) -> Session:
    manifest, signatures = approval.launched()
    session = approval.approver.begin(kind, certificates, manifest, signatures)
    if bool(session.policy & _ENCRYPTED_STATE) != (kind == "sev-es"):
        raise HostError(
            f"the approver asks for a guest with policy {session.policy:#x}, which is not one of {kind}",
            code="sev-policy",
            hint="launch with the --backend that the approver's policy is for",
        )
    return session


def _write(directory: Path, files: tuple[bytes, bytes]) -> list[Path]:
    """Files that QEMU reads while it starts, for this user alone."""
    paths = [directory / "owner-key", directory / "session"]
    for path, data in zip(paths, files, strict=True):
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)
    return paths


def _end(guest: Guest) -> None:
    """End a guest that was not approved of."""
    guest.kill()
    guest.wait()
    guest.monitor.join(JOIN_SECONDS)
