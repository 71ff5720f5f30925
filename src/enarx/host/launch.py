"""Launch a Keep and serve its link until the workload has ended. Works for every kind of Keep that has a link."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from enarx.errors import LinkError, StreamError, UsageError
from enarx.host import streams
from enarx.host.cache import MAX_ENTRY_BYTES, DiskCache
from enarx.host.connections import Connections, refuse
from enarx.host.contract import EVIDENCE_SOURCES, Ending, Package, RunningKeep, Watcher, printable
from enarx.host.filebytes import digest_of, parts_of
from enarx.host.outbox import Outbox
from enarx.wire import HEADER, MAX_PAYLOAD, STARTED, Decoder, Frame, Type, encode_fields

STOP_SECONDS: Final = 0.06
"""How long a Keep has to end a workload that was told to stop, in seconds; then its process is killed."""
MAX_TIMINGS: Final = 64
"""Steps of start-up that are kept."""
_READ: Final = HEADER.size + MAX_PAYLOAD


@dataclass(slots=True)
class _Blob:
    name: str
    size: int
    data: bytearray


class Host:
    """Serves one Keep. ``log`` gets lines for people who asked for them.

    ``stdio`` gives a descriptor of its own for the name of a standard stream, or raises StreamError.
    """

    def __init__(
        self, keep: RunningKeep, cache: DiskCache | None, log: Callable[[str], None], *, watcher: Watcher | None = None,
        stdio: Callable[[str], int] = streams.open_stdio,
    ) -> None:  # fmt: skip
        self._keep = keep
        self._link = keep.link
        self._cache = cache
        self._log = log
        self._watcher = watcher or Watcher()
        self._open_stdio = stdio
        self._decoder = Decoder()
        self._selector = selectors.DefaultSelector()
        self._outbox = Outbox(self._link)
        self._connections = Connections(self._outbox, self._selector, log, self._watcher)
        self._blob: _Blob | None = None
        self._ending: Ending | None = None
        self._sandbox: dict[str, str] = {}
        self._timings: list[tuple[str, float]] = []
        self._evidence = ""
        self._running = False
        self._signal = 0

    def run(self, package: Package) -> Ending:
        """Launch ``package``, which gives its objects away, and serve it to its end.

        Raises HostError or LinkError when the Keep breaks.
        """
        launch = self._encode_launch(package)
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        with _signals(wake_write.fileno(), self._signalled):
            try:
                self._selector.register(wake_read, selectors.EVENT_READ, lambda: wake_read.recv(4096))
                self._selector.register(self._link, selectors.EVENT_READ, self._readable)
                self._outbox.start()
                self._outbox.put(launch, blobs=[data for _, _, data in package.objects])
                package.objects = ()  # whatever is in memory goes when it is sent
                return self._serve()
            finally:
                self._close()
                wake_read.close()
                wake_write.close()

    def _encode_launch(self, package: Package) -> bytes:
        try:
            return encode_fields(
                Type.LAUNCH,
                args=list(package.args),
                env=[list(pair) for pair in package.env],
                objects=[(kind, name, len(data)) for kind, name, data in package.objects],
                cache_key=self._cache_key(package).hex(),
                sandbox="require" if package.require_sandbox else "try",
                engine="checked" if package.checked_calls else "fast",
            )
        except (ValueError, LinkError) as error:
            raise UsageError(
                "the workload's arguments and environment are too long",
                hint=f"at most 4096 of each, {MAX_PAYLOAD} bytes together; put larger data into files (--dir)",
            ) from error

    def _cache_key(self, package: Package) -> bytes:
        """A key for this package's compiled code alone: a Keep that is broken into cannot seal code for another.

        None for a launch with a manifest: a Keep that proves itself takes no code that we could have made.
        """
        proves = any(kind == "manifest" for kind, _, _ in package.objects)
        if proves or not self._cache or not self._cache.key:
            return b""
        key = hashlib.blake2b(key=self._cache.key, digest_size=32, person=b"enarx-module")
        for kind, _, data in package.objects:
            if kind == "module":
                for part in parts_of(data):
                    key.update(part)
            elif kind == "package":
                key.update(digest_of(data).encode())
        return key.digest()

    def _serve(self) -> Ending:
        told = False
        while self._ending is None:
            if self._signal and not told:
                told = True
                self._outbox.put(encode_fields(Type.STOP, reason=signal.Signals(self._signal).name))
            for key, _ in self._selector.select():
                key.data()
        return self._finish()

    def _finish(self) -> Ending:
        ending = self._ending or Ending(0)
        ending.sandbox, ending.timings, ending.evidence = self._sandbox, self._timings, self._evidence
        if self._signal:
            name = signal.Signals(self._signal).name
            ending.status, ending.code, ending.message, ending.hint = 128 + self._signal, "", "", ""
            ending.stopped = True
            self._log(f"stopped by {name}")
        return ending

    def _signalled(self, number: int) -> None:
        """In the signal handler. The timer makes sure of the end, even if the Keep reads and says nothing more."""
        if not self._signal:
            self._signal = number
            timer = threading.Timer(STOP_SECONDS, self._keep.kill)
            timer.daemon = True
            timer.start()

    def _close(self) -> None:
        self._connections.close()
        self._selector.close()
        self._decoder.close()
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._outbox.close()
        self._link.close()
        self._keep.kill()
        self._keep.wait()

    def _readable(self) -> None:
        try:
            data = self._link.recv(_READ)
        except OSError:
            data = b""
        if not data:
            if self._signal:
                self._ending = Ending(0)
                return
            died = self._keep.obituary()
            raise self._keep.failure or self._outbox.failure or died
        for frame in self._decoder.feed(data, []):
            self._handle(frame)

    def _handle(self, frame: Frame) -> None:
        handlers: dict[Type, Callable[[Frame], None]] = {
            Type.BLOB: self._blob_part,
            Type.STDIO: self._stdio,
            Type.LISTEN: self._connections.listen,
            Type.ACCEPT: self._connections.credit,
            Type.CONNECT: self._connections.connect,
            Type.CLOSE: self._connections.close_listener,
            Type.CACHE_GET: self._cache_get,
            Type.CACHE_PUT: self._cache_put,
            Type.STATUS: self._status,
            Type.EXIT: self._exit,
        }
        handler = handlers.get(frame.type)
        if handler is None:
            raise LinkError(f"unexpected {frame.type.name} from the Keep", code="link-frame")
        handler(frame)

    def _stdio(self, frame: Frame) -> None:
        try:
            fd = self._open_stdio(frame.fields()["name"])
        except StreamError as error:
            refuse(self._outbox, frame.id, error)
            return
        self._outbox.put(encode_fields(Type.OPENED, frame.id, fd=True, name=streams.kind_of(fd)), fd)

    def _cache_get(self, frame: Frame) -> None:
        name = frame.fields()["name"]
        entry = self._cache.get(name) if self._cache else None
        self._outbox.put(encode_fields(Type.CACHED, frame.id, size=len(entry or b"")), blobs=[entry] if entry else [])

    def _cache_put(self, frame: Frame) -> None:
        fields = frame.fields()
        if not 0 < fields["size"] <= MAX_ENTRY_BYTES:
            raise LinkError("the Keep announced a cache entry that is too large", code="link-frame")
        self._blob = _Blob(fields["name"], fields["size"], bytearray())

    def _blob_part(self, frame: Frame) -> None:
        blob = self._blob
        if blob is None or len(blob.data) + len(frame.payload) > blob.size:
            raise LinkError("the Keep sent more bytes than it announced", code="link-frame")
        blob.data += frame.payload
        if len(blob.data) == blob.size:
            self._blob = None
            if self._cache:
                self._cache.put(blob.name, blob.data)

    def _status(self, frame: Frame) -> None:
        fields = frame.fields()
        if not all(isinstance(result, str) for result in fields["sandbox"].values()):
            raise LinkError("malformed frame: STATUS.sandbox must hold text", code="link-frame")
        self._sandbox = {printable(layer): printable(result) for layer, result in fields["sandbox"].items()}
        source = fields["evidence"]
        if source not in EVIDENCE_SOURCES:
            raise LinkError("malformed frame: STATUS.evidence is no source of evidence", code="link-frame")
        if source != self._evidence:
            self._evidence = source
            self._log(f"evidence: {EVIDENCE_SOURCES[source]}")
            self._watcher.proves(source)
        steps = [_step(item) for item in fields["timings"]]
        self._timings = (self._timings + steps)[:MAX_TIMINGS]
        if not self._running and any(name == STARTED for name, _ in steps):
            self._running = True
            self._watcher.running()

    def _exit(self, frame: Frame) -> None:
        fields = frame.fields()
        code, message, hint = (printable(fields[name]) for name in ("code", "message", "hint"))
        self._ending = Ending(fields["status"], code, message, hint)


def _step(item: Any) -> tuple[str, float]:
    """One of STATUS.timings: what was done, and when, in milliseconds."""
    if not isinstance(item, list) or [type(part) for part in item] not in ([str, float], [str, int]):
        raise LinkError("malformed frame: STATUS.timings must hold pairs of text and number", code="link-frame")
    try:
        return printable(item[0]), float(item[1])
    except OverflowError:
        raise LinkError("malformed frame: STATUS.timings is out of range", code="link-frame") from None


@contextlib.contextmanager
def _signals(wake: int, handler: Callable[[int], None]) -> Any:
    """Handle SIGINT and SIGTERM by ``handler``, and wake ``select`` by a byte at descriptor ``wake``."""
    if threading.current_thread() is not threading.main_thread():  # embedded: signals are the embedder's
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda got, _frame: handler(got)) for number in numbers]
    previous_wake = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_wake)
        for number, old in zip(numbers, previous, strict=True):
            signal.signal(number, old)
