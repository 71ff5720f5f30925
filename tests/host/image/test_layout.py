"""The directory of an image: what is there, what is missing, and what has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.image import layout


def sample(directory: Path, **changes: bytes) -> Path:
    """A small image; ``changes`` are other contents of its launched files, after its description was written."""
    files = {layout.KERNEL: b"kernel", layout.INITRD: b"initrd", layout.CMDLINE: b"quiet -- x", layout.FIRMWARE: b"fw"}
    directory.mkdir(exist_ok=True)
    text = f'format = {layout.FORMAT}\nkind = "stock"\n'
    for name, data in files.items():
        text += f'[files."{name}"]\nsha256 = "sha256:{hashlib.sha256(data).hexdigest()}"\n'
        (directory / name).write_bytes(changes.get(name.replace(".", "_"), data))
    (directory / layout.DESCRIPTION).write_text(text)
    return directory


def refused(directory: Path) -> HostError:
    with pytest.raises(HostError) as caught:
        layout.open_image(directory)
    return caught.value


def test_an_image_is_opened_and_verified(tmp_path: Path) -> None:
    image = layout.open_image(sample(tmp_path / "image"))
    assert (image.kind, image.cmdline) == ("stock", "quiet -- x")
    assert image.kernel.read_bytes() == b"kernel"
    assert set(image.digests) == set(layout.LAUNCHED)
    layout.verify(image)


@pytest.mark.parametrize("name", layout.LAUNCHED)
def test_a_changed_byte_is_found(name: str, tmp_path: Path) -> None:
    image = layout.open_image(sample(tmp_path / "image"))
    data = bytearray((image.directory / name).read_bytes())
    data[0] ^= 1
    (image.directory / name).write_bytes(data)
    with pytest.raises(HostError) as caught:
        layout.verify(image)
    assert caught.value.code == "image-changed"
    assert name in caught.value.message


@pytest.mark.parametrize("name", [layout.DESCRIPTION, *layout.LAUNCHED])
def test_a_missing_file_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    (sample(tmp_path / "image") / name).unlink()
    error = refused(tmp_path / "image")
    assert error.code == "image-missing"
    assert name in error.message
    assert "enarx image build" in error.hint


def test_no_directory_is_said_to_be_no_image(tmp_path: Path) -> None:
    error = refused(tmp_path / "nothing")
    assert (error.code, "there is no image" in error.message) == ("image-missing", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format =", "not TOML"),
        ("format = 2", "format 2"),
        (f"format = {layout.FORMAT}", "kind = None"),
        (f'format = {layout.FORMAT}\nkind = "theirs"', "kind = 'theirs'"),
        (f'format = {layout.FORMAT}\nkind = "own"', "names no digest"),
        (f'format = {layout.FORMAT}\nkind = "own"\nfiles = 7', "names no digest"),
        (f'format = {layout.FORMAT}\nkind = "own"\n[files]\n"../x" = {{ sha256 = "sha256:00" }}', "no usable entry"),
        (f'format = {layout.FORMAT}\nkind = "own"\n[files]\nvmlinuz = 3', "no usable entry"),
        ("#" * (layout.MAX_BYTES[layout.DESCRIPTION] + 1), "more than"),
    ],
)
def test_a_description_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (sample(tmp_path / "image") / layout.DESCRIPTION).write_text(text)
    error = refused(tmp_path / "image")
    assert error.code == "image-invalid"
    assert said in error.message


@pytest.mark.parametrize(("cmdline", "said"), [(b"a\nb", "line break"), (b"\xff", "not ASCII"), (b"", "0 bytes")])
def test_a_command_line_that_is_none_is_refused(cmdline: bytes, said: str, tmp_path: Path) -> None:
    error = refused(sample(tmp_path / "image", cmdline=cmdline))
    assert error.code == "image-invalid"
    assert said in error.message


def test_a_command_line_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    limit = layout.MAX_BYTES[layout.CMDLINE]
    assert layout.open_image(sample(tmp_path / "longest", cmdline=b"x" * limit)).cmdline == "x" * limit
    assert "expected 1 to" in refused(sample(tmp_path / "longer", cmdline=b"x" * (limit + 1))).message


def test_a_file_that_is_none_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    directory = sample(tmp_path / "image")
    (directory / layout.INITRD).unlink()
    os.mkfifo(directory / layout.INITRD)
    assert "not a regular file" in refused(directory).message


def test_where_an_image_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for variable, value, expected in (
        ("XDG_DATA_HOME", "", "/home/somebody/.local/share/enarx/image"),
        ("XDG_DATA_HOME", "/data", "/data/enarx/image"),
        ("ENARX_IMAGE", "/images/1", "/images/1"),
    ):
        monkeypatch.setenv(variable, value)
        assert str(layout.default_directory()) == expected
