"""Inputs from archives that are there, that have changed, and that are gone; with the real APT and the real pip."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.image import apt
from enarx.host.image.fetch import Inputs
from enarx.host.image.lock import Deb, Wheel
from tests import images


@pytest.fixture(autouse=True)
def needs_apt() -> None:
    images.require_inputs()


def package(path: Path, data: bytes, *, sha256: str = "") -> Deb:
    path.write_bytes(data)
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return Deb("example", "1.0-1", "any", "root", path.as_uri(), len(data), digest)


def refused(inputs: Inputs, wanted: Deb | Wheel) -> HostError:
    with pytest.raises(HostError) as caught:
        inputs.file(wanted)
    return caught.value


def test_an_input_is_fetched_once_and_checked_each_time(tmp_path: Path) -> None:
    told: list[str] = []
    inputs = Inputs(tmp_path / "cache", told.append)
    wanted = package(tmp_path / "x.deb", b"contents")
    for _ in range(2):
        assert inputs.file(wanted).read_bytes() == b"contents"
    assert told == ["fetching example 1.0-1"]
    inputs.file(wanted).write_bytes(b"somebody else's")
    assert inputs.file(wanted).read_bytes() == b"contents"
    assert len(told) == 2


def test_an_input_that_has_left_the_mirror_is_named_with_how_to_lock_again(tmp_path: Path) -> None:
    wanted = package(tmp_path / "x.deb", b"contents")
    (tmp_path / "x.deb").unlink()
    error = refused(Inputs(tmp_path / "cache"), wanted)
    assert error.code == "image-input-gone"
    assert "example 1.0-1" in error.message
    assert wanted.url in error.message
    assert "enarx image lock" in error.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_input_that_is_another_is_not_taken(tmp_path: Path) -> None:
    wanted = package(tmp_path / "x.deb", b"contents", sha256="0" * 64)
    assert refused(Inputs(tmp_path / "cache"), wanted).code == "image-input-gone"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    error = refused(Inputs(tmp_path / "cache"), package(tmp_path / "x.deb", b"contents"))
    assert (error.code, "--cache-dir" in error.hint) == ("image-cache", True)


def wheel(directory: Path) -> tuple[Path, str]:
    name = "enarx_no_such_package-1.0-py3-none-any.whl"
    path = directory / name
    info = "enarx_no_such_package-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: enarx-no-such-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def pip_finds(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """pip without an index, so that nothing is asked of anybody."""
    with monkeypatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(directory))
        yield


def test_a_wheel_is_fetched_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest = wheel(tmp_path)
    with pip_finds(tmp_path, monkeypatch):
        inputs = Inputs(tmp_path / "cache")
        wanted = Wheel("enarx-no-such-package", "1.0", path.name, digest)
        assert inputs.file(wanted).read_bytes() == path.read_bytes()
        other = Wheel("enarx-no-such-package", "1.0", path.name, "0" * 64)
        assert refused(inputs, other).code == "image-input-gone"
        gone = Wheel("enarx-no-such-package", "2.0", path.name, "1" * 64)
        error = refused(inputs, gone)
        assert (error.code, "enarx-no-such-package 2.0" in error.message) == ("image-input-gone", True)


def test_an_archive_that_nobody_has_signed_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text("")
    (tmp_path / "Release").write_text("Suite: any\nComponents: main\n")
    with pytest.raises(HostError) as caught, apt.opened([f"file://{tmp_path} ./"]):
        pass
    assert caught.value.code == "image-apt"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(HostError) as caught:
        apt.run(["/no/such/program"], None, 10, "do something")
    assert (caught.value.code, "/no/such/program" in caught.value.message) == ("image-tool", True)


def test_a_program_that_hangs_is_not_waited_for() -> None:
    with pytest.raises(HostError) as caught:
        apt.run([sys.executable, "-c", "import time; time.sleep(600)"], None, 0.2, "do something")
    assert caught.value.code == "image-apt"


def test_nothing_of_this_machine_is_read_or_changed(tmp_path: Path) -> None:
    """APT's own view of its directories, with the configuration that it is given."""
    with apt._configured(["file:///nowhere ./"]) as directory:
        dumped = subprocess.run(
            ["apt-config", "dump"], env={"APT_CONFIG": str(directory / "apt.conf"), "PATH": "/usr/bin"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        settings = dict(line.split(" ", 1) for line in dumped.stdout.splitlines() if line.startswith("Dir"))
        for key in ("Dir::State", "Dir::Cache", "Dir::Etc", "Dir::Etc::parts", "Dir::Etc::sourcelist", "Dir::Log"):
            assert settings[key].startswith(f'"{directory}'), settings[key]
        assert "Post-Invoke" not in dumped.stdout
