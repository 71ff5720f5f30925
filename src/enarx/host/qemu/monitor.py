"""QEMU's monitor (QMP), by the library of the QEMU project, in a thread of its own.

The library needs 70 ms to import and its event loop a thread, so both are imported while the guest boots.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import HostError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from qemu.qmp import QMPClient

ANSWER_SECONDS: Final = 30.0
"""How long QEMU has to answer a command, in seconds: it answers none while it loads what it boots."""
MAX_MESSAGE_BYTES: Final = 1 << 20
"""Longest message that is read, in bytes."""


class Monitor:
    """A connection to a monitor. ``reason`` is why the guest has ended, once QEMU has said so (``guest-shutdown``)."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes over ``sock``, whose other end QEMU has."""
        from concurrent.futures import Future

        self.reason = ""
        self._socket = sock
        self._client: QMPClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, seconds: float = ANSWER_SECONDS
    ) -> Any:
        """What QEMU returns. Raises HostError: ``qmp-refused`` with its words, ``qmp-closed``, ``qmp-slow``."""
        import asyncio

        try:
            self._ready.result(seconds)
        except TimeoutError as error:
            raise _slow(command, seconds) from error
        assert self._client is not None and self._loop is not None  # noqa: S101 - ready
        work: Coroutine[Any, Any, Any] = self._client.execute(command, dict(arguments) if arguments else None)
        try:
            answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:  # the loop has ended
            work.close()
            raise _closed(command) from error
        try:
            return answer.result(seconds)
        except TimeoutError as error:
            answer.cancel()
            raise _slow(command, seconds) from error
        except Exception as error:
            raise _failed(command, error) from error

    def version(self) -> str:
        """The version of QEMU, as in ``10.0.2``. Raises HostError."""
        number = self.execute("query-version")["qemu"]
        return f"{number['major']}.{number['minor']}.{number['micro']}"

    def join(self, seconds: float) -> None:
        """Wait, but not longer than that, until all is read that QEMU has said: to be called when it has ended."""
        self._thread.join(seconds)

    def _run(self) -> None:
        import asyncio
        import logging

        from qemu.qmp import EventListener, QMPClient

        # It reports to the log what it raises, and to people what no handler takes.
        logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
        try:
            asyncio.run(self._serve(QMPClient("enarx", MAX_MESSAGE_BYTES), EventListener(names=["SHUTDOWN"])))
        except Exception as error:  # noqa: BLE001 - whoever asks is told
            if not self._ready.done():
                self._ready.set_exception(_failed("its greeting", error))

    async def _serve(self, client: QMPClient, events: Any) -> None:
        import asyncio

        from qemu.qmp import Runstate

        client.register_listener(events)
        await client.connect(self._socket)
        self._client, self._loop = client, asyncio.get_running_loop()
        self._ready.set_result(None)
        while client.runstate is Runstate.RUNNING:
            await client.runstate_changed()
        with contextlib.suppress(Exception):  # that QEMU has ended is what we waited for
            await client.disconnect()
        for event in events.clear():
            with contextlib.suppress(TypeError, KeyError):
                self.reason = str(event["data"]["reason"])[:64]


def _failed(command: str, error: Exception) -> HostError:
    from qemu.qmp import ExecuteError

    if isinstance(error, HostError):
        return error
    if isinstance(error, ExecuteError):
        words = "".join(char if char.isprintable() else " " for char in str(error))[:512]
        return HostError(f"QEMU refuses {command}: {words}", code="qmp-refused")
    return _closed(command)


def _closed(command: str) -> HostError:
    return HostError(
        f"QEMU's monitor is closed, and {command} has no answer",
        code="qmp-closed",
        hint="QEMU has ended: run again with --verbose to see what it says",
    )


def _slow(command: str, seconds: float) -> HostError:
    return HostError(
        f"QEMU did not answer {command} within {seconds:g} s", code="qmp-slow", hint="the machine may be very busy"
    )
