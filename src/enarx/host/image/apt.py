"""APT with directories of its own: reads no configuration of this machine and changes nothing on it, and needs no root.

Only two things are asked of it: what the newest version of a package is, with signatures checked as always, and the
bytes at an address.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from enarx.errors import HostError

UPDATE_SECONDS: Final = 600
"""How long the lists of packages may take to arrive, in seconds."""
DOWNLOAD_SECONDS: Final = 1800
"""How long one package may take, in seconds."""
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HELPER: Final = "/usr/lib/apt/apt-helper"
_LINE: Final = re.compile(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Found:
    """A package that an archive offers."""

    name: str
    version: str
    url: str
    size: int
    sha256: str


class Apt:
    """The packages of the sources that were asked for. Made by ``opened``."""

    def __init__(self, directory: Path) -> None:
        self._configuration = directory / "apt.conf"

    def newest(self, name: str, follow: str = "") -> Found:
        """The newest version of ``name``; with ``follow``, of what it depends on whose name begins so.

        HostError: ``image-package`` where there is none.
        """
        if follow:
            name = self._dependency(name, follow)
        text = self._run("apt-get", "download", "--print-uris", name, what=f"find {name}")
        match = _LINE.search(text)
        if match is None:
            raise _no_package(name, text)
        url, file, size, sha256 = match.groups()
        version = unquote(file).split("_")[1]
        shown = self._run("apt-cache", "show", "--no-all-versions", name, what=f"look at {name}")
        full = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
        return Found(name, full[1] if full else version, url, int(size), sha256)

    def _dependency(self, name: str, prefix: str) -> str:
        text = self._run("apt-cache", "show", "--no-all-versions", name, what=f"look at {name}")
        depends = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
        for one in (depends[1] if depends else "").split(","):
            package = one.strip().split(" ")[0]
            if package.startswith(prefix):
                return package
        raise _no_package(name, text)

    def _run(self, *command: str, what: str) -> str:
        return run(command, self._configuration, UPDATE_SECONDS, what)


@contextmanager
def opened(sources: Sequence[str]) -> Iterator[Apt]:
    """APT over ``sources`` (lines "URL SUITE COMPONENT"), its lists fetched. HostError: ``image-apt``."""
    with _configured(sources) as directory:
        run(("apt-get", "update", "--error-on=any"), directory / "apt.conf", UPDATE_SECONDS, "read the archives' lists")
        yield Apt(directory)


def download(url: str, target: Path, sha256: str) -> None:
    """Fetch ``url`` into ``target``, which gets these contents or is not written. HostError: ``image-apt``."""
    with _configured(()) as directory:
        address = f"copy:{url.removeprefix('file:')}" if url.startswith("file:") else url  # else it is but linked to
        command = (_HELPER, "download-file", address, str(target), f"SHA256:{sha256}")
        run(command, directory / "apt.conf", DOWNLOAD_SECONDS, f"fetch {url}")


def run(command: Sequence[str], configuration: Path | None, seconds: float, what: str) -> str:
    """The output of a program of APT's, or another that is told nothing of this machine's APT. HostError."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    environment.pop("APT_CONFIG", None)
    if configuration is not None:
        environment["APT_CONFIG"] = str(configuration)
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; arguments are not read by a shell
            command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        raise HostError(
            f"there is no {command[0]} on this machine, which is needed to {what}",
            code="image-tool",
            hint="images are built on Debian or a relative of it, with apt, dpkg and pip",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"it took more than {seconds:g} s to {what}", code="image-apt", hint="look at the network, and repeat"
        ) from error
    if done.returncode:
        raise HostError(
            f"could not {what}: {_last_words(done.stderr)}",
            code="image-apt",
            hint="look at the network and at the addresses in the lock file; behind a proxy, set http_proxy",
        )
    return done.stdout.decode("utf-8", "replace")


def _last_words(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("E:", "ERROR:"))] or lines
    return " ".join(told[-3:])[:1000] or "it did not say why"


@contextmanager
def _configured(sources: Sequence[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="enarx-apt-") as name:
        directory = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial", "etc/parts", "etc/sources", "etc/preferences"):
            (directory / part).mkdir(parents=True)
        (directory / "status").touch()
        (directory / "sources.list").write_text("".join(map(_source_line, sources)))
        (directory / "apt.conf").write_text(_configuration(directory))
        yield directory


def _source_line(source: str) -> str:
    # What is fetched is pinned by digest in a lock file that people review, so a list that a mirror has not renewed for
    # a while is as good as a fresh one; development suites let theirs run out within days.
    return f"deb [signed-by={KEYRING} arch=amd64 check-valid-until=no] {source}\n"


def _configuration(directory: Path) -> str:
    user = pwd.getpwuid(os.getuid()).pw_name if _has_name() else str(os.getuid())
    settings = {
        "Dir": directory,
        "Dir::State": directory / "state",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc": directory / "etc",
        "Dir::Etc::parts": directory / "etc/parts",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": directory / "etc/sources",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": directory / "etc/preferences",
        "Dir::Log": directory,
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": user,
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    lines = [f'{key} "{value}";' for key, value in settings.items()]
    return "\n".join([*lines, 'APT::Architectures { "amd64"; };', ""])


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def _no_package(name: str, output: str) -> HostError:
    said = output.strip().splitlines()[-1:] or ["nothing"]
    return HostError(
        f"the archives offer no package {name} (they said: {said[0][:200]})",
        code="image-package",
        hint="look at the sources in the lock file",
    )
