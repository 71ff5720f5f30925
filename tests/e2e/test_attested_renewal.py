"""A certificate is renewed before it expires, and nobody who is connected notices."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests import workloads
from tests.e2e import peers
from tests.e2e.attested import Tenant, serving, tenant
from tests.e2e.command import wait_for

LIFETIME = 62
"""Of a certificate, in seconds, about the shortest that a Steward issues: it is renewed after 41 to 47."""


def leaf_of(sock: object) -> x509.Certificate:
    assert isinstance(sock, ssl.SSLSocket)
    return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")


def shown(ours: Tenant, port: int) -> x509.Certificate | None:
    """The certificate that a new client meets, verified; none while the Keep is late with its renewal."""
    try:
        with peers.client(port, tls=True, context=ssl.create_default_context(cafile=str(ours.ca))) as sock:
            return leaf_of(sock)
    except ssl.SSLCertVerificationError:
        return None


@pytest.fixture
def echo() -> Path:
    return workloads.example("echo")


def test_connections_outlive_the_certificate_and_new_ones_get_the_next(echo: Path, tmp_path: Path) -> None:
    text = workloads.example_config("echo")
    with (
        tenant(tmp_path, echo.read_bytes(), configured=text, lifetime=f"{LIFETIME}s") as ours,
        serving(ours, echo, text) as server,
        peers.client(server.port, tls=True, context=ssl.create_default_context(cafile=str(ours.ca))) as old,
    ):
        first = leaf_of(old)
        assert peers.echoed(old, b"before") == b"before"
        time.sleep(LIFETIME / 2)
        second = wait_for(lambda: (now := shown(ours, server.port)) != first and now, "it is not renewed", 3 * LIFETIME)
        assert second.serial_number != first.serial_number
        assert second.public_key() == first.public_key()
        assert second.not_valid_after_utc > first.not_valid_after_utc
        assert peers.echoed(old, b"after") == b"after"
        assert ours.log().count("\n") >= 2
