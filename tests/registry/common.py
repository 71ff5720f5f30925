"""What the tests of registries share."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from enarx.mediatype import PACKAGE
from enarx.registry import Access, Reference, Registry, parse_reference
from enarx.registry.credentials import Lookup
from enarx.registry.progress import silent
from enarx.registry.retry import Patience

PACKAGE_TYPE_USED = PACKAGE


@dataclass
class Waits:
    """A clock that nobody waits for: what would have been waited is noted (seconds)."""

    seconds: list[float] = field(default_factory=list)

    def patience(self, attempts: int = 6) -> Patience:
        return Patience(self.seconds.append, lambda: 0.5, attempts)


def client(
    access: Access | None = None, lookup: Lookup | None = None, waits: Waits | None = None, **settings: object
) -> Registry:
    """A client that does not wait between its tries."""
    progress = settings.pop("progress", silent)
    assert not settings
    return Registry(access, lookup, progress=progress, patience=(waits or Waits()).patience())  # type: ignore[arg-type]


def reference(host: str, tag: str = "v1") -> Reference:
    """A repository that nothing was pushed to yet."""
    return parse_reference(f"oci://{host}/test/{uuid.uuid4().hex}:{tag}")


def content(directory: Path, size: int, name: str = "package") -> Path:
    """A file of that size, different from every other."""
    path = directory / name
    with path.open("wb") as file:
        written = 0
        while written < size:
            written += file.write(os.urandom(min(1 << 20, size - written)))
    return path
