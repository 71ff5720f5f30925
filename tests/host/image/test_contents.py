"""Files out of packages, wheels and directories, and packages that are none."""

from __future__ import annotations

import io
import lzma
import subprocess
import zipfile
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.image import contents
from tests import support


def deb(directory: Path) -> Path:
    """A package with a file, links to it, and links that lead elsewhere."""
    support.require_tool("dpkg-deb", "dpkg")
    root = directory / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    )
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libx.so.1.2").write_bytes(b"library")
    (root / "usr/lib/libx.so.1").symlink_to("libx.so.1.2")
    (root / "usr/lib/absolute").symlink_to("/usr/lib/libx.so.1")
    (root / "usr/lib/outside").symlink_to("../../../../etc/passwd")
    (root / "usr/lib/loop").symlink_to("loop")
    path = directory / "x.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, path], check=True, capture_output=True)
    return path


def test_a_link_within_a_package_is_what_it_leads_to_and_no_other_link_is_anything(tmp_path: Path) -> None:
    found = contents.read_deb(deb(tmp_path), lambda path: path.startswith("usr/lib/"))
    assert found == dict.fromkeys(["usr/lib/libx.so.1.2", "usr/lib/libx.so.1", "usr/lib/absolute"], b"library")


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    assert contents.read_deb(deb(tmp_path), lambda path: path.endswith(".1.2")) == {"usr/lib/libx.so.1.2": b"library"}


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"no package at all" * 100])
def test_a_file_that_is_no_package_is_refused(data: bytes, tmp_path: Path) -> None:
    support.require_tool("dpkg-deb", "dpkg")
    path = tmp_path / "x.deb"
    path.write_bytes(data)
    for reader in (contents.read_deb, contents.read_wheel):
        with pytest.raises(HostError) as caught:
            reader(path, lambda _: True)
        assert caught.value.code == "image-input"


def test_a_package_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = deb(tmp_path)
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a/b.py", "library")
    for size, accepted in ((7, True), (6, False)):
        monkeypatch.setattr(contents, "PACKAGE_MAX_BYTES", size)
        for reader, file in ((contents.read_deb, path), (contents.read_wheel, wheel)):
            if accepted:
                assert list(reader(file, lambda name: name.endswith((".1.2", ".py"))).values()) == [b"library"]
            else:
                with pytest.raises(HostError, match="more than 6 bytes"):
                    reader(file, lambda name: name.endswith((".1.2", ".py")))


def test_a_wheel_that_was_damaged_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.py", "x = 1")
    path = tmp_path / "x.whl"
    path.write_bytes(buffer.getvalue().replace(b"x = 1", b"x = 2"))
    with pytest.raises(HostError) as caught:
        contents.read_wheel(path, lambda _: True)
    assert caught.value.code == "image-input"


def test_a_tree_is_read_by_name(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", "b/d/e.txt", "f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = contents.read_tree(tmp_path, ("a.py", "b", "missing.py"), lambda path: path.endswith(".py"))
    assert found == {"a.py": b"a.py", "b/c.py": b"b/c.py"}


def test_a_module_is_decompressed_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    module = b"\x7fELF" + bytes(1000)
    packed = lzma.compress(module)
    assert contents.decompress(packed) == module
    monkeypatch.setattr(contents, "MODULE_MAX_BYTES", len(module))
    assert contents.decompress(packed) == module
    monkeypatch.setattr(contents, "MODULE_MAX_BYTES", len(module) - 1)
    for data in (packed, packed[:-1], packed + b"x", module, b""):
        with pytest.raises(HostError) as caught:
            contents.decompress(data)
        assert caught.value.code == "image-input"
