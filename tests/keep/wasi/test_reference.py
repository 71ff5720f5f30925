"""The same programs and calls on the engine's own WASI, which works on a directory of the host, and on ours."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import wasmtime

from enarx.keep.layer import unpack
from enarx.keep.runtime import EXIT_TRAP, Runtime
from enarx.keep.wasi.abi import Oflags, WasiError
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import DescriptorTable, Null
from enarx.keep.wasi.openfile import preopen
from enarx.keep.wasi.stdio import Stdio
from enarx.keep.wasi.tree import Directory, File, FileSystem, Symlink
from tests import support
from tests.keep.test_layer import archive, directory, entry
from tests.keep.wasi.guest import Caller, Guest, ReferenceGuest, binder_named

ARGUMENTS = ["--flag", "größe", "", "a b"]
VARIABLES = {"NAME": "value", "EMPTY": "", "PATHS": "/a:/b"}
STDIN = b"Hello, Keep!\nThe second line\nand one without an end"
LIMIT = 64 << 20
Tree = dict[str, bytes | str | None]


class Ended(NamedTuple):
    status: int
    stdout: bytes
    stderr: bytes
    tree: Tree


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """programs.c as a module."""
    clang = support.require_tool("clang", "clang")
    support.require_tool("wasm-ld", "lld")
    support.require_file("/usr/lib/wasm32-wasi/libc.a", "wasi-libc")
    module = tmp_path_factory.mktemp("programs") / "programs.wasm"
    source = Path(__file__).with_name("programs.c")
    subprocess.run(
        [clang, "--target=wasm32-wasi", "-O1", "-Wall", "-Werror", "-o", module, source],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return module.read_bytes()


def on_the_reference(module: bytes, tmp_path: Path, name: str) -> Ended:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "given.txt").write_bytes(b"given content")
    (tmp_path / "stdin").write_bytes(STDIN)
    engine = wasmtime.Engine()
    linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
    linker.define_wasi()
    config = wasmtime.WasiConfig()
    config.argv = ["main.wasm", name, *ARGUMENTS]
    config.env = list(VARIABLES.items())
    config.stdin_file = str(tmp_path / "stdin")
    config.stdout_file = str(tmp_path / "stdout")
    config.stderr_file = str(tmp_path / "stderr")
    config.preopen_dir(str(root), "/")
    store.set_wasi(config)
    start = linker.instantiate(store, wasmtime.Module(engine, module)).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    status = 0
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        status = ended.code
    except wasmtime.Trap:
        status = EXIT_TRAP
    del start, store
    tree: Tree = {}
    for parent, directories, files in os.walk(root):
        for found in [*directories, *files]:
            path = Path(parent, found)
            tree[str(path.relative_to(root))] = (
                os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
            )
    return Ended(status, (tmp_path / "stdout").read_bytes(), (tmp_path / "stderr").read_bytes(), tree)


def tree_of(root: Directory, prefix: str = "") -> Tree:
    tree: Tree = {}
    for name, node in root.entries.items():
        if isinstance(node, Directory):
            tree[prefix + name] = None
            tree |= tree_of(node, f"{prefix}{name}/")
        elif isinstance(node, Symlink):
            tree[prefix + name] = node.target
        else:
            assert isinstance(node, File)
            tree[prefix + name] = bytes(node.data)
    return tree


def on_ours(module: bytes, tmp_path: Path, name: str, *, checked: bool) -> Ended:
    fs = FileSystem(LIMIT, itertools.count(1).__next__)
    unpack(archive(directory("sub"), entry("given.txt", b"given content")), fs, fs.root)
    (tmp_path / "stdin").write_bytes(STDIN)
    table = DescriptorTable(100)
    table.add(Stdio(os.open(tmp_path / "stdin", os.O_RDONLY), readable=True))
    for stream in ("stdout", "stderr"):
        table.add(Stdio(os.open(tmp_path / stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), readable=False))
    table.add(preopen(fs, fs.root, b"/"))
    arguments = tuple(text.encode() for text in ("main.wasm", name, *ARGUMENTS))
    context = Context(table, arguments, tuple(f"{key}={value}".encode() for key, value in VARIABLES.items()))
    runtime = Runtime(context, LIMIT, lambda: None, checked=checked)
    loaded, _ = runtime.load(module, None)
    runtime.check(loaded)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(runtime.run(loaded)))
    thread.start()
    thread.join()
    table.close_all(10)
    tree = tree_of(fs.root)
    assert fs.root.nlink == 2 + sum(isinstance(node, Directory) for node in fs.root.entries.values())
    return Ended(outcome[0].status, (tmp_path / "stdout").read_bytes(), (tmp_path / "stderr").read_bytes(), tree)


@pytest.mark.parametrize("checked", [False, True], ids=["unchecked", "checked"])
@pytest.mark.parametrize("name", ["files", "directories", "links", "times", "streams", "memory", "abort", "unknown"])
def test_a_c_program_does_the_same(programs: bytes, tmp_path: Path, name: str, checked: bool) -> None:
    theirs = on_the_reference(programs, tmp_path, name)
    ours = on_ours(programs, tmp_path, name, checked=checked)
    assert ours.stdout.decode() == theirs.stdout.decode()
    assert ours == theirs
    assert theirs.status == {"streams": 42, "unknown": 125, "abort": EXIT_TRAP}.get(name, 0)
    assert len(theirs.stdout) > 10 or name in ("memory", "abort", "unknown")


def stage(guest: Caller) -> None:
    """One of each kind, under the same descriptors on both sides: 3 the root, 4 a file, 5 a directory, 6 closed."""
    guest.create("file", b"0123456789")
    guest.create("other", b"other")
    guest.mkdir("dir")
    guest.create("dir/inner", b"inner")
    guest.mkdir("empty")
    guest.symlink("file", "link")
    guest.symlink("dir", "dirlink")
    guest.symlink("nowhere", "dangling")
    guest.symlink("loop", "loop")
    assert guest.open("file") == 4
    assert guest.open_directory("dir") == 5


def outcome(action: Callable[[Caller], object], guest: Caller) -> object:
    try:
        return action(guest)
    except WasiError as error:
        return error.errno.name


NAMES = ["file", "dir", "empty", "link", "dirlink", "dangling", "loop", "missing"]
NAMES += [f"{name}/" for name in NAMES]
NAMES += ["missing/x", "file/x", "file/.", "dirlink/inner", "dir/../file", "./file", "new", ".", "", "x" * 256]
NAMES += ["../file", "/file", "dir/../../file"]
OPENS = [0, Oflags.CREAT, Oflags.CREAT | Oflags.EXCL, Oflags.DIRECTORY, Oflags.TRUNC, Oflags.CREAT | Oflags.TRUNC]
TARGETS = ["file", "dir", "empty", "link", "fresh", "fresh/", "file/", "dirlink/"]
DELIBERATE: dict[str, tuple[str, str | None]] = {
    # What the engine and we say. It takes a slash off, and so follows links or not; we do what Linux does, with which
    # test_tree compares.
    "rmdir dir/": ("INVAL", "NOTEMPTY"),
    "rmdir empty/": ("INVAL", None),
    "rmdir dirlink/": ("INVAL", "NOTDIR"),
    "rmdir dangling/": ("NOENT", "NOTDIR"),
    "rmdir loop/": ("LOOP", "NOTDIR"),
    "unlink dirlink/": ("ISDIR", "NOTDIR"),
    "unlink dangling/": ("NOENT", "NOTDIR"),
    "unlink loop/": ("LOOP", "NOTDIR"),
    "symlink link/": ("NOTDIR", "EXIST"),
    "symlink dangling/": ("NOENT", "EXIST"),
    "symlink loop/": ("LOOP", "EXIST"),
    "link to link/": ("NOTDIR", "EXIST"),
    "link to dangling/": ("NOENT", "EXIST"),
    "link to loop/": ("LOOP", "EXIST"),
    # POSIX has ISDIR where Linux looks at something else first.
    "rename dirlink/inner to dir": ("NOTEMPTY", "ISDIR"),
}


def calls(name: str) -> Iterator[tuple[str, Callable[[Caller], object]]]:
    """Everything that can be done with a name, each with what it is called in DELIBERATE."""
    for oflags in OPENS:
        for follow in (False, True):
            yield f"open {name} {oflags} {follow}", partial(Caller.open, path=name, oflags=oflags, follow=follow)
    yield f"mkdir {name}", partial(Caller.mkdir, path=name)
    yield f"rmdir {name}", partial(Caller.rmdir, path=name)
    yield f"unlink {name}", partial(Caller.unlink, path=name)
    yield f"readlink {name}", partial(Caller.readlink, path=name)
    yield f"symlink {name}", partial(Caller.symlink, target="target", path=name)
    yield f"stat {name}", lambda guest: guest.path_stat(name).filetype
    yield f"lstat {name}", lambda guest: guest.path_stat(name, follow=False).filetype
    yield f"link from {name}", partial(Caller.link, old=name, new="fresh")
    yield f"link to {name}", partial(Caller.link, old="file", new=name)
    if name != ".":  # BUSY on Linux, and INVAL is as good: POSIX has both
        for target in TARGETS:
            yield f"rename {name} to {target}", partial(Caller.rename, old=name, new=target)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_with_a_path_ends_the_same(name: str, tmp_path: Path) -> None:
    for number, (what, action) in enumerate(calls(name)):
        (tmp_path / f"{number}").mkdir()
        reference = ReferenceGuest(tmp_path / f"{number}")
        table = DescriptorTable(100)
        fs = FileSystem(LIMIT, itertools.count(1).__next__)
        for descriptor in (Null(), Null(), Null(), preopen(fs, fs.root, b"/")):
            table.add(descriptor)
        ours = Guest(Context(table), binder_named("unchecked"))
        stage(reference)
        stage(ours)
        expected, got = outcome(action, reference), outcome(action, ours)
        assert (expected, got) == DELIBERATE.get(what, (expected, expected)), what
