"""``enarx image`` as a user calls it: what is refused, and that a failure leaves nothing behind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from enarx.host.image.fetch import default_cache
from enarx.host.image.lock import Lock, format_lock, own_lock, parse_lock
from tests import images
from tests.e2e.command import code_of, enarx

OWN = parse_lock(own_lock())


@pytest.fixture(autouse=True)
def needs_apt() -> None:
    images.require_inputs()


def write(path: Path, lock: Lock) -> Path:
    path.write_bytes(format_lock(lock))
    return path


def test_a_locked_version_that_has_left_the_mirror_is_named_with_how_to_lock_again(tmp_path: Path) -> None:
    gone = replace(OWN.debs[0], url=(tmp_path / "gone.deb").as_uri(), sha256=hashlib.sha256(b"gone").hexdigest())
    lock = write(tmp_path / "old.lock", replace(OWN, debs=(gone, *OWN.debs[1:])))
    done = enarx("image", "build", "--lock", lock, "-o", tmp_path / "image", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "image-input-gone")
    said = done.stderr.decode()
    assert f"{gone.name} {gone.version}" in said
    assert "`enarx image lock -o FILE`" in said
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize(("content", "code"), [("format =", "lock-syntax"), ("format = 7", "lock-value")])
def test_a_lock_file_that_is_none_is_refused(content: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text(content)
    for mode in ("build", "lock"):
        done = enarx("image", mode, "--lock", "x.lock", "-o", tmp_path / "out", cwd=tmp_path)
        assert (done.returncode, code_of(done.stderr)) == (1, code)
    assert not (tmp_path / "out").exists()


def test_what_nobody_has_signed_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text("")
    unsigned = dict.fromkeys(OWN.archives, (f"file://{tmp_path} ./",))
    lock = write(tmp_path / "x.lock", replace(OWN, archives=unsigned))
    done = enarx("image", "lock", "--lock", lock, "-o", tmp_path / "new.lock", cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "image-apt")
    assert not (tmp_path / "new.lock").exists()


def test_an_image_is_not_written_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "novel.txt").write_text("unpublished")
    done = enarx(
        "image", "build", "-o", tmp_path / "documents", "--lock", images.lock_file(), "--cache-dir",
        default_cache(), cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, code_of(done.stderr)) == (1, "image-directory")
    assert (tmp_path / "documents" / "novel.txt").read_text() == "unpublished"
