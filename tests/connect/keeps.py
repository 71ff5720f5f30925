"""A Keep's accepting side over real TCP, for clients: what a Steward certified, challenges, and a workload.

Certificate and policy are of `tests.tenant.keeps`; the code that shakes hands and answers is the Keep's own. What the
workload received is remembered, to see that it received nothing.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enarx.errors import EvidenceError
from enarx.evidence.snp import certtable
from enarx.keep.accept import ConnectionQueue
from enarx.keep.attested import Attested, Key
from enarx.keep.attester import RawEvidence
from enarx.keep.attester_simulated import Source
from enarx.keep.challenges import Challenges
from enarx.keep.identity import Identity
from enarx.keep.loop import Loop
from enarx.keep.tls import server_context
from enarx.tenant.policy import CertificateRules
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.decide import decide
from tests.evidence.snp.forge import Machine, spki
from tests.tenant.keeps import Keep, authority, judge, policy_text

WAIT: Final = 60.0
"""What no step of a test takes (seconds)."""
RULES: Final = CertificateRules(timedelta(hours=12), ("localhost",))


@dataclass
class Processor:
    """The source of a Keep's evidence, which can be told to wait, to fail, and to say something else."""

    keep: Keep
    machine: Machine
    asked: list[bytes] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    broken: bool = False
    lies: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.go.set()

    def attest(self, report_data: bytes) -> RawEvidence:
        self.asked.append(report_data)
        assert self.go.wait(WAIT)
        if self.broken:
            raise EvidenceError("it is broken", code="attester-failed")
        assert self.keep.manifest is not None
        fields = {"report_data": report_data, "host_data": self.keep.manifest.digest()} | self.lies
        return RawEvidence("snp", self.machine.report_bytes(**fields), table(self.machine))


def table(machine: Machine) -> bytes:
    return certtable.encode(((certtable.VCEK_GUID, machine.certificate),))


def private_pem(keep: Keep) -> bytes:
    return keep.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def chain_of(
    keep: Keep, ca: CertificateAuthority | None = None, rules: CertificateRules = RULES, *, judged: Sequence[str] = ()
) -> list[bytes]:
    """What an honest Steward issues to ``keep`` now."""
    now = datetime.now(UTC)
    decision = decide(keep.request(), judge(*judged), now)
    assert decision.grant is not None, decision.error
    issuer = ca or authority()
    return [issuer.issue(decision.grant, rules, now).der, issuer.der]


def identity(keep: Keep, chain: Sequence[bytes]) -> Identity:
    return Identity(private_pem(keep), "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode())


def answer_http(tls: ssl.SSLSocket, remember: Callable[[bytes], None]) -> None:
    """One response after another, each with the request's first line in it."""
    while True:
        request = b""
        while b"\r\n\r\n" not in request:
            part = tls.recv(65536)
            if not part:
                return
            remember(part)
            request += part
        body = request.split(b"\r\n")[0]
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class KeepServer:
    """``challenged=False`` is a Keep of before there were challenges."""

    def __init__(
        self,
        keep: Keep | None = None,
        *,
        chain: Sequence[bytes] | None = None,
        challenged: bool = True,
        workload: Callable[[ssl.SSLSocket, Callable[[bytes], None]], None] = answer_http,
    ) -> None:
        self.keep = keep or Keep()
        self.processor = Processor(self.keep, self.keep.machine)
        self.received: list[bytes] = []
        self.accepted: queue.SimpleQueue[ssl.SSLSocket] = queue.SimpleQueue()
        self.failures: list[BaseException] = []
        self.connections = 0
        self.loop = Loop()
        self.challenges = Challenges(self.loop, self.attested()) if challenged else None
        shown = identity(self.keep, chain or chain_of(self.keep))
        context = server_context(shown, (), self.challenges)
        self.queue = ConnectionQueue(self.loop, context, lambda count: None, lambda: None, self.challenges)
        self._workload = workload
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop, self._wake = socket.socketpair()  # a byte at either ends the thread that watches it
        self._open: list[socket.socket] = []

    def attested(self) -> Attested:
        manifest = self.keep.manifest
        assert manifest is not None
        evidence = RawEvidence("snp", self.keep.machine.report_bytes(), table(self.keep.machine))
        key = Key(self.keep.key, spki(self.keep.key))
        return Attested(key, Source("simulated", self.processor), evidence, manifest, manifest.encode())

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def _accept(self) -> None:
        self.connections += 1
        self.queue.incoming(self._listener.accept()[0])

    def _main(self) -> None:
        """The Keep's main thread."""
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - for the test to see
            self.failures.append(error)

    def _serve(self) -> None:
        """The workload's thread."""
        while True:
            ready, _, _ = select.select([self.queue.fileno(), self._wake.fileno()], [], [])
            if self._wake.fileno() in ready:
                return
            sock = self.queue.pop()
            if sock is not None:
                assert isinstance(sock, ssl.SSLSocket)
                sock.setblocking(True)
                self._open.append(sock)
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, tls: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError), tls:
            self._workload(tls, self.received.append)

    def __enter__(self) -> KeepServer:
        self.loop.watch(self._listener, select.EPOLLIN, self._accept)
        self.loop.watch(self._stop, select.EPOLLIN, self.loop.stop)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._main, self._serve)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.processor.go.set()
        self._wake.send(b"x")
        self._stop.send(b"x")
        for thread in self._threads:
            thread.join(WAIT)
        for tls in list(self.queue._handshakes):
            tls.close()
        self.queue.close()
        for sock in (*self._open, self._listener, self._stop, self._wake):
            with contextlib.suppress(OSError):
                sock.close()
        assert not self.failures, self.failures


@dataclass(frozen=True, slots=True)
class Files:
    """A client's files: a policy and the manifest that it expects."""

    policy: Path
    manifest: Path

    def demands(self, **changes: Any) -> dict[str, Any]:
        return {"policy": self.policy, "manifest": self.manifest} | changes


def client_files(directory: Path, keep: Keep | None = None, text: str | None = None) -> Files:
    """Files in ``directory`` of a client who accepts ``keep``, or by another policy does not."""
    manifest = (keep or Keep()).manifest
    assert manifest is not None
    files = Files(directory / "policy.toml", directory / "manifest.json")
    files.policy.write_text(policy_text() if text is None else text)
    files.manifest.write_bytes(manifest.encode())
    return files
