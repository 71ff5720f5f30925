"""Sockets whose TLS ends here: the bytes that leave the Keep are ciphertext, and the workload sees a plain socket.

A stream that its peer cuts off without TLS's close_notify is an error (CONNRESET), not an end: whoever carries the
bytes could otherwise shorten a message unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from enarx.keep.wasi.abi import SDFLAG_RD, SDFLAG_WR, Errno, Fdflags, WasiError
from enarx.keep.wasi.descriptor import Readiness, from_host
from enarx.keep.wasi.stream import READABLE, Stream

CIPHERTEXT: Final = 16384 + 256 + 5
"""Longest TLS 1.3 record with its header, in bytes: RFC 8446, 5.2."""
RECORD: Final = 16384
"""Largest plaintext of one TLS record, in bytes."""
BLOCKING: Final = 4 * RECORD
"""Most that a stream that may block gives OpenSSL at once, in bytes. Of that it is not known how much went out when
the connection breaks."""
_CUT_OFF: Final = "UNEXPECTED_EOF_WHILE_READING"  # which Python before 3.11.4 does not turn into SSLEOFError
CLOSE_SECONDS: Final = 1.0
"""How long closing may wait for the peer to take what is still to be sent, in seconds."""


class TlsStream(Stream):
    """A connected socket after its TLS handshake.

    OpenSSL wants an interrupted write repeated with the same bytes, which a workload need not do. So a record
    that it could not send at once is kept here, counts as written, and goes out before anything else does.
    """

    def __init__(self, sock: ssl.SSLSocket, *, nonblocking: bool = False) -> None:
        super().__init__(sock, nonblocking=nonblocking)
        self._tls = sock
        # What SSLSocket's methods call, if it is there: it is until both directions have ended.
        connection: Any = sock._sslobj  # type: ignore[attr-defined]
        self._write_record: Callable[[memoryview], int] = connection.write
        self._read_into: Callable[[int, memoryview], int] = connection.read
        self._pending: Callable[[], int] = connection.pending
        self.settled = False  # as `poll_read` finds it to be; whatever may change that resets it
        # A count of 1, as nobody knows how much is in a record before it is decrypted.
        self._unread = Readiness(False, 1, fileno=sock.fileno(), events=READABLE)
        self._peeked = b""
        self._unsent = b""
        self._alert = b""  # a close_notify, encrypted, on its way
        self._read_error: Errno | None = None
        self._write_error: Errno | None = None
        self._read_ended = self._write_ended = self._notified = False

    def _flush(self) -> bool:
        """Send what is kept, and close_notify once writing has ended; whether nothing is left to send."""
        try:
            if self._unsent:
                self._tls.write(self._unsent)
                self._unsent = b""
            if self._write_ended and not self._notified:
                self._notified = True
                self._alert = self._close_notify()
            while self._alert:
                self._alert = self._alert[socket.socket.send(self._tls, self._alert) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            return False
        return True

    def write_one(self, view: memoryview) -> int:
        if len(view) > RECORD or self._unsent or self._alert or self._write_ended or self._write_error is not None:
            return self.write([view])
        try:
            return self._write_record(view)  # what a small answer takes: one record, nothing to send before it
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._keep(view)
            return len(view)
        except OSError as error:
            raise self._failed(error) from None

    def _keep(self, record: memoryview) -> None:
        self._unsent = bytes(record)
        self.settled = False

    def _failed(self, error: OSError) -> WasiError:
        """Part of a record may be out, and OpenSSL could write nothing after it: what went wrong is told ever after."""
        failure = _from_tls(error, ended=Errno.PIPE)
        self._write_error = failure.errno
        return failure

    def write(self, views: list[memoryview]) -> int:
        if self._write_ended or self._write_error is not None:
            raise WasiError(self._write_error or Errno.PIPE)
        written = 0
        try:
            if (self._unsent or self._alert) and not self._flush():
                raise WasiError(Errno.AGAIN)
            for view in views:
                # OpenSSL makes the records of a write that may block, and comes back when all of them are out.
                step = RECORD if self.flags & Fdflags.NONBLOCK else BLOCKING
                for start in range(0, len(view), step):
                    chunk = view[start : start + step] if len(view) > step else view
                    try:
                        written += self._write_record(chunk)
                    except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        self._keep(chunk)
                        return written + len(chunk)
        except OSError as error:
            failure = self._failed(error)
            if not written:
                raise failure from None
        return written

    def read_one(self, view: memoryview) -> int:
        if len(view) > RECORD or self._unsent or self._alert:
            return self.receive([view])
        return self._read(view)  # what a small request takes: one record, nothing to send before it

    def read(self, views: list[memoryview]) -> int:
        return self.receive(views)

    def receive(self, views: list[memoryview], *, peek: bool = False, wait_all: bool = False) -> int:
        if self._unsent or self._alert:
            self._flushed()
        if peek:
            return self._peek(views)
        total = count = sure = 0
        for view in views:
            filled, size = 0, len(view)
            while filled < size:
                if total and not wait_all:
                    sure = sure - 1 if sure > 1 else self._sure_reads(count)
                    if not sure:
                        return total
                try:
                    count = self._read(view[filled:] if filled else view)
                except WasiError:
                    if not total:
                        raise
                    return total
                filled += count
                total += count
                if not count:
                    return total
        return total

    def _sure_reads(self, previous: int) -> int:
        """How many reads behind one of ``previous`` bytes cannot block: large messages come in full records."""
        if self._peeked or self._tls.pending():
            return 1
        return self.waiting() // CIPHERTEXT if previous == RECORD else 0

    def _peek(self, views: list[memoryview]) -> int:
        if views and not self._peeked:
            self.settled = False
            record = bytearray(RECORD)
            self._peeked = bytes(record[: self._read(memoryview(record))])
        start = 0
        for view in views:
            part = self._peeked[start : start + len(view)]
            view[: len(part)] = part
            start += len(part)
        return start

    def _read(self, view: memoryview) -> int:
        """Fill the buffer with what is there; 0 at the end. An error that ends the stream is reported ever after."""
        if self._peeked:
            count = min(len(view), len(self._peeked))
            view[:count] = self._peeked[:count]
            self._peeked = self._peeked[count:]
            return count
        if self._read_ended:
            return 0
        if self._read_error is not None:
            raise WasiError(self._read_error)
        try:
            count = self._read_into(len(view), view)
        except ssl.SSLZeroReturnError:
            count = 0
        except OSError as error:
            failure = _from_tls(error)
            if failure.errno != Errno.AGAIN:
                self._read_error = failure.errno
                self.settled = False
            raise failure from None
        if not count:
            self._read_ended, self.settled = True, False
        elif count == len(view) and self._pending():
            self.settled = False
        return count

    def shutdown(self, how: int) -> None:
        """Reading ends here alone. Writing ends with close_notify, after which reading goes on."""
        self.settled = False
        if how & SDFLAG_RD:
            self._peeked = b""
            self._read_ended = True
        if how & SDFLAG_WR:
            self._write_ended = True
            try:
                self._flush()
            except OSError as error:
                raise _from_tls(error, ended=Errno.PIPE) from None

    def wake(self) -> None:
        # Not SSLSocket's own method, which takes TLS off the socket. A read that waits takes this for a broken
        # connection, and OpenSSL tells the peer so: it cannot mistake it for an ordinary end.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls, socket.SHUT_RD)

    def poll_read(self) -> Readiness:
        if not (self._peeked or self._unsent or self._write_ended or self._read_ended or self._read_error is not None):
            pending = self._tls.pending()
            self.settled = not pending and not self._alert
            return Readiness(True, pending) if pending else self._unread
        waiting = len(self._peeked) + (0 if self._read_ended else self._tls.pending())
        if waiting or self._read_ended or self._read_error is not None:
            return Readiness(True, waiting, hangup=not waiting)
        if self._flushed():
            return self._unread
        return Readiness(False, 1, fileno=self._unread.fileno, events=READABLE | select.POLLOUT)

    def poll_write(self) -> Readiness:
        self._flushed()
        return super().poll_write()

    def _flushed(self) -> bool:
        try:
            return self._flush()
        except OSError:
            return True  # the error is there for the next read or write to report

    def _close_notify(self) -> bytes:
        """The close_notify alert, encrypted. Raises OSError when the system has no descriptors left.

        OpenSSL has no call that only sends it, as Python uses it: ``unwrap`` goes on to look for the peer's answer,
        and if application data comes instead it discards the connection. So for that call the descriptor that
        OpenSSL holds is one end of a socket pair, on which nothing can come.
        """
        while pending := self._tls.pending():
            self._peeked += self._tls.read(pending)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            descriptor, timeout = self._tls.fileno(), self._tls.gettimeout()
            kept = os.dup(descriptor)
            try:
                os.dup2(theirs.fileno(), descriptor, inheritable=False)
                self._tls.setblocking(False)
                with contextlib.suppress(OSError):
                    self._tls.unwrap()
                    self._read_ended = True  # it returns when the peer's own has been read
            finally:
                os.dup2(kept, descriptor, inheritable=False)
                os.close(kept)
                self._tls.settimeout(timeout)
            with contextlib.suppress(BlockingIOError):
                return ours.recv(RECORD)
        return b""

    def close(self) -> None:
        """Send what is kept, then close_notify. Never waits for the peer's answer."""
        with contextlib.suppress(OSError, ValueError):
            self._tls.settimeout(CLOSE_SECONDS)
            self._flush()
            if not self._notified:
                poller = select.poll()
                poller.register(self._tls, select.POLLOUT)
                poller.poll(CLOSE_SECONDS * 1000)
                self._tls.setblocking(False)
                self._tls.unwrap()
        super().close()


def _from_tls(error: OSError, ended: Errno = Errno.CONNRESET) -> WasiError:
    """The WasiError for an OSError; ``ended`` when the peer is gone without a close_notify."""
    if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
        return WasiError(Errno.AGAIN)
    if isinstance(error, ssl.SSLEOFError) or getattr(error, "reason", None) == _CUT_OFF:
        return WasiError(ended)
    if isinstance(error, ssl.SSLError):
        return WasiError(Errno.IO)
    return from_host(error)
