"""How a kernel is built: from a package of sources, and the configuration and the patch kept here, to the same bytes.

Nothing that differs between two builds gets into the kernel: time, user and machine are fixed, the compiler is called
with paths relative to the sources, and the environment is not passed on. What is left of this machine is the compiler,
the linker and the compressor, which `Toolchain` names.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO, Final

from enarx.errors import HostError

BUILD_SECONDS: Final = 4 * 3600
"""How long a build may take, in seconds. On two idle cores it takes some minutes."""
SPACE_BYTES: Final = 3 << 30
"""Free space that a build needs, in bytes: the sources have 1.7 GB."""
LOG_SHOWN_LINES: Final = 3
"""Lines of a failed build's output that are part of the error."""
LOG_SHOWN_CHARS: Final = 1000

CONFIG: Final = "kernel.config"
PATCH: Final = "kernel.patch"
COMPILER: Final = "gcc-12"
"""The compiler of Debian 12, by its full name, so that another release's default is not taken for it."""
PROGRAMS: Final = {
    "dpkg-deb": "dpkg",
    "setpriv": "util-linux",
    "tar": "tar",
    "xz": "xz-utils",
    "patch": "patch",
    "make": "make",
    COMPILER: "gcc-12",
    "ld": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "zstd": "zstd",
}
"""What a build runs, and the Debian packages that have it."""
HEADERS: Final = {"/usr/include/libelf.h": "libelf-dev", "/usr/include/stdio.h": "libc6-dev"}
"""What the kernel's own tools are compiled with, and the Debian packages that have it."""

ENVIRONMENT: Final = {
    "KBUILD_BUILD_HOST": "keep",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "enarx",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
    "SOURCE_DATE_EPOCH": "0",
    "TZ": "UTC",
}
MAKE: Final = ("make", f"CC={COMPILER}", f"HOSTCC={COMPILER}")
CONFIGURE: Final = ("KCONFIG_ALLCONFIG=enarx.config", "allnoconfig")
TARGET: Final = "bzImage"
VMLINUZ: Final = "arch/x86/boot/bzImage"
_UMASK: Final = 0o022
_WORK: Final = ".kernel-"

_SET: Final = re.compile(r"(CONFIG_\w+)=(.+)")
_OFF: Final = re.compile(r"# (CONFIG_\w+) is not set")
_OPTION: Final = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What of a machine is in the kernels that it builds: the first lines of what each program says of its version."""

    compiler: str
    linker: str
    compressor: str


@dataclass(frozen=True, slots=True)
class Product:
    """A kernel that was built: the image to launch, its whole configuration, and the addresses of its symbols."""

    vmlinuz: bytes
    config: bytes
    symbols: bytes


def own_config() -> bytes:
    """The options that matter, over a configuration in which everything is off."""
    return resources.files("enarx.host.image").joinpath(CONFIG).read_bytes()


def own_patch() -> bytes:
    """What is changed in the sources."""
    return resources.files("enarx.host.image").joinpath(PATCH).read_bytes()


def recipe() -> bytes:
    """All that is said here about how to build, for the digest of the inputs."""
    environment = [f"{name}={value}" for name, value in sorted(ENVIRONMENT.items())]
    return "\n".join((*environment, *MAKE, *CONFIGURE, TARGET, VMLINUZ, f"{_UMASK:o}")).encode()


def toolchain() -> Toolchain:
    """The programs that this machine would build with. HostError (``kernel-tools``) names what is missing."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    missing += [package for header, package in HEADERS.items() if not Path(header).exists()]
    if missing:
        raise HostError(
            f"a kernel cannot be built here without {', '.join(missing)}",
            code="kernel-tools",
            hint=f"as root: apt-get install --no-install-recommends {' '.join(missing)}",
        )
    return Toolchain(_version(COMPILER), _version("ld"), _version("zstd"))


def _version(program: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            (program, "--version"), capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )  # fmt: skip
        return done.stdout.decode("ascii").splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError, IndexError) as error:
        raise HostError(
            f"{program} does not say its version: {error}", code="kernel-tools", hint="install it again"
        ) from error


def unmet(fragment: str, config: str) -> list[str]:
    """Lines of ``fragment`` that do not hold in ``config``, a whole configuration.

    An option that is to be off may be there as off or not at all, which it is where what it needs is off.
    """
    values = {found[1]: found[2] for line in config.splitlines() if (found := _SET.fullmatch(line))}
    wrong = []
    for line in fragment.splitlines():
        if wanted := _SET.fullmatch(line):
            if values.get(wanted[1]) != wanted[2]:
                wrong.append(line)
        elif (off := _OFF.fullmatch(line)) and off[1] in values:
            wrong.append(line)
    return wrong


def named(fragment: str) -> set[str]:
    """The options that ``fragment`` speaks of, without CONFIG_."""
    lines = fragment.splitlines()
    found = [one for line in lines if (one := _SET.fullmatch(line) or _OFF.fullmatch(line))]
    return {one[1].removeprefix("CONFIG_") for one in found}


def options(kconfig: str) -> set[str]:
    """The options that a Kconfig file defines."""
    return set(_OPTION.findall(kconfig))


def build(package: Path, directory: Path, name: str, jobs: int) -> Product:
    """Build the sources in ``package`` in a new directory below ``directory``, which is gone afterwards.

    What a build that fails has printed is kept in ``directory`` as ``name``.log. HostError: ``kernel-space``,
    ``kernel-config`` when an option is not as it must be, ``kernel-build`` for everything else that goes wrong.
    """
    free = shutil.disk_usage(directory).free
    if free < SPACE_BYTES:
        raise HostError(
            f"{directory} has {free >> 20} MiB free, a kernel takes {SPACE_BYTES >> 20} MiB while it is built",
            code="kernel-space",
            hint="make room, or name another directory with --cache-dir",
        )
    with _work(directory) as work, (work / "log").open("wb") as output:
        run = _Runner(output, work / "log", directory / f"{name}.log")
        sources = work / "linux"
        sources.mkdir()
        run(("dpkg-deb", "-x", str(package), "package"), work)
        archives = sorted(work.glob("package/usr/src/linux-source-*.tar.xz"))
        if len(archives) != 1:
            raise run.failed(f"the package has {len(archives)} archives of sources")
        run(("tar", "-xf", str(archives[0]), "--strip-components=1", "--no-same-owner"), sources)
        archives[0].unlink()
        (work / PATCH).write_bytes(own_patch())
        run(("patch", "-p1", "--fuzz=0", "--batch", "--input", str(work / PATCH)), sources)
        (sources / "enarx.config").write_bytes(own_config())
        run((*MAKE, *CONFIGURE), sources)
        _check_config(sources)
        run((*MAKE, f"-j{jobs}", TARGET), sources)
        return Product(*((sources / path).read_bytes() for path in (VMLINUZ, ".config", "System.map")))


def _check_config(sources: Path) -> None:
    fragment = own_config().decode()
    defined: set[str] = set()
    for path in sources.rglob("Kconfig*"):
        defined |= options(path.read_text(encoding="utf-8", errors="replace"))
    unknown = [f"CONFIG_{name}, which these sources do not have" for name in sorted(named(fragment) - defined)]
    wrong = [*unmet(fragment, (sources / ".config").read_text(encoding="utf-8")), *unknown]
    if wrong:
        raise HostError(
            f"with these sources the kernel would not be configured as it must be: {'; '.join(wrong[:20])}",
            code="kernel-config",
            hint="the sources have changed: the configuration has to be looked at again",
        )


@contextlib.contextmanager
def _work(directory: Path) -> Iterator[Path]:
    """A directory to build in, locked for as long as it is used. What a build that was killed has left goes."""
    try:
        with contextlib.ExitStack() as stack:
            with _locked(directory, fcntl.LOCK_EX):
                for path in directory.glob(f"{_WORK}*"):
                    with contextlib.suppress(BlockingIOError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        shutil.rmtree(path, ignore_errors=True)
                name = tempfile.TemporaryDirectory(prefix=_WORK, dir=directory, ignore_cleanup_errors=True)
                work = Path(stack.enter_context(name))
                stack.enter_context(_locked(work, fcntl.LOCK_EX))
            yield work
    except OSError as error:
        raise HostError(
            f"the kernel could not be built in {directory}: {error.strerror}",
            code="kernel-build",
            hint="look at the disk, or name another directory with --cache-dir",
        ) from error


@contextlib.contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


class _Runner:
    """Runs one program after the other, with their output in a file, which is kept where one of them fails."""

    def __init__(self, output: BinaryIO, log: Path, kept: Path) -> None:
        self._output = output
        self._log = log
        self._kept = kept

    def __call__(self, command: Sequence[str], directory: Path) -> None:
        environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT}
        with_us = (
            "setpriv",
            "--pdeathsig",
            "TERM",
        )  # make passes it on: no compiler outlives a process that was killed
        process = subprocess.Popen(  # noqa: S603 - fixed programs
            (*with_us, *command), cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=self._output,
            stderr=subprocess.STDOUT, umask=_UMASK, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(BUILD_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise self.failed(f"{command[0]} took more than {BUILD_SECONDS} s") from error
        finally:
            if process.poll() is None:  # an interrupt reaches this process alone
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            raise self.failed(f"{command[0]} ended with {status}: {self._last_words()}")

    def failed(self, what: str) -> HostError:
        """The error to raise."""
        shutil.copyfile(self._log, self._kept)
        return HostError(
            f"the kernel could not be built: {what}", code="kernel-build", hint=f"its whole output is in {self._kept}"
        )

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = [line for line in lines if "error:" in line.lower() or "FAILED" in line] or lines[-LOG_SHOWN_LINES:]
        return " ".join(told[:LOG_SHOWN_LINES])[:LOG_SHOWN_CHARS]
