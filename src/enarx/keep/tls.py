"""TLS, which ends inside the Keep: 1.3 only, Enarx's cipher suites and groups.

Python's ``ssl`` cannot choose TLS 1.3 suites and takes one group only, so both come from ``openssl.cnf`` beside
this file, which the Keep's process has in OPENSSL_CONF from its first instruction. ``server_context`` and
``client_context`` refuse to work if OpenSSL did not read it.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - ssl encodes host names with it, when there is no file left to import it from
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from enarx.errors import ConfigError, StreamError
from enarx.keep.identity import Identity

if TYPE_CHECKING:
    from enarx.keep.challenges import Challenges

SUITES: Final = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
GROUPS: Final = ("X25519", "P-384", "P-256")
DESCRIPTORS: Final = "/proc/self/fd"
BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
"""Where a Keep's image may have its certificate store, as one file; the first that is there is used."""
MAX_BUNDLE_BYTES: Final = 4 << 20
"""Largest certificate store (bytes); Mozilla's has about 0.2 MiB."""
HANDSHAKE_SECONDS: Final = 10.0
"""How long a peer may take for its handshake, in seconds."""


def server_context(
    identity: Identity | None, client_ca: Sequence[bytes] = (), challenges: Challenges | None = None
) -> ssl.SSLContext:
    """For ``kind = "listen"``; without an ``identity``, `install` gives it one.

    With ``client_ca`` (PEM) every client must show a certificate under one of them; with ``challenges`` clients may
    ask for fresh evidence.
    """
    context = plain_server_context() if challenges is None else challenges.context(plain_server_context)
    if identity is not None:
        install(context, identity)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, client_ca)
    return context


def plain_server_context() -> ssl.SSLContext:
    """What all listeners have in common."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, None)
    context.num_tickets = 0  # no resumption: nothing to keep a ticket key for
    return context


def client_context(identity: Identity | None, ca: Sequence[bytes] = ()) -> ssl.SSLContext:
    """For ``kind = "connect"``; without an ``identity``, `install` gives it one. Trusts ``ca`` (PEM), nobody else."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, identity)
    _trust(context, ca)
    return context


def image_store(bundles: Sequence[str] = BUNDLES) -> bytes:
    """The certificate store of the Keep's own image (PEM), which connections trust that name no ``ca``; may be empty.

    Read here and now: OpenSSL would look certificates up in a directory when it needs them, and by then the Keep has no
    file system.
    """
    for path in bundles:
        try:
            with open(path, "rb") as file:
                store = file.read(MAX_BUNDLE_BYTES + 1)
        except OSError:
            continue
        if len(store) <= MAX_BUNDLE_BYTES:
            return bytes(byte for byte in store if byte < 0x80)  # comments may be in any language
    return b""


def install(context: ssl.SSLContext, identity: Identity, directory: str = DESCRIPTORS) -> None:
    """Make ``identity`` what new connections show; those that stand keep theirs.

    ``directory`` is where the process finds its own descriptors. For the thread that makes the connections.
    """
    with _private_file(identity.private_key_pem + identity.certificate_pem, directory) as path:
        context.load_cert_chain(path)


def report_cut_off(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a connection that ends without close_notify an error: Python before 3.11.4 asks OpenSSL to hide it."""
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def _context(protocol: int, identity: Identity | None) -> ssl.SSLContext:
    context = report_cut_off(ssl.SSLContext(protocol))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    suites = tuple(suite["name"] for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.3")
    if suites != SUITES:
        raise StreamError(
            "OpenSSL did not read the Keep's configuration",
            code="tls-configuration",
            hint="the Keep must be started by `enarx`, with OPENSSL_CONF naming its own openssl.cnf",
        )
    if identity is not None:
        install(context, identity)
    return context


def _trust(context: ssl.SSLContext, anchors: Sequence[bytes]) -> None:
    for pem in anchors:
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                "a CA certificate in the config cannot be used", code="config-ca", hint="give certificates in PEM"
            ) from error


@contextlib.contextmanager
def _private_file(data: bytes, directory: str) -> Iterator[str]:
    """A path to ``data`` in memory that no other process can open: OpenSSL reads keys from paths only."""
    fd = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"{directory}/{fd}"
    finally:
        os.close(fd)


def start_server(context: ssl.SSLContext, sock: socket.socket) -> ssl.SSLSocket:
    """Put server-side TLS on a connected socket. The handshake is the caller's, step by step.

    Raises OSError when the client has gone already.
    """
    sock.getpeername()  # what wrap_socket raises for it comes after it has taken the descriptor, which is then lost
    sock.setblocking(False)
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)


def connect(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
    """Client-side TLS with ``host``, a DNS name or IP literal, as the name to find in the server's certificate.

    Blocks for HANDSHAKE_SECONDS at most. Raises StreamError.
    """
    deadline = time.monotonic() + HANDSHAKE_SECONDS
    sock.settimeout(HANDSHAKE_SECONDS)
    owner = sock  # of the descriptor
    try:
        host.encode("idna")  # as wrap_socket will, but by then it has taken the descriptor, which is then lost
        owner = tls = context.wrap_socket(
            sock, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        tls.settimeout(max(0.001, deadline - time.monotonic()))
        tls.do_handshake()
    except ssl.SSLCertVerificationError as error:
        owner.close()
        raise StreamError(
            f"failed to connect to endpoint: the certificate of {host} is not trusted: {error.verify_message}",
            code="connect-untrusted",
            hint="name its CA under `ca` in the [[files]] entry, and connect by a name that the certificate has",
        ) from error
    except (OSError, ValueError) as error:
        owner.close()
        reason = error.reason.replace("_", " ").lower() if isinstance(error, ssl.SSLError) and error.reason else error
        raise StreamError(
            f"failed to connect to endpoint: no TLS 1.3 with {host}: {reason}",
            code="connect-tls",
            hint='check that the server speaks TLS 1.3 on this port; for plain TCP say prot = "tcp"',
        ) from error
    return tls
