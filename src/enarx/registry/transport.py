"""HTTP/1.1 over the standard library's http.client: one request, one answer, nothing followed and nothing retried.

What fails in a way that may pass is `TransientError`; what will fail again is a RegistryError.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from enarx import __version__
from enarx.errors import RegistryError
from enarx.registry.access import Access
from enarx.registry.guard import ANSWER_SECONDS, CONNECT_SECONDS, GuardedSocket
from enarx.registry.urls import Url

BLOCK_BYTES: Final = 1 << 20
"""How much of a body is held in memory at a time."""
ERROR_MAX_BYTES: Final = 64 << 10
"""Largest body of an error that is read."""
EARLY_ANSWER_SECONDS: Final = 5.0
"""How long to wait for the answer to a request that could not be sent to its end (seconds)."""
USER_AGENT: Final = f"enarx/{__version__}"
_HTTP_FAILURES: Final = (OSError, http.client.HTTPException, ValueError)
"""What http.client raises over a broken or hostile answer; ValueError from numbers that are none."""


class TransientError(Exception):
    """A failure that may pass; ``retry_after`` is how long the server asked to wait (seconds, 0: it did not)."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


Body = Callable[[], Iterable[bytes | memoryview]]
"""Makes the same body each time: a request may have to be sent twice."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. ``body`` makes ``size`` bytes; without a body ``size`` is 0 where the length is to be said."""

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body | None = None
    size: int | None = None


class Response:
    """One answer. Used as a context manager: leaving it gives the connection back, or closes it."""

    def __init__(self, url: Url, raw: http.client.HTTPResponse, connection: _Connection) -> None:
        self.url = url
        self.status = raw.status
        self._raw = raw
        self._connection = connection

    def __enter__(self) -> Response:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:  # above all after an interrupt: nothing more is waited for
            self._raw.close()
            self._connection.abort()

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return self._raw.headers.get(name)

    def headers(self, name: str) -> list[str]:
        """All headers of that name."""
        return self._raw.headers.get_all(name, [])

    @property
    def length(self) -> int | None:
        """What ``Content-Length`` says; None without, or with a body in chunks. RegistryError for what is no number."""
        found = {one.strip() for one in self.headers("Content-Length")}
        if not found or self._raw.chunked:
            return None
        text = found.pop()
        if found or not (text.isascii() and text.isdigit()) or len(text) > 19:
            raise RegistryError(
                f"{self.url} answers with a Content-Length that is none",
                code="registry-protocol",
                hint="what answers there is no registry, or a broken one",
            )
        return int(text)

    def expect(self, size: int) -> None:
        """Say how large the body may be, before it is read; RegistryError where it comes encoded."""
        encoding = (self.header("Content-Encoding") or "identity").strip().lower()
        if encoding != "identity":
            raise RegistryError(
                f"{self.url} answers with content encoded as {ascii(encoding)[:40]}",
                code="registry-protocol",
                hint="what is between here and the registry must not change what it says",
            )
        self._connection.guarded.expect_body(size)

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` as far as the body goes; 0 where it ends, also too early. Raises TransientError."""
        try:
            count = self._raw.readinto(buffer)
        except _HTTP_FAILURES as error:
            raise self._connection.failed(error) from error
        failure = self._connection.guarded.failure
        if count == 0 and failure is not None:
            raise self._connection.failed(failure) from failure
        return count

    def read(self, limit: int, what: str) -> bytes:
        """The whole body; RegistryError ``registry-too-large`` past ``limit`` bytes, TransientError if it is cut."""
        length = self.length
        if length is not None and length > limit:
            raise self._too_large(limit, what)
        self.expect(limit)
        buffer = bytearray(min(limit if length is None else length, BLOCK_BYTES) + 1)
        data = bytearray()
        while count := self.readinto(memoryview(buffer)):
            data += buffer[:count]
            if len(data) > limit:
                raise self._too_large(limit, what)
        if length is not None and len(data) != length:
            self._connection.abort()
            raise TransientError(f"the connection ended after {len(data)} of {length} bytes")
        return bytes(data)

    def _too_large(self, limit: int, what: str) -> RegistryError:
        return RegistryError(
            f"{what} at {self.url} is larger than {limit} bytes",
            code="registry-too-large",
            hint="this is not what you mean, or the server is not",
        )

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        with contextlib.suppress(*_HTTP_FAILURES):
            if not self._raw.isclosed() and not self._raw.will_close and (self._raw.length or 0) <= ERROR_MAX_BYTES:
                self._connection.guarded.expect_body(ERROR_MAX_BYTES)
                self._raw.read(ERROR_MAX_BYTES)
            whole = self._raw.isclosed() and not self._raw.will_close and not self._raw.length
            if whole:
                self._connection.give_back()
                return
        self._raw.close()
        self._connection.abort()


class Http:
    """Requests to any number of hosts; each keeps at most one idle connection."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._idle: dict[tuple[str, str, int], _Connection] = {}

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.popitem()[1].abort()

    def send(self, request: Request) -> Response:
        """Send one request, and receive the head of its answer.

        Raises TransientError, or RegistryError where TLS or the name is at fault.
        """
        self.access.check(request.url)
        idle = self._idle.pop(request.url.origin, None)
        if idle is not None:
            try:
                return idle.exchange(request)
            except TransientError:  # it was closed while it was idle, most likely
                if request.size:  # some of the body may have arrived: that is for the caller to find out
                    raise
        return _Connection(self, request.url).exchange(request)

    def keep(self, connection: _Connection) -> None:
        """Keep a connection whose answer was read for the next request."""
        previous = self._idle.pop(connection.origin, None)
        if previous is not None:
            previous.abort()
        self._idle[connection.origin] = connection


class _Connection:
    def __init__(self, owner: Http, url: Url) -> None:
        self._owner = owner
        self.origin = url.origin
        self.guarded = GuardedSocket(_connect(url, owner.access))
        self._http = http.client.HTTPConnection(url.host, url.port)
        self._http.auto_open = 0
        self._http.sock = self.guarded

    def exchange(self, request: Request) -> Response:
        try:
            whole = self._send(request)
            self.guarded.expect_head(ANSWER_SECONDS if whole else EARLY_ANSWER_SECONDS)
            return Response(request.url, self._http.getresponse(), self)
        except _HTTP_FAILURES as error:
            raise self.failed(error) from error
        except BaseException:  # an interrupt, or a body that cannot be read: the connection is in the middle of it
            self.abort()
            raise

    def _send(self, request: Request) -> bool:
        """Whether all of it was sent."""
        self._http.putrequest(request.method, request.url.target, skip_host=True, skip_accept_encoding=True)
        fixed = {"Host": request.url.authority, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        for name, value in {**fixed, **request.headers}.items():
            self._http.putheader(name, value)
        if request.size is not None:
            self._http.putheader("Content-Length", str(request.size))
        self._http.endheaders()
        for block in request.body() if request.body else ():
            try:
                self.guarded.sendall(block)
            except OSError:  # a server that refuses may say so and hang up: its answer says more than this
                return False
        return True

    def failed(self, error: Exception) -> TransientError:
        """Close the connection; the error that says why, which is what happened on it, if anything did."""
        self.abort()
        return TransientError(_reason(self.guarded.failure or error))

    def give_back(self) -> None:
        self._owner.keep(self)

    def abort(self) -> None:
        self.guarded.abort()
        self._http.close()


def _connect(url: Url, access: Access) -> socket.socket:
    try:
        connected = socket.create_connection((url.host, url.port), CONNECT_SECONDS)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise TransientError(_reason(error)) from error
        raise RegistryError(
            f"there is no host {url.host}", code="registry-host", hint="check the name, and this machine's DNS"
        ) from error
    except (OSError, UnicodeError) as error:
        raise TransientError(_reason(error)) from error
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "http":
            return connected
        return access.tls().wrap_socket(connected, server_hostname=url.host)
    except ssl.SSLCertVerificationError as error:
        connected.close()
        raise RegistryError(
            f"the certificate of {url.authority} is not accepted: {error.verify_message}",
            code="registry-certificate",
            hint="name its CA with --ca-bundle if that is yours; else somebody may be between you and it",
        ) from None
    except ssl.SSLError as error:
        connected.close()
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            raise RegistryError(
                f"{url.authority} does not speak TLS",
                code="registry-tls",
                hint="if it is to be trusted without, name it with --plain-http",
            ) from error
        raise TransientError(_reason(error)) from error
    except BaseException as error:
        connected.close()
        if isinstance(error, OSError):
            raise TransientError(_reason(error)) from error
        raise


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or "it takes too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended within the body"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__})"
    return str(error) or type(error).__name__
