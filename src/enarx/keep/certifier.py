"""The certificate and the secrets of a Keep that a Steward vouches for: got before the workload runs, and renewed.

Everything here runs on the main thread, but for the exchange of a renewal: that takes as long as the Steward does, and
has a thread of its own. A renewal that fails changes nothing and is tried again.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from enarx.errors import EnarxError
from enarx.keep import keepdir
from enarx.keep.attested import Attested, attest, identity, with_certificates
from enarx.keep.link import Link
from enarx.keep.loop import Loop
from enarx.keep.renewal import seconds_to_renewal
from enarx.keep.steward import Grant, accept, request
from enarx.keep.stewardlink import exchange, place

if TYPE_CHECKING:
    from enarx.keep.world import World
    from enarx.manifest import StewardPin

_TIMER: Final = "renewal"


@dataclass(frozen=True, slots=True)
class _Event:
    """An eventfd as the loop wants it."""

    number: int

    def fileno(self) -> int:
        return self.number


class Certifier:
    """Asks the Steward that the manifest of ``keep`` names, over streams that ``link`` gets from the host.

    ``signatures`` of the workload go with each request. The workload is not shown the secrets named in ``withheld``.
    """

    def __init__(self, keep: Attested, link: Link, signatures: Sequence[bytes] = ()) -> None:
        if keep.manifest.steward is None:
            raise ValueError("the manifest names no Steward")
        self._keep = keep
        self._pin: StewardPin = keep.manifest.steward
        self._link = link
        self._failures = 0
        self._spread = SystemRandom().random()
        self._result: Grant | EnarxError | None = None
        self._signatures = signatures
        self._first: Grant | None = None
        self.withheld: frozenset[str] = frozenset()

    def obtain(self) -> Grant:
        """What the Steward grants: ask and wait, once. Raises EvidenceError, MalformedError or StreamError."""
        if self._first is None:
            where = place(self._pin)
            self._first = self._ask(self._keep, self._link.connect(where.host, where.port))
        return self._first

    def certify(self, world: World, directory: str) -> None:
        """Give ``world`` its identity, its ``/keep`` and its secrets. ``directory`` has the process's own descriptors.

        Raises what `obtain` does, and ConfigError.
        """
        self._world, self._directory = world, directory
        grant = self.obtain()
        world.reveal(self._shown(grant))
        self._apply(grant)

    def renew(self, loop: Loop) -> None:
        """From now on renew before the certificate expires, whenever ``loop`` runs."""
        self._loop = loop
        self._done = _Event(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        loop.watch(self._done, selectors.EVENT_READ, self._finished)
        self._schedule()

    def _schedule(self) -> None:
        seconds = seconds_to_renewal(
            max(self._granted.not_before, self._since),  # certificates reach back for clocks that are behind
            self._granted.not_after,
            datetime.now(UTC),
            failures=self._failures,
            spread=self._spread,
        )
        self._loop.call_later(_TIMER, seconds, self._begin)

    def _begin(self) -> None:
        where = place(self._pin)
        self._link.connect_later(where.host, where.port, self._connected)

    def _connected(self, stream: socket.socket | EnarxError) -> None:
        if isinstance(stream, EnarxError):
            self._retry()
            return
        threading.Thread(target=self._work, args=(stream,), name="renewal", daemon=True).start()

    def _work(self, stream: socket.socket) -> None:
        """In a thread of its own."""
        try:
            self._result = self._ask(self._again(), stream)
        except EnarxError as error:
            self._result = error
        finally:
            os.eventfd_write(self._done.number, 1)

    def _again(self) -> Attested:
        """Fresh evidence over the same key, with fresh endorsements, where a locked-down Keep can still have it."""
        keep = self._keep
        if not keep.source.lasting:
            return keep
        fresh = attest(keep.manifest_bytes, [keep.source], key=keep.key)
        return with_certificates(fresh, keep.evidence.certificates)

    def _finished(self) -> None:
        os.eventfd_read(self._done.number)
        result, self._result = self._result, None
        if isinstance(result, Grant):
            self._failures, self._spread = 0, SystemRandom().random()
            self._apply(result)
            self._schedule()
        else:
            self._retry()

    def _retry(self) -> None:
        self._failures += 1
        self._schedule()

    def _ask(self, keep: Attested, stream: socket.socket) -> Grant:
        answer = exchange(stream, self._pin, request(keep, self._signatures), datetime.now(UTC))
        return accept(keep, answer, datetime.now(UTC))

    def _shown(self, grant: Grant) -> dict[str, bytes]:
        return {name: value for name, value in grant.secrets.items() if name not in self.withheld}

    def _apply(self, grant: Grant) -> None:
        self._granted, self._since = grant.certified, datetime.now(UTC)
        pem = grant.certified.pem()
        tree = keepdir.files(pem, ear=grant.ear, manifest=self._keep.manifest_bytes, secrets=self._shown(grant))
        self._world.identify(identity(self._keep.key, grant.certified), self._directory)
        self._world.tell(keepdir.archive(tree))
