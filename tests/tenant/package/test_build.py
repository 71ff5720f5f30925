"""Building: one input, one package; nothing is written that a Keep would not run."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive
from enarx.envelope import HEADER_BYTES, MEDIA_TYPE, parse_header
from enarx.errors import ConfigError, EnarxError, LimitError, UsageError, WorkloadError
from enarx.tenant.package.build import build
from enarx.tenant.package.seal import key_id, new_key
from tests import programs
from tests.support import ROOT
from tests.tenant.package.modules import CONFIG, HELLO, RULES, workload

GOLDEN = "sha256:ca8d3dee1d736a23ce0a6d8254ec96e89f89a5ededf7865587f68d05dbfe83e1"


def built(place: Path, target: Path, key: bytes | None = None) -> str:
    with build(place, target, RULES, key=key) as package:
        assert not target.exists()
        package.publish()
    return package.digest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return workload(tmp_path / "app", {"site/index.html": b"<p>", "a": b"1"})


def refusal(place: Path, target: Path) -> EnarxError:
    """What building is refused with; what is at the target stays, and nothing lies beside it."""
    target.write_bytes(b"the package before")
    beside = sorted(target.parent.iterdir())
    with pytest.raises(EnarxError) as caught, build(place, target, RULES):
        pass
    assert target.read_bytes() == b"the package before"
    assert sorted(target.parent.iterdir()) == beside
    assert caught.value.hint
    return caught.value


def test_a_package_is_what_its_digest_says(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.package"
    digest = built(place, target)
    data = target.read_bytes()
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert [one.path for one in archive.entries(data)] == [
        "Enarx.toml", "main.wasm", "files", "files/a", "files/site", "files/site/index.html",
    ]  # fmt: skip


def test_the_same_input_makes_the_same_package_on_every_machine(tmp_path: Path) -> None:
    """Whatever machines differ in: order of files, times, permissions, owners, umask, time zone, locale, hash seed."""
    digests = set()
    for number, names in enumerate((("a", "b", "c"), ("c", "b", "a"))):
        place = tmp_path / str(number) / "app"
        for name in names:
            workload(place, {name: name.encode(), f"{name}{name}/x": b"x"})
            os.utime(place / "files" / name, (number * 1000, number * 1000))
            (place / "files" / name).chmod(0o444 if number else 0o777)
            if os.geteuid() == 0:
                os.chown(place / "files" / name, number * 1000, number * 1000)
        place.chmod(0o700 if number else 0o755)
        script = (
            f"umask {'077' if number else '000'}; exec {Path(sys.executable).parent}/enarx package build app -o out"
        )
        environment = {"TZ": "Asia/Tokyo" if number else "America/Lima", "PYTHONHASHSEED": str(number)}
        environment |= {"LC_ALL": "C" if number else "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run(["/bin/sh", "-c", script], cwd=place.parent, env=environment, check=True, capture_output=True)
        digests.add(hashlib.sha256((place.parent / "out").read_bytes()).hexdigest())
        assert (place.parent / "out").stat().st_mode & 0o777 == (0o600 if number else 0o666)
    assert len(digests) == 1


def test_the_encoding_is_what_it_was(tmp_path: Path) -> None:
    """A digest that was noted when the format was made: policies out there name such digests."""
    module = b"\0asm\1\0\0\0\1\4\1`\0\0\3\2\1\0\7\n\1\6_start\0\0\n\4\1\2\0\x0b"
    place = workload(tmp_path / "app", {"d/é": b"content", "empty": None}, module=module, config="args = []\n")
    assert built(place, tmp_path / "out") == GOLDEN


def test_a_module_alone_is_packed(tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(HELLO)
    built(tmp_path / "app.wasm", tmp_path / "out")
    assert [one.path for one in archive.entries((tmp_path / "out").read_bytes())] == ["main.wasm"]


def test_a_package_replaces_a_file(place: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with build(place, tmp_path / "out", RULES) as package:
        assert (tmp_path / "out").read_bytes() == b"old"
        package.publish()
    assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() == package.digest.removeprefix("sha256:")


def test_a_package_that_is_not_published_is_gone(place: Path, tmp_path: Path) -> None:
    with build(place, tmp_path / "out", RULES):
        assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(KeyboardInterrupt), build(place, tmp_path / "out", RULES):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [place]


def test_an_encrypted_package_hides_everything_and_is_new_each_time(place: Path, tmp_path: Path) -> None:
    key = new_key()
    digests = {built(place, tmp_path / name, key) for name in ("1", "2")}
    assert len(digests) == 2
    data = (tmp_path / "1").read_bytes()
    header = parse_header(data)
    header.check_total(len(data))
    assert header.key_id == key_id(key, header.salt)
    assert b"ustar" not in data
    assert b"main.wasm" not in data
    assert key not in data
    with build(place, tmp_path / "3", RULES, key=key) as package:
        assert package.media_type == MEDIA_TYPE
        assert package.size == HEADER_BYTES + header.length + 16


# What a Keep would not run is not packed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('(module (import "env" "f" (func)) (func (export "_start")))', "wasm-import"),
        ('(module (import "wasi_snapshot_preview1" "fd_write" (func)) (memory (export "memory") 1)'
         ' (func (export "_start")))', "wasm-link"),
        ("(module)", "wasm-entry"),
        ("(module (memory i64 1))", "wasm-invalid"),
        ('(module (func (export "_start") (result i32) i64.const 1))', "wasm-invalid"),
    ],
)  # fmt: skip
def test_module_that_a_keep_would_refuse_is_refused(tmp_path: Path, text: str, code: str) -> None:
    place = workload(tmp_path / "app", module=programs.assemble(text))
    assert refusal(place, tmp_path / "out").code == code


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    assert refusal(workload(tmp_path / "app", module=b"text"), tmp_path / "out").code == "wasm-magic"


def test_all_missing_imports_are_named_at_once(tmp_path: Path) -> None:
    text = '(module (import "env" "f" (func)) (import "env" "g" (func)) (memory (export "memory") 1))'
    error = refusal(workload(tmp_path / "app", module=programs.assemble(text)), tmp_path / "out")
    assert isinstance(error, WorkloadError)
    assert "`env::f`" in error.message
    assert "`env::g`" in error.message
    assert "_start" in error.message


def test_module_larger_than_its_limit_is_refused(tmp_path: Path) -> None:
    module = HELLO + b"\0" + b"\x84\x80\x04" + b"\3abc" + bytes(65536)
    place = workload(tmp_path / "app", module=module, config='[limits]\nmodule = "64 KiB"\n')
    error = refusal(place, tmp_path / "out")
    assert (type(error), error.code) == (LimitError, "limit-module")
    place = workload(tmp_path / "app", module=module, config=f"[limits]\nmodule = {len(module)}\n")
    built(place, tmp_path / "fits")


def test_module_that_begins_with_more_memory_than_its_limit_is_refused(tmp_path: Path) -> None:
    place = workload(tmp_path / "app", module=programs.program("", pages=3), config='[limits]\nmemory = "128 KiB"\n')
    assert refusal(place, tmp_path / "out").code == "limit-memory"
    built(
        workload(place, module=programs.program("", pages=2), config='[limits]\nmemory = "128 KiB"\n'), tmp_path / "2"
    )


def test_files_that_do_not_fit_their_limit_are_refused(tmp_path: Path) -> None:
    cost = RULES.entry_cost("d", 0) + RULES.entry_cost("x", 1000)
    place = workload(tmp_path / "app", {"d/x": b"x" * 1000}, config=f"[limits]\nfilesystem = {cost - 1}\n")
    assert refusal(place, tmp_path / "out").code == "limit-filesystem"
    built(workload(place, config=f"[limits]\nfilesystem = {cost}\n"), tmp_path / "fits")


def test_package_that_is_too_large_for_a_keep_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with build(place, tmp_path / "out", RULES) as package:
        size = package.size
    monkeypatch.setattr(archive, "MAX_BYTES", size - 1)
    assert refusal(place, tmp_path / "out").code == "limit-package"
    monkeypatch.setattr(archive, "MAX_BYTES", size)
    built(place, tmp_path / "plain")
    with pytest.raises(LimitError):  # a header and a tag more
        built(place, tmp_path / "encrypted", new_key())
    monkeypatch.setattr(archive, "MAX_BYTES", size + HEADER_BYTES + 16)
    built(place, tmp_path / "encrypted", new_key())


def test_certificate_files_are_refused_because_a_package_has_no_host_directory(tmp_path: Path) -> None:
    config = '[[files]]\nkind = "connect"\nhost = "db"\nca = ["ca.pem"]\n'
    error = refusal(workload(tmp_path / "app", {"ca.pem": b"x"}, config=config), tmp_path / "out")
    assert (type(error), error.code) == (ConfigError, "package-ca")
    assert "BEGIN CERTIFICATE" in error.hint


# Where it is written


def test_package_within_what_is_packed_is_refused(place: Path, tmp_path: Path) -> None:
    for target in (place / "out", place / "files" / "out", tmp_path / "x" / ".." / "app" / "out"):
        with pytest.raises(UsageError) as caught, build(place, target, RULES):
            pass
        assert caught.value.code == "package-output"
        with pytest.raises(UsageError), build(place, tmp_path / "out", RULES, apart=[target]):
            pass


def test_two_outputs_at_one_place_are_refused(place: Path, tmp_path: Path) -> None:
    module = tmp_path / "app.wasm"
    module.write_bytes(HELLO)
    for source, target, apart in ((place, tmp_path / "out", [tmp_path / "out"]), (module, module, [])):
        with pytest.raises(UsageError) as caught, build(source, target, RULES, apart=apart):
            pass
        assert caught.value.code == "package-output"
    assert module.read_bytes() == HELLO


@pytest.mark.parametrize("target", ["missing/out", ".", "/dev/null", "a\0b", "n" * 300])
def test_place_that_takes_no_package_is_a_clear_error(place: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError) as caught, build(place, tmp_path / target, RULES):
        pass
    assert caught.value.hint
    assert sorted(tmp_path.iterdir()) == [place]


def test_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle, with another errno."""
    workload(tmp_path / "app", {"large": b"x" * 100_000})
    (tmp_path / "out").write_bytes(b"the package before")
    script = f"ulimit -f 16; exec {Path(sys.executable).parent}/enarx package build app -o out"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Code: file-unwritable" in done.stderr
    assert (tmp_path / "out").read_bytes() == b"the package before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["app", "out"]


def test_demo_workload_fits(tmp_path: Path) -> None:
    place = workload(
        tmp_path / "app",
        module=(ROOT / "src/enarx/data/https-page.wasm").read_bytes(),
        config=(ROOT / "examples/https-page/Enarx.toml").read_text(),
    )
    built(place, tmp_path / "out")


# Any tree

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=1100), max_size=6)


@pytest.fixture(scope="module")
def anywhere() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


@given(TREES)
def test_any_tree_is_packed_as_it_is(anywhere: Path, tree: dict[str, bytes]) -> None:
    with TemporaryDirectory(dir=anywhere) as folder:
        place = workload(Path(folder) / "app", {"empty": None})
        expected = {}
        for path, content in tree.items():
            where = place / "files" / path
            try:
                where.parent.mkdir(parents=True, exist_ok=True)
                where.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # another path needs a directory here
            expected[f"files/{path}"] = content
        built(place, Path(folder) / "out")
        data = (Path(folder) / "out").read_bytes()
        found = {
            one.path: data[one.offset : one.offset + one.size] for one in archive.entries(data) if not one.directory
        }
        assert found == expected | {"main.wasm": HELLO, "Enarx.toml": CONFIG.encode()}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as tar:
            assert [one.name for one in tar] == [one.path for one in archive.entries(data)]
