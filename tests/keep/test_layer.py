"""Archives that become the workload's files. They are written by a stranger."""

from __future__ import annotations

import contextlib
import io
import itertools
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LimitError, WorkloadError
from enarx.keep import layer
from enarx.keep.layer import unpack
from enarx.keep.wasi.abi import MAX_NAME, MAX_PATH
from enarx.keep.wasi.tree import Directory, File, FileSystem, Node, Symlink

LIMIT = 1 << 20


def file_system(limit: int = LIMIT) -> FileSystem:
    return FileSystem(limit, itertools.count().__next__)


def entry(name: str, data: bytes | None = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    info.size = len(data or b"")
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def directory(name: str) -> tuple[tarfile.TarInfo, bytes | None]:
    return entry(name, type=tarfile.DIRTYPE)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes | None]:
    return entry(name, type=kind, linkname=target)


def archive(*entries: tuple[tarfile.TarInfo, bytes | None], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if data else None)
    return buffer.getvalue()


def unpacked(data: bytes, limit: int = LIMIT) -> FileSystem:
    fs = file_system(limit)
    unpack(data, fs, fs.root)
    return fs


def refuse(data: bytes, reason: str) -> None:
    with pytest.raises(WorkloadError, match=reason) as refused:
        unpacked(data)
    assert refused.value.code == "layer-malformed"
    assert refused.value.hint


def node(fs: FileSystem, path: str) -> Node:
    here: Node = fs.root
    for part in path.split("/"):
        assert isinstance(here, Directory)
        here = here.entries[part]
    return here


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_directories_and_links_are_taken(form: int) -> None:
    fs = unpacked(
        archive(
            directory("site"),
            entry("site/index.html", b"<html>", mtime=1_700_000_000),
            entry("site/empty"),
            link("site/latest", "index.html"),
            link("out", "/etc/passwd"),
            entry("größe", b"\0\xff"),
            directory("d" * 80),
            entry("d" * 80 + "/" + "f" * 90, b"long"),
            form=form,
        )
    )
    page = node(fs, "site/index.html")
    assert isinstance(page, File)
    assert page.data == b"<html>"
    assert page.mtim == page.atim == page.ctim == 1_700_000_000 * 10**9
    latest, out = node(fs, "site/latest"), node(fs, "out")
    assert isinstance(latest, Symlink)
    assert isinstance(out, Symlink)
    assert (latest.target, out.target) == ("index.html", "/etc/passwd")
    assert node(fs, "größe").size == 2
    assert node(fs, "d" * 80 + "/" + "f" * 90).size == 4


def test_an_empty_archive_is_an_empty_directory() -> None:
    assert unpacked(archive()).root.entries == {}


@pytest.mark.parametrize("mtime", [-1, 0, 1 << 40, float(1 << 62)])
def test_any_time_is_brought_into_range(mtime: float) -> None:
    found = node(unpacked(archive(entry("f", mtime=mtime))), "f")
    assert 0 <= found.mtim < 1 << 64


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "1e400"])
def test_a_time_that_is_no_number_is_refused(mtime: str) -> None:
    info, data = entry("f")
    info.pax_headers = {"mtime": mtime}
    refuse(archive((info, data)), "cannot")


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/passwd", "./f", "a//b", ".", "..", "", "b/", "x" * (MAX_NAME + 1)]
)
def test_a_path_that_is_not_plain_is_refused(name: str) -> None:
    raw = bytearray(archive(directory("a"), entry("placeholder")))
    assert raw.count(b"placeholder") == 1
    if len(name) > 100:
        raw = bytearray(archive(directory("a"), entry(name)))
    else:  # written by hand, as the module that writes archives would tidy the name
        start = raw.index(b"placeholder")
        raw[start : start + 100] = name.encode().ljust(100, b"\0")
        raw[start + 148 : start + 156] = b" " * 8
        raw[start + 148 : start + 155] = b"%06o\0" % sum(raw[start : start + 512])
    refuse(bytes(raw), "not allowed")


def test_a_path_that_is_too_long_is_refused() -> None:
    parts = ["d" * 200] * (MAX_PATH // 200 + 1)
    directories = [directory("/".join(parts[: depth + 1])) for depth in range(len(parts))]
    refuse(archive(*directories), "not allowed")


def test_a_name_that_is_not_utf8_is_refused() -> None:
    refuse(archive(entry("\udcff\udcfe"), form=tarfile.GNU_FORMAT), "cannot")


@pytest.mark.parametrize("target", ["", "t" * (MAX_PATH + 1)])
def test_a_link_without_a_usable_target_is_refused(target: str) -> None:
    refuse(archive(link("l", target)), "link to nothing")


def test_nothing_may_appear_twice() -> None:
    refuse(archive(entry("f", b"1"), entry("f", b"2")), "appears twice")
    refuse(archive(directory("d"), directory("d")), "appears twice")
    refuse(archive(entry("f"), link("f", "x")), "appears twice")


def test_what_lies_in_a_directory_comes_after_it() -> None:
    refuse(archive(entry("d/f")), "before its directory")
    refuse(archive(entry("d"), entry("d/f")), "before its directory")
    refuse(archive(directory("e"), link("d", "e"), entry("d/f")), "before its directory")


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_other_kinds_of_entry_are_refused(kind: bytes) -> None:
    if kind == tarfile.CONTTYPE:  # the old name of a regular file
        assert node(unpacked(archive(entry("x", type=kind))), "x").size == 0
    else:
        refuse(archive(entry("f"), link("x", "f", kind)), "neither a file")


@pytest.mark.parametrize("size", [512, 700, 512 + 1024, 2048, 2048 + 300, 2048 + 512, 3 * 1024, 3583])
def test_an_archive_that_is_cut_short_is_refused(size: int) -> None:
    whole = archive(entry("f", bytes(1024)), entry("g", b"x"))
    assert set(unpacked(whole[:3584]).root.entries) == {"f", "g"}
    refuse(whole[:size], "cut short|unexpected end")


def test_an_entry_whose_header_is_damaged_is_not_left_out_silently() -> None:
    raw = bytearray(archive(entry("f"), entry("g"), entry("h")))
    raw[512 + 150] ^= 1
    refuse(bytes(raw), "damaged")


@pytest.mark.parametrize("data", [b"x" * 512, b"PK\x03\x04" + bytes(600), b"\x1f\x8b\x08" + bytes(600), b"short"])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    refuse(data, "cannot be unpacked")


def test_a_compressed_archive_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("f"))
    refuse(buffer.getvalue(), "cannot be unpacked")


def test_files_that_do_not_fit_are_a_limit() -> None:
    for data in (archive(entry("f", bytes(5000))), archive(*[entry(f"{number}") for number in range(100)])):
        with pytest.raises(LimitError) as limit:
            unpacked(data, 4096)
        assert limit.value.code == "limit-filesystem"


def test_a_size_that_lies_costs_nothing() -> None:
    info, _ = entry("f")
    info.size = 1 << 40
    with pytest.raises(LimitError):
        unpacked(info.tobuf() + bytes(1024))
    info.size = LIMIT // 2
    fs = file_system()
    with pytest.raises(WorkloadError, match="unexpected end"):
        unpack(info.tobuf() + bytes(1024), fs, fs.root)
    assert fs.used == 0


def test_a_sparse_file_is_refused() -> None:
    info, data = entry("f")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "9",
    }
    refuse(archive((info, data)), "neither a file")


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "MAX_ENTRIES", 10)
    unpacked(archive(*[entry(f"{number}") for number in range(10)]))
    refuse(archive(*[entry(f"{number}") for number in range(11)]), "too many entries")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_headers_that_only_lead_to_headers_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type = kind
    refuse(info.tobuf(tarfile.GNU_FORMAT) * 5000, "cannot be unpacked")


def test_a_negative_size_is_refused() -> None:
    info, _ = entry("f")
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 12  # base 256, minus one
    raw[148:156] = b" " * 8
    raw[148:155] = b"%06o\0" % sum(raw)
    with pytest.raises(WorkloadError):
        unpacked(bytes(raw) + bytes(1024))


SAMPLE = archive(
    directory("d"),
    entry("d/file", b"content" * 100),
    link("d/link", "file"),
    entry("n" * 200, b"long name", mtime=1.5),
)


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=12)), max_size=6), st.data())
def test_a_damaged_archive_is_unpacked_or_refused_and_never_more_than_the_limit(
    damage: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    raw = bytearray(SAMPLE)
    for start, patch in damage:
        raw[start : start + len(patch)] = patch
        if data.draw(st.booleans()):  # a header whose checksum is right gets further
            block = start // 512 * 512
            raw[block + 148 : block + 156] = b" " * 8
            raw[block + 148 : block + 155] = b"%06o\0" % (sum(raw[block : block + 512]) & 0o777777)
    fs = file_system()
    with contextlib.suppress(WorkloadError, LimitError):
        unpack(bytes(raw), fs, fs.root)
    assert 0 <= fs.used <= LIMIT


def test_odd_records_in_a_header_are_refused_or_left_out() -> None:
    for records in (b"11 size=-1\n", b"12 size=1e9\n", b"7 a=\xff\n", b"0 a=b\n", b"99999999999 a=b\n", b"6 =\0b\n"):
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, len(records)
        follows, _ = entry("f")
        raw = info.tobuf() + records.ljust(512, b"\0") + follows.tobuf() + bytes(1024)
        fs = file_system()
        try:
            unpack(raw, fs, fs.root)
        except WorkloadError:
            continue
        assert set(fs.root.entries) == {"f"}
