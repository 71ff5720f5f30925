"""HTTP for uvicorn with bounds of ours: on the head of a request, and on the end of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from enarx.tenant.steward.limits import FAREWELL_SECONDS, HEAD_MAX_BYTES, HEAD_SECONDS


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own bounds neither the size of a head nor the time that it takes, and waits for a goodbye."""

    is_made = False
    on_lost: Callable[[], None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _farewell: asyncio.TimerHandle | None = None
    _stopping = False
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        super().connection_made(transport)
        self.is_made = True
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._farewell is not None:
            self._farewell.cancel()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._part()

    def shutdown(self) -> None:
        """The Steward stops: what is on its way is answered, then the connection ends."""
        super().shutdown()
        self._stopping = True
        self._part()

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

    def _part(self) -> None:
        """Do not wait for long until a client answers our goodbye: the whole Steward would."""
        if self._stopping and self.transport.is_closing():
            self._farewell = self.loop.call_later(FAREWELL_SECONDS, self._leave)

    def _leave(self) -> None:
        if self.transport.get_write_buffer_size():  # it is slow, and still being sent something
            self._part()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self.transport.abort()
