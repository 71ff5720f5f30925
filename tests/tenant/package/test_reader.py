"""Reading a package from a file: all of it is judged, little of it is in memory."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive, envelope
from enarx.errors import EnarxError, UsageError
from enarx.tenant.package import reader
from enarx.tenant.package.reader import open_package
from enarx.tenant.package.seal import seal
from tests import archives
from tests.archives import MODULE, Part, pack

KEY = bytes(range(32))
CHUNK = 4096
LARGE = hashlib.shake_128(b"large").digest(5 * CHUNK + 7)
PARTS: list[Part] = [("Enarx.toml", b""), ("main.wasm", MODULE), ("files", None), ("files/a", LARGE), ("files/b", b"b")]


def encrypted(plain: bytes, key: bytes = KEY) -> bytes:
    return b"".join(seal([plain], len(plain), key, chunk_bytes=CHUNK))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "package").write_bytes(data)
        return tmp_path / "package"

    return write


def refusal(place: Path, key: bytes | None = None) -> str:
    with pytest.raises(EnarxError) as caught, open_package(place, key):
        pass
    assert caught.value.hint
    return caught.value.code


def test_an_archive_is_read(write: Callable[[bytes], Path]) -> None:
    data = pack(PARTS)
    with open_package(write(data)) as package:
        assert (package.size, package.media_type, package.header) == (len(data), archive.MEDIA_TYPE, None)
        assert package.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert package.entries == tuple(archive.entries(data))
        entry = package.entry("files/a")
        assert entry is not None
        assert b"".join(package.pieces(entry)) == LARGE
        assert package.read(entry, 10) == LARGE[:10]
        assert package.entry("files/c") is None


def test_an_encrypted_package_is_read_with_its_key(write: Callable[[bytes], Path]) -> None:
    data = encrypted(pack(PARTS))
    with open_package(write(data), KEY) as package:
        assert package.media_type == envelope.MEDIA_TYPE
        assert package.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert [one.path for one in package.entries or ()] == [path for path, _ in PARTS]
        for path, content in PARTS:
            entry = package.entry(path)
            assert entry is not None
            assert b"".join(package.pieces(entry)) == (content or b"")


def test_of_an_encrypted_package_without_its_key_the_header_is_known(write: Callable[[bytes], Path]) -> None:
    with open_package(write(encrypted(pack(PARTS)))) as package:
        assert package.entries is None
        assert package.entry("main.wasm") is None
        assert package.header is not None
        assert package.header.length == len(pack(PARTS))


def test_a_module_alone_is_read(write: Callable[[bytes], Path]) -> None:
    with open_package(write(MODULE)) as package:
        assert package.media_type == "application/wasm"
        entry = package.entry("main.wasm")
        assert entry is not None
        assert package.read(entry, 100) == MODULE


def test_contents_come_in_pieces(write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PIECE_BYTES", 100)
    with open_package(write(encrypted(pack(PARTS))), KEY) as package:
        entry = package.entry("files/a")
        assert entry is not None
        pieces = list(package.pieces(entry))
    assert {len(piece) for piece in pieces[:-1]} == {100}
    assert b"".join(pieces) == LARGE


# Hostile packages, in clear and encrypted by somebody who has the key


def below(*blocks: bytes) -> bytes:
    return pack([("main.wasm", MODULE), ("files", None)], end=b"") + b"".join(blocks) + archive.END


HOSTILE = {
    "absolute-path": (below(archives.header(b"/etc/passwd")), "package-path"),
    "dots": (below(archives.header(b"files/../../x")), "package-path"),
    "symbolic-link": (below(archives.header(b"files/a", kind=b"2", linkname=b"/etc")), "package-entry"),
    "hard-link": (below(archives.header(b"files/a", kind=b"1", linkname=b"main.wasm")), "package-entry"),
    "device": (below(archives.header(b"files/a", kind=b"3", devmajor=b"0000001\0")), "package-entry"),
    "pipe": (below(archives.header(b"files/a", kind=b"6")), "package-entry"),
    "pax": (below(archives.header(b"files/a", kind=b"x")), "package-entry"),
    "duplicate": (below(archives.header(b"files/a"), archives.header(b"files/a")), "package-duplicate"),
    "huge": (below(archives.header(b"files/a", size=b"\x80\0\0\0" + (1 << 63).to_bytes(8, "big"))), "package-size"),
    "beyond": (below(archives.header(b"files/a", size=b"77777777777\0")), "package-truncated"),
    "order": (below(archives.header(b"files/b"), archives.header(b"files/a")), "package-order"),
    "trailing": (pack(PARTS) + b"\0", "package-trailing"),
    "padding": (pack(PARTS).replace(MODULE + b"\0", MODULE + b"\1"), "package-padding"),
    "bomb": (gzip.compress(pack([("main.wasm", bytes(1 << 20))])), "package-not-archive"),
    "empty": (b"", "package-not-archive"),
    "half": (pack(PARTS)[: len(pack(PARTS)) // 2], "package-truncated"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused(name: str, write: Callable[[bytes], Path]) -> None:
    data, code = HOSTILE[name]
    assert refusal(write(data)) == code
    assert refusal(write(encrypted(data)), KEY) == code


def test_a_package_within_a_package_is_not_opened(write: Callable[[bytes], Path]) -> None:
    assert refusal(write(encrypted(encrypted(pack(PARTS)))), KEY) == "package-not-archive"
    assert refusal(write(encrypted(MODULE)), KEY) == "package-not-archive"


def test_a_changed_chunk_is_noticed_though_nobody_asks_for_it(write: Callable[[bytes], Path]) -> None:
    """In the middle of a file of which only the header would be looked at."""
    data = bytearray(encrypted(pack(PARTS)))
    data[envelope.HEADER_BYTES + 3 * (CHUNK + 16) + 5] ^= 1
    assert refusal(write(bytes(data)), KEY) == "package-sealed"


def test_another_length_than_the_header_says_is_refused_without_a_key(write: Callable[[bytes], Path]) -> None:
    data = encrypted(pack(PARTS))
    assert refusal(write(data[:-1])) == "package-truncated"
    assert refusal(write(data + b"\0")) == "package-trailing"
    assert refusal(write(data[:50])) == "package-truncated"


def test_wrong_key_and_key_for_nothing_are_refused(write: Callable[[bytes], Path]) -> None:
    assert refusal(write(encrypted(pack(PARTS))), bytes(32)) == "package-key"
    assert refusal(write(encrypted(pack(PARTS))), bytes(31)) == "package-key-size"
    assert refusal(write(pack(PARTS)), KEY) == "package-not-encrypted"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "missing", tmp_path / "pipe", Path("/dev/null")):
        assert refusal(place) == "file-unreadable"


def test_a_file_that_changes_while_it_is_read_is_noticed(write: Callable[[bytes], Path]) -> None:
    place = write(pack(PARTS))
    with pytest.raises(UsageError) as caught, open_package(place):
        place.write_bytes(b"something else")
    assert caught.value.code == "file-changed"


def test_a_file_that_shrinks_while_it_is_read_ends_early(write: Callable[[bytes], Path]) -> None:
    place = write(encrypted(pack(PARTS)))
    with pytest.raises(EnarxError), open_package(place, KEY) as package:
        os.truncate(place, 1000)
        for entry in package.entries or ():
            list(package.pieces(entry))


def test_errors_of_the_reader_are_not_those_of_who_reads(write: Callable[[bytes], Path]) -> None:
    with pytest.raises(ZeroDivisionError), open_package(write(MODULE)):
        raise ZeroDivisionError
    with pytest.raises(OSError, match="mine"), open_package(write(MODULE)):
        raise OSError("mine")


@given(st.data(), st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK))
def test_a_view_of_a_file_gives_what_bytes_give(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, start: int, length: int
) -> None:
    place = tmp_path_factory.getbasetemp() / "view"
    if not place.exists():
        place.write_bytes(encrypted(pack(PARTS)))
    with open_package(place, KEY) as package:
        content = package._content
        plain = pack(PARTS)
        assert len(content) == len(plain)
        assert content[start : start + length] == plain[start : start + length]
        other = data.draw(st.integers(0, len(plain)))
        assert content[other : other + 7] == plain[other : other + 7]
