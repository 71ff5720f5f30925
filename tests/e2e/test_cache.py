"""The cache of compiled code: used when it can be, never trusted, and no reason for a run to fail."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import programs
from tests.e2e.command import enarx, environment, module

LOADED, COMPILED = "keep: code loaded from the cache", "keep: compiled"


def directory(home: Path) -> Path:
    return home / ".cache" / "enarx" / "code"


def entries(home: Path) -> list[Path]:
    return sorted(path for path in directory(home).iterdir() if path.name != "key")


def came_from(home: Path, *arguments: str | Path, expected: bytes = b"ready\n") -> str:
    """Run a module, which must work; how its code was had."""
    done = enarx("run", "--timings", *arguments, cwd=home)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    (found,) = [way for way in (LOADED, COMPILED) if way in done.stderr.decode()]
    return found


def test_the_second_run_loads_what_the_first_compiled(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    assert [came_from(tmp_path, path) for _ in range(3)] == [COMPILED, LOADED, LOADED]
    assert len(entries(tmp_path)) == 1


def test_another_module_is_another_entry(tmp_path: Path) -> None:
    assert came_from(tmp_path, module(tmp_path, programs.HELLO)) == COMPILED
    assert came_from(tmp_path, module(tmp_path, programs.EMPTY), expected=b"") == COMPILED
    assert len(entries(tmp_path)) == 2


def test_the_cache_is_private(tmp_path: Path) -> None:
    came_from(tmp_path, module(tmp_path, programs.HELLO))
    assert directory(tmp_path).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory(tmp_path).iterdir()} == {0o600}


@pytest.mark.parametrize(
    "damage",
    [
        *[pytest.param(lambda data, at=at: flipped(data, at), id=f"flipped at {at}") for at in
          (0, 31, 32, 40, 0.25, 0.5, 0.75, -1)],
        pytest.param(lambda data: data[:-1], id="cut short"),
        pytest.param(lambda data: data[:20], id="less than a seal"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data + b"\0", id="too long"),
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
    ],
)  # fmt: skip
def test_a_damaged_entry_is_compiled_again(damage: object, tmp_path: Path) -> None:
    assert callable(damage)
    path = module(tmp_path, programs.HELLO)
    came_from(tmp_path, path)
    (entry,) = entries(tmp_path)
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    assert came_from(tmp_path, path) == COMPILED
    assert came_from(tmp_path, path) == LOADED
    assert len(entry.read_bytes()) == len(sound)


def flipped(data: bytes, at: float) -> bytes:
    position = at % len(data) if isinstance(at, int) else int(at * len(data))
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_an_entry_in_place_of_another_is_compiled_again(tmp_path: Path) -> None:
    """Both are sealed by this installation; each holds for one module alone."""
    hello, empty = module(tmp_path, programs.HELLO, "hello.wasm"), module(tmp_path, programs.EMPTY, "empty.wasm")
    came_from(tmp_path, empty, expected=b"")
    (of_empty,) = entries(tmp_path)
    content = of_empty.read_bytes()
    came_from(tmp_path, hello)
    (of_hello,) = [entry for entry in entries(tmp_path) if entry != of_empty]
    of_hello.write_bytes(content)
    assert came_from(tmp_path, hello) == COMPILED


def test_entries_of_another_installation_are_compiled_again(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    came_from(tmp_path, path)
    (directory(tmp_path) / "key").write_bytes(bytes(32))
    assert came_from(tmp_path, path) == COMPILED


def test_a_key_that_others_can_read_is_replaced(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    came_from(tmp_path, path)
    key = directory(tmp_path) / "key"
    before = key.read_bytes()
    key.chmod(0o644)
    assert came_from(tmp_path, path) == COMPILED
    assert key.read_bytes() != before
    assert key.stat().st_mode & 0o777 == 0o600


def test_no_cache_neither_reads_nor_writes(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    assert came_from(tmp_path, "--no-cache", path) == COMPILED
    assert not directory(tmp_path).exists()
    came_from(tmp_path, path)
    assert came_from(tmp_path, "--no-cache", path) == COMPILED


def test_the_directory_can_be_chosen(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    arguments: list[str | Path] = ["--cache-dir", tmp_path / "here", path]
    assert [came_from(tmp_path, *arguments) for _ in range(2)] == [COMPILED, LOADED]
    assert not directory(tmp_path).exists()
    chosen = environment(tmp_path, ENARX_CACHE_DIR=str(tmp_path / "there"))
    assert enarx("run", path, cwd=tmp_path, env=chosen).returncode == 0
    assert (tmp_path / "there" / "key").exists()


def test_eight_first_runs_at_once_all_work(tmp_path: Path) -> None:
    path = module(tmp_path, programs.HELLO)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: enarx("run", path, cwd=tmp_path), range(8)))
    assert {(each.returncode, each.stdout, each.stderr) for each in done} == {(0, b"ready\n", b"")}
    assert [entry.name[0] for entry in entries(tmp_path) if entry.name.startswith(".")] == []
    assert came_from(tmp_path, path) == LOADED


def reason(home: Path, *arguments: str | Path, **settings: object) -> str:
    """Run HELLO with --verbose, which must work without the cache; the reason that it gives."""
    done = enarx("run", "--verbose", *arguments, module(home, programs.HELLO), cwd=home, **settings)  # type: ignore[arg-type]
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr
    (line,) = [line for line in done.stderr.decode().splitlines() if "compiled code is not cached: " in line]
    return line


def test_a_directory_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    assert "0700" in reason(tmp_path, "--cache-dir", tmp_path / "open")
    assert list((tmp_path / "open").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 4242, 4242)
    assert "must belong to you" in reason(tmp_path, "--cache-dir", tmp_path / "theirs")


@pytest.mark.parametrize("home", ["/dev/null", "/proc/none"])
def test_a_home_that_cannot_be_written_is_no_error(home: str, tmp_path: Path) -> None:
    reason(tmp_path, env=environment(Path(home)))


def test_a_file_in_place_of_the_directory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reason(tmp_path, "--cache-dir", tmp_path / "file")


def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    """A file system of two pages, in a mount namespace that goes with the process."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=8k,mode=0700 none "$0"; exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", "-ec", mount, str(disk)]
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system lets nobody mount: {probe.stderr.decode().strip()}")
    assert "No space left on device" in reason(tmp_path, "--cache-dir", disk, prefix=prefix)


def test_a_limit_on_the_size_of_files_is_no_error(tmp_path: Path) -> None:
    assert "File too large" in reason(tmp_path, prefix=["prlimit", "--fsize=4096:4096", "--"])
    assert entries(tmp_path) == []
