"""Write a lock file of what the archives and PyPI offer now."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from enarx.errors import HostError
from enarx.host.image.apt import opened
from enarx.host.image.fetch import Inputs, download_wheel
from enarx.host.image.inputs import PACKAGES, WHEELS
from enarx.host.image.layout import file_digest
from enarx.host.image.lock import Deb, Lock, Wheel


def relock(
    archives: Mapping[str, tuple[str, ...]], inputs: Inputs, tell: Callable[[str], None] = lambda _: None
) -> Lock:
    """The newest of each package in ``archives``, and wheels of the versions that this program itself runs with.

    Raises HostError (``image-apt``, ``image-package``, ``host-install``).
    """
    debs: dict[str, Deb] = {}
    for archive in dict.fromkeys(wanted.archive for wanted in PACKAGES):
        if archive not in archives:
            raise HostError(
                f"there are no sources named {archive}",
                code="image-package",
                hint="add them to the lock file's [archive]",
            )
        tell(f"reading the lists of {archive}")
        with opened(archives[archive]) as apt:
            for wanted in PACKAGES:
                if wanted.archive == archive:
                    found = apt.newest(wanted.name, wanted.follow)
                    debs[wanted.name] = Deb(
                        found.name, found.version, archive, wanted.use, found.url, found.size, found.sha256
                    )
    wheels = tuple(_wheel(name, inputs, tell) for name in WHEELS)
    return Lock(archives=archives, debs=tuple(debs[wanted.name] for wanted in PACKAGES), wheels=wheels)


def _wheel(name: str, inputs: Inputs, tell: Callable[[str], None]) -> Wheel:
    try:
        release = version(name)
    except PackageNotFoundError as error:
        raise HostError(
            f"the Python package {name} is missing", code="host-install", hint="install Enarx again: pip install enarx"
        ) from error
    tell(f"fetching {name} {release}")
    with tempfile.TemporaryDirectory(prefix="enarx-wheel-") as scratch:
        path = download_wheel((f"{name}=={release}",), Path(scratch), f"{name} {release}")
        if not re.fullmatch(r"[A-Za-z0-9+._-]{1,200}", path.name):
            raise HostError(f"pip fetched a file of the name {path.name!r}", code="image-package", hint="look at pip")
        digest = file_digest(path).removeprefix("sha256:")
        inputs.put(path, digest)
        return Wheel(name, release, path.name, digest)
