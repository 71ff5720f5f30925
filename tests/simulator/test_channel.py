"""The guest's channel: the Keep's own attester at the other end, and guests that mean no good."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import EvidenceError
from enarx.evidence.gctx import PageType
from enarx.evidence.snp import Collateral, Trust, authenticate, certtable, parse
from enarx.keep.attester_simulated import SimulatedAttester
from enarx.simulator.channel import BURST, INVALID_PARAMETERS, PAUSE_SECONDS, REQUEST, RESPONSE, answer, serve
from enarx.simulator.installation import Installation
from enarx.simulator.misbehave import Misbehave
from enarx.simulator.processor import Guest, SecureProcessor

DATA = bytes(range(64))
REFUSED = RESPONSE.pack(INVALID_PARAMETERS, 0, 0)
SECONDS = 30.0


def launch(installation: Installation, now: datetime, lies: Misbehave = Misbehave.NONE) -> Guest:
    started = SecureProcessor(installation, now, lies=lies).launch_start()
    started.update(PageType.NORMAL, 0, bytes(4096))
    return started.finish(bytes(32))


@pytest.fixture(scope="module")
def guest(installation: Installation, now: datetime) -> Guest:
    return launch(installation, now)


@contextmanager
def served(guest: Guest) -> Iterator[tuple[socket.socket, threading.Thread]]:
    """Our end of a channel, and the thread that serves the other one; it must end once ours is closed."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(guest, theirs), daemon=True)
    thread.start()
    ours.settimeout(SECONDS)
    with ours:
        yield ours, thread
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert theirs.fileno() == -1


def read(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (part := sock.recv(size - len(found))):
        found += part
    return found


def test_keep_gets_authentic_evidence_over_its_own_data(guest: Guest, trust: Trust, now: datetime) -> None:
    with served(guest) as (sock, _):
        attester = SimulatedAttester(sock.fileno())
        for number in range(3):
            data = bytes([number]) * 64
            raw = attester.attest(data)
            table = certtable.parse(raw.certificates)
            assert table.endorsement
            assert table.names() == ("VCEK", "ASK", "ARK", "CRL")
            collateral = Collateral(table.endorsement, table.chain, table.crls)
            proven = authenticate(parse(raw.report), collateral, now, trust=trust, require_crl=True)
            assert (proven.value.report_data, proven.value.vmpl) == (data, 0)


@pytest.mark.parametrize("lie", [Misbehave.WRONG_NONCE, Misbehave.REPLAYED, Misbehave.TRUNCATED], ids=str)
def test_keep_itself_refuses_reports_that_are_not_over_its_data(
    lie: Misbehave, installation: Installation, now: datetime
) -> None:
    with served(launch(installation, now, lie)) as (sock, _), pytest.raises(EvidenceError) as caught:
        SimulatedAttester(sock.fileno()).attest(DATA)
    assert caught.value.code == "attester-failed"


@given(version=st.integers(0, 2**32 - 1), data=st.binary(min_size=64, max_size=64), vmpl=st.integers(0, 2**32 - 1))
def test_every_request_has_an_answer_of_the_stated_size(guest: Guest, version: int, data: bytes, vmpl: int) -> None:
    for number, level in ((version, vmpl), (1, vmpl), (version, 0), (1, vmpl % 4)):
        response = answer(guest, REQUEST.pack(number, data, level))
        status, report_size, table_size = RESPONSE.unpack_from(response)
        assert len(response) == RESPONSE.size + report_size + table_size
        if number == 1 and level <= 3:
            report = parse(response[RESPONSE.size : RESPONSE.size + report_size])
            assert (status, report.report_data, report.vmpl) == (0, data, level)
        else:
            assert response == REFUSED


@given(noise=st.binary(max_size=400), cut=st.integers(1, 400))
def test_noise_is_answered_within_bounds_and_ends_with_the_guest(guest: Guest, noise: bytes, cut: int) -> None:
    with served(guest) as (sock, _):
        try:
            for at in range(0, len(noise), cut):
                sock.sendall(noise[at : at + cut])
            sock.shutdown(socket.SHUT_WR)
            received = read(sock, 1 << 20)
        except OSError:  # it hung up on us, as it may
            return
    for at in range(0, len(noise) // REQUEST.size * REQUEST.size, REQUEST.size):
        response = answer(guest, noise[at : at + REQUEST.size])
        if response != REFUSED:
            size = RESPONSE.size + sum(RESPONSE.unpack_from(response)[1:])
            assert RESPONSE.unpack_from(received)[0] == 0
            received = received[size:]
        else:
            assert received[: len(REFUSED)] == REFUSED
            received = received[len(REFUSED) :]
            if noise[at : at + 4] != struct.pack("<I", 1):
                break
    assert received == b""


def test_another_version_is_answered_and_hung_up_on(guest: Guest) -> None:
    with served(guest) as (sock, thread):
        sock.sendall(REQUEST.pack(3, DATA, 0))
        assert read(sock, RESPONSE.size + 1) == REFUSED
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_bad_level_is_refused_and_the_channel_goes_on(guest: Guest) -> None:
    with served(guest) as (sock, _):
        for level in (4, 0xFFFFFFFF):
            sock.sendall(REQUEST.pack(1, DATA, level))
            assert read(sock, RESPONSE.size) == REFUSED
        assert SimulatedAttester(sock.fileno()).attest(DATA).technology == "snp"


def test_guest_that_leaves_within_a_request_is_let_go(guest: Guest) -> None:
    for size in (0, 1, REQUEST.size - 1):
        with served(guest) as (sock, thread):
            sock.sendall(REQUEST.pack(1, DATA, 0)[:size])
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_guest_that_reads_nothing_holds_up_its_own_channel_alone(guest: Guest) -> None:
    with served(guest) as (greedy, _):
        greedy.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                greedy.send(REQUEST.pack(1, DATA, 0) * 64)
        with served(guest) as (modest, _):
            assert SimulatedAttester(modest.fileno()).attest(DATA).technology == "snp"


def test_reports_are_rationed_after_a_burst(guest: Guest) -> None:
    ours, theirs = socket.socketpair()
    pauses: list[float] = []
    time = [0.0]
    settings = {"sleep": pauses.append, "clock": lambda: time[0]}
    thread = threading.Thread(target=serve, args=(guest, theirs), kwargs=settings, daemon=True)
    thread.start()
    with ours:
        attester = SimulatedAttester(ours.fileno())
        for _ in range(BURST):
            attester.attest(DATA)
        assert pauses == []
        for _ in range(3):
            attester.attest(DATA)
        assert pauses == [PAUSE_SECONDS] * 3
        time[0] += 5 * PAUSE_SECONDS
        for _ in range(6):
            attester.attest(DATA)
    thread.join(SECONDS)
    assert pauses == [PAUSE_SECONDS] * 4


def test_request_of_another_size_is_the_callers_mistake(guest: Guest) -> None:
    for size in (0, REQUEST.size - 1, REQUEST.size + 1):
        with pytest.raises(ValueError):
            answer(guest, bytes(size))
