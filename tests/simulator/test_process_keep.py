"""What a process Keep runs is what is measured: every file, every byte, nothing from a cache."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.evidence.gctx import PageType
from enarx.evidence.snp import parse
from enarx.host.process import code_directories
from enarx.simulator import process_keep
from enarx.simulator.installation import Installation
from enarx.simulator.process_keep import KEEP_GPA, OURS, PACKAGES, LaunchDigest, measure_process_keep
from enarx.simulator.processor import SecureProcessor
from tests.support import ROOT

NEWER_LIBRARY = {"annotationlib"}
"""Modules of the standard library of later Pythons, named behind a test of the version."""

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
import enarx.keep
for module in pkgutil.walk_packages(enarx.keep.__path__, "enarx.keep."):
    importlib.import_module(module.name)
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
import wasmtime
wasmtime.Engine(), ec.generate_private_key(ec.SECP384R1())
for name, module in sorted(sys.modules.items()):
    print(name, getattr(module, "__file__", None) or "", sep="\\t")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small installation: our own files, and packages of the names that the Keep uses."""
    top = tmp_path / "site"
    source = ROOT / "src" / "enarx"
    for part in OURS:
        if (source / part).is_dir():
            shutil.copytree(source / part, top / "enarx" / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif (source / part).exists():
            (top / "enarx" / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / part, top / "enarx" / part)
    for path, content in {
        "wasmtime/__init__.py": b"first = 1\n",
        "wasmtime/py.typed": b"",
        "wasmtime/linux-x86_64/_libwasmtime.so": bytes(range(256)) * 4096,
        "cryptography/__init__.py": b"second = 2\n",
        "cryptography/hazmat/bindings/_rust.abi3.so": b"\x7fELF" + bytes(5000),
        "_cffi_backend.cpython-311-x86_64-linux-gnu.so": b"\x7fELF",
        "typing_extensions.py": b"third = 3\n",
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    return top


def measure(*directories: Path, command: tuple[str, ...] = ("-I",)) -> LaunchDigest:
    return measure_process_keep([str(directory) for directory in directories], command)


def listing(pages: bytes) -> dict[str, tuple[int, bytes]]:
    """A reader of the listing, from its description: name -> size, SHA-256."""
    magic = b"enarx process Keep 1\0"
    assert pages.startswith(magic)
    (count,) = struct.unpack_from("<I", pages, len(magic))
    at, found = len(magic) + 4, {}
    for _ in range(count):
        length, size = struct.unpack_from("<HQ", pages, at)
        name = pages[at + 10 : at + 10 + length].decode()
        found[name] = size, pages[at + 10 + length : at + 42 + length]
        at += 42 + length
    assert not any(pages[at:])
    assert len(pages) - at < 4096
    assert list(found) == sorted(found, key=str.encode)
    assert len(found) == count
    return found


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(HostError) as caught:
        act()
    assert caught.value.hint
    return caught.value.code


def test_every_byte_of_every_file_counts(tree: Path) -> None:
    """Also with the same size and times as before, which is all that a cache could go by."""
    honest = measure(tree)
    files = [path for path in tree.rglob("*") if path.is_file()]
    assert len(files) + 1 <= honest.files
    for path in files:
        content, info = path.read_bytes(), path.stat()
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"x")
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        assert measure(tree).digest != honest.digest, path
        path.write_bytes(content)
        assert measure(tree).digest == honest.digest, path


def test_first_and_last_byte_of_a_large_file_count(tree: Path) -> None:
    path = tree / "wasmtime/linux-x86_64/_libwasmtime.so"
    digests = {measure(tree).digest}
    content = path.read_bytes()
    for changed in (b"\xff" + content[1:], content[:-1] + b"\x00", content[:-1], content + b"\0"):
        path.write_bytes(changed)
        digests.add(measure(tree).digest)
    assert len(digests) == 5


def test_names_and_borders_of_files_count(tree: Path) -> None:
    digests = {measure(tree).digest}
    keep = tree / "enarx" / "keep"
    (keep / "a.py").write_bytes(b"xy")
    (keep / "b.py").write_bytes(b"z")
    digests.add(measure(tree).digest)
    (keep / "a.py").write_bytes(b"x")
    (keep / "b.py").write_bytes(b"yz")
    digests.add(measure(tree).digest)
    (keep / "a.py").rename(keep / "c.py")
    digests.add(measure(tree).digest)
    (keep / "c.py").unlink()
    digests.add(measure(tree).digest)
    (keep / "b.py").rename(keep / "b.pyc")
    digests.add(measure(tree).digest)
    (keep / "b.pyc").rename(keep / "wasi" / "b.pyc")
    digests.add(measure(tree).digest)
    assert len(digests) == 7


@pytest.mark.parametrize(
    "path",
    ["wasmtime.py", "wasmtime.cpython-311-x86_64-linux-gnu.so", "cryptography.pyc", "bcrypt/__init__.py", "bcrypt.py"],
)
def test_what_could_be_imported_in_place_of_a_package_counts(tree: Path, path: str) -> None:
    before = measure(tree).digest
    (tree / path).parent.mkdir(exist_ok=True)
    (tree / path).write_bytes(b"import os\n")
    assert measure(tree).digest != before


def test_command_line_counts_argument_by_argument(tree: Path) -> None:
    commands = [(), ("",), ("-I", "-S"), ("-I-S",), ("-S", "-I"), ("-I", "-S", "")]
    assert len({measure(tree, command=command).digest for command in commands}) == len(commands)


def test_first_directory_wins_as_in_an_import(tree: Path, tmp_path: Path) -> None:
    before = measure(tree).digest
    other = tmp_path / "other"
    (other / "wasmtime").mkdir(parents=True)
    (other / "wasmtime" / "__init__.py").write_bytes(b"shadow = 1\n")
    assert measure(tree, other).digest == before
    assert measure(other, tree).digest != before


def test_place_host_code_and_bytecode_do_not_count(tree: Path, tmp_path: Path) -> None:
    before = measure(tree).digest
    (tree / "enarx" / "host").mkdir()
    (tree / "enarx" / "host" / "launch.py").write_bytes(b"host = 1\n")
    (tree / "enarx" / "evidence" / "chain.py").write_bytes(b"verifier = 1\n")
    (tree / "pytest.py").write_bytes(b"unrelated = 1\n")
    for cache in (tree / "__pycache__", tree / "enarx" / "keep" / "__pycache__"):
        cache.mkdir()
        (cache / "main.cpython-311.pyc").write_bytes(b"bytecode")
    assert measure(tree).digest == before
    assert measure(Path(shutil.copytree(tree, tmp_path / "elsewhere"))).digest == before


def test_listing_names_what_was_read(tree: Path) -> None:
    measured = measure(tree)
    found = listing(measured.pages)
    assert found["code/wasmtime/__init__.py"] == (10, hashlib.sha256(b"first = 1\n").digest())
    assert found["code/wasmtime/py.typed"] == (0, hashlib.sha256().digest())
    assert found["command"] == (3, hashlib.sha256(b"-I\0").digest())
    assert found["python/version"][1] == hashlib.sha256(sys.version.encode()).digest()
    interpreter = Path(sys.executable).resolve().read_bytes()
    assert found["python/executable"] == (len(interpreter), hashlib.sha256(interpreter).digest())
    assert "code/enarx/keep/openssl.cnf" in found
    assert "code/enarx/keep/wasi/fd.py" in found
    stated = {name for name in found if name.startswith(("code/", "python/executable", "python/library"))}
    assert measured.files == len(stated)
    assert measured.size == sum(found[name][0] for name in stated)


def test_pages_are_measured_by_the_rules_of_the_firmware(tree: Path) -> None:
    """Computed once more by hand (56860, 8.17.2)."""
    measured = measure(tree)
    digest = bytes(48)
    for at in range(0, len(measured.pages), 4096):
        page = hashlib.sha384(measured.pages[at : at + 4096]).digest()
        info = struct.pack("<HBBBBBBQ", 0x70, 1, 0, 0, 0, 0, 0, KEEP_GPA + at)
        digest = hashlib.sha384(digest + page + info).digest()
    assert measured.digest == digest


def test_processor_that_launches_the_pages_reports_the_digest(
    tree: Path, installation: Installation, now: datetime
) -> None:
    measured = measure(tree)
    launch = SecureProcessor(installation, now).launch_start()
    launch.update(PageType.NORMAL, KEEP_GPA, measured.pages)
    report = parse(launch.finish(bytes(32)).report(bytes(64)))
    assert report.measurement == measured.digest


def test_what_cannot_be_measured_is_not_launched(tree: Path) -> None:
    keep = tree / "enarx" / "keep"
    (keep / "linked").symlink_to(tree / "wasmtime")
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"
    (keep / "linked").unlink()
    os.mkfifo(keep / "pipe")
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"
    (keep / "pipe").unlink()
    (keep / "gone.py").symlink_to(tree / "nowhere")
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"
    (keep / "gone.py").unlink()
    Path(os.fsdecode(os.fsencode(keep) + b"/\xff.py")).write_bytes(b"")
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"


def test_directories_without_end_are_refused(tree: Path) -> None:
    (tree / "wasmtime" / "/".join("d" * 20)).mkdir(parents=True)
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"


def test_too_many_files_and_too_large_files_are_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_keep, "FILES_MAX", 10)
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"
    monkeypatch.undo()
    monkeypatch.setattr(process_keep, "FILE_MAX_BYTES", 100)
    assert refused(lambda: measure(tree)) == "keep-unmeasurable"


@pytest.mark.parametrize("package", ["enarx", "wasmtime", "cryptography"])
def test_missing_package_is_said(tree: Path, package: str) -> None:
    shutil.rmtree(tree / package)
    assert refused(lambda: measure(tree)) == "host-install"
    assert refused(lambda: measure(tree / "nowhere")) == "keep-unmeasurable"


def real_files() -> dict[str, str]:
    """Path -> name of what is measured of this installation."""
    return {str(Path(path).resolve()): name for name, path in process_keep._files(code_directories())}


def test_every_module_that_a_keep_can_load_is_measured() -> None:
    """By running one: all of the Keep's modules, an engine and a key, in an interpreter started as a Keep is."""
    command = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, *code_directories()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    library = str(Path(os.__file__).resolve().parent)
    measured, loaded = real_files(), 0
    for line in done.stdout.splitlines():
        name, _, path = line.partition("\t")
        if path and not path.startswith(library):
            loaded += 1
            assert str(Path(path).resolve()) in measured, name
    assert loaded > 80


def test_every_name_that_the_measured_code_imports_is_measured_or_of_the_library() -> None:
    named: dict[str, str] = {}
    for path, name in real_files().items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(Path(path).read_bytes())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            named |= {module.partition(".")[0]: name for module in modules}
    unknown = named.keys() - sys.stdlib_module_names - {"enarx", *PACKAGES} - NEWER_LIBRARY
    assert not unknown, {module: named[module] for module in unknown}


def test_interpreters_library_is_measured_where_it_has_one() -> None:
    with Path("/proc/self/maps").open() as maps:
        mapped = {line.split()[-1] for line in maps if "libpython3" in line}
    assert mapped <= real_files().keys()
