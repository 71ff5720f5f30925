"""The ``tls-exporter`` of a TLS 1.3 connection (RFC 9266), which Python's ``ssl`` does not tell; for both ends.

OpenSSL tells the exporter secret of a handshake to whoever asks for its key log (``SSLContext.keylog_filename``), and
the exporter follows from that by HKDF (RFC 8446 7.5). Here the log is a pipe of this process's own. It has the traffic
secrets of the connection as well: what was read is overwritten at once, and of the exporter secret only the exporter is
kept, which is no secret.

OpenSSL also logs every KeyUpdate, and the peer may send as many as it likes: the pipe would fill, and a write to it
wait for ever. So after its handshake a connection is taken off the log (`KeyLog.silence`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import sys
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

EXPORTER_LABEL: Final = b"EXPORTER-Channel-Binding"
"""RFC 9266, 4.2. Its context is empty."""
EXPORTER_BYTES: Final = 32
LOG_BYTES: Final = 4096
"""What is read of the log at a time (bytes): a handshake writes five lines of at most 197."""
DESCRIPTORS: Final = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
"""Where the system has a process's own descriptors as files."""

_LINE: Final = b"EXPORTER_SECRET "  # at the start of a line; then the client's random and the secret, in hexadecimal
_HASHES: Final = {32: hashes.SHA256(), 48: hashes.SHA384()}  # of the cipher suites of TLS 1.3, by their size

Tls = ssl.SSLSocket | ssl.SSLObject


class KeyLog:
    """A pipe that the contexts which are attached tell their handshakes' secrets to.

    Handshakes are not told apart by what is in the lines, which a peer may choose: with more than one context or
    connection at it, ask `exporter` after every single step of a handshake, in the thread that made the step.
    """

    def __init__(self, quiet: ssl.SSLContext) -> None:
        """``quiet``: a context without a log, which connections are given after their handshake."""
        self._quiet = quiet
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._buffer = bytearray(LOG_BYTES)

    def attach(self, context: ssl.SSLContext) -> None:
        """From now on ``context`` tells. Opens a file: raises OSError where ``DESCRIPTORS`` is not there."""
        context.keylog_filename = f"{DESCRIPTORS}/{self._writer}"

    def exporter(self) -> bytes | None:
        """The exporter (32 bytes) of the handshake whose secrets were told since the last call; None without one."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while count := os.readv(self._reader, [self._buffer]):
                found += [line for line in bytes(self._buffer[:count]).split(b"\n") if line.startswith(_LINE)]
                self._buffer[:count] = bytes(count)
        if len(found) != 1:
            return None
        try:
            return tls_exporter(bytes.fromhex(found[0].split(b" ")[2].decode("ascii")))
        except (IndexError, ValueError):
            return None

    def silence(self, tls: Tls) -> None:
        """``tls`` has shaken hands and tells nothing from now on."""
        tls.context = self._quiet

    def close(self) -> None:
        """Contexts that are attached must not shake hands any more."""
        os.close(self._reader)
        os.close(self._writer)


def tls_exporter(
    secret: bytes, label: bytes = EXPORTER_LABEL, context: bytes = b"", size: int = EXPORTER_BYTES
) -> bytes:
    """TLS-Exporter of RFC 8446 7.5, from a connection's exporter secret. ValueError for one of no cipher suite's size.

    ::

        HKDF-Expand-Label(Derive-Secret(secret, label, ""), "exporter", Hash(context), size)
    """
    algorithm = _HASHES.get(len(secret))
    if algorithm is None:
        raise ValueError(f"an exporter secret of {len(secret)} bytes")
    derived = _expand(algorithm, secret, label, b"", algorithm.digest_size)
    return _expand(algorithm, derived, b"exporter", context, size)


def _expand(algorithm: hashes.HashAlgorithm, secret: bytes, label: bytes, hashed: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 7.1) whose context is the hash of ``hashed``."""
    full, context = b"tls13 " + label, hashlib.new(algorithm.name, hashed).digest()
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + bytes([len(context)]) + context
    return HKDFExpand(algorithm, size, info).derive(secret)
