"""HTTP for uvicorn with a bounded head: a client that sends its headers slowly, or without end, is disconnected."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from enarx.tenant.steward.limits import HEAD_MAX_BYTES, HEAD_SECONDS


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own bounds neither the size of a head nor the time that it takes."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._hang_up()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._timer is None:
            self._arm()

    def on_headers_complete(self) -> Any:
        self._in_head = False
        self._disarm()
        return super().on_headers_complete()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        self.transport.abort()
