"""Which worker of a Steward accepts a connection: the one that has fewest.

Workers share a listening socket. asyncio accepts all that wait there at once, so that one worker gets connections that
come together, and those that balancers keep open, while the others are idle.
"""

from __future__ import annotations

import asyncio
import math
import mmap
import socket
import ssl
from collections.abc import Callable
from typing import Final

from enarx.tenant.steward.limits import HANDSHAKE_SECONDS
from enarx.tenant.steward.protocol import BoundedProtocol

PATIENCE_SECONDS: Final = 0.05
"""How long a connection is left to a worker that has fewer (seconds): that one may be busy, or stopped."""
PAUSE_SECONDS: Final = 0.001
"""How long until a worker looks again whether it is its turn (seconds)."""
SHORTAGE_SECONDS: Final = 0.5
"""How long until a worker accepts again where the machine has no descriptor or memory left (seconds)."""
_COUNT_BYTES: Final = 4
_AWAY: Final = (1 << 31) - 1


class Turns:
    """How many connections each of ``workers`` has, in memory that is shared with processes forked later."""

    def __init__(self, workers: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, _COUNT_BYTES * workers)).cast("i")
        for worker in range(workers):
            self.leave(worker)

    def tell(self, worker: int, connections: int) -> None:
        """Say how many connections (count) a worker has."""
        self._counts[worker] = connections

    def leave(self, worker: int) -> None:
        """Say that a worker accepts nothing: none waits for it."""
        self._counts[worker] = _AWAY

    def is_next(self, worker: int) -> bool:
        """Whether no other worker has fewer connections."""
        return self._counts[worker] <= min(self._counts)


class Acceptor:
    """Accepts the connections of one worker and shakes hands; ``create`` makes the protocol of each."""

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, turns: Turns, worker: int,
        create: Callable[[], BoundedProtocol],
    ) -> None:  # fmt: skip
        self._listener = listener
        self._context = context
        self._turns = turns
        self._worker = worker
        self._create = create
        self._connections = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._until = -math.inf
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Accept from now on."""
        self._listener.setblocking(False)
        self._count(0)
        self._watch()

    def close(self) -> None:
        """Accept nothing more. Connections that are shaken hands with stay; handshakes are given up."""
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._handshakes:
            task.cancel()
        self._turns.leave(self._worker)

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener, self._readable)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, self._watch)

    def _readable(self) -> None:
        if not self._turns.is_next(self._worker) and self._is_patient():
            self._pause(PAUSE_SECONDS)
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client is gone
        except OSError:
            self._pause(SHORTAGE_SECONDS)
            return
        self._count(1)
        task = self._loop.create_task(self._shake_hands(connection))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _is_patient(self) -> bool:
        """Whether to leave it to another worker: for a while, and then as long not."""
        now = self._loop.time()
        if now >= self._until + PATIENCE_SECONDS:
            self._until = now + PATIENCE_SECONDS
        return now < self._until

    async def _shake_hands(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        protocol = self._create()
        protocol.on_lost = lambda: self._count(-1)
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, asyncio.CancelledError):  # what it shows is no TLS, or it is gone, too slow, or we stop
            if not protocol.is_made:
                self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        self._turns.tell(self._worker, self._connections)
