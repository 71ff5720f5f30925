"""Evidence collected through a directory that imitates configfs-tsm, failure modes included."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.errors import EvidenceError, UsageError
from enarx.keep.attester_tsm import SystemFiles, TsmAttester
from enarx.keep.attesting import ATTEMPTS_MAX, BLOB_MAX_BYTES
from tests.keep.attesting import DATA, Pauses, make_quote, report_over


class TsmDirectory(SystemFiles):
    """The kernel's side of configfs-tsm on an ordinary directory: entries fill themselves, writes count, reports
    appear. ``interfere`` runs after the report was made and may do what another process could do."""

    def __init__(self, provider: str = "sev_guest") -> None:
        self.provider = provider
        self.certificates = b"certificates of the host"
        self.make: Callable[[bytes], bytes] = report_over
        self.interfere: Callable[[Path], None] = lambda entry: None
        self.entries: list[Path] = []

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        entry = Path(path)
        self.entries.append(entry)
        (entry / "provider").write_text(f"{self.provider}\n")
        (entry / "generation").write_text("0\n")
        (entry / "inblob").write_bytes(b"")

    def write(self, path: str, data: bytes) -> None:
        super().write(path, data)
        entry = Path(path).parent
        (entry / "generation").write_text(f"{int((entry / 'generation').read_text()) + 1}\n")
        (entry / "outblob").write_bytes(self.make(data))
        if self.certificates:
            (entry / "auxblob").write_bytes(self.certificates)
        self.interfere(entry)

    def remove_directory(self, path: str) -> None:
        for attribute in Path(path).iterdir():
            attribute.unlink()
        super().remove_directory(path)


@pytest.fixture
def kernel() -> TsmDirectory:
    return TsmDirectory()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def attester(tmp_path: Path, kernel: TsmDirectory, pauses: Pauses) -> TsmAttester:
    return TsmAttester(str(tmp_path), files=kernel, sleep=pauses)


def test_report_and_certificates_come_back_and_the_entry_is_removed(
    attester: TsmAttester, kernel: TsmDirectory, pauses: Pauses, tmp_path: Path
) -> None:
    evidence = attester.attest(DATA)
    assert evidence.technology == "snp"
    assert evidence.report[0x50:0x90] == DATA
    assert evidence.certificates == b"certificates of the host"
    assert pauses == []
    assert list(tmp_path.iterdir()) == []
    assert len(kernel.entries) == 1


def test_each_request_has_an_entry_of_its_own(attester: TsmAttester, kernel: TsmDirectory) -> None:
    attester.attest(DATA)
    attester.attest(DATA)
    assert len(set(kernel.entries)) == 2


def test_tdx_provider_is_told_apart(attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.provider = "tdx_guest"
    kernel.make = lambda data: make_quote(report_data=data)
    assert attester.attest(DATA).technology == "tdx"


@pytest.mark.parametrize("quote", [b"", b"quote", make_quote(report_data=bytes(64)), make_quote(report_data=DATA)[:-8]])
def test_tdx_quote_that_is_cut_off_or_over_other_data_is_refused(
    quote: bytes, attester: TsmAttester, kernel: TsmDirectory
) -> None:
    kernel.provider = "tdx_guest"
    kernel.make = lambda _data: quote
    with pytest.raises(EvidenceError) as caught:
        attester.attest(DATA)
    assert caught.value.code == "attester-failed"


def test_missing_auxblob_means_no_certificates(attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.certificates = b""
    assert attester.attest(DATA).certificates == b""


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.EINTR])
def test_busy_kernel_is_asked_again_with_growing_pauses(
    code: int, attester: TsmAttester, kernel: TsmDirectory, pauses: Pauses
) -> None:
    failures = [code, code]

    def busy(data: bytes) -> bytes:
        if failures:
            raise OSError(failures.pop(), "busy")
        return report_over(data)

    kernel.make = busy
    assert attester.attest(DATA).report[0x50:0x90] == DATA
    assert pauses == [0.05, 0.1]


def test_kernel_that_stays_busy_is_given_up(attester: TsmAttester, kernel: TsmDirectory, pauses: Pauses) -> None:
    def busy(data: bytes) -> bytes:
        raise OSError(errno.EBUSY, "busy")

    kernel.make = busy
    with pytest.raises(EvidenceError) as caught:
        attester.attest(DATA)
    assert caught.value.code == "attester-busy"
    assert len(kernel.entries) == ATTEMPTS_MAX
    assert sum(pauses) < 6.5


def test_report_is_not_believed_when_somebody_else_wrote_to_the_entry(
    attester: TsmAttester, kernel: TsmDirectory, pauses: Pauses
) -> None:
    moves = ["3\n"]

    def write_once(entry: Path) -> None:
        if moves:
            (entry / "generation").write_text(moves.pop())

    kernel.interfere = write_once
    assert attester.attest(DATA).report[0x50:0x90] == DATA
    assert len(kernel.entries) == 2
    assert pauses == [0.05]


def test_report_over_other_data_is_refused(attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.make = lambda data: report_over(bytes(64))
    with pytest.raises(EvidenceError, match="other data"):
        attester.attest(DATA)


@pytest.mark.parametrize("size", [0, 1, 1183, 1185])
def test_report_of_another_size_is_refused(size: int, attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.make = lambda data: bytes(size)
    with pytest.raises(EvidenceError, match=f"{size} bytes"):
        attester.attest(DATA)


def test_blob_past_the_limit_is_refused(attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.certificates = bytes(BLOB_MAX_BYTES + 1)
    with pytest.raises(EvidenceError, match="EFBIG"):
        attester.attest(DATA)
    kernel.certificates = bytes(BLOB_MAX_BYTES)
    assert len(attester.attest(DATA).certificates) == BLOB_MAX_BYTES


@pytest.mark.parametrize("text", ["", "-1", "many", "1" * 300, "²"])
def test_generation_that_is_no_number_is_refused(text: str, attester: TsmAttester, kernel: TsmDirectory) -> None:
    def garble(entry: Path) -> None:
        (entry / "generation").write_text(text)

    kernel.interfere = garble
    with pytest.raises(EvidenceError):
        attester.attest(DATA)


def test_unknown_provider_is_refused(attester: TsmAttester, kernel: TsmDirectory) -> None:
    kernel.provider = "somebody_else"
    with pytest.raises(EvidenceError, match="somebody_else"):
        attester.attest(DATA)


@pytest.mark.parametrize("code", [errno.ENXIO, errno.ENOENT, errno.EPERM])
def test_no_tee_behind_configfs_is_said_so(code: int, tmp_path: Path, pauses: Pauses) -> None:
    class NoProvider(SystemFiles):
        def make_directory(self, path: str) -> None:
            raise OSError(code, os.strerror(code), path)

    with pytest.raises(EvidenceError) as caught:
        TsmAttester(str(tmp_path), files=NoProvider(), sleep=pauses).attest(DATA)
    assert caught.value.code == "attester-unavailable"
    assert errno.errorcode[code] in caught.value.message
    assert pauses == []


def test_short_write_is_not_taken_for_a_request(
    tmp_path: Path, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda descriptor, data: len(data) - 1)
    with pytest.raises(EvidenceError, match="EIO"):
        TsmAttester(str(tmp_path), files=TsmDirectory(), sleep=pauses).attest(DATA)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_of_another_size_is_a_mistake_of_the_caller(size: int, attester: TsmAttester) -> None:
    with pytest.raises(UsageError):
        attester.attest(bytes(size))
