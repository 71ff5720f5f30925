"""The life of a Keep: sandbox, launch, proof, streams, compile, lock down, run, report.

The main thread serves the link, the TLS handshakes and the deadline; the workload runs in a thread of its own.
Whatever ends the workload, the main thread reports it and leaves at once: a workload that loops, or waits in a
host call, cannot hold the process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from enarx.config import Config
from enarx.errors import EnarxError, LimitError, LinkError
from enarx.keep.link import Link
from enarx.keep.sandbox import DESCRIPTORS, Sandbox, close_inherited
from enarx.keep.workload import Launch, receive_launch, receive_manifest, receive_objects
from enarx.wire import STARTED, Type, encode_fields

if TYPE_CHECKING:
    from enarx.keep.attested import Attested
    from enarx.keep.cache import CodeCache
    from enarx.keep.certifier import Certifier
    from enarx.keep.loop import Loop
    from enarx.keep.runtime import Outcome, Runtime
    from enarx.keep.wasi.context import Context
    from enarx.keep.world import World

LINK_FD: Final = 3
CHANNEL_FD: Final = 4
"""Where a Keep that is launched with a manifest may find a channel to a simulated secure processor."""
STOP_SECONDS: Final = 0.04
"""How long a workload that was told to stop has to leave its host call and close its streams, in seconds."""

CLOSE_SECONDS: Final = 2.0
"""How long the streams of a workload that has ended may take to say goodbye to their peers, in seconds."""

MAX_TEXT: Final = 4096
"""Characters of a message that reach the host."""


@dataclass(slots=True)
class Timings:
    """Where start-up time went: (step, milliseconds since the Keep's first instruction)."""

    start: float
    steps: list[tuple[str, float]] = field(default_factory=list)

    def mark(self, step: str) -> None:
        """``step`` is done."""
        self.steps.append((step, round((time.monotonic() - self.start) * 1000, 2)))


def main() -> None:
    """Run one Keep over the link at descriptor 3, and end the process."""
    timings = Timings(time.monotonic())
    close_inherited(CHANNEL_FD)
    link_socket = socket.socket(fileno=LINK_FD)
    link_socket.set_inheritable(False)
    keep = Keep(link_socket, Sandbox(), timings, _channel())
    status = keep.live()
    sys.stdout.flush()
    os._exit(status)


def _channel() -> int | None:
    """The channel to a simulated secure processor, if the host gave one."""
    try:
        os.set_inheritable(CHANNEL_FD, False)
    except OSError:
        return None
    return CHANNEL_FD


class Keep:
    """One Keep, from its first frame to its last. ``sandbox`` is None in tests that run it in their own process.

    ``channel``: the descriptor behind which a simulated secure processor may answer.
    """

    def __init__(
        self, link: socket.socket, sandbox: Sandbox | None, timings: Timings, channel: int | None = None
    ) -> None:
        self.link = Link(link, self._stop)
        self._sandbox = sandbox
        self._timings = timings
        self._channel = channel
        self._loop: Loop | None = None
        self._context: Context | None = None
        self._outcome: Outcome | None = None
        self._attested: Attested | None = None
        self._memory = ""
        self._certifier: Certifier | None = None

    def live(self) -> int:
        """Everything. Returns the process's exit status; the workload's own goes to the host in EXIT."""
        from enarx.keep.runtime import EXIT_FAILED, Outcome

        try:
            outcome = self._run()
        except EnarxError as error:
            outcome = _outcome_of(error)
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
        from enarx.keep.attested import attest
        from enarx.keep.attester_simulated import sources
        from enarx.keep.certifier import Certifier
        from enarx.keep.handover import Handover
        from enarx.keep.stewardlink import preload

        if self._sandbox:
            from enarx.keep.lockedmemory import lock_process

            self._memory = lock_process()
        preload()  # while the Keep is being measured
        self._timings.mark("imports for attestation")
        self._attested = keep = attest(manifest, sources(self._channel))
        self._timings.mark("evidence")
        handover = Handover(keep.manifest, launch.args, launch.env, launch.objects)
        if keep.manifest.steward is not None:
            self._certifier = Certifier(keep, self.link)
        receive_objects(self.link, launch, keep.manifest, handover)

    def _prepare(self) -> None:
        """Import what every workload needs; meanwhile the host is sending it."""
        import enarx.keep.loop
        import enarx.keep.wasi.openfile
        import enarx.keep.wasi.stdio  # noqa: F401

    def _workload(self, launch: Launch) -> Outcome:
        from enarx.keep.loop import Loop
        from enarx.keep.runtime import Runtime
        from enarx.keep.world import World

        config = launch.config
        self._loop = Loop()
        certifier = self._certifier
        world = World(launch, self.link, self._loop, certified=certifier is not None)
        self._context = world.context
        self._timings.mark("identity")
        if self._sandbox:
            self._sandbox.finish(certificates=certifier is not None)
            if launch.require_sandbox:
                self._sandbox.require()
            if self._memory:  # no layer of the sandbox: no unprivileged user's limit is as high as that
                self._sandbox.report["memory_locked"] = self._memory
            self._timings.mark("sandbox, second half")
        self._certify(world)
        world.open()
        self._timings.mark("streams open")
        done = os.eventfd(0, os.EFD_CLOEXEC)
        runtime = Runtime(
            world.context, config.limits.memory_bytes, lambda: os.eventfd_write(done, 1), checked=launch.checked_calls
        )
        self._timings.mark("engine")
        module, cached = runtime.load(launch.module, self._cache(launch))
        runtime.check(module)
        self._timings.mark("code loaded from the cache" if cached else "compiled")
        self._timings.mark(STARTED)
        self._status()
        return self._supervise(runtime, module, done, config)

    def _cache(self, launch: Launch) -> CodeCache:
        """Whose compiled code may be loaded: of a key that the host knows, only where nothing is to be proved."""
        from enarx.keep.cache import Authenticated, CodeCache

        proves = self._attested is not None
        return CodeCache(self.link, Authenticated(launch.cache_key) if launch.cache_key and not proves else None)

    def _certify(self, world: World) -> None:
        """The Steward's certificate and secrets, if there is a Steward; what the workload may read of itself."""
        if self._attested is None:
            return
        from enarx.keep import keepdir

        if self._certifier is None:
            world.tell(keepdir.archive(keepdir.files(b"", manifest=self._attested.manifest_bytes)))
            return
        assert self._loop is not None  # noqa: S101 - set by _workload
        directory = self._sandbox.descriptors() if self._sandbox else DESCRIPTORS
        self._certifier.certify(world, directory)
        self._certifier.renew(self._loop)
        self._timings.mark("certified by the Steward")

    def _supervise(self, runtime: Runtime, module: Any, done: int, config: Config) -> Outcome:
        """Run the workload in its own thread and serve the link until it ends, is stopped, or hits a limit."""
        from enarx.keep.engine import THREAD_STACK

        assert self._loop is not None  # noqa: S101 - set by _workload
        assert self._context is not None  # noqa: S101
        context, loop = self._context, self._loop
        ended: list[Outcome] = []

        def work() -> None:
            outcome = runtime.run(module)
            context.table.close_all(CLOSE_SECONDS)
            ended.append(outcome)
            os.eventfd_write(done, 1)

        gc.freeze()  # what has been imported stays
        gc.enable()
        threading.stack_size(THREAD_STACK)
        threading.Thread(target=work, name="workload", daemon=True).start()
        loop.watch(self.link, selectors.EVENT_READ, self.link.dispatch)
        self.link.handle_received()
        loop.watch(_Fd(done), selectors.EVENT_READ, loop.stop)
        deadline = config.limits.deadline_seconds
        if deadline is not None:
            loop.call_later("deadline", deadline, lambda: self._end(_deadline_error(deadline)))
        loop.run()
        return ended[0] if ended else self._outcome or _outcome_of(runtime.memory_error())

    def _end(self, error: EnarxError) -> None:
        """End the workload from outside."""
        assert self._loop is not None  # noqa: S101 - a timer of the loop calls this
        self._outcome = _outcome_of(error)
        self._loop.stop()

    def _stop(self) -> None:
        """The host says stop. What waits is woken; what does not end by itself in time is left where it is."""
        if self._context is None or self._loop is None:
            raise _STOPPED
        self._context.wake()
        self._loop.call_later("stop", STOP_SECONDS, lambda: self._end(_STOPPED))


@dataclass(frozen=True, slots=True)
class _Fd:
    """A bare descriptor as the event loop wants it."""

    number: int

    def fileno(self) -> int:
        return self.number


_STOPPED = EnarxError("the workload was stopped", code="stopped")


def _outcome_of(error: EnarxError) -> Outcome:
    from enarx.keep.runtime import EXIT_STOPPED, Outcome

    return Outcome(EXIT_STOPPED, error.code, error.message) if error is _STOPPED else Outcome.of_error(error)


def _deadline_error(seconds: float) -> LimitError:
    return LimitError(
        f"the workload ran longer than the limit `deadline` of {seconds:g} seconds",
        code="limit-deadline",
        hint="raise or remove `deadline` under [limits] in Enarx.toml",
    )
