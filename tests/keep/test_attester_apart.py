"""Evidence from a process apart: the same as from the attester itself, errors included, and nothing left behind."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from enarx.errors import EvidenceError
from enarx.keep import attester_apart
from enarx.keep.attester import TSM_ROOT, RawEvidence
from enarx.keep.attester_apart import ApartAttester, fork_apart, move_apart
from enarx.keep.attester_simulated import Source, first_evidence, sources
from enarx.keep.attesting import BLOB_MAX_BYTES
from tests.descriptors import becomes_ready

DATA = bytes(range(64))
WAIT = 60


@dataclass(frozen=True)
class Device:
    """Says in which process it was asked, as the certificates."""

    error: EvidenceError | None = None
    technology: str = "snp"

    def attest(self, report_data: bytes) -> RawEvidence:
        if self.error is not None:
            raise self.error
        return RawEvidence(self.technology, report_data * 18 + bytes(32), str(os.getpid()).encode())


@contextmanager
def apart(device: Device) -> Iterator[tuple[ApartAttester, socket.socket]]:
    sock = fork_apart(device)
    try:
        yield ApartAttester(sock), sock
    finally:
        sock.close()


@pytest.mark.parametrize("technology", ["snp", "tdx"])
def test_evidence_comes_from_another_process(technology: str) -> None:
    with apart(Device(technology=technology)) as (attester, _):
        first, second = attester.attest(DATA), attester.attest(bytes(64))
    assert (first.technology, first.report) == (technology, DATA * 18 + bytes(32))
    assert second.report == bytes(1184)
    assert int(first.certificates) == int(second.certificates) != os.getpid()


@pytest.mark.parametrize("code", ["attester-unavailable", "attester-busy", "attester-failed"])
def test_errors_come_as_they_were(code: str) -> None:
    with apart(Device(EvidenceError("configfs-tsm: ENXIO", code=code, hint="load the driver"))) as (attester, _):
        for _ in range(2):
            with pytest.raises(EvidenceError) as caught:
                attester.attest(DATA)
            assert (caught.value.message, caught.value.code) == ("configfs-tsm: ENXIO", code)
            assert caught.value.hint == "load the driver"


def test_a_way_that_is_not_there_leaves_the_next_one_its_turn() -> None:
    gone = EvidenceError("ENXIO", code="attester-unavailable")
    with apart(Device(gone)) as (attester, _):
        candidates = [Source("configfs-tsm", attester, apart=True), Source("simulated", Device())]
        assert first_evidence(DATA, candidates)[0].name == "simulated"


def test_the_process_ends_with_the_keep_and_has_nothing_of_its_descriptors() -> None:
    """Whoever holds the other end of this pipe can tell: it ends when the last writer has gone."""
    reader, writer = os.pipe()
    sock = fork_apart(Device())
    attester = ApartAttester(sock)
    pid = int(attester.attest(DATA).certificates)
    assert {name for name in os.listdir(f"/proc/{pid}/fd") if int(name) > 3} == set()
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    sock.close()
    assert os.waitpid(pid, 0) == (pid, 0)


def test_a_process_that_has_ended_is_an_error_ever_after() -> None:
    with apart(Device()) as (attester, sock):
        sock.shutdown(socket.SHUT_RDWR)
        for _ in range(2):
            with pytest.raises(EvidenceError) as caught:
                attester.attest(DATA)
            assert caught.value.code == "attester-failed"


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack("<IIII", 4, 0, 0, 0),
        struct.pack("<IIII", 0, 2, 0, 0),
        struct.pack("<IIII", 0, 0, BLOB_MAX_BYTES + 1, 0),
        struct.pack("<IIII", 0, 0, 0, BLOB_MAX_BYTES + 1),
        struct.pack("<IIII", 0, 0, 10, 0) + b"short",
    ],
)
def test_answers_beyond_bounds_are_refused(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(EvidenceError, match="process that asks"):
            ApartAttester(ours).attest(DATA)


def test_no_answer_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attester_apart, "APART_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(EvidenceError, match="timed out"):
        ApartAttester(ours).attest(DATA)


def test_threads_take_turns() -> None:
    with apart(Device()) as (attester, _):
        found: list[bytes] = []

        def ask(number: int) -> None:
            data = bytes([number]) * 64
            found.extend(
                attester.attest(data).report[:1] for _ in range(50) if attester.attest(data).report[:64] == data
            )

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert sorted(found) == [bytes([number]) for number in range(4) for _ in range(50)]


def test_only_ways_that_are_files_and_are_there_are_moved(tmp_path: Path) -> None:
    candidates = sources(7, root=str(tmp_path / "none"), device=str(tmp_path / "none"))
    assert move_apart(candidates, exists=lambda path: False) == candidates
    moved = move_apart(candidates, exists=lambda path: path == TSM_ROOT)
    assert [source.apart for source in moved] == [True, False, False, False, False]
    assert [source.lasting for source in moved] == [True, False, True, True, True]
    with pytest.raises(EvidenceError) as caught:
        moved[0].attester.attest(DATA)  # through the real attester, in its process
    assert caught.value.code == "attester-unavailable"
    assert isinstance(moved[0].attester, ApartAttester)
    moved[0].attester._socket.close()


def test_the_keep_hears_when_the_process_dies() -> None:
    sock = fork_apart(Device())
    pid = int(ApartAttester(sock).attest(DATA).certificates)
    os.kill(pid, 9)
    assert becomes_ready(sock.fileno())
    with sock, pytest.raises(EvidenceError):
        ApartAttester(sock).attest(DATA)
    os.waitpid(pid, 0)
