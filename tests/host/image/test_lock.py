"""Lock files: what is written is read back, and what cannot build an image is refused with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError
from enarx.host.image.inputs import ARCHIVES, PACKAGES, WHEELS
from enarx.host.image.lock import LOCK_MAX_BYTES, Lock, format_lock, own_lock, parse_lock, read_lock

OWN = parse_lock(own_lock())


def refused(text: str | bytes, **settings: bool) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_lock(text.encode() if isinstance(text, str) else text, "x.lock", **settings)
    assert "enarx image lock" in caught.value.hint
    return caught.value


def test_own_lock_file_is_as_the_program_writes_it_and_covers_what_is_asked_for() -> None:
    assert format_lock(OWN) == own_lock()
    assert OWN.archives == ARCHIVES
    asked = {wanted.name for wanted in PACKAGES if not wanted.follow} | set(WHEELS)
    assert asked <= {one.name for one in OWN.inputs}


@given(st.lists(st.sampled_from(OWN.debs), unique=True), st.text(alphabet='abc"\\ .[]{}=#', min_size=1))
def test_what_is_written_is_read_back(debs: list[object], source: str) -> None:
    lock = Lock({"any": (source,)}, tuple(deb for deb in OWN.debs if deb in debs), OWN.wheels)
    assert parse_lock(format_lock(lock), complete=False) == lock


@given(st.binary(max_size=200))
def test_bytes_that_are_no_lock_file_are_refused(data: bytes) -> None:
    assert refused(data).code in ("lock-syntax", "lock-value")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format is 2"),
        ("format = 1", "format = 1\nmore = 1", "more is not a key"),
        ('use = "root"', 'use = "anything"', "use is 'anything'"),
        ("bytes = ", "bytes = -", "bytes is -"),
        ("bytes = ", "bytes = true #", "bytes is True"),
        ('sha256 = "', 'sha256 = "0', "which is no such value"),
        ('url = "http', 'url = "ftp', "url is 'ftp"),
        ('file = "', 'file = "../', "file is '../"),
        ('version = "', 'size = "', "size is not a key"),
        ('name = "libc6"', 'name = "libffi8"', "libffi8 is there twice"),
        ("[archive]", "[archives]", "there is no [archive] table"),
    ],
)
def test_a_value_that_is_wrong_is_named(old: str, new: str, said: str) -> None:
    text = own_lock().decode()
    assert old in text
    error = refused(text.replace(old, new, 1))
    assert error.code == "lock-value"
    assert said in error.message


def test_a_lock_file_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.lock"
    path.write_bytes(own_lock() + b"#" * LOCK_MAX_BYTES)
    with pytest.raises(ConfigError, match="more than"):
        read_lock(path)


@pytest.mark.parametrize("name", [wanted.name for wanted in PACKAGES if not wanted.follow])
def test_an_input_that_is_missing_is_named_before_anything_is_fetched(name: str) -> None:
    without = replace(OWN, debs=tuple(deb for deb in OWN.debs if deb.name != name))
    error = refused(format_lock(without))
    assert (error.code, name in error.message) == ("lock-incomplete", True)
    assert parse_lock(format_lock(without), complete=False) == without


def test_a_lock_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path / "none")
    assert caught.value.code == "lock-unreadable"
