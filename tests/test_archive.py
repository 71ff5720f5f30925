"""The package archive: one encoding for each content, and nothing else is read."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive
from enarx.archive import END, Entry, entries, header, padding, sort_key
from enarx.errors import MalformedError
from tests import archives
from tests.archives import MODULE, Part, pack

SIMPLE: list[Part] = [
    ("Enarx.toml", b"args = []\n"),
    ("main.wasm", MODULE),
    ("files", None),
    ("files/a", None),
    ("files/a/x", b"in a"),
    ("files/a.b", b"sorts after what is in a"),
    ("files/empty", b""),
]


def contents(data: bytes) -> list[Part]:
    return [
        (found.path, None if found.directory else data[found.offset : found.offset + found.size])
        for found in entries(data)
    ]


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        list(entries(data))
    assert caught.value.hint
    return caught.value.code


def below(*parts: Part) -> bytes:
    """A package with these parts below ``files/``, in their order."""
    return pack([("main.wasm", MODULE), ("files", None), *parts])


def with_header(block: bytes, content: bytes = b"") -> bytes:
    """A package in which one header is anything."""
    return pack([("main.wasm", MODULE), ("files", None)], end=b"") + block + content + END


# What is read


def test_entries_tell_where_their_content_is() -> None:
    data = pack([("main.wasm", MODULE), ("files", None), ("files/a", b"abc")])
    assert list(entries(data)) == [
        Entry("main.wasm", directory=False, offset=512, size=8),
        Entry("files", directory=True, offset=1536, size=0),
        Entry("files/a", directory=False, offset=2048, size=3),
    ]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_read(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    assert [found.path for found in entries(kind(pack(SIMPLE)))] == [path for path, _ in SIMPLE]


def test_a_buffer_is_free_when_it_has_been_read() -> None:
    data = bytearray(pack(SIMPLE))
    assert len(list(entries(data))) == len(SIMPLE)
    data.clear()  # raises BufferError while anything still looks at it


def test_a_module_alone_is_a_package() -> None:
    assert contents(pack([("main.wasm", b"")])) == [("main.wasm", b"")]


def test_files_may_be_an_empty_directory() -> None:
    parts: list[Part] = [("main.wasm", MODULE), ("files", None)]
    assert contents(pack(parts)) == parts


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513])
def test_contents_are_padded_to_blocks(length: int) -> None:
    assert (length + len(padding(length))) % 512 == 0
    data = below(("files/a", b"x" * length))
    assert len(data) % 512 == 0
    assert contents(data)[-1] == ("files/a", b"x" * length)


@pytest.mark.parametrize(
    "path",
    [
        "files/" + "n" * 100,
        "files/" + "p" * 90 + "/" + "q" * 58 + "/" + "n" * 100,
        "files/é ☃\n\\",
        "files/...",
        "files/-",
    ],
)
def test_paths_that_fit_are_read(path: str) -> None:
    parts = path.split("/")
    directories = ["/".join(parts[:count]) for count in range(2, len(parts))]
    wanted: list[Part] = [*((one, None) for one in directories), (path, b"content")]
    assert contents(below(*wanted))[2:] == wanted


# What is not: each header below is written by hand, with a checksum that fits


@pytest.mark.parametrize("path", [b"/etc/passwd", b"/files/a", b"/main.wasm", b"/"])
def test_absolute_path_is_refused(path: bytes) -> None:
    assert refusal(with_header(archives.header(path))) == "package-path"


@pytest.mark.parametrize("path", [b"..", b"../x", b"files/../x", b"files/..", b"files/./x", b"./main.wasm", b"."])
def test_path_with_dots_is_refused(path: bytes) -> None:
    assert refusal(with_header(archives.header(path))) == "package-path"
    assert refusal(with_header(archives.header(path + b"/", kind=b"5"))) == "package-path"


@pytest.mark.parametrize("path", [b"files//a", b"files/a/", b"", b"files/a\0b", b"files/\xff", b"files/\xed\xa0\x80"])
def test_path_that_is_not_plain_is_refused(path: bytes) -> None:
    assert refusal(with_header(archives.header(path))) == "package-path"


def test_path_with_an_empty_part_between_prefix_and_name_is_refused() -> None:
    assert refusal(with_header(archives.header(b"a", prefix=b"files/"))) == "package-path"
    assert refusal(with_header(archives.header(b"/a", prefix=b"files"))) == "package-path"


def test_prefix_that_is_longer_than_needed_is_refused() -> None:
    assert refusal(with_header(archives.header(b"a", prefix=b"files"))) == "package-not-canonical"


@pytest.mark.parametrize("kind", [b"1", b"2"])
def test_link_is_refused(kind: bytes) -> None:
    assert refusal(with_header(archives.header(b"files/a", kind=kind, linkname=b"main.wasm"))) == "package-entry"


@pytest.mark.parametrize("kind", [b"3", b"4", b"6", b"7"])
def test_device_and_pipe_are_refused(kind: bytes) -> None:
    assert refusal(with_header(archives.header(b"files/a", kind=kind, devmajor=b"0000001\0"))) == "package-entry"


@pytest.mark.parametrize("kind", [b"\0", b"x", b"g", b"L", b"K", b"S", b"D", b"M", b"V", b"9"])
def test_extension_is_refused(kind: bytes) -> None:
    assert refusal(with_header(archives.header(b"files/a", kind=kind))) == "package-entry"


@pytest.mark.parametrize(
    "size",
    [
        b"\x80\0\0\0" + (1 << 63).to_bytes(8, "big"),
        b"\x80" + bytes(10) + b"\5",
        b"\xff" * 12,
        b"-0000000001\0",
        b"00000000008\0",
        b"        005\0",
        b"000000000005",
        b"5" + bytes(11),
        bytes(12),
    ],
    ids=["2^63", "base-256", "base-256-negative", "minus", "not-octal", "blanks", "no-end", "left", "empty"],
)
def test_size_that_is_not_11_octal_digits_is_refused(size: bytes) -> None:
    assert refusal(with_header(archives.header(b"files/a", size=size), bytes(512))) == "package-size"


def test_size_beyond_the_archive_is_refused() -> None:
    largest = b"77777777777\0"
    assert refusal(with_header(archives.header(b"files/a", size=largest))) == "package-truncated"
    just_past = b"%011o\0" % 1
    assert refusal(with_header(archives.header(b"files/a", size=just_past))) == "package-truncated"


def test_directory_with_a_content_is_refused() -> None:
    block = archives.header(b"files/a/", kind=b"5", size=b"%011o\0" % 512)
    assert refusal(with_header(block, bytes(512))) == "package-size"


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": b"0000755\0"}, {"mode": b"0004644\0"}, {"mode": b"000644 \0"}, {"uid": b"0001750\0"},
        {"gid": b"0001750\0"}, {"mtime": b"14000000000\0"}, {"linkname": b"x"}, {"uname": b"root"},
        {"gname": b"root"}, {"devmajor": b"0000000\0"}, {"rest": b"x"},
    ],
    ids=str,
)  # fmt: skip
def test_header_with_anything_else_in_it_is_refused(fields: dict[str, bytes]) -> None:
    assert refusal(with_header(archives.header(b"files/a", **fields))) == "package-not-canonical"


def test_something_behind_the_end_of_a_name_is_refused() -> None:
    assert refusal(with_header(archives.header(b"files/a\0\0x"))) == "package-path"


def test_directory_without_its_slash_is_refused() -> None:
    assert refusal(with_header(archives.header(b"files/a", kind=b"5"))) == "package-not-canonical"


def test_wrong_checksum_is_refused() -> None:
    block = bytearray(archives.header(b"files/a"))
    block[153] ^= 1
    assert refusal(with_header(bytes(block))) == "package-not-canonical"


@pytest.mark.parametrize("magic", [b"ustar  \0", b"ustar\x0001", bytes(8)], ids=["gnu", "version", "v7"])
def test_other_kinds_of_tar_are_refused(magic: bytes) -> None:
    assert refusal(with_header(archives.header(b"files/a", magic=magic))) == "package-not-archive"


def test_duplicates_are_refused() -> None:
    assert refusal(below(("files/a", b"1"), ("files/a", b"2"))) == "package-duplicate"
    assert refusal(below(("files/a", None), ("files/a", None))) == "package-duplicate"
    assert refusal(below(("files/a", None), ("files/a", b""))) == "package-duplicate"
    assert refusal(pack([("main.wasm", MODULE), ("main.wasm", MODULE)])) == "package-duplicate"
    assert refusal(below(("files", None))) == "package-duplicate"
    assert refusal(below(("files/a", b"1"), ("files/b", b""), ("files/a", b"2"))) == "package-order"


def test_wrong_order_is_refused() -> None:
    assert refusal(pack([("main.wasm", MODULE), ("Enarx.toml", b"")])) == "package-order"
    assert refusal(pack([("files", None), ("main.wasm", MODULE)])) == "package-order"
    assert refusal(below(("files/b", b""), ("files/a", b""))) == "package-order"
    assert refusal(below(("files/a.b", b""), ("files/a", None), ("files/a/x", b""))) == "package-order"
    assert refusal(pack([("main.wasm", MODULE), ("files/a", b"")])) == "package-order"


def test_entry_in_no_directory_is_refused() -> None:
    assert refusal(below(("files/a/x", b""))) == "package-order"
    assert refusal(below(("files/a", b"a file"), ("files/a/x", b""))) == "package-order"
    assert refusal(below(("files/a", None), ("files/b", None), ("files/c/x", b""))) == "package-order"
    assert refusal(pack([("main.wasm", MODULE), ("zoo/x", b"")])) == "package-order"


@pytest.mark.parametrize("path", ["README", "main.wat", "enarx.toml", "Enarx.toml.sig", "Files"])
def test_anything_else_at_the_top_is_refused(path: str) -> None:
    assert refusal(pack([(path, b""), ("main.wasm", MODULE)])) == "package-name"
    assert refusal(pack([("main.wasm", MODULE), (path, None)])) == "package-name"


def test_names_at_the_top_have_their_kinds() -> None:
    assert refusal(pack([("main.wasm", None)])) == "package-name"
    assert refusal(pack([("Enarx.toml", None), ("main.wasm", MODULE)])) == "package-name"
    assert refusal(pack([("main.wasm", MODULE), ("files", b"")])) == "package-name"


def test_package_without_a_module_is_refused() -> None:
    assert refusal(pack([("Enarx.toml", b"")])) == "package-no-module"
    assert refusal(END) == refusal(b"") == "package-not-archive"


def test_padding_that_is_not_zero_is_refused() -> None:
    data = bytearray(pack(SIMPLE))
    content = data.index(b"in a")
    for place in (content + 4, content + 511):
        changed = data.copy()
        changed[place] = 1
        assert refusal(bytes(changed)) == "package-padding"


def test_something_after_the_end_is_refused() -> None:
    data = pack(SIMPLE)
    assert refusal(data + b"\0") == "package-trailing"
    assert refusal(data + bytes(512)) == "package-trailing"
    assert refusal(data + pack(SIMPLE)) == "package-trailing"
    assert refusal(data[:-1] + b"x") == "package-trailing"
    assert refusal(data[:-512] + archives.header(b"files/z")) == "package-trailing"


def test_tar_that_is_padded_to_records_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(archives.info("main.wasm", MODULE), io.BytesIO(MODULE))
    assert refusal(buffer.getvalue()) == "package-trailing"


def test_every_shorter_archive_is_refused() -> None:
    data = pack(SIMPLE)
    for length in {*range(0, len(data), 64), *range(len(data) - 1030, len(data))}:
        assert refusal(data[:length]) == ("package-truncated" if length >= 512 else "package-not-archive")


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compressed_package_is_not_decompressed(compress: Callable[[bytes], bytes]) -> None:
    """So that there is no decompression bomb: nothing is ever decompressed."""
    bomb = pack([("main.wasm", MODULE + bytes(1 << 20))])
    assert refusal(compress(bomb)) == "package-not-archive"


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", len(SIMPLE))
    assert len(contents(pack(SIMPLE))) == len(SIMPLE)
    monkeypatch.setattr(archive, "MAX_ENTRIES", len(SIMPLE) - 1)
    assert refusal(pack(SIMPLE)) == "package-too-many"


def test_a_late_fault_is_raised_before_the_iteration_ends() -> None:
    found = entries(pack(SIMPLE) + b"x")
    assert next(found).path == "Enarx.toml"
    with pytest.raises(MalformedError):
        list(found)


def test_message_shows_a_foreign_path_without_control_characters() -> None:
    with pytest.raises(MalformedError) as caught:
        list(entries(with_header(archives.header(b"files/\x1b[2J/../" + b"x" * 80))))
    assert caught.value.message.isprintable()


# What is written


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "a/..", "./a", "a\0", "\ud800", "n" * 101])
def test_header_for_a_path_that_is_not_allowed_is_refused(path: str) -> None:
    for directory in (False, True):
        with pytest.raises(MalformedError) as caught:
            header(path, 0, directory=directory)
        assert caught.value.code == "package-path"


def test_lengths_just_past_the_bounds_are_refused() -> None:
    header("p" * 155 + "/" + "n" * 100, 0)
    for path in ("p" * 156 + "/" + "n" * 100, "p" * 155 + "/" + "n" * 101):
        with pytest.raises(MalformedError):
            header(path, 0)
    header("n" * 99, 0, directory=True)
    with pytest.raises(MalformedError):
        header("n" * 100, 0, directory=True)  # its slash needs the last byte
    header("a", 8**11 - 1)
    for size in (8**11, -1):
        with pytest.raises(MalformedError) as caught:
            header("a", size)
        assert caught.value.code == "package-size"


# Against the standard library, and for any content

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
NODES = st.recursive(st.binary(max_size=1100), lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12)
TREES = st.dictionaries(NAMES, NODES, max_size=4)


def listed(tree: dict[str, Any], path: str) -> list[Part]:
    found: list[Part] = [(path, None)]
    for name in sorted(tree, key=str.encode):
        node = tree[name]
        found += listed(node, f"{path}/{name}") if isinstance(node, dict) else [(f"{path}/{name}", node)]
    return found


@st.composite
def packages(draw: st.DrawFn) -> list[Part]:
    config: list[Part] = [("Enarx.toml", draw(st.binary(max_size=600)))] if draw(st.booleans()) else []
    files = listed(draw(TREES), "files") if draw(st.booleans()) else []
    return [*config, ("main.wasm", draw(st.binary(max_size=600))), *files]


@given(packages())
def test_what_is_packed_is_read(parts: list[Part]) -> None:
    assert contents(pack(parts)) == parts
    below_files = [path for path, _ in parts if path.startswith("files")]
    assert sorted(below_files, key=sort_key) == below_files


@given(packages())
def test_tarfile_writes_the_same_bytes_and_reads_the_same_content(parts: list[Part]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for path, content in parts:
            tar.addfile(archives.info(path, content), io.BytesIO(content or b""))
        end = buffer.tell()
    ours = pack(parts)
    assert buffer.getvalue()[:end] + END == ours
    with tarfile.open(fileobj=io.BytesIO(ours), mode="r:", encoding="utf-8") as tar:
        members = [(found, tar.extractfile(found)) for found in tar]
        theirs = [(found.name, file.read() if file else None) for found, file in members]
    assert theirs == parts


@given(packages(), st.data())
def test_no_other_bytes_are_read_as_a_package(parts: list[Part], data: st.DataObject) -> None:
    """One encoding per content: a change is either in a content, or it is refused."""
    packed = bytearray(pack(parts))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    try:
        found = contents(bytes(packed))
    except MalformedError:
        return
    assert found != parts
    assert [path for path, _ in found] == [path for path, _ in parts]
    assert pack(found) == packed


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for one in (data, data + END, archives.header(b"main.wasm") + data + END):
        try:
            found = contents(one)
        except MalformedError:
            continue
        assert pack(found) == one


@given(st.binary(max_size=100), st.binary(max_size=155), st.sampled_from([b"0", b"5"]), st.integers(0, 600))
def test_any_header_is_read_or_refused(name: bytes, prefix: bytes, kind: bytes, size: int) -> None:
    block = archives.header(name, prefix=prefix, kind=kind, size=b"%011o\0" % size)
    data = with_header(block, bytes(size + -size % 512))
    try:
        found = contents(data)
    except MalformedError:
        return
    assert pack(found) == data
