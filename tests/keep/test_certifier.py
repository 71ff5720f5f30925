"""Certificates of a Keep before a Steward: the first one, the next ones, and what a failed attempt changes."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from enarx.errors import AuthenticityError, StreamError
from enarx.keep import renewal
from enarx.keep.attested import Attested
from enarx.keep.certifier import Certifier
from enarx.keep.identity import Identity
from enarx.keep.link import Link, OnAnswer
from enarx.keep.loop import Loop
from enarx.keep.world import World
from tests.keep import tenants
from tests.keep.tenants import SECRETS, Authority, Steward, host_name, launch, manifest_for

LIFETIME = timedelta(seconds=60)
SECONDS = 60.0
"""What no renewal of these tests takes, however busy the machine is."""


@dataclass
class HostLink:
    """The host's streams, of which the first ``broken`` that are asked for later cannot be had.

    ``on_asked`` is told how many have been asked for.
    """

    broken: int = 0
    asked: int = 0
    on_asked: Callable[[int], None] = lambda asked: None

    def connect(self, host: str, port: int) -> socket.socket:
        return socket.create_connection((host, port), SECONDS)

    def connect_later(self, host: str, port: int, on_answer: OnAnswer) -> None:
        self.asked += 1
        self.on_asked(self.asked)
        if self.asked <= self.broken:
            on_answer(StreamError("no", code="connect-failed"))
        else:
            on_answer(self.connect(host, port))


@dataclass
class Shown:
    """What a Keep shows to the world, in order."""

    loop: Loop
    wanted: int
    identities: list[Identity] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)
    trees: list[bytes] = field(default_factory=list)

    def identify(self, identity: Identity, directory: str) -> None:
        assert Path(directory).is_dir()
        self.identities.append(identity)

    def reveal(self, secrets: Mapping[str, bytes]) -> None:
        assert not self.trees
        self.secrets = dict(secrets)

    def tell(self, archive: bytes) -> None:
        self.trees.append(archive)
        if len(self.trees) == self.wanted:
            self.loop.stop()

    @property
    def leaves(self) -> list[x509.Certificate]:
        return [x509.load_pem_x509_certificate(identity.certificate_pem) for identity in self.identities]


@contextlib.contextmanager
def answering(steward: Steward, lifetime: timedelta) -> Iterator[Attested]:
    """A Keep whose manifest names ``steward``, which serves on loopback and issues what is valid from now on."""
    now, key = datetime.now(UTC), tenants.server_key()
    leaf = steward.ca.sign(
        key.public_key(), [host_name("127.0.0.1")], begin=now - lifetime, end=now + timedelta(days=1)
    )

    def handle(tls: object) -> None:
        moment = datetime.now(UTC).replace(microsecond=0)
        steward.certificate = {"begin": moment - timedelta(minutes=5), "end": moment + lifetime}
        _, _, body = tenants.read_request(cast(ssl.SSLSocket, tls))
        cast(ssl.SSLSocket, tls).sendall(tenants.response(steward.answer(body)))

    with tenants.tls_server(handle, [leaf, steward.ca.der], key) as port:
        yield launch(manifest_for(steward.pin(f"https://127.0.0.1:{port}")))


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Authority:
    """A CA that is valid by this machine's clock."""
    monkeypatch.setattr(tenants, "NOW", datetime.now(UTC))
    return Authority()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are renewed as soon as may be, long before they expire: a machine may stand still for seconds."""
    monkeypatch.setattr(renewal, "FRACTION", 0.0)
    monkeypatch.setattr(renewal, "SPREAD", 0.0)


def watch_the_clock(loop: Loop) -> None:
    def late() -> None:
        raise AssertionError("no renewal in time")

    loop.call_later("the test", SECONDS, late)


def test_certificate_and_secrets_are_there_before_the_workload_runs(authority: Authority) -> None:
    steward, loop = Steward(authority), Loop()
    shown = Shown(loop, wanted=1)
    with answering(steward, timedelta(hours=1)) as keep:
        Certifier(keep, cast(Link, HostLink())).certify(cast(World, shown), "/proc/self/fd")
    (identity,), (tree,) = shown.identities, shown.trees
    private = load_pem_private_key(identity.private_key_pem, None)
    assert private.public_key() == shown.leaves[0].public_key()
    assert all(value in tree for value in SECRETS.values())
    assert identity.private_key_pem not in tree


def test_secret_that_is_withheld_is_not_shown(authority: Authority) -> None:
    steward, loop = Steward(authority), Loop()
    shown = Shown(loop, wanted=1)
    name, *others = SECRETS
    with answering(steward, timedelta(hours=1)) as keep:
        certifier = Certifier(keep, cast(Link, HostLink()), [b"signed"])
        assert certifier.obtain().secrets == SECRETS
        certifier.withheld = frozenset((name,))
        certifier.certify(cast(World, shown), "/proc/self/fd")
    assert sorted(shown.secrets) == sorted(others)
    assert SECRETS[name] not in shown.trees[0]
    (asked,) = steward.seen  # once, for both
    assert asked["signatures"] == [base64.b64encode(b"signed").decode()]


def test_certificate_is_renewed_with_the_same_key_and_fresh_evidence(authority: Authority) -> None:
    steward, loop, link = Steward(authority), Loop(), HostLink()
    shown = Shown(loop, wanted=3)
    with answering(steward, LIFETIME) as keep:
        certifier = Certifier(keep, cast(Link, link))
        certifier.certify(cast(World, shown), "/proc/self/fd")
        certifier.renew(loop)
        watch_the_clock(loop)
        loop.run()
    assert link.asked == 2
    assert len({leaf.serial_number for leaf in shown.leaves}) == 3
    assert len({identity.private_key_pem for identity in shown.identities}) == 1
    assert len({request["csr"] for request in steward.seen}) == 3


def test_attempt_that_fails_changes_nothing_and_is_repeated(authority: Authority) -> None:
    steward, loop, link = Steward(authority), Loop(), HostLink(broken=2)
    shown = Shown(loop, wanted=2)
    with answering(steward, LIFETIME) as keep:
        certifier = Certifier(keep, cast(Link, link))
        certifier.certify(cast(World, shown), "/proc/self/fd")
        certifier.renew(loop)
        watch_the_clock(loop)
        loop.run()
    assert link.asked == 3
    assert len(shown.identities) == 2


def test_answer_for_another_key_is_never_shown(authority: Authority) -> None:
    """By somebody who has the Steward's place: the first answer stops the Keep, a later one changes nothing."""
    steward, loop = Steward(authority), Loop()
    link = HostLink(on_asked=lambda asked: loop.stop() if asked == 3 else None)  # two answers have been seen by then
    shown = Shown(loop, wanted=2)
    with answering(steward, LIFETIME) as keep:
        certifier = Certifier(keep, cast(Link, link))
        certifier.certify(cast(World, shown), "/proc/self/fd")
        steward.certify = tenants.server_key().public_key()
        certifier.renew(loop)
        watch_the_clock(loop)
        loop.run()
        assert link.asked == 3
        assert len(shown.identities) == 1
        with pytest.raises(AuthenticityError) as caught:
            Certifier(keep, cast(Link, HostLink())).certify(cast(World, shown), "/proc/self/fd")
        assert caught.value.code == "certificate-key"
    assert len(shown.identities) == 1


def test_keep_without_a_steward_has_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="names no Steward"):
        Certifier(launch(manifest_for(None)), cast(Link, HostLink()))
