"""The Keep's own components, for a bill of materials: those of this installation, which is what it would run.

Versions come from the installed distributions, and hashes from the files that lie there. A distribution has no hash of
its own once it is installed: `TREE_PROPERTY` stands for all its files, and each library in machine code is listed.
"""

from __future__ import annotations

import hashlib
import platform
import re
import ssl
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

import enarx
from enarx.bom import Component
from enarx.errors import HostError

DISTRIBUTIONS: Final = ("cffi", "cryptography", "wasmtime")
"""Distributions besides our own that a Keep's process imports; a test compares with one that has imported it all."""
TREE_PROPERTY: Final = "enarx:files:sha256"
"""SHA-256 of what `sha256sum` prints for a distribution's files, sorted by name: not what Python compiled of them."""
_CPYTHON_LIBRARY: Final = re.compile(r"libpython3[0-9.]*\.so[0-9.]*")
_OPENSSL_LIBRARY: Final = re.compile(r"lib(?:ssl|crypto)[-0-9.]*\.so[0-9.]*")
_OPENSSL_LICENSE: Final = "Apache-2.0"


def keep() -> Component:
    """A Keep of this installation, and all that it consists of; HostError (``sbom-installation``) for a broken one."""
    try:
        parts = [_enarx(), _cpython(), *map(_distribution, DISTRIBUTIONS)]
    except metadata.PackageNotFoundError as error:
        raise HostError(
            f"the distribution {error.name} is not installed", code="sbom-installation", hint="install enarx with pip"
        ) from error
    return {
        "type": "platform",
        "bom-ref": "keep",
        "name": "enarx-keep",
        "version": enarx.__version__,
        "description": "What runs the workload: a Keep of the installation that made this bill of materials.",
        "components": parts,
    }


def _enarx() -> Component:
    root = Path(enarx.__file__).parent
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    licence = metadata.metadata("enarx")["License-Expression"]
    return _python_package("enarx", enarx.__version__, licence, root.parent, files)


def _distribution(name: str) -> Component:
    found = metadata.distribution(name)
    listed = [one for one in found.files or () if one.suffix != ".pyc" and not _is_installers(one)]
    paths = [Path(str(one.locate())) for one in listed]
    root = Path(str(found.locate_file("")))
    component = _python_package(name, found.version, found.metadata["License-Expression"], root, paths)
    libraries = [_file(path, f"{name}/") for path in sorted(paths) if ".so" in path.suffixes]
    if name == "cryptography":
        libraries.append(_cryptography_openssl())
    return component | ({"components": libraries} if libraries else {})


def _is_installers(path: metadata.PackagePath) -> bool:
    """Whether an installer wrote it: RECORD lists what is there, the others who put it there."""
    return any(part.endswith(".dist-info") for part in path.parts) and path.name in (
        "INSTALLER",
        "RECORD",
        "REQUESTED",
        "direct_url.json",
    )


def _python_package(name: str, version: str, licence: str, root: Path, files: Iterable[Path]) -> Component:
    purl = f"pkg:pypi/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "licenses": [{"expression": licence}],
        "purl": purl,
        "properties": [{"name": TREE_PROPERTY, "value": _tree_digest(root, files)}],
    }


def _tree_digest(root: Path, files: Iterable[Path]) -> str:
    named = sorted((str(path.relative_to(root)), path) for path in files)
    lines = (f"{_sha256(path)}  {name}\n" for name, path in named)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _cpython() -> Component:
    version = platform.python_version()
    mapped = _mapped_libraries()
    interpreter = Path(sys.executable).resolve()
    files = [interpreter, *(path for path in mapped if _CPYTHON_LIBRARY.fullmatch(path.name))]
    openssl = [path for path in mapped if _OPENSSL_LIBRARY.fullmatch(path.name)]
    purl = f"pkg:generic/cpython@{version}"
    return {
        "type": "platform",
        "bom-ref": purl,
        "name": "CPython",
        "version": version,
        "licenses": [{"expression": "Python-2.0"}],
        "purl": purl,
        "components": [*(_file(path, "cpython/") for path in files), _openssl(ssl.OPENSSL_VERSION, "cpython", openssl)],
    }


def _cryptography_openssl() -> Component:
    from cryptography.hazmat.backends.openssl.backend import backend

    return _openssl(backend.openssl_version_text(), "cryptography", ())


def _openssl(text: str, owner: str, files: Iterable[Path]) -> Component:
    """The library of which ``text``, such as "OpenSSL 3.0.19 27 Jan 2026", speaks; without files it is built in."""
    name, version = [*text.split(), "unknown"][:2]
    purl = f"pkg:generic/{name.lower()}@{version}"
    component: Component = {
        "type": "library",
        "bom-ref": f"{owner}/{purl}",
        "name": name,
        "version": version,
        "licenses": [{"expression": _OPENSSL_LICENSE}],
        "purl": purl,
    }
    listed = [_file(path, f"{owner}/openssl/") for path in files]
    return component | ({"components": listed} if listed else {})


def _mapped_libraries() -> list[Path]:
    """The libraries of this process, which imports ``ssl`` as a Keep does. Source: proc(5), maps."""
    lines = Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines()
    return sorted(
        {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6 and "/" in fields[5]}
    )


def _file(path: Path, where: str) -> Component:
    return {
        "type": "file",
        "bom-ref": f"file:{where}{path.name}",
        "name": path.name,
        "hashes": [{"alg": "SHA-256", "content": _sha256(path)}],
    }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HostError(
            f"cannot read {path}, a part of this installation: {error.strerror}",
            code="sbom-installation",
            hint="install enarx again",
        ) from error
