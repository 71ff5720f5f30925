"""What the user names is read from disk whole and once, or an error names the file."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from enarx.errors import ConfigError, HostError, UsageError
from enarx.host import load
from enarx.host.filebytes import parts_of
from enarx.host.load import archive, load_package, path_of

CA = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def members(root: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive(root))) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "below").mkdir(parents=True)
    (site / "below" / "page").write_text("a page")
    (site / "page").write_text("another")
    (site / "link").symlink_to("../outside")
    os.link(site / "page", site / "same")
    return site


def test_a_package_holds_config_certificates_module_and_directories_in_order(tmp_path: Path, site: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA)
    text = '[[files]]\nkind = "connect"\nhost = "localhost"\nport = 1\nca = ["ca.pem"]\n'
    (tmp_path / "Enarx.toml").write_text(text)
    (tmp_path / "app.wasm").write_bytes(b"\0asm")
    package = load_package(
        module=tmp_path / "app.wasm", config=tmp_path / "Enarx.toml", directories=[f"{site}::/b"], env=["A=1", "B=x=y"]
    )
    assert [(kind, name) for kind, name, _ in package.objects] == [
        ("config", "Enarx.toml"), ("ca", "ca.pem"), ("module", "main.wasm"), ("layer", "/b"),
    ]  # fmt: skip
    assert [b"".join(parts_of(data)) for _, _, data in package.objects[:3]] == [text.encode(), CA, b"\0asm"]
    assert package.env == [("A", "1"), ("B", "x=y")]


def test_an_archive_has_parents_first_links_as_links_and_nobody_as_owner(site: Path) -> None:
    found = members(site)
    assert list(found) == sorted(found, key=lambda name: (name.count("/"), name))
    assert {name for name, member in found.items() if member.isdir()} == {"below"}
    assert {name for name, member in found.items() if member.isreg()} == {"below/page", "page", "same"}
    assert found["link"].linkname == "../outside"
    assert {(member.uid, member.gid, member.uname, member.gname) for member in found.values()} == {(0, 0, "", "")}


def test_what_is_neither_file_directory_nor_link_is_left_out(site: Path) -> None:
    os.mkfifo(site / "fifo")
    assert "fifo" not in members(site)


@pytest.mark.parametrize("place", ["file", "directory", "link"])
def test_a_name_that_is_not_utf_8_is_told_with_its_path(place: str, site: Path) -> None:
    odd = os.fsencode(site) + b"/below/\xff"
    if place == "file":
        open(odd, "wb").close()
    elif place == "directory":
        os.mkdir(odd)
    else:
        os.symlink(b"\xff", os.fsencode(site) + b"/below/link")
    with pytest.raises(HostError) as caught:
        archive(site)
    assert caught.value.code == "file-name"
    assert f"{site}/below/" in caught.value.message
    assert caught.value.hint


def test_more_files_than_a_launch_can_announce_are_refused(tmp_path: Path, site: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(b"\0asm")
    fit = [f"{site}::/{number}" for number in range(load.MAX_FILES - 1)]  # the module is one
    assert load_package(module=tmp_path / "app.wasm", config=None, directories=fit, env=[])
    with pytest.raises(UsageError, match=f"has {load.MAX_FILES + 1} files .* more than {load.MAX_FILES}"):
        load_package(module=tmp_path / "app.wasm", config=None, directories=[*fit, f"{site}::/x"], env=[])


def test_a_directory_that_is_too_large_is_refused_before_it_is_read(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MAX_DIRECTORY_BYTES", 1 << 20)
    with (site / "sparse").open("wb") as file:
        file.truncate(1 << 40)  # reading it would fill the memory of this machine
    with pytest.raises(HostError) as caught:
        archive(site)
    assert caught.value.code == "file-too-large"


def test_many_small_files_are_counted_too(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_DIRECTORY_BYTES", 4096)
    for number in range(20):
        (site / str(number)).mkdir()
    with pytest.raises(HostError) as caught:
        archive(site)
    assert caught.value.code == "file-too-large"


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        archive(tmp_path / "gone")
    assert str(tmp_path / "gone") in caught.value.message


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_cannot_be_a_path(text: str) -> None:
    with pytest.raises(UsageError):
        path_of(text)


@pytest.mark.parametrize("text", ["", "x", "::", "::/", "x::", "x:/"])
def test_what_is_no_pair_of_directories(text: str, tmp_path: Path) -> None:
    (tmp_path / "app.wasm").touch()
    with pytest.raises(UsageError):
        load_package(module=tmp_path / "app.wasm", config=None, directories=[text], env=[])


@pytest.mark.parametrize("text", ["", "A", "=", "=x"])
def test_what_is_no_variable(text: str, tmp_path: Path) -> None:
    (tmp_path / "app.wasm").touch()
    with pytest.raises(UsageError):
        load_package(module=tmp_path / "app.wasm", config=None, directories=[], env=[text])


def test_a_module_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_MODULE_BYTES", 10)
    (tmp_path / "app.wasm").write_bytes(bytes(11))
    with pytest.raises(HostError) as caught:
        load_package(module=tmp_path / "app.wasm", config=None, directories=[], env=[])
    assert caught.value.code == "file-too-large"


def test_a_config_that_cannot_be_read_is_an_error_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_package(module=tmp_path, config=tmp_path / "none.toml", directories=[], env=[])
    assert caught.value.code == "file-unreadable"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_module_may_come_from_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"\0asm")
    os.close(write)
    try:
        package = load_package(module=Path(f"/dev/fd/{read}"), config=None, directories=[], env=[])
    finally:
        os.close(read)
    assert b"".join(parts_of(package.objects[0][2])) == b"\0asm"
