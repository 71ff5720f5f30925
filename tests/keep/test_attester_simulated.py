"""The channel to a simulated secure processor, at whose other end anything may sit, and the order of the sources."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import EvidenceError
from enarx.keep.attester import BLOB_MAX_BYTES, RawEvidence
from enarx.keep.attester_simulated import SimulatedAttester, Source, first_evidence, sources

DATA = bytes(range(64))


def report_over(data: bytes) -> bytes:
    report = bytearray(os.urandom(1184))
    report[0x50:0x90] = data
    return bytes(report)


def answering(respond: Callable[[bytes], bytes | None], *, times: int = 1) -> int:
    """A descriptor whose other end answers each request of 72 bytes by what ``respond`` returns; None: not at all."""
    near, far = socket.socketpair()

    def serve() -> None:
        with far:
            for _ in range(times):
                request = b""
                while len(request) < 72:
                    part = far.recv(72 - len(request))
                    if not part:
                        return
                    request += part
                answer = respond(request)
                if answer is None:
                    far.recv(1)
                    return
                far.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return near.detach()


def honest(request: bytes, table: bytes = b"table") -> bytes:
    return struct.pack("<III", 0, 1184, len(table)) + report_over(request[4:68]) + table


def failure(respond: Callable[[bytes], bytes | None], seconds: float = 5.0) -> str:
    descriptor = answering(respond)
    try:
        attester = SimulatedAttester(descriptor, seconds=seconds)
        with pytest.raises(EvidenceError) as caught:
            attester.attest(DATA)
        assert caught.value.code == "attester-failed"
        return caught.value.message
    finally:
        os.close(descriptor)


def test_request_has_the_shape_of_the_guest_message() -> None:
    seen: list[bytes] = []

    def respond(request: bytes) -> bytes:
        seen.append(request)
        return honest(request)

    descriptor = answering(respond)
    evidence = SimulatedAttester(descriptor, vmpl=2).attest(DATA)
    os.close(descriptor)
    assert seen == [b"\1\0\0\0" + DATA + b"\2\0\0\0"]
    assert (evidence.technology, evidence.certificates) == ("snp", b"table")
    assert evidence.report[0x50:0x90] == DATA


def test_channel_serves_again_for_a_renewal() -> None:
    descriptor = answering(honest, times=3)
    attester = SimulatedAttester(descriptor)
    for number in range(3):
        assert attester.attest(bytes([number]) * 64).report[0x50] == number
    os.close(descriptor)


def test_real_processor_of_the_simulator_answers(tmp_path: Path) -> None:
    from enarx.evidence.snp import certtable, parse
    from enarx.simulator import channel, installation, processor
    from tests.keep.tenants import NOW

    made = installation.open_installation(tmp_path / "simulator", NOW)
    guest = processor.SecureProcessor(made, NOW).launch_start().finish(b"h" * 32)
    near, far = socket.socketpair()
    thread = threading.Thread(target=channel.serve, args=(guest, far))
    thread.start()
    with near:
        evidence = SimulatedAttester(near.fileno()).attest(DATA)
    thread.join(60)
    assert parse(evidence.report).host_data == b"h" * 32
    assert certtable.parse(evidence.certificates).vcek


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ((0x16, 0, 0), "status 0x16"),
        ((0x16, 1184, 5), "status 0x16"),
        ((0, 1183, 0), "1183 bytes"),
        ((0, 0, 0), "0 bytes"),
        ((0, 0xFFFF_FFFF, 0), "4294967295 bytes"),
        ((0, 1184, BLOB_MAX_BYTES + 1), f"table of {BLOB_MAX_BYTES + 1}"),
    ],
)
def test_answer_of_other_sizes_is_refused_before_it_is_read(head: tuple[int, int, int], said: str) -> None:
    assert said in failure(lambda _: struct.pack("<III", *head))


def test_table_is_accepted_up_to_its_bound() -> None:
    descriptor = answering(lambda request: honest(request, bytes(BLOB_MAX_BYTES)))
    assert len(SimulatedAttester(descriptor).attest(DATA).certificates) == BLOB_MAX_BYTES
    os.close(descriptor)


def test_replayed_report_over_other_data_is_refused() -> None:
    assert "other data" in failure(lambda _: struct.pack("<III", 0, 1184, 0) + report_over(bytes(64)))


def test_truncated_answer_is_refused() -> None:
    assert "closed" in failure(lambda request: honest(request)[:-1])
    assert "closed" in failure(lambda request: b"")


def test_answer_that_never_comes_ends_by_the_deadline() -> None:
    assert "within 0.1 s" in failure(lambda _: None, seconds=0.1)


def test_request_that_nobody_reads_ends_by_the_deadline() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while os.write(write, bytes(65536)):
            pass
    except BlockingIOError:
        pass
    with pytest.raises(EvidenceError, match=r"within 0\.1 s"):
        SimulatedAttester(write, seconds=0.1).attest(DATA)
    os.close(read)
    os.close(write)


def test_channel_that_broke_stays_broken() -> None:
    descriptor = answering(lambda _: struct.pack("<III", 0, 7, 0), times=2)
    attester = SimulatedAttester(descriptor)
    for said in ("7 bytes", "broke before"):
        with pytest.raises(EvidenceError, match=said):
            attester.attest(DATA)
    os.close(descriptor)


def test_refused_request_leaves_the_channel_usable() -> None:
    answers = iter([struct.pack("<III", 0x16, 0, 0), None])
    descriptor = answering(lambda request: next(answers) or honest(request), times=2)
    attester = SimulatedAttester(descriptor)
    with pytest.raises(EvidenceError):
        attester.attest(DATA)
    assert attester.attest(DATA).report
    os.close(descriptor)


def test_closed_descriptor_is_an_error_of_ours() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(EvidenceError):
        SimulatedAttester(write).attest(DATA)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_of_another_size_is_the_callers_mistake(size: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        SimulatedAttester(0).attest(bytes(size))


@given(st.binary(max_size=64))
def test_any_short_answer_is_refused(answer: bytes) -> None:
    failure(lambda _: answer)


class Fixed:
    def __init__(self, evidence: RawEvidence | EvidenceError) -> None:
        self.evidence = evidence

    def attest(self, report_data: bytes) -> RawEvidence:
        if isinstance(self.evidence, EvidenceError):
            raise self.evidence
        return self.evidence


ABSENT = Fixed(EvidenceError("no such device", code="attester-unavailable"))
BROKEN = Fixed(EvidenceError("firmware refused", code="attester-failed"))
HARD = Fixed(RawEvidence("snp", b"hardware"))
SOFT = Fixed(RawEvidence("snp", b"software"))


def test_first_source_that_exists_is_taken_and_named() -> None:
    source, evidence = first_evidence(DATA, [Source("configfs-tsm", ABSENT), Source("sev-guest", HARD)])
    assert (source.name, source.simulated, evidence.report) == ("sev-guest", False, b"hardware")
    source, evidence = first_evidence(DATA, [Source("configfs-tsm", ABSENT), Source("simulated", SOFT)])
    assert (source.name, source.simulated, evidence.report) == ("simulated", True, b"software")


def test_real_processor_that_fails_is_not_replaced_by_a_simulated_one() -> None:
    with pytest.raises(EvidenceError, match="firmware refused"):
        first_evidence(DATA, [Source("configfs-tsm", BROKEN), Source("simulated", SOFT)])


def test_machine_without_any_source_says_what_was_tried() -> None:
    for candidates in ([], [Source("configfs-tsm", ABSENT)]):
        with pytest.raises(EvidenceError) as caught:
            first_evidence(DATA, candidates)
        assert caught.value.code == "attester-unavailable"


def test_order_is_configfs_then_device_then_channel(tmp_path: Path) -> None:
    places = {name: str(tmp_path / name) for name in ("root", "device", "secrets")}
    real = ["configfs-tsm", "sev-guest", "efi-secret"]
    assert [source.name for source in sources(None, **places)] == real
    nothing_injected = struct.pack("<III", 0x16, 0, 0)
    descriptor = answering(lambda asked: nothing_injected if asked[0] == 2 else honest(asked), times=2)
    found = sources(descriptor, **places)
    assert [source.name for source in found] == [*real, "simulated-secret", "simulated"]
    assert first_evidence(DATA, found)[0].name == "simulated"
    os.close(descriptor)
