"""Fresh evidence for clients that ask for it inside their TLS session (``enarx.challenge``), over that very session.

Evidence over a key alone says nothing about who uses the key: whoever got hold of it could relay evidence. Evidence
over the exporter of a TLS session and the client's nonce was asked for by the Keep in which that session ends.

A challenged connection is served on the main thread, step by step, like a handshake; reports are made in a thread of
their own, one at a time, because a secure processor may take its time. All that have asked meanwhile are answered by
one report, and reports have a rate, so that strangers can neither exhaust the processor nor keep others out.
"""

from __future__ import annotations

import os
import selectors
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from enarx.challenge import ALPN, REQUEST_BYTES, Status, encode_answer, parse_request
from enarx.errors import EnarxError, MalformedError
from enarx.evidence.binding import SESSIONS_MAX, session_digest, session_report_data
from enarx.exporter import KeyLog
from enarx.keep.attested import Attested, endorsements, evidence_extension, with_certificates
from enarx.keep.loop import Loop

if TYPE_CHECKING:
    from enarx.keep.endorsements import Endorsements

REPORTS_PER_SECOND: Final = 20.0
"""How often a report is made when many ask (1/seconds); each answers up to ``SESSIONS_MAX`` of them."""
REPORTS_AT_ONCE: Final = 20
"""Reports that may follow each other at once after a pause (count)."""
WAITING_MAX: Final = 256
"""Sessions that wait for a report (count); to more the Keep answers that it is busy."""
SPARE_CONTEXTS: Final = 8
"""Listeners of an encrypted workload that can answer challenges (count): their contexts are made before it is known."""

_TIMER: Final = "reports"
Finished = Callable[[bool], None]


@dataclass(slots=True, eq=False)
class _Asker:
    """One connection that asks. ``finished`` hears whether it goes on to the workload."""

    tls: ssl.SSLSocket
    exporter: bytes
    finished: Finished
    request: bytearray = field(default_factory=bytearray)
    digest: bytes = b""
    status: Status = Status.OK
    unsent: bytes = b""


class Challenges:
    """Answers for all TLS listeners of one Keep. Everything but the making of reports is on the main thread.

    ``keep`` is what the Keep holds since its launch; its source must still work once the Keep is in its sandbox.
    """

    def __init__(self, loop: Loop, keep: Attested, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._keep = keep
        self._clock = clock
        self._log = KeyLog(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._spares: list[ssl.SSLContext] | None = None
        self._askers: dict[ssl.SSLSocket, _Asker] = {}
        self._waiting: deque[_Asker] = deque()
        self._batch: Sequence[_Asker] = ()  # whose report is being made
        self._made = b""
        self._allowance, self._since = float(REPORTS_AT_ONCE), clock()
        self._event = _Event(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        loop.watch(self._event, selectors.EVENT_READ, self._finished)
        self._endorsed: tuple[bytes, Endorsements] | None = None

    def make_spares(self, make: Callable[[], ssl.SSLContext]) -> None:
        """Make the contexts of listeners while there are files to open, for a workload that is yet to be decrypted."""
        self._spares = [make() for _ in range(SPARE_CONTEXTS)]
        for context in self._spares:
            self._log.attach(context)

    def context(self, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """A context for one listener, whose handshakes are told. Past ``SPARE_CONTEXTS`` one that answers nobody."""
        if self._spares is None:
            context = make()
            self._log.attach(context)
        elif self._spares:
            context = self._spares.pop()
        else:
            return make()
        context.set_alpn_protocols([ALPN])
        return context

    def exporter(self, tls: ssl.SSLSocket) -> bytes | None:
        """For after each step of a handshake: the exporter of ``tls``, once, if its client means to ask."""
        found = self._log.exporter()
        return found if found is not None and tls.selected_alpn_protocol() == ALPN else None

    def silence(self, tls: ssl.SSLSocket) -> None:
        """For every connection, right after its handshake."""
        self._log.silence(tls)

    def begin(self, tls: ssl.SSLSocket, exporter: bytes, finished: Finished) -> None:
        """Serve a connection whose handshake is done; ``finished`` is called with whether it was answered."""
        self._askers[tls] = asker = _Asker(tls, exporter, finished)
        self._read(asker)

    def forget(self, tls: ssl.SSLSocket) -> None:
        """The connection was given up; not an error for one that asks nothing."""
        if self._askers.pop(tls, None) is not None:
            self._loop.forget(tls)

    def _end(self, asker: _Asker, answered: bool) -> None:
        self.forget(asker.tls)
        asker.finished(answered)

    def _read(self, asker: _Asker) -> None:
        """Exactly the request: what comes behind it is the workload's, and stays where it is."""
        try:
            while (missing := REQUEST_BYTES - len(asker.request)) > 0:
                part = asker.tls.recv(missing)
                if not part:
                    self._end(asker, False)
                    return
                asker.request += part
            nonce = parse_request(bytes(asker.request))
        except ssl.SSLWantReadError:
            self._loop.watch(asker.tls, selectors.EVENT_READ, lambda: self._read(asker))
        except ssl.SSLWantWriteError:
            self._loop.watch(asker.tls, selectors.EVENT_WRITE, lambda: self._read(asker))
        except (OSError, ValueError, MalformedError):
            self._end(asker, False)
        else:
            self._loop.forget(asker.tls)
            asker.digest = session_digest(self._keep.key.spki, nonce, asker.exporter)
            self._queue(asker)

    def _queue(self, asker: _Asker) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._answer(asker, Status.BUSY, encode_answer(Status.BUSY))
            return
        self._waiting.append(asker)
        self._make()

    def _make(self) -> None:
        """Have a report made over all that wait, unless one is being made, or it is too early for another."""
        asking = (asker for asker in self._waiting if self._askers.get(asker.tls) is asker)
        self._waiting = deque(asking)
        if self._batch or not self._waiting:
            return
        now = self._clock()
        self._allowance = min(REPORTS_AT_ONCE, self._allowance + (now - self._since) * REPORTS_PER_SECOND)
        self._since = now
        if self._allowance < 1:
            self._loop.call_later(_TIMER, (1 - self._allowance) / REPORTS_PER_SECOND, self._make)
            return
        self._allowance -= 1
        self._batch = [self._waiting.popleft() for _ in range(min(SESSIONS_MAX, len(self._waiting)))]
        digests = [asker.digest for asker in self._batch]
        threading.Thread(target=self._work, args=(digests,), name="report", daemon=True).start()

    def _work(self, digests: Sequence[bytes]) -> None:
        """In a thread of its own."""
        self._made = b""
        try:
            self._made = self._report(digests)
        except (EnarxError, ValueError):
            pass  # nothing was made, and the askers are told so
        finally:
            os.eventfd_write(self._event.number, 1)

    def _report(self, digests: Sequence[bytes]) -> bytes:
        evidence = self._keep.source.attester.attest(session_report_data(digests))
        keep = with_certificates(replace(self._keep, evidence=evidence), self._keep.evidence.certificates)
        if self._endorsed is None or self._endorsed[0] != keep.evidence.certificates:
            self._endorsed = keep.evidence.certificates, endorsements(keep)
        return encode_answer(Status.OK, digests, evidence_extension(keep, self._endorsed[1]))

    def _finished(self) -> None:
        os.eventfd_read(self._event.number)
        askers, self._batch = self._batch, ()
        status = Status.OK if self._made else Status.FAILED
        answer = self._made or encode_answer(status)
        for asker in askers:
            if self._askers.get(asker.tls) is asker:  # it may have been given up meanwhile
                self._answer(asker, status, answer)
        self._make()

    def _answer(self, asker: _Asker, status: Status, answer: bytes) -> None:
        asker.status, asker.unsent = status, answer
        self._write(asker)

    def _write(self, asker: _Asker) -> None:
        try:
            while asker.unsent:
                asker.unsent = asker.unsent[asker.tls.send(asker.unsent) :]
        except ssl.SSLWantWriteError:
            self._loop.watch(asker.tls, selectors.EVENT_WRITE, lambda: self._write(asker))
        except ssl.SSLWantReadError:
            self._loop.watch(asker.tls, selectors.EVENT_READ, lambda: self._write(asker))
        except (OSError, ValueError):
            self._end(asker, False)
        else:
            self._end(asker, asker.status == Status.OK)


@dataclass(frozen=True, slots=True)
class _Event:
    """An eventfd as the loop wants it."""

    number: int

    def fileno(self) -> int:
        return self.number
