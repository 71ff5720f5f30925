"""The locked inputs as files, from a cache that is filled by APT and pip.

An entry of the cache has its SHA-256 as its name, and is hashed again whenever it is used: what is there is what the
lock file names, whoever else writes to the directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from enarx.errors import HostError
from enarx.host.image.apt import DOWNLOAD_SECONDS, download, run
from enarx.host.image.layout import file_digest
from enarx.host.image.lock import Deb, Lock, Wheel

PLATFORMS: Final = tuple(
    f"{policy}_x86_64" for policy in (*(f"manylinux_2_{minor}" for minor in range(36, 16, -1)), "manylinux2014")
)
"""What pip calls the image's platform: glibc 2.36 and everything older."""


def default_cache() -> Path:
    """``enarx/inputs`` in the user's cache directory. HostError (``no-home``) without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "enarx" / "inputs"
    except RuntimeError as error:
        raise HostError(
            "you have no home directory to keep downloads in", code="no-home", hint="name one with --cache-dir"
        ) from error


class Inputs:
    """The files of a lock file's entries. ``tell`` hears of each download before it starts."""

    def __init__(self, cache: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self._cache = cache
        self._tell = tell

    def all(self, lock: Lock) -> None:
        """Fetch whatever is not in the cache. HostError as ``file`` raises."""
        for one in lock.inputs:
            self.file(one)

    def file(self, wanted: Deb | Wheel) -> Path:
        """The file, with exactly the digest that the lock file has.

        HostError: ``image-input-gone`` names one that can no longer be had, ``image-cache`` when there is no place.
        """
        path = self._cache / wanted.sha256
        with contextlib.suppress(HostError):
            if file_digest(path) == f"sha256:{wanted.sha256}":
                return path
        self._tell(f"fetching {wanted.title}")
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=self._cache) as scratch:
                fetched = self._fetch(wanted, Path(scratch))
                found = file_digest(fetched)
                if found != f"sha256:{wanted.sha256}":
                    raise HostError(
                        f"what was fetched has {found}, the lock file has sha256:{wanted.sha256}", code="image-input"
                    )
                fetched.replace(path)
        except HostError as error:
            raise _gone(wanted, error) from error
        except OSError as error:
            raise HostError(
                f"{self._cache} cannot be written: {error.strerror}",
                code="image-cache",
                hint="name another directory with --cache-dir",
            ) from error
        return path

    def put(self, path: Path, sha256: str) -> None:
        """Take a file over whose digest is known."""
        self._cache.mkdir(parents=True, exist_ok=True)
        draft = self._cache / f".{secrets.token_hex(8)}"
        draft.write_bytes(path.read_bytes())
        draft.replace(self._cache / sha256)

    def _fetch(self, wanted: Deb | Wheel, directory: Path) -> Path:
        if isinstance(wanted, Deb):
            target = directory / "package.deb"
            download(wanted.url, target, wanted.sha256)
            return target
        requirements = directory / "requirements.txt"
        requirements.write_text(f"{wanted.name}=={wanted.version} --hash=sha256:{wanted.sha256}\n")
        return download_wheel(("--require-hashes", "--requirement", str(requirements)), directory, wanted.title)


def download_wheel(request: tuple[str, ...], directory: Path, title: str) -> Path:
    """The wheel that pip finds for the image's Python, in ``directory``. HostError (``image-apt``, ``image-tool``)."""
    platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
    command = (
        sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet", "--no-deps",
        "--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3",
        "--abi=none", *platforms, "--dest", str(directory), *request,
    )  # fmt: skip
    run(command, None, DOWNLOAD_SECONDS, f"fetch {title}")
    found = sorted(directory.glob("*.whl"))
    if len(found) != 1:
        raise HostError(f"pip fetched {len(found)} wheels for {title}", code="image-apt", hint="look at pip's settings")
    return found[0]


def _gone(wanted: Deb | Wheel, error: HostError) -> HostError:
    if error.code in ("image-tool", "image-cache"):
        return error
    where = wanted.url if isinstance(wanted, Deb) else f"PyPI ({wanted.file})"
    return HostError(
        f"{wanted.title} cannot be had as the lock file names it, from {where}: {error.message}",
        code="image-input-gone",
        hint="where that version has left the mirror, `enarx image lock -o FILE` writes a lock file of what is there "
        "now, for `enarx image build --lock FILE`; the launch digests change with it",
    )
