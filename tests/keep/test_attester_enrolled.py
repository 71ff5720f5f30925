"""Evidence by an injected credential: the file that Linux shows, wiped once read, and the area of a simulated one."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.enrolment import ENROLMENT_GUID, ENROLMENT_MAX_BYTES, Enrolment
from enarx.errors import EvidenceError, MalformedError
from enarx.evidence.binding import sev_evidence, sev_statement
from enarx.evidence.sev.enrolled import parse_sev_evidence
from enarx.evidence.sev.secret import build_table
from enarx.keep.attester_enrolled import EnrolledAttester, injected_area, injected_file
from enarx.keep.attester_simulated import NOTHING_THERE, SECRET_VERSION, SimulatedAttester, first_evidence, sources
from enarx.keep.handover import check_manifest
from enarx.simulator.channel import serve

DATA = bytes(range(64))
KEY = ec.generate_private_key(ec.SECP384R1())
CREDENTIAL = Enrolment(b"\x07" * 32, KEY.private_numbers().private_value.to_bytes(48, "big"), b"an approval")


class Injected:
    """A guest of simulated SEV firmware."""

    certificates = b""

    def __init__(self, area: bytes) -> None:
        self.area = area

    def report(self, report_data: bytes, vmpl: int) -> bytes:
        return b""

    def take_secret(self) -> bytes:
        area, self.area = self.area, b""
        return area


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ENROLMENT_GUID).write_bytes(CREDENTIAL.encode())
    return tmp_path


def over(guest: Injected, act: Callable[[int], None]) -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(guest, theirs), daemon=True)
    thread.start()
    with ours:
        act(ours.fileno())
    thread.join(30)
    assert not thread.is_alive()


def nowhere(tmp_path: Path) -> dict[str, str]:
    return {name: str(tmp_path / f"no-{name}") for name in ("root", "device", "secrets")}


def test_credential_vouches_for_the_callers_data(root: Path) -> None:
    found = EnrolledAttester(injected_file(str(root))).attest(DATA)
    assert (found.technology, found.manifest_digest, found.certificates) == ("sev", CREDENTIAL.manifest_digest, b"")
    parts = parse_sev_evidence(found.report)
    assert parts.approval == CREDENTIAL.approval
    statement = sev_statement(DATA, CREDENTIAL.approval)
    KEY.public_key().verify(parts.signature, statement, ec.ECDSA(hashes.SHA384()))
    assert sev_evidence(parts.approval, parts.signature) == found.report


def test_file_is_gone_once_read_and_the_keep_goes_on_vouching(root: Path) -> None:
    attester = EnrolledAttester(injected_file(str(root)))
    attester.attest(DATA)
    assert os.listdir(root) == []
    assert attester.attest(bytes(64)).manifest_digest == CREDENTIAL.manifest_digest


def test_guest_without_a_credential_has_no_such_evidence(tmp_path: Path) -> None:
    (tmp_path / str(UUID(int=7))).write_bytes(b"a secret for somebody else")
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(EvidenceError) as raised:
            EnrolledAttester(injected_file(str(place))).attest(DATA)
        assert raised.value.code == "attester-unavailable"
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"junk", CREDENTIAL.encode()[:-1], CREDENTIAL.encode() + b"\0", bytes(ENROLMENT_MAX_BYTES + 9)]
)
def test_broken_credential_is_refused_and_wiped(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ENROLMENT_GUID
    path.write_bytes(content)
    with pytest.raises(MalformedError) as raised:
        EnrolledAttester(injected_file(str(tmp_path))).attest(DATA)
    assert raised.value.code == "enrolment-malformed"
    assert not path.exists()


def test_link_in_place_of_the_credential_is_not_followed(tmp_path: Path, root: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ENROLMENT_GUID).symlink_to(root / ENROLMENT_GUID)
    with pytest.raises(EvidenceError) as raised:
        EnrolledAttester(injected_file(str(other))).attest(DATA)
    assert raised.value.code == "attester-failed"


def test_credential_that_cannot_be_wiped_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(EvidenceError, match="cannot be wiped: EPERM"):
        EnrolledAttester(injected_file(str(root))).attest(DATA)


def test_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / ENROLMENT_GUID).write_bytes(Enrolment(bytes(32), bytes(48), b"x").encode())
    with pytest.raises(MalformedError) as raised:
        EnrolledAttester(injected_file(str(tmp_path))).attest(DATA)
    assert raised.value.code == "enrolment-malformed"


def test_simulated_area_is_handed_over_once(tmp_path: Path) -> None:
    guest = Injected(build_table({UUID(ENROLMENT_GUID): CREDENTIAL.encode()}))

    def act(descriptor: int) -> None:
        source, evidence = first_evidence(DATA, sources(descriptor, **nowhere(tmp_path)))
        assert (source.name, source.simulated, evidence.technology) == ("simulated-secret", True, "sev")
        assert guest.area == b""
        again = EnrolledAttester(injected_area(SimulatedAttester(descriptor).secret_area))
        with pytest.raises(EvidenceError) as raised:
            again.attest(DATA)
        assert raised.value.code == "attester-unavailable"
        assert source.attester.attest(bytes(64)).manifest_digest == CREDENTIAL.manifest_digest

    over(guest, act)


def test_area_without_a_credential_fails_and_nothing_else_is_tried(tmp_path: Path) -> None:
    def act(descriptor: int) -> None:
        with pytest.raises(EvidenceError) as raised:
            first_evidence(DATA, sources(descriptor, **nowhere(tmp_path)))
        assert raised.value.code == "attester-failed"

    over(Injected(build_table({UUID(int=5): b"x"})), act)


@pytest.mark.parametrize(("sizes", "sent"), [((0, 0, 16385), b""), ((0, 1184, 16), b""), ((1, 0, 0), b"")])
def test_hostile_answer_about_the_area_is_refused(sizes: tuple[int, int, int], sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"".join(size.to_bytes(4, "little") for size in sizes) + sent)
        attester = SimulatedAttester(ours.fileno(), seconds=5)
        with pytest.raises(EvidenceError) as raised:
            attester.secret_area()
        assert raised.value.code == "attester-failed"
        assert theirs.recv(72)[:4] == SECRET_VERSION.to_bytes(4, "little")


def test_processor_without_secrets_is_asked_for_a_report_next() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(NOTHING_THERE.to_bytes(4, "little") + bytes(8))
        with pytest.raises(EvidenceError) as raised:
            SimulatedAttester(ours.fileno(), seconds=5).secret_area()
        assert raised.value.code == "attester-unavailable"


def test_manifest_must_be_the_one_that_was_approved(root: Path) -> None:
    evidence = EnrolledAttester(injected_file(str(root))).attest(DATA)
    with pytest.raises(EvidenceError) as raised:
        check_manifest(evidence, b"{}")
    assert raised.value.code == "manifest-not-attested"
