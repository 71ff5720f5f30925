"""What tests do when an input of the image has left the mirror."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enarx.host.image.lock import Lock, own_lock, parse_lock
from tests import images

OWN = parse_lock(own_lock())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing has been fetched or built yet."""
    images.require_inputs()
    monkeypatch.setattr(images, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(images, "default_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(images, "relock", lambda archives, inputs: replace(OWN, archives=archives))
    return tmp_path


def lock_of(path: Path, *, there: bool) -> Lock:
    if there:
        path.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return Lock({"any": ()}, (replace(OWN.debs[0], url=path.as_uri(), sha256=empty, use="root"),), ())


def test_tests_lock_again_when_an_input_is_gone_and_say_so(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "read_lock", lambda path: lock_of(elsewhere / "x.deb", there=False))
    assert images.renewal() == ""
    for _ in range(2):
        found = images.lock_file.__wrapped__()
        assert found.parent == elsewhere / "shared"
        assert replace(parse_lock(found.read_bytes()), archives=OWN.archives) == OWN
    assert images.renewal().startswith(OWN.debs[0].name)


def test_tests_build_with_our_own_lock_file_when_all_is_there(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "read_lock", lambda path: lock_of(elsewhere / "x.deb", there=True))
    assert images.lock_file.__wrapped__().name == "image.lock"
    assert images.renewal() == ""
