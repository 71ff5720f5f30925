"""Start a Steward: check everything, bind, then serve in this process or in several that share the socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from typing import Final

from enarx.errors import StreamError
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.files import read_authority
from enarx.tenant.steward.settings import Settings
from enarx.tenant.steward.supervise import supervise

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # metrics.DIRECTORY_VARIABLE, which must not be imported yet
BACKLOG: Final = 512
"""Connections that may wait to be accepted (count)."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. StreamError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as failed:
            listener = failed.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            failed.pop_all()
    except OSError as error:
        raise StreamError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            code="steward-listen",
            hint="choose an address of this machine and a port that is free",
        ) from error
    return listener


def serve(
    settings: Settings, host: str, port: int, workers: int, ready: Callable[[str, int, CertificateAuthority], None]
) -> int:
    """Serve until told to stop; returns the exit status. ``ready`` is told where, once requests are answered.

    What can be wrong is found before the first request: policy, CA, database. Raises EnarxError.
    """
    authority = read_authority(settings.certificate, settings.key)
    settings.policy()
    settings.verifier()
    listener = bind(host, port)
    shown_host, shown_port = listener.getsockname()[:2]

    def announce() -> None:
        ready(shown_host, shown_port, authority)

    with contextlib.ExitStack() as at_end:
        if workers > 1:
            directory = tempfile.mkdtemp(prefix="enarx-steward-metrics-")
            at_end.callback(shutil.rmtree, directory, ignore_errors=True)
            os.environ[DIRECTORY_VARIABLE] = directory
            at_end.callback(os.environ.pop, DIRECTORY_VARIABLE, None)
        # Loads the metrics, which look for their directory; before the workers fork, so that they start at once.
        from enarx.tenant.steward.accepting import Turns
        from enarx.tenant.steward.webserver import Place
        from enarx.tenant.steward.worker import run_worker

        settings.open().close()
        turns = Turns(workers)

        def work(worker: int, told: Callable[[], None]) -> None:
            run_worker(settings, authority, Place(listener, turns, worker), told)

        if workers > 1:
            return supervise(work, workers, announce, turns.leave)
        work(0, announce)
    return 0
