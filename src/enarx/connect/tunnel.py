"""Plain TCP in, attested TLS out: every connection to the tunnel is one to the Keep, attested before a byte goes over.

Both ends may close one direction and go on with the other. A Keep's stream that is cut off (no close_notify) is cut off
for the client as well, who could take a shortened answer for a whole one otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from enarx.connect.attestor import CONNECT_SECONDS, Attestor, Handshake, Receive, Send, hung_up
from enarx.errors import EnarxError, StreamError
from enarx.tenant.client import Verdict
from enarx.tenant.peer import unreachable

CONNECTIONS: Final = 64
"""Connections at a time (count); further ones are closed."""
PIECE_BYTES: Final = 64 * 1024
"""What is carried at a time (bytes)."""
GRACE_SECONDS: Final = 2.0
"""How long connections may go on once the tunnel is to stop, and how long a refused client is listened to (seconds)."""
_HTTP: Final = re.compile(rb"[A-Z]{3,16} [^\r\n ]{1,2048} HTTP/1\.[01]\r?\n")


class TlsEnd:
    """The Keep's end: TLS over an asyncio stream, in memory, so that closing one direction leaves the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, host: str
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._early: deque[bytes] = deque()

    async def shake(self) -> None:
        """The handshake. Raises OSError."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._exchange()
        await self._flush()

    async def read(self, size: int) -> bytes:
        """What has come; nothing at the end. Raises OSError, also for an end without close_notify."""
        while True:
            if self._early:
                return self._early.popleft()
            try:
                return self.tls.read(size)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                await self._exchange()

    async def write(self, data: bytes) -> None:
        """Send ``data``. Raises OSError."""
        self.tls.write(data)
        await self._flush()

    async def finish(self) -> None:
        """Send close_notify; reading goes on. Raises OSError."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self.tls.read(PIECE_BYTES):  # OpenSSL would drop what it finds when it looks for an answer
                self._early.append(data)
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        await self._flush()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            self._writer.write(data)
            await self._writer.drain()

    async def _exchange(self) -> None:
        await self._flush()
        if data := await self._reader.read(PIECE_BYTES):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def abort(self) -> None:
        """Hang up, whatever is under way."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Hang up when everything is sent."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def attest(attestor: Attestor, host: str, port: int) -> tuple[TlsEnd, Verdict]:
    """Connect and attest; EvidenceError or StreamError, and then nothing was sent that is not part of the challenge."""
    handshake = attestor.begin()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            end = TlsEnd(reader, writer, handshake.context, host)
            try:
                await end.shake()
                return end, await _steps(handshake, end, host)
            except BaseException:
                end.abort()
                raise
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise unreachable(host, port, error) from error
    finally:
        handshake.close()


async def _steps(handshake: Handshake, end: TlsEnd, host: str) -> Verdict:
    steps = handshake.steps(end.tls, host)
    try:
        step: Send | Receive = next(steps)
        while True:
            found = bytearray()
            if isinstance(step, Send):
                await end.write(step.data)
            else:
                while len(found) < step.size:
                    part = await end.read(step.size - len(found))
                    if not part:
                        raise hung_up(host)
                    found += part
            step = steps.send(bytes(found))
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict


class Tunnel:
    """One listening address in front of one Keep. ``say`` is told, in a line each, of connections that are refused."""

    def __init__(
        self, attestor: Attestor, host: str, port: int, say: Callable[[str], None], *, connections: int = CONNECTIONS
    ) -> None:
        self._attestor = attestor
        self._host, self._port = host, port
        self._say = say
        self._most = connections
        self._serving: set[asyncio.Task[None]] = set()

    async def check(self) -> Verdict:
        """Attest the Keep once, and hang up. Raises what `attest` does."""
        end, verdict = await attest(self._attestor, self._host, self._port)
        with contextlib.suppress(OSError):
            await end.finish()
        await end.close()
        return verdict

    async def listen(self, address: str, port: int) -> asyncio.Server:
        """Accept from now on. Raises StreamError."""
        try:
            return await asyncio.start_server(self._accept, address, port, limit=PIECE_BYTES)
        except OSError as error:
            raise StreamError(
                f"cannot listen at {address} port {port}: {error.strerror or error}",
                code="proxy-listen",
                hint="choose another port; 0 is any that is free",
            ) from error

    async def stop(self, server: asyncio.Server) -> None:
        """Accept no more, give what is under way ``GRACE_SECONDS``, and hang up."""
        server.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=GRACE_SECONDS)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._serving) >= self._most:
            self._say(f"refused: {self._most} connections are open already")
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            _cut_off(writer)
        finally:
            self._serving.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            end, _ = await attest(self._attestor, self._host, self._port)
        except EnarxError as error:
            self._say(f"refused: {error.message} ({error.code})")
            await _tell(reader, writer, error)
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_upwards(reader, end))
                both.create_task(_downwards(end, writer))
        except* OSError:
            _cut_off(writer)
        finally:
            end.abort()
            writer.close()


def _cut_off(writer: asyncio.StreamWriter) -> None:
    """Hang up so that the client sees it as an error (RST), not as an end."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the client has gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _upwards(reader: asyncio.StreamReader, end: TlsEnd) -> None:
    while data := await reader.read(PIECE_BYTES):
        await end.write(data)
    await end.finish()


async def _downwards(end: TlsEnd, writer: asyncio.StreamWriter) -> None:
    while data := await end.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, error: EnarxError) -> None:
    """Say why, to a client that speaks HTTP/1; hang up on any other. What it sent is forgotten."""
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            if not _HTTP.match(await reader.read(PIECE_BYTES)):
                writer.transport.abort()
                return
            text = f"The Keep is refused, and nothing was sent to it.\n{error.message}\nHint: {error.hint}\n"
            body = f"{text}Code: {error.code}\n".encode("ascii", "replace")
            head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
            writer.write_eof()
            while await reader.read(PIECE_BYTES):
                pass
    except OSError:
        pass
    finally:
        writer.transport.abort()
