"""The host's part of an attested launch: the manifest of what is handed over, and the launch by a secure processor.

Without a TEE the processor is a simulated one. The host runs it, so the host could make it say anything; what a tenant
makes of its evidence is decided by a policy, and none accepts it unless it names the simulator's root.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from enarx.errors import HostError, UsageError
from enarx.host.contract import Package
from enarx.host.filebytes import digest_of, head_of
from enarx.manifest import Allow, Manifest, ManifestFile, StewardPin, Workload, endpoint
from enarx.mediatype import HEAD_BYTES, PACKAGE, media_type_of

if TYPE_CHECKING:
    from enarx.simulator.misbehave import Misbehave
    from enarx.simulator.processor import Guest, Launch

READY_SECONDS: Final = 120.0
"""How long it may take to make a simulated processor, which is done once (seconds)."""


def parse_allow(entries: Sequence[str]) -> Allow | None:
    """The allow-list of ``listen:PORT`` and ``connect:HOST:PORT``; None for no entry. Raises UsageError."""
    listen: list[int] = []
    connect: list[str] = []
    for entry in entries:
        kind, _, rest = entry.partition(":")
        host, _, port = rest.rpartition(":")
        number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else -1
        if kind == "listen" and not host and 0 <= number <= 65_535:
            listen.append(number)
        elif kind == "connect" and host and 0 < number <= 65_535:
            connect.append(endpoint(host.removeprefix("[").removesuffix("]"), number))
        else:
            raise UsageError(
                f"--allow {entry!r} is not listen:PORT or connect:HOST:PORT",
                hint="for example --allow listen:443 --allow connect:db.example.com:5432",
            )
    return Allow(tuple(dict.fromkeys(listen)), tuple(dict.fromkeys(connect))) if entries else None


def manifest_of(package: Package, steward: StewardPin | None, allow: Allow | None = None) -> Manifest:
    """The manifest of ``package``, which has none yet. Raises MalformedError for what no manifest can say."""
    files: list[ManifestFile] = []
    config, workload = None, Workload("")
    for kind, name, data in package.objects:
        if kind == "config":
            config = digest_of(data)
        elif kind == "module":
            workload = Workload(digest_of(data))
        elif kind == "package":
            workload = Workload(digest_of(data), media_type_of(head_of(data, HEAD_BYTES)) or PACKAGE)
        elif kind in ("signature", "certificates"):
            continue  # proves itself to the Steward
        elif kind == "ca":
            files.append(ManifestFile("ca", name, digest_of(data)))
        else:
            files.append(ManifestFile("layer", name, digest_of(data)))
    return Manifest(workload, config, tuple(files), tuple(package.args), tuple(package.env), steward, allow)


def with_manifest(package: Package, manifest: Manifest) -> Package:
    """``package`` with its manifest before everything else."""
    return replace(package, objects=[("manifest", "", manifest.encode()), *package.objects])


class SimulatedLaunch:
    """Measures and launches one Keep on the simulated processor, and then answers the Keep's requests.

    All in a thread of its own, so that the Keep starts meanwhile: `finish` says what the launch is for. When the thread
    fails, ``failure`` says why, and the Keep finds its channel closed.
    """

    def __init__(
        self, channel: socket.socket, now: datetime, lies: str, say: Callable[[str], None],
        measure: Callable[[Launch], None],
    ) -> None:  # fmt: skip
        """``measure`` has what the Keep is launched from measured. Takes ``channel``.

        ``lies``: how the processor misbehaves, as `parse_misbehaviour` has it, or nothing.
        """
        self.failure: BaseException | None = None
        self._channel = channel
        self._now = now
        self._lies = lies
        self._say = say
        self._measure = measure
        self._ready = threading.Event()
        self._host_data: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="simulated processor", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until there is a processor, unless there is one: to make it takes longer than a Keep waits for an answer.

        Raises HostError.
        """
        if not self._ready.wait(READY_SECONDS):
            raise HostError("the simulated secure processor is not ready", code="simulator-slow", hint="try again")
        if self.failure is not None:
            raise self.failure

    def finish(self, host_data: bytes) -> None:
        """The launch is for the manifest with this digest."""
        self._host_data.put(host_data)

    def abandon(self) -> None:
        """There will be no launch, or it is over."""
        self._host_data.put(None)

    def _run(self) -> None:
        try:
            guest = self._launch()
        except BaseException as error:  # noqa: BLE001 - raised again where the launch is waited for
            self.failure = error
            guest = None
        self._ready.set()
        if guest is None:
            self._channel.close()
            return
        from enarx.simulator.channel import serve

        serve(guest, self._channel)

    def _launch(self) -> Guest | None:
        from enarx.simulator.store import default_directory

        directory = default_directory()
        if directory.exists():
            self._ready.set()
        from enarx.simulator.installation import open_installation
        from enarx.simulator.processor import SecureProcessor

        installation = open_installation(directory, self._now, progress=self._say)
        processor = SecureProcessor(installation, self._now, lies=_misbehave(self._lies))
        self._ready.set()
        launch = processor.launch_start()
        self._measure(launch)
        host_data = self._host_data.get()
        return None if host_data is None else launch.finish(host_data)


def _misbehave(names: str) -> Misbehave:
    from enarx.simulator.misbehave import Misbehave, parse_misbehaviour

    return parse_misbehaviour(names) if names else Misbehave.NONE
