"""The life of a Keep: sandbox, launch, proof, lock down, compile, streams, run, report.

The main thread serves the link, the TLS handshakes and the deadline; the workload runs in a thread of its own.
Whatever ends the workload, the main thread reports it and leaves at once: a workload that loops, or waits in a
host call, cannot hold the process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

from enarx.errors import EnarxError, LinkError, WorkloadError
from enarx.keep.link import Link
from enarx.keep.loop import Loop
from enarx.keep.sandbox import DESCRIPTORS, Sandbox, close_inherited
from enarx.keep.supervisor import STOPPED, Supervisor, outcome_of
from enarx.keep.timings import Timings
from enarx.keep.workload import Launch, receive_launch, receive_manifest, receive_objects
from enarx.wire import STARTED, Type, encode_fields

if TYPE_CHECKING:
    from enarx.keep.attested import Attested
    from enarx.keep.cache import CodeCache
    from enarx.keep.certifier import Certifier
    from enarx.keep.challenges import Challenges
    from enarx.keep.mux import Carrier
    from enarx.keep.runtime import Outcome
    from enarx.keep.world import World

LINK_FD: Final = 3
CHANNEL_FD: Final = 4
"""Where a Keep that is launched with a manifest may find a channel to a simulated secure processor."""
MAX_TEXT: Final = 4096
"""Characters of a message that reach the host."""


def main() -> None:
    """Run one Keep over the link at descriptor 3, and end the process."""
    timings = Timings(time.monotonic())
    close_inherited(CHANNEL_FD)
    link = _unix_link()
    if link is not None:
        status = Keep(link, Sandbox(), timings, _channel()).live()
    else:
        status = live_over(LINK_FD, Sandbox(), timings, _channel())
    sys.stdout.flush()
    os._exit(status)


def _unix_link() -> socket.socket | None:
    """The link, if it can pass descriptors; any other carries bytes alone."""
    with contextlib.suppress(OSError):
        link = socket.socket(fileno=LINK_FD)
        if link.family == socket.AF_UNIX:
            link.set_inheritable(False)
            return link
        link.detach()
    return None


def _channel() -> int | None:
    """The channel to a simulated secure processor, if the host gave one."""
    try:
        os.set_inheritable(CHANNEL_FD, False)
    except OSError:
        return None
    return CHANNEL_FD


def live_over(port: int, sandbox: Sandbox | None, timings: Timings, channel: int | None) -> int:
    """Live as a Keep whose link goes over the port ``port``, which is taken over. Returns the process's exit status."""
    from enarx.keep.mux import Carrier

    carrier = Carrier(port)
    timings.mark("link carried")
    status = Keep(carrier.link, sandbox, timings, channel, carrier).live()
    carrier.settle()
    return status


class Keep:
    """One Keep, from its first frame to its last. ``sandbox`` is None in tests that run it in their own process.

    ``channel``: the descriptor behind which a simulated secure processor may answer. ``carrier``: what ``link`` goes
    over, if it cannot pass descriptors itself.
    """

    def __init__(
        self,
        link: socket.socket,
        sandbox: Sandbox | None,
        timings: Timings,
        channel: int | None = None,
        carrier: Carrier | None = None,
    ) -> None:
        self.link = Link(link, self._stop, carrier.wait) if carrier else Link(link, self._stop)
        self._carrier = carrier
        self._sandbox = sandbox
        self._timings = timings
        self._channel = channel
        self._supervisor: Supervisor | None = None
        self._attested: Attested | None = None
        self._memory = ""
        self._code_key = b""
        self._certifier: Certifier | None = None

    def live(self) -> int:
        """Everything. Returns the process's exit status; the workload's own goes to the host in EXIT."""
        from enarx.keep.runtime import EXIT_FAILED, Outcome

        try:
            outcome = self._run()
        except EnarxError as error:
            outcome = outcome_of(error)
        except MemoryError:
            outcome = Outcome(
                EXIT_FAILED, "keep-memory", "the Keep has too little memory for what it was given",
                "give its machine more memory (--memory), or launch less",
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - the last handler: the host must hear of it, without a traceback
            outcome = Outcome(
                EXIT_FAILED, "keep-internal", f"the Keep failed: {type(error).__name__}: {error}",
                "this is a fault of the Keep, not of the workload; please report it",
            )  # fmt: skip
        with contextlib.suppress(LinkError):
            self._status()
            self.link.send(
                encode_fields(
                    Type.EXIT,
                    status=outcome.status,
                    code=outcome.code[:64],
                    message=outcome.message[:MAX_TEXT],
                    hint=outcome.hint[:MAX_TEXT],
                )
            )
            return 0
        return EXIT_FAILED

    def _status(self) -> None:
        report = self._sandbox.report if self._sandbox else {}
        source = self._attested.source.name if self._attested else ""
        self.link.send(encode_fields(Type.STATUS, sandbox=report, timings=self._timings.steps, evidence=source))
        self._timings.steps = []

    def _run(self) -> Outcome:
        launch = receive_launch(self.link)
        if self._sandbox:
            self._sandbox.begin()
        self._timings.mark("sandbox, first half")
        manifest = receive_manifest(self.link, launch)
        self._prepare()
        self._timings.mark("imports")
        if manifest is None:
            receive_objects(self.link, launch)
        else:
            self._prove(launch, manifest)
        self._timings.mark("workload received")
        return self._workload(launch)

    def _prove(self, launch: Launch, manifest: bytes) -> None:
        """Evidence, the manifest checked against it, and all else against the manifest as it arrives."""
        from enarx.keep.attested import attest, with_certificates
        from enarx.keep.attester_simulated import sources
        from enarx.keep.certifier import Certifier
        from enarx.keep.handover import Handover
        from enarx.keep.stewardlink import preload

        candidates = sources(self._channel)
        if self._sandbox:
            from enarx.keep.attester_apart import move_apart
            from enarx.keep.lockedmemory import lock_process

            candidates = move_apart(candidates)
            self._memory = lock_process()
        preload()  # while the Keep is being measured
        self._timings.mark("imports for attestation")
        self._attested = keep = attest(manifest, candidates)
        self._timings.mark("evidence")
        handover = Handover(keep.manifest, launch.args, launch.env, launch.objects)
        receive_objects(self.link, launch, keep.manifest, handover)
        self._attested = keep = with_certificates(keep, launch.certificates)
        if keep.manifest.steward is not None:
            self._certifier = Certifier(keep, self.link, launch.signatures)

    def _prepare(self) -> None:
        """Import what every workload needs; meanwhile the host is sending it."""
        import enarx.keep.wasi.openfile
        import enarx.keep.wasi.stdio  # noqa: F401

    def _workload(self, launch: Launch) -> Outcome:
        from enarx.keep.runtime import Runtime

        loop = Loop()
        world = self._world(launch, loop) if launch.sealed is None else self._world_of_sealed(launch, loop)
        limits = launch.config.limits
        self._supervisor = Supervisor(self.link, loop, world.context, limits.deadline_seconds)
        self._certify(world, loop)
        runtime = Runtime(world.context, limits.memory_bytes, self._supervisor.wake, checked=launch.checked_calls)
        self._timings.mark("engine")
        module, cached = runtime.load(launch.module, self._cache(launch))
        runtime.check(module)
        self._timings.mark("code loaded from the cache" if cached else "compiled")
        world.open()  # last: to compile may take long, and whoever is connected to a workload expects it to run
        self._timings.mark("streams open")
        launch.forget_bytes()
        self._timings.mark(STARTED)
        self._status()
        return self._supervisor.run(runtime, module)

    def _world(self, launch: Launch, loop: Loop) -> World:
        """What the workload will see, made before the Keep gives up its files, and opened by `_workload` after it."""
        from enarx.keep.world import World

        certified = self._certifier is not None
        world = World(launch, self.link, loop, certified=certified, challenges=self._challenges(loop))
        self._timings.mark("identity")
        self._lock_down(launch)
        return world

    def _world_of_sealed(self, launch: Launch, loop: Loop) -> World:
        """The same for an encrypted package: what is in it is known once a Steward has released its key.

        To ask the Steward means bytes from strangers, so that the Keep has given up its files by then.
        """
        from enarx.keep.opening import open_sealed
        from enarx.keep.world import World, preload

        if self._attested is None or self._certifier is None:
            raise WorkloadError(
                "the package is encrypted, and there is no Steward to release its key",
                code="package-key",
                hint="deploy it with --steward and --steward-ca",
            )
        store, challenges = preload(), self._challenges(loop)
        if challenges is not None:
            from enarx.keep.tls import plain_server_context

            challenges.make_spares(plain_server_context)
        self._timings.mark("imports for an encrypted package")
        self._lock_down(launch)
        self._certifier.obtain()
        self._timings.mark("key released by the Steward")
        self._code_key = open_sealed(launch, self._certifier, self._attested.manifest)
        self._timings.mark("package decrypted")
        return World(launch, self.link, loop, certified=True, store=store, challenges=challenges)

    def _challenges(self, loop: Loop) -> Challenges | None:
        """What answers clients that ask for fresh evidence, where a certificate has evidence to compare it with."""
        if self._attested is None or self._certifier is None or not self._attested.source.lasting:
            return None
        from enarx.keep.challenges import Challenges

        return Challenges(loop, self._attested)

    def _lock_down(self, launch: Launch) -> None:
        """The second half of the sandbox: from here on the Keep has its link, its memory, and nothing else."""
        if self._sandbox is not None:
            self._sandbox.finish(certificates=self._certifier is not None)
            if launch.require_sandbox:
                self._sandbox.require()
            if self._memory:  # no layer of the sandbox: no unprivileged user's limit is as high as that
                self._sandbox.report["memory_locked"] = self._memory
            self._timings.mark("sandbox, second half")
        if self._carrier is not None:
            self._carrier.start()

    def _cache(self, launch: Launch) -> CodeCache:
        """Whose compiled code may be loaded: of a key that the host knows, only where nothing is to be proved."""
        from enarx.keep.cache import Authenticated, CodeCache, Secret

        if self._code_key:
            return CodeCache(self.link, Secret(self._code_key))
        proves = self._attested is not None
        return CodeCache(self.link, Authenticated(launch.cache_key) if launch.cache_key and not proves else None)

    def _certify(self, world: World, loop: Loop) -> None:
        """The Steward's certificate and secrets, if there is a Steward; what the workload may read of itself."""
        if self._attested is None:
            return
        from enarx.keep import keepdir

        if self._certifier is None:
            world.tell(keepdir.archive(keepdir.files(b"", manifest=self._attested.manifest_bytes)))
            return
        directory = self._sandbox.descriptors() if self._sandbox else DESCRIPTORS
        self._certifier.certify(world, directory)
        self._certifier.renew(loop)
        self._timings.mark("certified by the Steward")

    def _stop(self) -> None:
        """The host says stop."""
        if self._supervisor is None:
            raise STOPPED
        self._supervisor.stop()
