"""Network backends of httpcore: TCP connections that can do nothing until they are attested."""

from __future__ import annotations

import select
import ssl
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import anyio
import anyio.abc
import httpcore
from anyio.streams.tls import TLSAttribute, TLSStream

from enarx.connect import sockets
from enarx.connect.attestor import CONNECT_SECONDS, Attestor, Handshake, Send, Steps, hung_up
from enarx.tenant.client import Verdict
from enarx.tenant.peer import unreachable

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Backend(httpcore.NetworkBackend):
    """Connections, none of which can be written to before it is attested."""

    def __init__(self, attestor: Attestor) -> None:
        self._attestor = attestor
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            stream = self._plain.connect_tcp(host, port, timeout, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise unreachable(host, port, error) from error
        return _Unattested(self._attestor, stream, host)


class _Unattested(httpcore.NetworkStream):
    """A TCP connection: ``read`` and ``write`` are not there, and raise NotImplementedError."""

    def __init__(self, attestor: Attestor, stream: httpcore.NetworkStream, host: str) -> None:
        self._attestor = attestor
        self._host = host
        self._stream = stream

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        del ssl_context  # httpcore's, which verifies as the web does
        seconds = CONNECT_SECONDS if timeout is None else timeout
        plain = self._stream.get_extra_info("socket")
        found = sockets.wrap(self._attestor, plain, server_hostname or self._host, seconds=seconds)
        return _Attested(self._attestor, found)


class _Attested(httpcore.NetworkStream):
    """What goes over an attested connection, with the errors and timeouts that httpcore expects."""

    def __init__(self, attestor: Attestor, found: sockets.AttestedSocket) -> None:
        self._attestor = attestor
        self._tls = found.tls
        self._verdict = found.verdict

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._tls.settimeout(timeout)
            return self._tls.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(error) from error
        except OSError as error:
            raise httpcore.ReadError(error) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            while buffer:
                self._tls.settimeout(timeout)
                buffer = buffer[self._tls.send(buffer) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore.WriteError(error) from error

    def close(self) -> None:
        self._tls.close()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object" | "socket":
                return self._tls
            case "client_addr":
                return self._tls.getsockname()
            case "server_addr":
                return self._tls.getpeername()
            case "is_readable":
                return _over(self._attestor, self._verdict, self._tls)
            case "enarx.verdict":
                return self._verdict
        return None


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """The same over anyio."""

    def __init__(self, attestor: Attestor) -> None:
        self._attestor = attestor

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del socket_options  # TCP_NODELAY, which anyio sets
        try:
            with anyio.fail_after(timeout):
                stream = await anyio.connect_tcp(host, port, local_host=local_address)
        except (OSError, ValueError) as error:
            raise unreachable(host, port, error) from error
        return _AsyncUnattested(self._attestor, stream, host)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _AsyncUnattested(httpcore.AsyncNetworkStream):
    """See `_Unattested`."""

    def __init__(self, attestor: Attestor, stream: anyio.abc.SocketStream, host: str) -> None:
        self._attestor = attestor
        self._host = host
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return None

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        del ssl_context
        host = server_hostname or self._host
        handshake = None
        try:
            handshake = self._attestor.begin()
            with anyio.fail_after(CONNECT_SECONDS if timeout is None else timeout):
                return await self._attest(handshake, host)
        except BaseException as error:
            await anyio.aclose_forcefully(self._stream)
            if isinstance(error, OSError | ValueError | anyio.BrokenResourceError | anyio.EndOfStream):
                raise unreachable(host, None, error) from error
            raise
        finally:
            if handshake is not None:
                handshake.close()

    async def _attest(self, handshake: Handshake, host: str) -> _AsyncAttested:
        tls = await TLSStream.wrap(self._stream, ssl_context=handshake.context, hostname=host, server_side=False)
        verdict = await _drive(handshake.steps(tls.extra(TLSAttribute.ssl_object), host), tls, host)
        return _AsyncAttested(self._attestor, tls, verdict)


async def _drive(steps: Steps, tls: TLSStream, host: str) -> Verdict:
    try:
        step = next(steps)
        while True:
            found = bytearray()
            if isinstance(step, Send):
                await tls.send(step.data)
            else:
                while len(found) < step.size:
                    try:
                        found += await tls.receive(step.size - len(found))
                    except anyio.EndOfStream as error:
                        raise hung_up(host) from error
            step = steps.send(bytes(found))
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


class _AsyncAttested(httpcore.AsyncNetworkStream):
    """See `_Attested`."""

    def __init__(self, attestor: Attestor, tls: TLSStream, verdict: Verdict) -> None:
        self._attestor = attestor
        self._tls = tls
        self._verdict = verdict

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with anyio.fail_after(timeout):
                return await self._tls.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise httpcore.ReadTimeout(error) from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError(error) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        try:
            with anyio.fail_after(timeout):
                await self._tls.send(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError(error) from error

    async def aclose(self) -> None:
        self._tls.standard_compatible = False  # close as httpx does: without waiting for the peer's goodbye
        await self._tls.aclose()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._tls.extra(TLSAttribute.ssl_object)
            case "socket":
                return self._tls.extra(anyio.abc.SocketAttribute.raw_socket)
            case "client_addr":
                return self._tls.extra(anyio.abc.SocketAttribute.local_address)
            case "server_addr":
                return self._tls.extra(anyio.abc.SocketAttribute.remote_address)
            case "is_readable":
                return _over(self._attestor, self._verdict, self._tls.extra(anyio.abc.SocketAttribute.raw_socket))
            case "enarx.verdict":
                return self._verdict
        return None


def _over(attestor: Attestor, verdict: Verdict, sock: Any) -> bool:
    """Whether an idle connection must not be used again.

    Its peer said something, or hung up; or the certificate that it was attested with has expired.
    """
    if attestor.now() > datetime.fromisoformat(verdict.facts["not_after"]) or sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))
