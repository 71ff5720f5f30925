"""What is written beside an image: ``image.toml``, the bill of materials, and the reference values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import enarx
from enarx.host.image import layout
from enarx.host.image.collect import OWN
from enarx.host.image.lock import Lock
from enarx.host.image.newc import Entry, File


@dataclass(frozen=True, slots=True)
class Built:
    """An image as it has been put together. ``files``: those that are launched, by name.

    ``entries``: what is in the initial RAM disk, and ``providers`` the input that each of its files is from.
    """

    kind: str
    lock: Lock
    files: Mapping[str, bytes]
    entries: Mapping[str, Entry]
    providers: Mapping[str, str]

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


def describe(built: Built) -> dict[str, bytes]:
    """The files that go beside those of ``built``, by name."""
    return {layout.DESCRIPTION: _description(built)}


def _description(built: Built) -> bytes:
    lines = [
        "# An image of a VM Keep, as `enarx image build` has made it.",
        f"format = {layout.FORMAT}",
        f'kind = "{built.kind}"',
        f'enarx = "{enarx.__version__}"',
        "",
        "[trusted]  # all that is launched, and the files of the initial RAM disk",
        f"bytes = {built.trusted_bytes}",
        f"files = {len(built.regular)}",
    ]
    for name, data in built.files.items():
        lines += [
            "",
            f'[files."{name}"]',
            f"bytes = {len(data)}",
            f'sha256 = "sha256:{hashlib.sha256(data).hexdigest()}"',
        ]
    for kind, inputs in (("deb", built.lock.debs), ("wheel", built.lock.wheels)):
        for one in inputs:
            lines += ["", "[[input]]", f'kind = "{kind}"', f'name = "{one.name}"', f'version = "{one.version}"']
            lines.append(f'sha256 = "sha256:{one.sha256}"')
    lines += ["", "[[input]]", f'kind = "{OWN}"', f'name = "{OWN}"', f'version = "{enarx.__version__}"']
    lines.append(f'sha256 = "sha256:{built.own_digest}"  # of the listing of its files, as `sha256sum` prints it')
    return "\n".join(lines).encode() + b"\n"
