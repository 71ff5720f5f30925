"""An image that has been put together and not been written yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from enarx.host.image.collect import OWN
from enarx.host.image.lock import Lock
from enarx.host.image.newc import Entry, File


@dataclass(frozen=True, slots=True)
class Built:
    """An image as it has been put together. ``files``: those that are launched, by name.

    ``entries``: what is in the initial RAM disk, and ``providers`` the input that each of its files is from.
    ``kernel``: how a kernel of our own was made; empty for Debian's.
    """

    kind: str
    lock: Lock
    files: Mapping[str, bytes]
    entries: Mapping[str, Entry]
    providers: Mapping[str, str]
    kernel: Mapping[str, str]

    @property
    def regular(self) -> dict[str, bytes]:
        """The files of the initial RAM disk, by path."""
        return {path: entry.data for path, entry in sorted(self.entries.items()) if isinstance(entry, File)}

    @property
    def trusted_bytes(self) -> int:
        """Bytes that a tenant must trust: everything that is launched."""
        return sum(map(len, self.files.values()))

    @property
    def own_digest(self) -> str:
        """SHA-256 of what `sha256sum` prints for the Keep's own files in the image, sorted by name."""
        lines = [
            f"{hashlib.sha256(data).hexdigest()}  {path}\n"
            for path, data in self.regular.items()
            if self.providers.get(path) == OWN
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def joint_digest(self) -> str:
        """SHA-256 over those of the launched files, in their order: one name for all of them together."""
        return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in self.files.values())).hexdigest()
