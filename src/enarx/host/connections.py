"""Listening sockets and connections of a Keep: opened as it asks for them, and passed on."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from enarx.errors import LinkError, StreamError
from enarx.host import streams
from enarx.host.contract import Watcher
from enarx.host.outbox import Outbox
from enarx.wire import Frame, Type, encode_fields

MAX_LISTENERS: Final = 256
"""Listening sockets of one Keep."""
MAX_CONNECTING: Final = 16
"""Connections of one Keep that are being made at once."""
MAX_CREDIT: Final = 1 << 16
"""Connections that a Keep may have let in and not received."""


@dataclass(slots=True)
class _Listener:
    sock: socket.socket
    endpoint: str
    credit: int = 0


class Connections:
    """Those of one Keep. A handler of a frame raises LinkError for one that is malformed."""

    def __init__(
        self, outbox: Outbox, selector: selectors.BaseSelector, log: Callable[[str], None], watcher: Watcher
    ) -> None:
        """What the selector finds ready is to be called: its key's ``data``."""
        self._outbox = outbox
        self._selector = selector
        self._log = log
        self._watcher = watcher
        self._listeners: dict[int, _Listener] = {}
        self._connecting = threading.BoundedSemaphore(MAX_CONNECTING)

    def close(self) -> None:
        """Close what listens."""
        for listener in self._listeners.values():
            listener.sock.close()

    def listen(self, frame: Frame) -> None:
        """LISTEN: open a socket, if there may be one more."""
        fields = frame.fields()
        try:
            if len(self._listeners) >= MAX_LISTENERS or frame.id in self._listeners:
                raise StreamError("too many listening sockets", code="listen-failed")
            sock = streams.listen(fields["addr"], fields["port"])
        except StreamError as error:
            refuse(self._outbox, frame.id, error)
            return
        host, port = sock.getsockname()[:2]
        endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._listeners[frame.id] = _Listener(sock, endpoint)
        self._log(f"listening on {endpoint}")
        self._tell_listening()
        self._outbox.put(encode_fields(Type.OPENED, frame.id, name=str(port)))

    def credit(self, frame: Frame) -> None:
        """ACCEPT: more connections may come."""
        count = frame.fields()["count"]
        listener = self._listeners.get(frame.id)
        if listener is None or not count:
            return
        if not listener.credit:
            self._selector.register(listener.sock, selectors.EVENT_READ, lambda: self._accept(frame.id, listener))
        listener.credit = min(listener.credit + count, MAX_CREDIT)

    def _accept(self, ident: int, listener: _Listener) -> None:
        try:
            sock, address = listener.sock.accept()
        except OSError:
            return
        streams.no_delay(sock)
        self._outbox.put(encode_fields(Type.INCOMING, ident, fd=True, peer=str(address[0])[:256]), sock.detach())
        listener.credit -= 1
        if not listener.credit:
            self._selector.unregister(listener.sock)

    def connect(self, frame: Frame) -> None:
        """CONNECT, in a thread: the Keep waits, but signals and other streams must not."""
        fields = frame.fields()
        if not self._connecting.acquire(blocking=False):
            refuse(self._outbox, frame.id, StreamError("too many connections are being made", code="connect-failed"))
            return

        def work() -> None:
            with contextlib.suppress(LinkError):  # of no use to a Keep that reads nothing
                try:
                    sock = streams.connect(fields["host"], fields["port"])
                except StreamError as error:
                    refuse(self._outbox, frame.id, error)
                else:
                    self._outbox.put(encode_fields(Type.OPENED, frame.id, fd=True, name=""), sock.detach())
                finally:
                    self._connecting.release()

        threading.Thread(target=work, daemon=True).start()

    def close_listener(self, frame: Frame) -> None:
        """CLOSE: listen there no more."""
        frame.fields()
        listener = self._listeners.pop(frame.id, None)
        if listener is not None:
            if listener.credit:
                self._selector.unregister(listener.sock)
            listener.sock.close()
            self._tell_listening()

    def _tell_listening(self) -> None:
        self._watcher.listening([listener.endpoint for listener in self._listeners.values()])


def refuse(outbox: Outbox, ident: int, error: StreamError) -> None:
    """Tell a Keep that its request ``ident`` has failed."""
    message, hint = error.message[:4096], error.hint[:4096]
    outbox.put(encode_fields(Type.FAILED, ident, code=error.code, message=message, hint=hint))
