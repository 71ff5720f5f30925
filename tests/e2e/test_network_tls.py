"""The TLS that a Keep offers and demands, against peers in Python's ssl and OpenSSL's own tools."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enarx.keep.tls import BUNDLES
from tests import workloads
from tests.e2e import peers
from tests.e2e.test_network_modes import SOCKET, STDIO, connecting, listening

pytestmark = pytest.mark.usefixtures("both_links")
TRUSTED = '{stdio}[[files]]\nkind = "connect"\nhost = "{host}"\nport = {port}\nca = [{ca}]\n'


@contextlib.contextmanager
def echo_server(cwd: Path, config: str | None = None) -> Iterator[workloads.Server]:
    with workloads.serving(workloads.example("echo"), config or workloads.example_config("echo"), cwd=cwd) as server:
        yield server


def refusal(port: int, context: ssl.SSLContext) -> str:
    with pytest.raises(ssl.SSLError) as caught, peers.client(port, tls=True, context=context) as sock:
        sock.recv(1)  # TLS 1.3 tells a client of a bad certificate only after its own handshake is done
    return str(caught.value)


def still_serves(port: int) -> None:
    with peers.client(port, tls=True) as sock:
        assert peers.echoed(sock, b"still here") == b"still here"


def test_tls_1_2_client_is_refused(tmp_path: Path) -> None:
    context = peers.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with echo_server(tmp_path) as server:
        assert "PROTOCOL_VERSION" in refusal(server.port, context).upper()
        still_serves(server.port)


def s_client(openssl: Path, port: int, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", *options], input=b"", capture_output=True,
        timeout=workloads.SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def test_key_exchange_groups_are_those_of_enarx(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    openssl = require_tool("openssl", "openssl")
    with echo_server(tmp_path) as server:
        for group in ("X25519", "P-256", "P-384"):
            status, said = s_client(openssl, server.port, "-groups", group)
            assert (status, "Cipher is TLS_" in said) == (0, True), said
        for group in ("P-521", "X448", "ffdhe2048"):
            status, said = s_client(openssl, server.port, "-groups", group)
            assert status != 0
            assert "handshake failure" in said
        still_serves(server.port)


def test_cipher_suites_are_those_of_enarx(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    openssl = require_tool("openssl", "openssl")
    with echo_server(tmp_path) as server:
        for suite in ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"):
            status, said = s_client(openssl, server.port, "-ciphersuites", suite)
            assert (status, f"Cipher is {suite}" in said) == (0, True), said
        for suite in ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"):
            status, said = s_client(openssl, server.port, "-ciphersuites", suite)
            assert status != 0
            assert "handshake failure" in said


def test_silent_and_garbage_clients_do_not_delay_a_good_one(tmp_path: Path) -> None:
    """The good client is served while all the others are still connected and not yet given up."""

    def served_meanwhile(port: int) -> bool:
        with contextlib.ExitStack() as others:

            def plain() -> socket.socket:
                return others.enter_context(socket.create_connection((workloads.ADDRESS, port), workloads.SECONDS))

            silent = [plain() for _ in range(20)]
            garbage = plain()
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
            half = plain()
            half.sendall(b"\x16\x03\x01\x02\x00\x01")  # the start of a ClientHello
            still_serves(port)
            with contextlib.suppress(ConnectionResetError):
                assert garbage.recv(100)[:1] in (b"", b"\x15")  # closed, or told so in an alert
            return all(is_open(other) for other in [*silent, half])

    with echo_server(tmp_path) as server:  # again, as on a busy machine the others may be given up by then
        assert any(served_meanwhile(server.port) for _ in range(3))


def is_open(sock: socket.socket) -> bool:
    """Whether the peer has neither closed nor answered."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False


def test_close_notify_is_sent_when_the_workload_closes(tmp_path: Path) -> None:
    guest = workloads.guest(SOCKET)
    with (
        workloads.serving(guest, listening(tls=True), "default", "produce", "5", cwd=tmp_path) as server,
        peers.client(server.port, tls=True) as sock,
    ):
        assert peers.receive_to_the_end(sock) == peers.pattern(5)
        assert server.finish() == 0, server.stderr


def test_close_notify_is_sent_when_the_workload_ends_without_closing(
    tmp_path: Path, authority: peers.Certificate
) -> None:
    """``exchange`` leaves its connection open and returns from main."""
    ca, _ = authority.files(tmp_path, "ca")
    context = peers.server_context(tmp_path, peers.make_certificate("p", ["127.0.0.1"], authority))

    def swap(sock: socket.socket) -> None:
        assert peers.receive(sock, 5) == peers.pattern(5)
        sock.sendall(b"12345")
        assert sock.recv(1) == b""

    with peers.server(swap, context) as port:
        done = workloads.run(
            workloads.guest(SOCKET), "default", "exchange", "5", cwd=tmp_path, config=connecting(port, ca)
        )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("mode", ["default", "blocking", "nonblocking"])
def test_connection_that_is_cut_off_is_an_error_and_no_end(mode: str, tmp_path: Path) -> None:
    """Whoever carries the bytes could otherwise shorten a message unnoticed."""
    guest = workloads.guest(SOCKET)
    with workloads.serving(guest, listening(tls=True), mode, "collect", "1", cwd=tmp_path) as server:
        with socket.create_connection((workloads.ADDRESS, server.port), workloads.SECONDS) as plain:
            tls = peers.client_context().wrap_socket(plain, server_hostname="localhost")
            tls.sendall(b"part of a message")
            tls.close()  # without close_notify
        assert server.finish() == 1
    assert "recv: Connection reset by peer" in server.stderr


def test_certificate_of_the_keep_names_loopback_and_changes_with_each_keep(tmp_path: Path) -> None:
    def certificate() -> bytes:
        with echo_server(tmp_path) as server:
            with peers.client(server.port, tls=True) as sock:
                assert isinstance(sock, ssl.SSLSocket)
                der = sock.getpeercert(binary_form=True)
                assert der is not None
            for name in ("localhost", "127.0.0.1"):
                pinned = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                pinned.load_verify_locations(cadata=der)
                with (
                    socket.create_connection((workloads.ADDRESS, server.port), workloads.SECONDS) as plain,
                    pinned.wrap_socket(plain, server_hostname=name) as tls,
                ):
                    assert tls.version() == "TLSv1.3"
            return der

    assert certificate() != certificate()


# --- client certificates


def test_client_certificate_is_demanded_and_checked(
    tmp_path: Path, authority: peers.Certificate, stranger: peers.Certificate
) -> None:
    authority.files(tmp_path, "clients")
    config = listening(tls=True) + 'client_ca = ["clients.pem"]\n'
    config = config.replace('name = "in"', 'name = "listen"')

    def shown_by(issuer: peers.Certificate) -> ssl.SSLContext:
        context = peers.client_context()
        context.load_cert_chain(*peers.make_certificate("client", ["client"], issuer).files(tmp_path, "client"))
        return context

    with echo_server(tmp_path, config) as server:
        with peers.client(server.port, tls=True, context=shown_by(authority)) as sock:
            assert peers.echoed(sock, b"known") == b"known"
        assert "CERTIFICATE_REQUIRED" in refusal(server.port, peers.client_context()).upper()
        assert "UNKNOWN_CA" in refusal(server.port, shown_by(stranger)).upper()
        with peers.client(server.port, tls=True, context=shown_by(authority)) as sock:
            assert peers.echoed(sock, b"still known") == b"still known"


def test_keep_shows_its_own_certificate_to_a_server_that_asks(tmp_path: Path, authority: peers.Certificate) -> None:
    """It is self-signed yet, so the server learns it on one connection and trusts it on none other: it must be sent."""
    ca, _ = authority.files(tmp_path, "ca")
    context = peers.server_context(tmp_path, peers.make_certificate("p", ["127.0.0.1"], authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca)
    unknown = pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate")
    with unknown, peers.server(lambda _sock: None, context) as port:
        done = workloads.run(workloads.guest(SOCKET), "default", "ask", "1", cwd=tmp_path, config=connecting(port, ca))
        assert done.returncode == 1


# --- connecting


def ask(cwd: Path, config: str) -> subprocess.CompletedProcess[bytes]:
    return workloads.run(workloads.guest(SOCKET), "default", "ask", "1", cwd=cwd, config=config)


def answer(sock: socket.socket) -> None:
    sock.sendall(b"answer to " + peers.receive(sock, 11))
    if isinstance(sock, ssl.SSLSocket):
        sock.unwrap()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["DNS name", "IP literal"])
@pytest.mark.parametrize("how", ["file", "inline"])
def test_connect_trusts_the_ca_of_the_config(host: str, how: str, tmp_path: Path, authority: peers.Certificate) -> None:
    ca, _ = authority.files(tmp_path, "ca")
    entry = f'"{ca.name}"' if how == "file" else f'"""\n{authority.pem.decode()}"""'
    context = peers.server_context(tmp_path, peers.make_certificate("peer", [host], authority))
    with peers.server(answer, context) as port:
        done = ask(tmp_path, TRUSTED.format(stdio=STDIO, host=host, port=port, ca=entry))
    assert (done.returncode, done.stdout) == (0, b"answer to question 3\n"), done.stderr.decode()


def error_of(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str, str]:
    """Exit status, code and message; there must be a hint, and the workload must not have run."""
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("enarx: ")]
    message = next(line for line in lines if line.startswith("Error: "))
    code = next(line for line in lines if line.startswith("Code: "))
    assert any(line.startswith("Hint: ") for line in lines), lines
    assert done.stdout == b""
    return done.returncode, code.removeprefix("Code: "), message


def refused_by_the_keep(cwd: Path, host: str, ca: str, certificate: peers.Certificate) -> tuple[int, str, str]:
    context = peers.server_context(cwd, certificate)
    # TLS 1.3: the server may have finished its handshake before it hears that the client refuses.
    with pytest.raises(ssl.SSLError), peers.server(lambda sock: _ignore(sock.recv(1)), context) as port:
        done = ask(cwd, TRUSTED.format(stdio=STDIO, host=host, port=port, ca=f'"{ca}"'))
    return error_of(done)


def _ignore(_data: bytes) -> None: ...


def test_untrusted_certificate_is_refused(
    tmp_path: Path, authority: peers.Certificate, stranger: peers.Certificate
) -> None:
    ca, _ = authority.files(tmp_path, "ca")
    certificate = peers.make_certificate("peer", ["127.0.0.1"], stranger)
    status, code, message = refused_by_the_keep(tmp_path, "127.0.0.1", ca.name, certificate)
    assert (status, code) == (1, "connect-untrusted")
    assert "the certificate of 127.0.0.1 is not trusted: unable to get local issuer certificate" in message


@pytest.mark.parametrize(("host", "other"), [("localhost", "example.com"), ("127.0.0.1", "127.0.0.2")])
def test_certificate_for_another_name_is_refused(
    host: str, other: str, tmp_path: Path, authority: peers.Certificate
) -> None:
    ca, _ = authority.files(tmp_path, "ca")
    certificate = peers.make_certificate("peer", [other], authority)
    status, code, message = refused_by_the_keep(tmp_path, host, ca.name, certificate)
    assert (status, code) == (1, "connect-untrusted")
    assert "mismatch" in message


def test_certificate_store_of_the_machine_does_not_add_to_the_ca_of_the_config(
    tmp_path: Path, authority: peers.Certificate, stranger: peers.Certificate
) -> None:
    """``ca`` is all that counts: the two together would make every public CA a party."""
    both = tmp_path / "both.pem"
    both.write_bytes(stranger.pem)
    certificate = peers.make_certificate("peer", ["localhost"], authority)
    status, code, _ = refused_by_the_keep(tmp_path, "localhost", both.name, certificate)
    assert (status, code) == (1, "connect-untrusted")


def test_without_a_ca_the_store_of_the_image_is_trusted(
    tmp_path: Path, authority: peers.Certificate, in_namespace: Callable[[str], list[str]]
) -> None:
    """In a mount namespace where that store has one CA; by then the sandbox has taken every file away."""
    store = tmp_path / "store.crt"
    store.write_bytes("# Größe\n".encode() + authority.pem)
    prefix = in_namespace(f"mount -t tmpfs none /etc/ssl && mkdir /etc/ssl/certs && cp {store} {BUNDLES[0]}")
    config = f'{STDIO}[[files]]\nkind = "connect"\nhost = "localhost"\nport = '
    context = peers.server_context(tmp_path, peers.make_certificate("peer", ["localhost"], authority))
    with peers.server(answer, context) as port:
        done = workloads.run(
            workloads.guest(SOCKET), "default", "ask", "1", cwd=tmp_path, config=f"{config}{port}\n", prefix=prefix
        )
    assert (done.returncode, done.stdout) == (0, b"answer to question 3\n"), done.stderr.decode()


@pytest.fixture
def in_namespace(require_tool: Callable[[str, str], Path]) -> Callable[[str], list[str]]:
    """What runs a command with mounts of its own, made by a shell line."""
    shell = [str(require_tool("unshare", "util-linux")), "--user", "--map-root-user", "--mount", "sh", "-c"]

    def prefix(line: str) -> list[str]:
        done = subprocess.run([*shell, line], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"the kernel gives no mount namespace: {done.stderr.decode().strip()}")
        return [*shell, f'{line} && exec "$@"', "sh"]

    return prefix


def test_server_without_tls_1_3_is_refused(tmp_path: Path, authority: peers.Certificate) -> None:
    ca, _ = authority.files(tmp_path, "ca")
    context = peers.server_context(tmp_path, peers.make_certificate("peer", ["127.0.0.1"], authority))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), peers.server(answer, context) as port:
        done = ask(tmp_path, TRUSTED.format(stdio=STDIO, host="127.0.0.1", port=port, ca=f'"{ca.name}"'))
    status, code, message = error_of(done)
    assert (status, code) == (1, "connect-tls")
    assert message.endswith("no TLS 1.3 with 127.0.0.1: tlsv1 alert protocol version")


def test_server_that_speaks_no_tls_is_refused(tmp_path: Path, authority: peers.Certificate) -> None:
    ca, _ = authority.files(tmp_path, "ca")

    def greet(sock: socket.socket) -> None:
        sock.sendall(b"220 mail.example.com ESMTP\r\n" * 100)
        with contextlib.suppress(ConnectionError):
            sock.recv(1000)

    with peers.server(greet) as port:
        done = ask(tmp_path, TRUSTED.format(stdio=STDIO, host="127.0.0.1", port=port, ca=f'"{ca.name}"'))
    status, code, message = error_of(done)
    assert (status, code) == (1, "connect-tls")
    assert message.endswith("no TLS 1.3 with 127.0.0.1: wrong version number")


def test_host_that_does_not_resolve_is_named(tmp_path: Path) -> None:
    config = f'{STDIO}[[files]]\nkind = "connect"\nhost = "no-such-host.invalid"\nport = 1\nprot = "tcp"\n'
    status, code, message = error_of(ask(tmp_path, config))
    assert (status, code) == (1, "connect-unresolved")
    assert "failed to connect to endpoint no-such-host.invalid:1: " in message


def test_connection_that_is_refused_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else can answer there
        taken.bind((workloads.ADDRESS, 0))
        port = taken.getsockname()[1]
        status, code, message = error_of(ask(tmp_path, connecting(port)))
    assert (status, code) == (1, "connect-failed")
    assert f"failed to connect to endpoint 127.0.0.1:{port}: Connection refused" in message


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_port_in_use_is_named(tls: bool, tmp_path: Path) -> None:
    with socket.create_server((workloads.ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        config = listening(tls=tls).replace("port = 0", f"port = {port}")
        status, code, message = error_of(ask(tmp_path, config))
    assert (status, code) == (1, "listen-failed")
    assert f"failed to setup listening socket on 127.0.0.1:{port}: Address already in use" in message
