"""Parts of the service by themselves: rate limit, journal, supervisor, certification requests, engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.requests import Request as StarletteRequest

from enarx.errors import MalformedError, StreamError
from enarx.evidence import der
from enarx.tenant.steward.csr import EXTENSIONS_MAX, parse_request
from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.engine import Engine
from enarx.tenant.steward.journal import PENDING_MAX, Journal
from enarx.tenant.steward.limits import ADDRESSES_MAX, RateLimit
from enarx.tenant.steward.log import Entry, verify
from enarx.tenant.steward.metrics import Metrics
from enarx.tenant.steward.reader import Reader
from enarx.tenant.steward.serve import bind
from enarx.tenant.steward.service import Service
from enarx.tenant.steward.store import Store, StoreError, connect
from tests.e2e.command import SECONDS, alive, wait_for
from tests.evidence.snp.forge import ec_key, extension, spki
from tests.tenant.keeps import NOW, Keep, authority, make_csr, policy, simulator


def test_a_bucket_fills_at_its_rate_and_no_further_than_its_burst() -> None:
    limit = RateLimit(2, 3)
    assert [limit.admits("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.admits("b", 0.0)
    assert limit.admits("a", 0.5)
    assert not limit.admits("a", 0.5)
    assert [limit.admits("a", 100.0) for _ in range(4)] == [True, True, True, False]
    assert not limit.admits("a", 99.0)  # a clock that went back gives nothing
    assert RateLimit(0, 0).admits("a", 0.0)


def test_addresses_are_forgotten_in_the_end() -> None:
    limit = RateLimit(1, 1)
    assert limit.admits("first", 0.0)
    for number in range(ADDRESSES_MAX):
        limit.admits(str(number), 0.0)
    assert limit.admits("first", 0.0)


class Slow:
    """A store whose commits wait until they are let go."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.go = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def append(self, entries: list[Entry]) -> list[Position]:
        self.entered.set()
        self.go.wait(SECONDS)
        self.batches.append(len(entries))
        return self.store.append(entries)

    def close(self) -> None:
        self.store.close()


async def committing(made: list[Slow]) -> None:
    """Wait until the journal's thread has taken what there was and commits it."""
    while not made or not made[0].entered.is_set():
        await asyncio.sleep(0.005)


def test_what_gathers_during_a_commit_shares_the_next_one(tmp_path: Path) -> None:
    made: list[Slow] = []

    def open_slowly() -> Any:
        made.append(Slow(connect(str(tmp_path / "x.db"))))
        return made[-1]

    async def run() -> list[Position]:
        journal = Journal(open_slowly)
        journal.start()
        waiting = [asyncio.create_task(journal.append(Entry(str(number)))) for number in range(50)]
        await committing(made)
        assert not any(task.done() for task in waiting)
        made[0].go.set()
        positions = await asyncio.gather(*waiting)
        await journal.stop()
        await journal.stop()
        return positions

    positions = asyncio.run(run())
    assert [one.sequence for one in positions] == list(range(1, 51))
    assert len(made[0].batches) <= 2
    store = connect(str(tmp_path / "x.db"))
    assert [row.body for row in store.rows()] == [str(number) for number in range(50)]
    assert verify(store.rows()) == positions[-1]
    store.close()


def test_a_failed_commit_is_told_to_all_who_wait_and_the_next_one_tries_anew(tmp_path: Path) -> None:
    opened: list[int] = []

    def flaky() -> Store:
        opened.append(1)
        if len(opened) == 1:
            raise StoreError("not now")
        if len(opened) == 2:
            raise RuntimeError("what nobody thought of")
        return connect(str(tmp_path / "x.db"))

    async def run() -> None:
        journal = Journal(flaky)
        with pytest.raises(StoreError, match="not open"):
            await journal.append(Entry("early"))
        journal.start()
        for what in ("not now", "nobody thought of"):
            with pytest.raises(StoreError, match=what):
                await journal.append(Entry("x"))
        assert (await journal.append(Entry("y"))).sequence == 1
        await journal.stop()

    asyncio.run(run())


def test_a_client_that_left_does_not_disturb_the_rest_and_a_full_queue_turns_away(tmp_path: Path) -> None:
    made: list[Slow] = []

    def open_slowly() -> Any:
        made.append(Slow(connect(str(tmp_path / "x.db"))))
        return made[-1]

    async def run() -> None:
        journal = Journal(open_slowly)
        journal.start()
        first = asyncio.create_task(journal.append(Entry("first")))
        await committing(made)
        tasks = [asyncio.create_task(journal.append(Entry("x"))) for _ in range(PENDING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="too many"):
            await journal.append(Entry("one too many"))
        tasks[0].cancel()
        made[0].go.set()
        assert (await first).sequence == 1
        done = await asyncio.gather(*tasks[1:])
        assert done[-1].sequence == PENDING_MAX + 1
        await journal.stop()

    asyncio.run(run())


def test_a_decision_whose_certificate_cannot_be_made_is_logged_as_a_refusal(tmp_path: Path) -> None:
    late = authority().certificate.not_valid_after_utc

    async def run() -> None:
        journal = Journal(lambda: connect(str(tmp_path / "x.db")))
        journal.start()
        with ThreadPoolExecutor(1) as threads:
            engine = Engine(authority(), policy(), journal, clock=lambda: late, threads=threads)
            outcome = await engine.serve(Keep().request(), "attest")
            assert outcome.issued is None
            assert outcome.decision.code == "collateral-expired"
            large = Keep(crls=[simulator().crl(*range(1000, 6000))]).request()
            assert len(large.csr) > 64 * 1024
            early = Engine(authority(), policy(), journal, clock=lambda: NOW, threads=threads)
            assert (await early.serve(large, "attest")).issued is not None
        await journal.stop()

    asyncio.run(run())
    store = connect(str(tmp_path / "x.db"))
    assert ['"outcome":"refused"' in row.body for row in store.rows()] == [True, False]
    store.close()


def test_a_steward_whose_ca_is_not_valid_is_not_ready(tmp_path: Path) -> None:
    ca = authority().certificate
    place = str(tmp_path / "x.db")

    async def ready(now: datetime) -> tuple[int, bytes]:
        journal, reader = Journal(lambda: connect(place)), Reader(lambda: connect(place))
        with ThreadPoolExecutor(1) as threads:
            service = Service(
                Engine(authority(), policy(), journal, clock=lambda: now, threads=threads), reader, Metrics()
            )
            answer = await service._ready(StarletteRequest({"type": "http"}))
        reader.close()
        return answer.status_code, bytes(answer.body)

    assert asyncio.run(ready(NOW)) == (200, b'{"ready":true}')
    for now in (ca.not_valid_before_utc - timedelta(seconds=1), ca.not_valid_after_utc):
        status, body = asyncio.run(ready(now))
        assert (status, b"the CA is not valid now" in body) == (503, True)


PARENT = """
import os, sys, time, signal
from enarx.errors import ConfigError
from enarx.tenant.steward.supervise import supervise
def work(worker, ready):
    kind = sys.argv[1]
    if kind == "error":
        raise ConfigError("no good", code="x", hint="y")
    if kind == "crash":
        raise RuntimeError("unthought of")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"hup\\n"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    os.write(1, b"%d\\n" % os.getpid())
    ready()
    while not stopped:
        time.sleep(0.01)
    os.write(1, b"bye\\n")
sys.exit(supervise(work, 2, lambda: print("ready", flush=True), lambda worker: os.write(1, b"ended %d\\n" % worker)))
"""


def supervised(kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PARENT, kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_workers_that_cannot_start_end_the_parent_with_their_error() -> None:
    for kind, said in (("error", "Error: no good\nHint: y\nCode: x"), ("crash", "unthought of")):
        out, err = supervised(kind).communicate(timeout=SECONDS)
        assert said in err
        assert "ready" not in out


def test_signals_are_passed_on_and_a_killed_parent_leaves_no_worker() -> None:
    parent = supervised("work")
    assert parent.stdout is not None
    lines = [parent.stdout.readline().strip() for _ in range(3)]
    assert "ready" in lines
    pids = [int(line) for line in lines if line.isdigit()]
    parent.send_signal(signal.SIGHUP)
    assert [parent.stdout.readline().strip() for _ in range(2)] == ["hup", "hup"]
    parent.kill()
    parent.communicate(timeout=SECONDS)
    wait_for(lambda: not any(map(alive, pids)), "a worker outlived its parent")


def test_a_worker_that_was_killed_is_told_and_replaced() -> None:
    parent = supervised("work")
    assert parent.stdout is not None
    lines = [parent.stdout.readline().strip() for _ in range(3)]
    os.kill(next(int(line) for line in lines if line.isdigit()), signal.SIGKILL)
    assert parent.stdout.readline().strip() in ("ended 0", "ended 1")
    assert parent.stdout.readline().strip().isdigit()
    parent.terminate()
    out, _ = parent.communicate(timeout=SECONDS)
    assert out.count("bye") == 2


def test_sigterm_stops_workers_in_peace() -> None:
    parent = supervised("work")
    assert parent.stdout is not None
    for _ in range(3):
        parent.stdout.readline()
    parent.terminate()
    out, _ = parent.communicate(timeout=SECONDS)
    assert out.count("bye") == 2
    assert parent.returncode == 0


def test_an_address_that_cannot_be_had_is_an_error() -> None:
    listener = bind("127.0.0.1", 0)
    with pytest.raises(StreamError):
        bind("127.0.0.1", listener.getsockname()[1])
    listener.close()
    with pytest.raises(StreamError):
        bind("203.0.113.1", 0)


def csr(**changes: Any) -> bytes:
    return make_csr(ec_key("keep"), [extension("1.2.3", b"x")], **changes)


def test_a_request_is_read_as_it_was_written() -> None:
    request = parse_request(csr())
    assert request.spki == spki(ec_key("keep"))
    assert request.extensions["1.2.3"].value == b"x"
    assert parse_request(make_csr(ec_key("keep"), [])).extensions == {}


@pytest.mark.parametrize("kind", ["version", "attribute", "two-attributes", "many", "rsa", "curve", "algorithm", "sub"])
def test_requests_of_other_makes_are_malformed(kind: str) -> None:
    key = ec_key("keep")
    other = der.encode(der.SEQUENCE, der.encode(der.OID, der.encode_oid("1.2.840.113549.1.9.7")) + b"\x31\x00")
    good = csr()
    made = {
        "version": lambda: csr(version=1),
        "attribute": lambda: good.replace(
            der.encode_oid("1.2.840.113549.1.9.14"), der.encode_oid("1.2.840.113549.1.9.7")
        ),
        "two-attributes": lambda: csr(more_attributes=other),
        "many": lambda: make_csr(key, [extension(f"1.2.{n}", b"") for n in range(EXTENSIONS_MAX + 1)]),
        "rsa": lambda: csr(public_key=spki(rsa.generate_private_key(65537, 2048))),
        "curve": lambda: csr(public_key=spki(ec.derive_private_key(5, ec.SECP256R1()))),
        "algorithm": lambda: good.replace(der.encode_oid("1.2.840.10045.4.3.3"), der.encode_oid("1.2.840.10045.4.3.4")),
        "sub": lambda: csr(subject=b"\x31\x00"),
    }[kind]()
    with pytest.raises(MalformedError):
        parse_request(made)


def test_what_the_subject_asks_to_be_called_is_not_read() -> None:
    name = bytes.fromhex("30143112301006035504030c09") + b"evil.host"
    named = make_csr(Keep().key, Keep().extensions(), subject=name)
    from enarx.tenant.steward.decide import decide
    from tests.tenant.keeps import judge

    decision = decide(replace(Keep().request(), csr=named), judge(), NOW)
    assert decision.grant is not None
    made = authority().issue(decision.grant, policy().certificate, NOW + timedelta(minutes=1))
    assert b"evil.host" not in made.der


def test_the_metrics_directory_has_one_name() -> None:
    from enarx.tenant.steward import metrics, serve

    assert serve.DIRECTORY_VARIABLE == metrics.DIRECTORY_VARIABLE
    assert metrics.DIRECTORY_VARIABLE not in os.environ
