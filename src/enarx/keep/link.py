"""The Keep's end of the link. Everything that comes out of it was written by the host and is hostile.

The Keep has no network of its own: it asks the host for streams and gets sockets. What a stream carries is not
trusted either; TLS inside it is the workload's protection.
"""

from __future__ import annotations

import array
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from enarx.errors import LinkError, StreamError
from enarx.wire import HEADER, MAX_PAYLOAD, Decoder, Frame, Type, encode, encode_fields

_READ: Final = HEADER.size + MAX_PAYLOAD
_FDS_PER_READ: Final = 16
_FD_BYTES: Final = socket.CMSG_SPACE(_FDS_PER_READ * array.array("i").itemsize)

OnConnection = Callable[[socket.socket], None]
OnAnswer = Callable[[socket.socket | StreamError], None]


class Streams(Protocol):
    """What a Keep asks of the world outside: streams, as sockets. Raises StreamError when it cannot be had.

    A process Keep gets the host's own sockets. A link that carries only bytes gives socket pairs and moves the
    bytes itself; nothing that uses this interface can tell.
    """

    def stdio(self, name: str) -> tuple[int, str]:
        """A descriptor for ``stdin``, ``stdout`` or ``stderr``, and what it is for the host: `wire.STDIO_KINDS`."""

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected stream."""

    def listen(self, addr: str, port: int, on_connection: OnConnection) -> int:
        """Listen. ``on_connection`` gets each connection. Returns the number for ``credit`` and ``close``."""

    def credit(self, listener: int, count: int) -> None:
        """Let ``count`` more connections in."""

    def close(self, listener: int) -> None:
        """Stop listening."""


class Link:
    """Frames over a Unix socket, with ``Streams`` on top. Sending is safe from any thread; receiving is main's."""

    def __init__(
        self, sock: socket.socket, on_stop: Callable[[], None], wait: Callable[[], None] = lambda: None
    ) -> None:
        """``wait`` is called before ``sock`` is read: whoever else has to do something for it meanwhile does it."""
        self._socket = sock
        self._wait = wait
        self._decoder = Decoder()
        self._frames: deque[Frame] = deque()
        self._send_lock = threading.Lock()
        self._next_id = 1
        self._listeners: dict[int, OnConnection] = {}
        self._connecting: dict[int, OnAnswer] = {}
        self._on_stop = on_stop

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send encoded frames. Raises LinkError when the host is gone."""
        try:
            with self._send_lock:
                self._socket.sendall(data)
        except OSError as error:
            raise LinkError("the host closed the link", code="link-closed") from error

    def _read(self) -> None:
        """Wait for bytes from the host and decode what is complete."""
        self._wait()
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(_READ, _FD_BYTES, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise LinkError("the link failed", code="link-closed") from error
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        frames = self._decoder.feed(data, list(fds))
        self._frames += frames
        if flags & socket.MSG_CTRUNC:
            raise LinkError("the host sent too many file descriptors at once", code="link-frame")
        if not data:
            raise LinkError("the host closed the link", code="link-closed")

    def receive(self) -> Frame:
        """The next frame, waiting for it."""
        while not self._frames:
            self._read()
        return self._frames.popleft()

    def dispatch(self) -> None:
        """For the event loop, when the link is readable: handle every frame that has come."""
        self._read()
        self.handle_received()

    def handle_received(self) -> None:
        """Handle what has come behind an answer: no readiness of the socket will tell of it again."""
        while self._frames:
            self._handle(self._frames.popleft())

    def _handle(self, frame: Frame) -> None:
        """A frame that nobody waits for: a connection, the answer to `connect_later`, or the order to stop."""
        try:
            if frame.type == Type.INCOMING:
                frame.fields()
                listener = self._listeners.get(frame.id)
                if listener is not None and frame.fd >= 0:  # it may have been closed meanwhile
                    listener(_stream(frame.take_fd()))
            elif frame.type in (Type.OPENED, Type.FAILED) and frame.id in self._connecting:
                self._connecting.pop(frame.id)(_answered(frame))
            elif frame.type == Type.STOP:
                frame.fields()
                self._on_stop()
            else:
                raise LinkError(f"unexpected {frame.type.name} from the host", code="link-frame")
        finally:
            frame.close()

    def call(self, kind: Type, **fields: Any) -> Frame:
        """Send a request and wait for its answer. Raises StreamError when the host reports a failure."""
        ident = self._next_id
        self._next_id += 1
        self.send(encode_fields(kind, ident, **fields))
        while True:
            frame = self.receive()
            if frame.id != ident or frame.type not in (Type.OPENED, Type.FAILED, Type.CACHED):
                self._handle(frame)
            elif frame.type == Type.FAILED:
                reason = frame.fields()
                frame.close()
                raise StreamError(reason["message"], code=reason["code"], hint=reason["hint"])
            else:
                return frame

    def receive_blob(self, size: int) -> bytearray:
        """The next ``size`` bytes that the host sends as BLOB frames. The caller has checked ``size``."""
        data = bytearray(size)
        filled = 0
        while filled < size:
            frame = self.receive()
            if frame.type == Type.BLOB and frame.fd < 0 and 0 < len(frame.payload) <= size - filled:
                data[filled : filled + len(frame.payload)] = frame.payload
                filled += len(frame.payload)
            elif frame.type == Type.BLOB:
                frame.close()
                raise LinkError("the host sent more bytes than it announced", code="link-frame")
            else:
                self._handle(frame)
        return data

    def send_blob(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes as BLOB frames."""
        view = memoryview(data)
        for start in range(0, len(view), MAX_PAYLOAD):
            self.send(encode(Type.BLOB, 0, view[start : start + MAX_PAYLOAD]))

    def stdio(self, name: str) -> tuple[int, str]:
        frame = self.call(Type.STDIO, name=name)
        return _needs_fd(frame), frame.fields()["name"]

    def connect(self, host: str, port: int) -> socket.socket:
        return _stream(_needs_fd(self.call(Type.CONNECT, host=host, port=port)))

    def connect_later(self, host: str, port: int, on_answer: OnAnswer) -> None:
        """Ask for a stream; ``on_answer`` is called with it, or with why there is none, by `dispatch`."""
        ident = self._next_id
        self._next_id += 1
        self._connecting[ident] = on_answer
        self.send(encode_fields(Type.CONNECT, ident, host=host, port=port))

    def listen(self, addr: str, port: int, on_connection: OnConnection) -> int:
        ident = self._next_id  # known before the answer: the first connection may come right behind it
        self._listeners[ident] = on_connection
        frame = self.call(Type.LISTEN, addr=addr, port=port)
        frame.close()
        if frame.type != Type.OPENED:
            raise LinkError("the host answered LISTEN with something else", code="link-frame")
        frame.fields()
        return ident

    def credit(self, listener: int, count: int) -> None:
        self.send(encode_fields(Type.ACCEPT, listener, count=count))

    def close(self, listener: int) -> None:
        self._listeners.pop(listener, None)
        self.send(encode_fields(Type.CLOSE, listener))


def _stream(fd: int) -> socket.socket:
    """The socket that the host sent. Raises LinkError for a descriptor that is no stream socket."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise LinkError("the host sent a stream that is not a socket", code="link-frame") from None
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise LinkError("the host sent a socket that is not a stream", code="link-frame")
    return sock


def _answered(frame: Frame) -> socket.socket | StreamError:
    if frame.type == Type.FAILED:
        reason = frame.fields()
        return StreamError(reason["message"], code=reason["code"], hint=reason["hint"])
    return _stream(_needs_fd(frame))


def _needs_fd(frame: Frame) -> int:
    if frame.type != Type.OPENED or frame.fd < 0:
        frame.close()
        raise LinkError("the host answered without a stream", code="link-frame")
    frame.fields()
    return frame.take_fd()
