"""A SEV launch by SIMULATED firmware, approved by a real approver: every step of a real one but for the silicon.

It stands where the simulated processor of SEV-SNP stands (``enarx.host.attested``): launched in a thread while
the Keep starts, and then asked by the Keep, which gets the secret area in place of reports.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enarx.errors import HostError
from enarx.host.sev.launch import Approver, Technology, platform_certificates, release
from enarx.host.sev.monitor import query_capabilities

if TYPE_CHECKING:
    from enarx.evidence.hashtable import KernelHashes
    from enarx.evidence.vmsa import Vcpus
    from enarx.simulator.sev_qemu import SimulatedQemu

READY_SECONDS: Final = 120.0
"""How long it may take to make a simulated platform, which is done once (seconds)."""
_ES: Final[Technology] = "sev-es"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is measured: ``data`` in its order, and for SEV-ES the page of each vCPU's registers.

    ``firmware`` is the image that says where the secret area is; None for a process Keep, which has none.
    """

    data: Sequence[bytes]
    vmsas: Sequence[bytes] = ()
    firmware: bytes | None = None

    @property
    def technology(self) -> Technology:
        """SEV-ES where there are registers to protect."""
        return _ES if self.vmsas else "sev"


def direct_boot(firmware: bytes, hashes: KernelHashes, vcpus: Vcpus | None) -> Contents:
    """What QEMU has measured of a guest that boots a kernel directly; ``vcpus`` for SEV-ES, None for SEV.

    Raises MalformedError or UsageError for firmware that cannot be launched so.
    """
    from enarx.evidence.ovmf import parse_firmware
    from enarx.evidence.sev.measure import vmsa_pages

    pages = tuple(vmsa_pages(parse_firmware(firmware).layout, vcpus)) if vcpus is not None else ()
    return Contents((firmware, hashes.table()), pages, firmware)


class SimulatedSevLaunch:
    """Launches one Keep, and then answers it. When the thread fails, ``failure`` says why, and the channel closes."""

    def __init__(
        self, channel: socket.socket, approver: Approver, contents: Callable[[], Contents],
        launched: Callable[[], tuple[bytes, Sequence[bytes]]],
    ) -> None:  # fmt: skip
        """Takes ``channel``. ``launched`` gives the manifest and the package's signatures, once `finish` is called."""
        self.failure: BaseException | None = None
        self._channel = channel
        self._approver = approver
        self._contents = contents
        self._launched = launched
        self._ready = threading.Event()
        self._go: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="simulated SEV firmware", daemon=True).start()

    def wait(self) -> None:
        """Until there is a platform. Raises HostError."""
        if not self._ready.wait(READY_SECONDS):
            raise HostError("the simulated SEV platform is not ready", code="simulator-slow", hint="try again")
        if self.failure is not None:
            raise self.failure

    def finish(self, host_data: bytes) -> None:
        """The launch is for the manifest with this digest, which ``launched`` has."""
        del host_data  # SEV has no place for it: the approver puts it into the credential
        self._go.put(True)

    def abandon(self) -> None:
        """There will be no launch, or it is over."""
        self._go.put(False)

    def _run(self) -> None:
        area = b""
        try:
            area = self._launch()
        except BaseException as error:  # noqa: BLE001 - raised again where the launch is waited for
            self.failure = error
        self._ready.set()
        if not area:
            self._channel.close()
            return
        from enarx.simulator.channel import serve

        serve(_Guest(area), self._channel)

    def _launch(self) -> bytes:
        """The guest's secret area after an approved launch; nothing for one that was abandoned."""
        from enarx.simulator.sev_firmware import SevFirmware
        from enarx.simulator.sev_platform import default_directory, open_identity
        from enarx.simulator.sev_qemu import SimulatedQemu

        qemu = SimulatedQemu(SevFirmware(open_identity(default_directory())))
        self._ready.set()
        contents = self._contents()
        if not self._go.get():
            return b""
        return launch(qemu, self._approver, contents, *self._launched())


def launch(
    qemu: SimulatedQemu, approver: Approver, contents: Contents, manifest: bytes, signatures: Sequence[bytes]
) -> bytes:
    """Launch a guest on a simulated platform and have it approved: its secret area. HostError when it is refused."""
    certificates = platform_certificates(query_capabilities(qemu))
    session = approver.begin(contents.technology, certificates, manifest, signatures)
    qemu.start(
        policy=session.policy,
        dh_cert=session.dh_cert,
        session=session.session,
        data=contents.data,
        vmsas=contents.vmsas,
        firmware=contents.firmware,
    )
    release(qemu, approver, session)
    return qemu.area


class _Guest:
    """What the Keep finds behind its channel: its secret area, once, and no reports."""

    certificates = b""

    def __init__(self, area: bytes) -> None:
        self._area = area

    @staticmethod
    def report(report_data: bytes, vmpl: int) -> bytes:
        del report_data, vmpl
        return b""

    def take_secret(self) -> bytes:
        area, self._area = self._area, b""
        return area
