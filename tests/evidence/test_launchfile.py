"""Launch files from paths, bytes and streams, and every way in which reading them fails."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from enarx.errors import UsageError
from enarx.evidence import launchfile
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.launchfile import LaunchFile, file_digest, kernel_hashes, read_bounded, read_firmware

DATA = bytes(range(256)) * 3000  # more than one chunk


def sources(folder: Path, data: bytes = DATA) -> list[LaunchFile]:
    path = folder / "file"
    path.write_bytes(data)
    return [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]


def test_every_kind_of_source_gives_the_same(tmp_path: Path) -> None:
    assert [read_firmware(source) for source in sources(tmp_path)] == [DATA] * 6
    assert [file_digest(source, "kernel") for source in sources(tmp_path)] == [hashlib.sha256(DATA).digest()] * 6


def test_kernel_and_initrd_are_not_swapped(tmp_path: Path) -> None:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd" * 100_000)
    expected = KernelHashes(
        hashlib.sha256(b"kernel").digest(), hashlib.sha256(b"initrd" * 100_000).digest(), cmdline_digest("a b")
    )
    assert kernel_hashes(kernel, initrd, "a b") == expected
    with initrd.open("rb") as stream:
        assert kernel_hashes(io.BytesIO(b"kernel"), stream, "a b") == expected


def test_no_initrd_is_an_empty_one() -> None:
    assert kernel_hashes(b"kernel") == kernel_hashes(b"kernel", b"")


def test_stream_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"skipped" + DATA)
    stream.seek(7)
    assert read_firmware(stream) == DATA


@pytest.mark.parametrize("read", [read_firmware, lambda source: file_digest(source, "kernel"), kernel_hashes])
@pytest.mark.parametrize("name", ["missing", "", "nul\0byte"])
def test_file_that_is_not_there_is_named(tmp_path: Path, read: object, name: str) -> None:
    assert callable(read)
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name)
    assert caught.value.code == "launch-file"
    assert str(tmp_path) in caught.value.message


def test_initrd_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        kernel_hashes(b"kernel", tmp_path / "missing")
    assert "initrd" in caught.value.message


def test_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launchfile, "MAX_KERNEL_BYTES", len(DATA) - 1)
    for source in sources(tmp_path):
        with pytest.raises(UsageError) as caught:
            read_bounded(source, len(DATA) - 1, "image")
        assert caught.value.code == "launch-file-size"
    for source in sources(tmp_path):
        assert read_bounded(source, len(DATA), "image") == DATA
    for path_or_stream in (tmp_path / "file", io.BytesIO(DATA)):
        with pytest.raises(UsageError) as caught:
            file_digest(path_or_stream, "kernel")
        assert caught.value.code == "launch-file-size"


def test_endless_stream_is_cut_off() -> None:
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(UsageError) as caught:
        read_bounded(zeros, 1 << 20, "image")
    assert caught.value.code == "launch-file-size"


def test_stream_without_data_yet_is_not_taken_for_its_end() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        with os.fdopen(reader, "rb", buffering=0) as stream, pytest.raises(UsageError) as caught:
            file_digest(stream, "kernel")
    finally:
        os.close(writer)
    assert caught.value.code == "launch-file"


def test_stream_that_fails_is_reported(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(UsageError) as caught:
        read_firmware(Broken())
    assert caught.value.code == "launch-file"
