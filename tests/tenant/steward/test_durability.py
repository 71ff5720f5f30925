"""A Steward that is killed at any point under load has logged every certificate that anybody holds."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from threading import Thread

from cryptography import x509

from enarx.tenant.steward.log import verify
from enarx.tenant.steward.store import connect
from tests.tenant.keeps import Keep
from tests.tenant.steward.running import Running, prepare

ROUNDS = int(os.environ.get("ENARX_KILL_ROUNDS", "6"))
"""How often the Steward is killed (count); each takes about two seconds."""
CLIENTS = 4


def test_kill_9_under_load_loses_no_log_row(tmp_path: Path) -> None:
    prepare(tmp_path)
    body = Keep().body()
    held: list[str] = []
    restarts: list[float] = []
    for round_number in range(ROUNDS):
        begun = time.monotonic()
        steward = Running(tmp_path, "--workers", "2", killed=True)
        restarts.append(time.monotonic() - begun)
        clients = [Thread(target=keep_asking, args=(steward, body, held)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(random.Random(round_number).uniform(0.05, 1.0))
        kill_all(steward)
        for client in clients:
            client.join(30)
            assert not client.is_alive()
        with closing(connect(str(tmp_path / "steward.db"))) as store:
            head = verify(store.rows())
            assert store.unlogged_certificates() == []
            missing = [serial for serial in held if store.certificate(serial) is None]
        assert missing == []
        assert head.sequence >= len(held)
    assert held, "no certificate was issued, so nothing was tested"
    sys.stdout.write(f"{len(held)} certificates, {ROUNDS} kills, slowest restart {max(restarts):.2f} s\n")


def keep_asking(steward: Running, body: bytes, held: list[str]) -> None:
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
    except (OSError, http.client.HTTPException, ValueError):
        return
    finally:
        connection.close()


def kill_all(steward: Running) -> None:
    """SIGKILL for the workers and their parent, the parent last so that it cannot replace them."""
    parent = steward.process.pid
    os.kill(parent, signal.SIGSTOP)
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    steward.kill()
