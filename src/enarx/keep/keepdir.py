"""What the workload may read about itself, in the preopened read-only directory ``/keep``.

================== ====================================================================================================
certificate.pem    the chain that the Keep shows to its peers: PEM, leaf first, the Steward's CA last; no private key
ear.jwt            the Steward's attestation result (EAR), a compact JWS that the workload can show to others
manifest.json      the manifest, in the canonical encoding whose SHA-256 is in the evidence
secrets/NAME       each secret that the Steward released to this workload, as it is, without a line end
================== ====================================================================================================

A Keep that has a manifest and no Steward has ``manifest.json`` alone, and one without a manifest has no such directory.
The key is nowhere: TLS is the Keep's, and the workload cannot reach it. A renewal replaces the whole tree for those who
open its files afterwards. All files are of the time 0, for the launch is in the certificate.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Final

GUEST_PATH: Final = "/keep"
"""Where the workload finds the directory."""
LIMIT_BYTES: Final = 8 * 1024 * 1024
"""Room for all of it (bytes), apart from the limit ``filesystem``: 64 secrets of 64 KiB, a manifest of 1 MiB, and more
for the rest than it can have."""

CERTIFICATE: Final = "certificate.pem"
EAR: Final = "ear.jwt"
MANIFEST: Final = "manifest.json"
SECRETS: Final = "secrets"


def files(
    certificate_pem: bytes, *, ear: str = "", manifest: bytes = b"", secrets: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The tree as {path: content}, parents not included; what is empty or absent is left out."""
    found = {CERTIFICATE: certificate_pem, EAR: ear.encode(), MANIFEST: manifest}
    found = {name: content for name, content in found.items() if content}
    return found | {f"{SECRETS}/{name}": value for name, value in sorted((secrets or {}).items())}


def archive(tree: Mapping[str, bytes]) -> bytes:
    """``tree`` as a tar archive in the form in which layers come, each directory before what is in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directories: set[str] = set()
        for path, content in tree.items():
            parent, slash, _ = path.rpartition("/")
            if slash and parent not in directories:
                directories.add(parent)
                tar.addfile(_entry(parent, tarfile.DIRTYPE, 0o555, 0))
            tar.addfile(_entry(path, tarfile.REGTYPE, 0o444, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def _entry(path: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, 0
    return entry
