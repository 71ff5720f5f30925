"""The local store: content-addressed, checked on read, shared between processes, bounded."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from enarx.errors import RegistryError
from enarx.registry import Store
from enarx.registry.digest import digest_of
from enarx.registry.store import PARTIAL_MAX_AGE_SECONDS, default_directory

DATA = os.urandom(300_000)
DIGEST = digest_of(DATA)


def fill(store: Store, data: bytes) -> str:
    digest = digest_of(data)
    with store.download(digest, len(data)) as download:
        assert download is not None
        download.write(memoryview(data))
        download.commit()
    return digest


def read(store: Store, digest: str) -> bytes:
    found = bytearray()
    buffer = memoryview(bytearray(65536))
    with store.open(digest) as blob:
        while count := blob.readinto(buffer):
            found += buffer[:count]
    return bytes(found)


# --- The directory


def test_store_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ENARX_STORE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "enarx" / "blobs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".cache" / "enarx" / "blobs"
    monkeypatch.setenv("ENARX_STORE_DIR", str(tmp_path / "own"))
    assert default_directory() == tmp_path / "own"


def test_store_is_for_its_user_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "b")
    digest = fill(store, DATA)
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert store.path(digest).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s").chmod(mode)
    with pytest.raises(RegistryError) as caught:
        Store(tmp_path / "s")
    assert caught.value.code == "store-directory"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError) as caught:
        Store(tmp_path / "file" / "store")
    assert caught.value.code == "store-directory"


# --- Content


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_what_is_stored_is_read(store: Store, data: bytes) -> None:
    digest = fill(store, data)
    assert read(store, digest) == data
    assert store.verified(digest, len(data)) == store.path(digest)
    assert not list((store.directory / "partial").iterdir())


def test_what_is_not_there_is_said_to_be_missing(store: Store) -> None:
    assert store.verified(DIGEST, 5) is None
    assert store.get(DIGEST, 5) is None
    with pytest.raises(RegistryError) as caught:
        store.open(DIGEST)
    assert caught.value.code == "store-missing"


@pytest.mark.parametrize("position", [0, 150_000, len(DATA) - 1])
def test_a_flipped_bit_is_found_when_it_is_read(store: Store, position: int) -> None:
    path = store.path(fill(store, DATA))
    damaged = bytearray(DATA)
    damaged[position] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(RegistryError) as caught:
        read(store, DIGEST)
    assert caught.value.code == "store-damaged"
    assert not path.exists()


@pytest.mark.parametrize("change", [b"", DATA[:-1], DATA + b"x"])
def test_another_size_is_found(store: Store, change: bytes) -> None:
    path = store.path(fill(store, DATA))
    path.write_bytes(change)
    assert store.verified(DIGEST, len(DATA)) is None
    assert not path.exists()


def test_what_is_no_file_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    store.path(DIGEST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegistryError) as caught:
        store.open(DIGEST)
    assert caught.value.code == "store-directory"
    store.path(DIGEST).unlink()
    os.mkfifo(store.path(DIGEST))
    assert store.get(DIGEST, 10**9) is None


@pytest.mark.parametrize("digest", ["", "sha256:../../x", "sha256:" + "A" * 64, "0" * 64])
def test_what_is_no_digest_has_no_path(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match="is not a digest"):
        store.path(digest)


def test_small_blobs_are_put_and_got(store: Store) -> None:
    digest = store.put(b"small")
    assert store.put(b"small") == digest
    assert store.get(digest, 5) == b"small"
    assert store.get(digest, 4) is None
    store.path(digest).write_bytes(b"smell")
    assert store.get(digest, 5) is None
    store.put(b"small")
    assert store.get(digest, 5) == b"small"


# --- Downloads


def test_a_download_that_is_not_what_it_should_be_is_not_kept(store: Store) -> None:
    with pytest.raises(RegistryError) as caught, store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        download.write(memoryview(b"x" * len(DATA)))
        download.commit()
    assert caught.value.code == "registry-wrong-content"
    assert not list(store.directory.glob("*/*"))


def test_a_download_that_is_short_is_not_whole(store: Store) -> None:
    with pytest.raises(RegistryError), store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        download.write(memoryview(DATA)[:-1])
        download.commit()
    assert not store.path(DIGEST).exists()


def test_an_interrupted_download_is_kept_and_gone_on_with(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        download.write(memoryview(DATA)[:1000])
        raise KeyboardInterrupt
    assert not store.path(DIGEST).exists()
    with store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        assert download.offset == 1000
        assert download.missing == len(DATA) - 1000
        download.write(memoryview(DATA)[1000:])
        download.commit()
    assert read(store, DIGEST) == DATA


def test_a_killed_process_leaves_a_download_that_can_be_gone_on_with(store: Store) -> None:
    script = (
        "import os, sys, signal; from pathlib import Path; from enarx.registry import Store\n"
        "with Store(Path(sys.argv[1])).download(sys.argv[2], int(sys.argv[3])) as download:\n"
        "    download.write(memoryview(bytes.fromhex(sys.argv[4])))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    arguments = [str(store.directory), DIGEST, str(len(DATA)), DATA[:2000].hex()]
    assert subprocess.run([sys.executable, "-c", script, *arguments], env=clean(), check=False).returncode == -9
    with store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        assert download.offset == 2000


def clean() -> dict[str, str]:
    """The environment of a process that will be killed, and so cannot write down which lines it ran."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


# --- Several processes

WRITER = """
import sys
from pathlib import Path
from enarx.registry import Store
store, data = Store(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
digest = "sha256:" + sys.argv[3]
with store.download(digest, len(data)) as download:
    if download is None:
        print("found")
    else:
        print("fetches", flush=True)
        sys.stdin.readline()
        download.write(memoryview(data)[download.offset:])
        download.commit()
        print("done")
"""


def writer(store: Store, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(store.directory), str(data), DIGEST.removeprefix("sha256:")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_fetch_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    with writer(store, tmp_path / "data") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "fetches\n"
        with writer(store, tmp_path / "data") as second:  # waits for the first
            output, _ = first.communicate("\n", timeout=60)
            assert output == "done\n"
            output, _ = second.communicate(timeout=60)
            assert output == "found\n"
    assert read(store, DIGEST) == DATA


def test_who_waits_takes_over_when_the_other_is_killed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    with writer(store, tmp_path / "data") as first:
        assert first.stdout is not None
        first.stdout.readline()
        with writer(store, tmp_path / "data") as second:
            first.kill()
            first.wait(60)
            output, _ = second.communicate("\n", timeout=60)
            assert output == "fetches\ndone\n"
    assert read(store, DIGEST) == DATA


def test_who_waits_for_one_that_gets_no_further_fetches_by_itself(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enarx.registry.store.STALL_SECONDS", 0.3)
    (tmp_path / "data").write_bytes(DATA)
    with writer(store, tmp_path / "data") as first:
        assert first.stdout is not None
        first.stdout.readline()
        fill(store, DATA)  # while the first stands still
        assert read(store, DIGEST) == DATA
        output, _ = first.communicate("\n", timeout=60)
        assert output == "done\n"
    assert read(store, DIGEST) == DATA
    assert not list((store.directory / "partial").iterdir())


def test_many_threads_with_many_blobs_get_along(tmp_path: Path) -> None:
    """A store that is too small for all of them: each reads back what it stored, or finds that it had to go."""
    blobs = [os.urandom(50_000) for _ in range(12)]
    store = Store(tmp_path / "store", max_bytes=400_000)
    failures: list[BaseException] = []

    def work(offset: int) -> None:
        try:
            for number in range(24):
                data = blobs[(offset + number) % len(blobs)]
                if store.get(digest_of(data), len(data)) is None:
                    store.put(data)
                found = store.get(digest_of(data), len(data))
                assert found in (None, data)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(3 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.trim() <= 400_000


# --- Bounds


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", max_bytes=300_000)
    blobs = [os.urandom(90_000) for _ in range(4)]
    for age, data in enumerate(blobs[:3]):
        digest = fill(store, data)
        os.utime(store.path(digest), (1_000_000 + age, 1_000_000 + age))
    assert store.get(digest_of(blobs[0]), 90_000) == blobs[0]  # it is used now
    fill(store, blobs[3])
    kept = [store.path(digest_of(data)).exists() for data in blobs]
    assert kept == [True, False, True, True]


def test_what_cannot_fit_is_refused_before_anything_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", max_bytes=100_000)
    digest = fill(store, b"x" * 50_000)
    with pytest.raises(RegistryError) as caught, store.download(DIGEST, 100_001):
        pass
    assert caught.value.code == "store-bound"
    assert store.path(digest).exists()


def test_an_open_blob_is_read_to_its_end_though_it_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fill(store, DATA)
    with store.open(DIGEST) as blob:
        store.trim(0)
        assert not store.path(DIGEST).exists()
        buffer, found = memoryview(bytearray(len(DATA))), 0
        while count := blob.readinto(buffer[found:] if found < len(DATA) else memoryview(bytearray(1))):
            found += count
    assert bytes(buffer) == DATA


def test_what_another_process_fetches_is_not_tidied_away(store: Store) -> None:
    with store.download(DIGEST, len(DATA)) as download:
        assert download is not None
        download.write(memoryview(DATA)[:100_000])
        store.trim(0)
        download.write(memoryview(DATA)[100_000:])
        download.commit()
    assert read(store, DIGEST) == DATA


def test_old_partial_downloads_are_tidied_away(store: Store) -> None:
    old, new = store.directory / "partial" / "old", store.directory / "partial" / "new"
    for path in (old, new):
        path.write_bytes(b"partial")
    then = new.stat().st_mtime - PARTIAL_MAX_AGE_SECONDS - 1
    os.utime(old, (then, then))
    store.trim()
    assert (old.exists(), new.exists()) == (False, True)


def test_content_of_unknown_digest_is_stored_by_its_own(store: Store) -> None:
    with store.ingest(len(DATA)) as ingest:
        ingest.write(memoryview(DATA)[:5])
        ingest.write(memoryview(DATA)[5:])
        assert ingest.begins_with(8) == DATA[:8]
        digest, path = ingest.commit()
    assert (digest, path) == (DIGEST, store.path(DIGEST))
    assert read(store, DIGEST) == DATA


def test_content_past_its_limit_is_refused_and_nothing_stays(store: Store) -> None:
    with pytest.raises(RegistryError) as caught, store.ingest(4) as ingest:
        ingest.write(memoryview(b"12345"))
    assert caught.value.code == "registry-too-large"
    with store.ingest(4) as ingest:
        ingest.write(memoryview(b"1234"))  # and given up
    assert not list(store.directory.glob("*/*"))


# --- A full disk

FULL = """
import os, sys
from pathlib import Path
from enarx.errors import RegistryError
from enarx.registry import Store
from enarx.registry.digest import digest_of
where, kind = Path(sys.argv[1]), sys.argv[2]
store = Store(where / "store")
kept = store.put(b"kept" * 1000)
data = os.urandom((1 if kind == "tmpfs" else 4) << 20)
if kind == "rlimit":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with store.download(digest_of(data), len(data)) as download:
        for start in range(0, len(data), 65536):
            download.write(memoryview(data)[start : start + 65536])
            if kind == "tmpfs" and start == 0:  # somebody else fills the disk meanwhile
                try:
                    (where / "other").write_bytes(bytes(4 << 20))
                except OSError:
                    pass
        download.commit()
except RegistryError as error:
    assert error.code == "store-full", error.code
    print([str(path.relative_to(store.directory)) for path in store.directory.glob("*/*")] == [f"sha256/{kept[7:]}"])
if kind == "tmpfs":
    (where / "other").unlink()
    try:
        with store.download(digest_of(b""), 3 << 20):
            pass
    except RegistryError as error:
        print(error.code == "store-full")
print(store.get(kept, 4000) == b"kept" * 1000)
small = os.urandom(100_000)
print(store.get(store.put(small), 100_000) == small)
"""


@pytest.mark.parametrize("kind", ["tmpfs", "rlimit"])
def test_a_full_disk_leaves_the_store_valid(tmp_path: Path, kind: str) -> None:
    """A file system of 2 MB where one may be mounted; and a limit on files' size, which the kernel keeps anywhere."""
    command = [sys.executable, "-c", FULL, str(tmp_path), kind]
    if kind == "tmpfs":
        mount = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'
        prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(tmp_path)]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a file system of their own")
        command = [*prefix, *command]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True"] * (4 if kind == "tmpfs" else 3), done.stderr


def test_a_download_whose_lock_is_held_is_not_shared(store: Store) -> None:
    with store.download(DIGEST, len(DATA)):
        (partial,) = (store.directory / "partial").iterdir()
        with partial.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
