"""What may be packed, and what is refused by its name."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from enarx import archive
from enarx.errors import ConfigError, EnarxError, UsageError, WorkloadError
from enarx.tenant.package import source
from enarx.tenant.package.source import read_source
from tests.tenant.package.modules import CONFIG, HELLO, workload


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return workload(tmp_path / "app", {"a": b"1", "d/x": b"22", "d/y/z": b"", "empty": None})


def refusal(place: Path, code: str) -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        read_source(place)
    assert caught.value.code == code
    assert caught.value.hint
    assert not isinstance(caught.value, ConfigError) or code.startswith("config")
    return caught.value


def test_a_directory_is_read(place: Path) -> None:
    found = read_source(place)
    assert (found.module, found.config_bytes) == (HELLO, CONFIG.encode())
    assert [file.name for file in found.config.files] == ["stdout"]
    assert [(entry.path, entry.directory, entry.size) for entry in found.entries()] == [
        ("files", True, 0),
        ("files/a", False, 1),
        ("files/d", True, 0),
        ("files/d/x", False, 2),
        ("files/d/y", True, 0),
        ("files/d/y/z", False, 0),
        ("files/empty", True, 0),
    ]


def test_a_source_makes_an_archive_of_the_length_that_it_says(place: Path) -> None:
    found = read_source(place)
    data = b"".join(found.pieces())
    assert len(data) == found.archive_bytes
    assert [one.path for one in archive.entries(data)][:2] == ["Enarx.toml", "main.wasm"]


def test_a_module_alone_is_a_source_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(HELLO)
    (tmp_path / "Enarx.toml").write_text("not for this module")
    (tmp_path / "link").symlink_to("app.bin")
    for name in ("app.bin", "link"):
        found = read_source(tmp_path / name)
        assert (found.module, found.config_bytes, found.files) == (HELLO, None, ())
        assert len(found.config.files) == 3
        assert (
            b"".join(found.pieces())
            == archive.header("main.wasm", len(HELLO)) + HELLO + archive.padding(len(HELLO)) + archive.END
        )


def test_everything_below_files_is_taken_hidden_or_not(tmp_path: Path) -> None:
    found = read_source(workload(tmp_path, {".hidden": b"x", ".git/config": b"y"}))
    assert [entry.path for entry in found.entries()][1:] == ["files/.git", "files/.git/config", "files/.hidden"]


def test_two_names_of_one_file_are_two_files(tmp_path: Path) -> None:
    place = workload(tmp_path, {"a": b"same"})
    os.link(place / "files" / "a", place / "files" / "b")
    assert [entry.size for entry in read_source(place).entries()] == [0, 4, 4]


@pytest.mark.parametrize("name", ["README.md", ".git", "main.wat", "enarx.toml", "Enarx.toml~", "main.wasm.bak"])
def test_any_other_file_beside_them_is_an_error_that_names_it(place: Path, name: str) -> None:
    (place / name).write_bytes(b"")
    error = refusal(place, "package-file-name")
    assert error.message == f"Invalid file name: {place / name}"
    (place / name).unlink()
    (place / name).mkdir()
    assert name in refusal(place, "package-file-name").message


def test_the_first_error_is_the_same_everywhere(place: Path) -> None:
    for name in ("zz", "aa", "mm"):
        (place / name).write_bytes(b"")
    assert refusal(place, "package-file-name").message.endswith("/aa")


def test_directory_without_a_module_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "package-no-module").message == "directory does not contain `main.wasm`"


@pytest.mark.parametrize("name", ["main.wasm", "Enarx.toml", "files", "files/a", "files/d/x", "files/d"])
def test_link_is_refused_with_what_to_do(place: Path, name: str, tmp_path: Path) -> None:
    (place / name).rename(tmp_path / "moved")
    for target in (tmp_path / "moved", Path("nowhere")):
        (place / name).symlink_to(target)
        error = refusal(place, "package-file")
        assert error.message == f"{place / name} is a link, and a package has none"
        assert "cp --dereference" in error.hint
        (place / name).unlink()


@pytest.mark.parametrize("name", ["main.wasm", "files/a", "files/d/new"])
@pytest.mark.parametrize("kind", ["pipe", "socket", *(["device"] if os.geteuid() == 0 else [])])
def test_what_is_neither_file_nor_directory_is_refused(place: Path, name: str, kind: str) -> None:
    where = place / name
    where.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(where)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            before = Path.cwd()
            os.chdir(where.parent)  # a socket's path is short
            one.bind(where.name)
            os.chdir(before)
    else:
        os.mknod(where, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert refusal(place, "package-file").message == f"{where} is a {kind}"


def test_names_at_the_top_have_their_kinds(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").mkdir()
    assert refusal(tmp_path, "package-file").message.endswith("main.wasm is a directory")
    (tmp_path / "main.wasm").rmdir()
    workload(tmp_path)
    (tmp_path / "files").write_bytes(b"")
    assert refusal(tmp_path, "package-file").message.endswith("files is a file")


@pytest.mark.parametrize(
    "name", [b"\xff", b"n" * 101, b"p" * 100 + b"/" + b"q" * 60 + b"/x"], ids=["not-utf-8", "long", "deep"]
)
def test_name_that_an_archive_cannot_have_is_refused(tmp_path: Path, name: bytes) -> None:
    place = workload(tmp_path, {"a": b""})
    where = Path(os.fsdecode(os.fsencode(place / "files") + b"/" + name))
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(b"")
    error = refusal(place, "package-file")
    assert "cannot be in a package" in error.message
    assert error.message.isprintable()


def test_deep_directories_are_no_recursion(tmp_path: Path) -> None:
    place = workload(tmp_path, {"/".join("d" * 120): b"deep"})
    assert len(list(read_source(place).entries())) == 121


def test_too_many_files_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = 2 + len(read_source(place).files)
    monkeypatch.setattr(archive, "MAX_ENTRIES", total + 2)
    read_source(place)
    monkeypatch.setattr(archive, "MAX_ENTRIES", total)
    refusal(place, "package-file")


def test_wrong_config_is_an_error_with_its_place(place: Path) -> None:
    (place / "Enarx.toml").write_text("a = 1")
    assert refusal(place, "config-unknown-key").message.startswith(f"{place / 'Enarx.toml'}:1:1: ")


def test_what_cannot_be_read_is_a_clear_error(place: Path, tmp_path: Path) -> None:
    refusal(tmp_path / "missing", "file-unreadable")
    refusal(Path("a\0b"), "file-unreadable")
    refusal(Path("/dev/null"), "file-unreadable")
    os.mkfifo(tmp_path / "pipe")
    refusal(tmp_path / "pipe", "file-unreadable")  # and it does not wait for a writer


def test_too_large_files_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_MODULE_BYTES", len(HELLO) - 1)
    refusal(place, "file-size")
    monkeypatch.undo()
    monkeypatch.setattr(source, "MAX_CONFIG_BYTES", len(CONFIG) - 1)
    refusal(place, "file-size")


@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "link", "pipe"])
def test_file_that_changes_while_it_is_read_is_noticed(place: Path, change: str) -> None:
    found = read_source(place)
    where = place / "files" / "d" / "x"
    if change in ("longer", "shorter"):
        where.write_bytes(b"333" if change == "longer" else b"4")
    else:
        where.unlink()
    if change == "link":
        where.symlink_to(place / "main.wasm")
    if change == "pipe":
        os.mkfifo(where)
    with pytest.raises(UsageError) as caught:
        list(found.pieces())
    assert caught.value.code in ("file-changed", "file-unreadable")


def test_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    place = workload(tmp_path, {"large": b"x" * (2 * source.PIECE_BYTES + 1)})
    sizes = [len(piece) for piece in read_source(place).pieces()]
    assert max(sizes) == source.PIECE_BYTES


def test_errors_about_content_are_the_workloads(place: Path) -> None:
    (place / "x").write_bytes(b"")
    with pytest.raises(WorkloadError):
        read_source(place)
