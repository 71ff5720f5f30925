"""A Steward that is killed at any point under load, again and again, and what is left of it each time."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from cryptography import x509

from enarx.tenant.steward.log import verify
from enarx.tenant.steward.store import connect
from tests.tenant.keeps import Keep
from tests.tenant.steward.running import Running, prepare

CLIENTS = 4
LOAD_SECONDS = (0.0, 1.0)
"""How long the load lasts once the first certificate is there, before the Steward is killed (seconds)."""
STARTED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Survived:
    """Certificates that somebody holds, those of them without a row in the log, and the slowest restart (seconds)."""

    held: int
    lost: int
    slowest_restart: float


def kill_under_load(directory: Path, rounds: int, seed: int = 0) -> Survived:
    """Start, load, kill and look, ``rounds`` times; the log must verify each time, or AuthenticityError is raised."""
    prepare(directory)
    body = Keep().body()
    held: list[str] = []
    restarts: list[float] = []
    lost: set[str] = set()
    moments = random.Random(seed)
    for _ in range(rounds):
        begun = time.monotonic()
        steward = Running(directory, "--workers", "2", killed=True)
        restarts.append(time.monotonic() - begun)
        answered = Event()
        clients = [Thread(target=_keep_asking, args=(steward, body, held, answered)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        answered.wait(STARTED_SECONDS)  # so that every kill is under load, however slow the machine
        time.sleep(moments.uniform(*LOAD_SECONDS))
        _kill_all(steward)
        for client in clients:
            client.join(STARTED_SECONDS)
            assert not client.is_alive()
        with closing(connect(str(directory / "steward.db"))) as store:
            head = verify(store.rows())
            lost |= {serial for serial in held if store.certificate(serial) is None}
            lost |= set(store.unlogged_certificates())
            assert head.sequence >= len(held)
    return Survived(len(held), len(lost), max(restarts))


def _keep_asking(steward: Running, body: bytes, held: list[str], answered: Event) -> None:
    """Ask until the connection breaks; note each certificate once the whole answer is here."""
    connection = steward.connection()
    try:
        while True:
            connection.request("POST", "/v1/attest", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert answer.status == 200, found
            leaf = x509.load_der_x509_certificate(base64.b64decode(found["chain"][0]))
            held.append(f"{leaf.serial_number:032x}")
            answered.set()
    except (OSError, http.client.HTTPException, ValueError):
        return
    finally:
        connection.close()


def _kill_all(steward: Running) -> None:
    """SIGKILL for the workers and their parent, the parent last so that it cannot replace them."""
    parent = steward.process.pid
    os.kill(parent, signal.SIGSTOP)
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    steward.kill()
