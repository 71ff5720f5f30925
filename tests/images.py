"""Images for tests: the one of this tree, built once and shared by all processes and later runs, and what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.image.build import left_out
from enarx.host.image.collect import collect
from enarx.host.image.fetch import Inputs, default_cache
from enarx.host.image.lock import Lock, format_lock, read_lock
from enarx.host.image.relock import relock
from tests import support

SHARED = support.ROOT / "build" / "test-image"
SOURCES = support.ROOT / "src" / "enarx"
BUILD_SECONDS = 600.0
"""What no build of an image takes, downloads included."""
_RELOCKED = "relocked"
_FULL = (
    "etc/", "lib/x86_64-linux-gnu/", "lib64/", "usr/bin/python3.11", "usr/lib/python3.11/", "usr/lib/x86_64-linux-gnu/",
)  # fmt: skip


@cache
def stock_image() -> Path:
    """The image of this tree with Debian's kernel. See `lock` for what happens when an input is gone."""
    require_inputs()
    place = _place("stock")
    with _alone(place):
        if not (place / "image.toml").exists():
            command = [str(support.INSTALLED), "image", "build", "-o", str(place), "--lock", str(lock_file())]
            done = subprocess.run(command, capture_output=True, timeout=BUILD_SECONDS, check=False)
            assert done.returncode == 0, done.stderr.decode()
    return place


@cache
def full_root() -> Path:
    """A directory with all that the locked packages have for Python, except what a Keep does without."""
    require_inputs()
    place = _place("full")
    with _alone(place):
        if not place.exists():
            lock, without = read_lock(lock_file()), left_out()
            pieces = collect(lock, Inputs(default_cache()), lambda path: path.startswith(_FULL) and path not in without)
            draft = place.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            unpack(draft, {path: piece.data for path, piece in pieces.items()})
            draft.rename(place)
    return place


def unpack(directory: Path, files: dict[str, bytes]) -> None:
    """A root directory with ``files``, and the directories that the sandbox and the kernel want."""
    for name in ("dev", "mnt", "proc", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    for path, data in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755)


@cache
def lock_file() -> Path:
    """The lock file that tests build with: ours, or, where an input of it has left the mirror, one of what is there.

    Reproducing an old image is then for those who have kept its inputs; everything else is tested with the new ones.
    """
    ours = SOURCES / "host" / "image" / "image.lock"
    renewed = _place(_RELOCKED).with_suffix(".lock")
    with _alone(renewed):
        inputs = Inputs(default_cache())
        lock = read_lock(None)
        if not renewed.exists():
            try:
                inputs.all(lock.for_kernel("stock"))
            except HostError as error:
                if error.code != "image-input-gone":
                    raise
                said = " ".join(error.message.split())
                renewed.write_bytes(f"# {said}\n".encode() + format_lock(relock(lock.archives, inputs)))
            else:
                return ours
    return renewed


def locked() -> Lock:
    """What goes into `stock_image`."""
    return read_lock(lock_file()).for_kernel("stock")


def renewal() -> str:
    """Why tests of this tree do not build with our own lock file; empty where they do."""
    renewed = _place(_RELOCKED).with_suffix(".lock")
    return renewed.read_text().splitlines()[0].removeprefix("# ") if renewed.exists() else ""


def require_inputs() -> None:
    """Skip, or fail in CI, where packages cannot be read."""
    support.require_tool("dpkg-deb", "dpkg")
    support.require_file("/usr/lib/apt/apt-helper", "apt")
    if os.uname().machine != "x86_64":
        pytest.skip("images are for x86-64, and built there")


def _place(kind: str) -> Path:
    """Where something of this tree is: another one for other sources."""
    digest = hashlib.sha256(kind.encode() + Path(__file__).read_bytes())
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and not {"cli", "tenant", "registry"} & set(path.parts):
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return SHARED / f"{kind}-{digest.hexdigest()[:16]}"


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Only one process at a time makes ``place``, and what was made of earlier sources goes."""
    SHARED.mkdir(parents=True, exist_ok=True)
    kind = place.stem.partition("-")[0]
    with (SHARED / f"{kind}.busy").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        for old in SHARED.glob(f"{kind}-*"):
            if old.stem != place.stem:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def read_newc(data: bytes) -> dict[str, tuple[int, bytes]]:
    """The members of an archive: mode and contents by name. Written after the kernel's description, for tests alone."""
    found: dict[str, tuple[int, bytes]] = {}
    offset = 0
    while True:
        assert data[offset : offset + 6] == b"070701"
        fields = [int(data[offset + 6 + 8 * index : offset + 14 + 8 * index], 16) for index in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[offset + 110 : offset + 110 + name_size - 1].decode()
        start = offset + 110 + name_size + (-(110 + name_size) % 4)
        if name == "TRAILER!!!":
            assert not any(data[start:])
            return found
        assert name not in found
        found[name] = mode, data[start : start + size]
        offset = start + size + (-size % 4)
