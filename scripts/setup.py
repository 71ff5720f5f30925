"""Make ``.venv`` from the lock files, and install the Debian packages that the work at hand needs.

Standard library only, for it runs before anything is installed. Two levels: ``demo`` is what the product needs to
run, ``tests`` adds the development tools and the compilers of the example workloads. Debian packages have a third,
``kernel``, for what the kernel of the Keep's image is built with, which tests do without. A stamp in the environment
records what it was made from, so that a run with nothing to do takes milliseconds; a lock keeps two runs apart.

Package indexes, proxies and certificates are those of pip's and apt's own configuration: none is named here.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEVELS = ("demo", "tests")
PACKAGE_LEVELS = (*LEVELS, "kernel")
LOCK_FILES: Mapping[str, Sequence[str]] = {"demo": ("runtime.txt", "build.txt"), "tests": ("dev.txt",)}
BROUGHT_BY_VENV = ("pip", "setuptools")
APT_LOCK_TIMEOUT_SECONDS = 300
APT_RETRIES = 3
APT_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_MIRROR = "http://deb.debian.org/debian/"  # of a machine whose own sources name none
OS_RELEASE = Path("/etc/os-release")


class SetupError(Exception):
    """What went wrong and what to do about it, for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an environment was made from; equal stamps mean that there is nothing to do."""

    level: str
    python: str  # 3.11 and the like: wheels of one minor version do not fit another
    requirements: str  # SHA-256 of the lock files of the level and of this script
    project: str  # SHA-256 of what the editable install reads from pyproject.toml


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/setup", description="Make .venv ready for use.")
    parser.add_argument("--tests", action="store_true", help="also what lint, tests and benchmarks need")
    parser.add_argument("--kernel", action="store_true", help="also what the kernel of the Keep's image is built with")
    options = parser.parse_args(arguments)
    level = "tests" if options.tests or options.kernel else "demo"
    try:
        with exclusive(ROOT):
            apt_complete = install_debian_packages(wanted_packages(ROOT, "kernel" if options.kernel else level))
            make_environment(ROOT, level, apt_complete=apt_complete)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the lock on the source tree: two runs of make at once take turns."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another setup in this tree")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- Debian packages


def wanted_packages(root: Path, level: str) -> list[str]:
    """Packages of ``requirements/apt.txt`` for ``level``, without python3-venv where Python does not need it.

    ``name/suite`` is one of a suite of backports, which only that suite's release needs: later ones have it.
    """
    wanted = []
    for line in (root / "requirements" / "apt.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        package, needed_by, _purpose = line.split(maxsplit=2)
        if needed_by not in PACKAGE_LEVELS:
            raise SetupError(
                f"requirements/apt.txt: {package} is needed by {needed_by!r}, which is none of {PACKAGE_LEVELS}"
            )
        name, slash, suite = package.partition("/")
        if PACKAGE_LEVELS.index(needed_by) <= PACKAGE_LEVELS.index(level):
            wanted.append(package if slash and suite.partition("-")[0] == release() else name)
    if find_spec("ensurepip") is not None:
        wanted.remove("python3-venv")
    return wanted


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that dpkg does not have installed; all of them where there is no dpkg.

    One of a suite of backports is missing also where the release's own is installed, which is older.
    """
    if not packages or shutil.which("dpkg-query") is None:
        return list(packages)
    names = [package.partition("/")[0] for package in packages]
    query = ["dpkg-query", "--show", "--showformat=${binary:Package} ${Version} ${db:Status-Status}\n", *names]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    states = (line.split() for line in answer.stdout.splitlines())
    installed = {state[0].partition(":")[0]: state[1] for state in states if state[-1] == "installed"}
    missing = []
    for package in packages:
        name, _, suite = package.partition("/")
        version = installed.get(name)
        if version is None or (suite and "~bpo" not in version):
            missing.append(package)
    return missing


def install_debian_packages(packages: Sequence[str]) -> bool:
    """Install what is missing; say what to do and return False where that cannot be done from here."""
    missing = missing_packages(packages)
    if not missing:
        return True
    by_hand = shlex.join(["apt-get", "install", "--no-install-recommends", *missing])
    if shutil.which("apt-get") is None:
        say(f"not on Debian, so these are yours to install, under whatever names they have here: {', '.join(missing)}")
        return False
    prefix = become_root()
    if prefix is None:
        say(f"Debian packages are missing, and installing them takes root. Run: sudo {by_hand}")
        return False
    say(f"installing Debian packages: {' '.join(missing)}")
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--no-install-recommends"]
    apt += ["-o", f"Acquire::Retries={APT_RETRIES}", "-o", f"DPkg::Lock::Timeout={APT_LOCK_TIMEOUT_SECONDS}"]
    apt += ["-o", "Dpkg::Use-Pty=0"]
    ordinary = [package for package in missing if "/" not in package]
    if not (install(apt, ordinary, by_hand) if ordinary else True):
        return False
    for suite in sorted({package.partition("/")[2] for package in missing} - {""}):
        with tempfile.TemporaryDirectory(prefix="enarx-apt-") as directory:
            options = own_sources(Path(directory), suite)
            if not install([*apt, *options], [item for item in missing if item.endswith(f"/{suite}")], by_hand):
                return False
    return True


def install(apt: Sequence[str], packages: Sequence[str], by_hand: str) -> bool:
    """Update the lists of ``apt`` and install ``packages``; say what to do and return False when that fails."""
    # One unreachable source among several fails the update but need not matter: the install decides.
    update_failure = failure_of([*apt, "-o", "APT::Update::Error-Mode=any", "update"])
    install_failure = failure_of([*apt, "--yes", "install", *packages])
    if install_failure:
        sys.stderr.write(update_failure + install_failure)
        cause = ", and before it apt-get update: a mirror may be unreachable (see above)" if update_failure else ""
        say(f"apt-get install failed{cause}. Mend it, then run this again, or: {by_hand}")
        return False
    return True


def own_sources(directory: Path, suite: str) -> list[str]:
    """Options with which apt sees this release and ``suite``, through lists and caches in ``directory``.

    The machine's own sources, lists and caches stay as they are.
    """
    directory.chmod(0o755)  # the user who downloads for apt looks in
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    signed = f"Signed-By: {APT_KEYRING}\n" if APT_KEYRING.exists() else ""
    stanza = f"Types: deb\nURIs: {mirror()}\nSuites: {release()} {suite}\nComponents: main\n{signed}"
    (directory / "parts" / "own.sources").write_text(stanza)
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": directory / "parts",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory / "cache",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def release() -> str:
    """The code name of this machine's release; an empty string where there is none."""
    try:
        text = OS_RELEASE.read_text()
    except OSError:
        return ""
    found = re.search(r"^VERSION_CODENAME=[\"']?([a-z]+)", text, re.MULTILINE)
    return found[1] if found else ""


def mirror() -> str:
    """Where this machine gets its release from."""
    form = "--format=$(CODENAME) $(LABEL) $(REPO_URI)"
    command = ["apt-get", "indextargets", form, "Created-By: Packages"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in answer.stdout.splitlines():
        code_name, _, rest = line.partition(" ")
        label, _, uri = rest.rpartition(" ")
        if (code_name, label) == (release(), "Debian"):
            return uri
    return APT_MIRROR


def become_root() -> list[str] | None:
    """The command prefix that runs as root without asking for a password, or None."""
    if os.geteuid() == 0:
        return []
    without_asking = ["sudo", "-n"]
    if (
        shutil.which("sudo")
        and subprocess.run([*without_asking, "true"], capture_output=True, check=False).returncode == 0
    ):
        return without_asking
    return None


# --- the environment


def make_environment(root: Path, level: str, *, apt_complete: bool) -> None:
    """Bring ``.venv`` to at least ``level``: in place when only the locks changed, from nothing otherwise."""
    home = root / ".venv"
    python = home / "bin" / "python"
    stamp_file = home / ".setup-stamp.json"
    before = read_stamp(stamp_file) if works(python) else None
    if before is not None and LEVELS.index(before.level) > LEVELS.index(level):
        level = before.level
    wanted = wanted_stamp(root, level)
    if before == wanted:
        return
    # Without a stamp the next run starts afresh, so one that is cut short does no harm.
    stamp_file.unlink(missing_ok=True)
    if before is None or before.python != wanted.python:
        say(f"creating .venv with Python {wanted.python}")
        create(home, apt_complete=apt_complete)
        before = None
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    if before is None or before.requirements != wanted.requirements:
        locks = LOCK_FILES[level]
        say(f"installing {' and '.join(f'requirements/{lock}' for lock in locks)}")
        chosen = [part for lock in locks for part in ("--requirement", str(root / "requirements" / lock))]
        must([*pip, "--require-hashes", *chosen], "pip could not install the locked packages (see above)")
        strays = sorted(installed_packages(home) - locked_packages(root, level))
        if strays:
            must([str(python), "-m", "pip", "uninstall", "-qq", "--yes", *strays], "pip could not remove old packages")
    must([*pip, "--no-deps", "--no-build-isolation", "--editable", str(root)], "pip could not install the project")
    write_stamp(stamp_file, wanted)
    say(".venv is ready")


def create(home: Path, *, apt_complete: bool) -> None:
    if find_spec("ensurepip") is None and not apt_complete:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"this Python {version} has no ensurepip, so .venv would have no pip.\n"
            f"  On Debian, as root: apt-get install python{version}-venv   Then run this again."
        )
    must([sys.executable, "-m", "venv", "--clear", str(home)], "python -m venv failed (see above)")


def locked_packages(root: Path, level: str) -> set[str]:
    """Names in the lock files of ``level``, and what is in an environment without being locked."""
    text = "".join((root / "requirements" / lock).read_text() for lock in LOCK_FILES[level])
    return {canonical(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)} | {"enarx", *BROUGHT_BY_VENV}


def installed_packages(home: Path) -> set[str]:
    found = distributions(path=[str(path) for path in home.glob("lib/python*/site-packages")])
    return {canonical(distribution.name) for distribution in found}


def canonical(name: str) -> str:
    """A package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def works(python: Path) -> bool:
    """Whether the environment's interpreter starts: it does not once the Python it links to is gone."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def wanted_stamp(root: Path, level: str) -> Stamp:
    """The stamp of an environment made now, by this interpreter, from the files in ``root``."""
    locks = [(root / "requirements" / name).read_bytes() for name in LOCK_FILES[level]]
    with (root / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)
    installed = [settings.get("build-system"), settings.get("project"), settings.get("tool", {}).get("hatch")]
    return Stamp(
        level=level,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        requirements=digest(Path(__file__).read_bytes(), *locks),
        project=digest(json.dumps(installed, sort_keys=True).encode(), os.fsencode(root)),
    )


def digest(*parts: bytes) -> str:
    """SHA-256 over the parts, each behind its length."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


def read_stamp(path: Path) -> Stamp | None:
    """The stamp at ``path``; None when there is none that this version of the script wrote."""
    try:
        stamp = Stamp(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return stamp if stamp.level in LEVELS else None


def write_stamp(path: Path, stamp: Stamp) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(stamp), indent=1) + "\n")
    draft.replace(path)


# --- running and saying


def failure_of(command: Sequence[str]) -> str:
    """Run to the end: an empty string if it succeeded, else what it printed."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode == 0:
        return ""
    return done.stdout.decode(errors="replace") + f"(exit status {done.returncode})\n"


def must(command: Sequence[str], failure: str) -> None:
    printed = failure_of(command)
    if printed:
        sys.stderr.write(printed)
        raise SetupError(f"{failure}\n  The command was: {shlex.join(command)}")


def say(message: str) -> None:
    print(f"setup: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
