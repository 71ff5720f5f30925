"""Opening an encrypted package: only the Keep whose workload it is gets the key, as a secret of its Steward.

The format and every nonce are ``envelope``'s; here are the cipher and the choice of the key. Nothing of the plaintext
is used before all of it has been authenticated.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from enarx import envelope
from enarx.envelope import Header
from enarx.errors import AuthenticityError, EvidenceError

if TYPE_CHECKING:
    from enarx.keep.certifier import Certifier
    from enarx.keep.workload import Launch
    from enarx.manifest import Manifest

CONTENT_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PackageKeys:
    """What is derived from a package's key. ``name`` is the secret that it came as."""

    name: str
    content: bytes = field(repr=False)
    cache: bytes = field(repr=False)


def open_sealed(launch: Launch, certifier: Certifier, manifest: Manifest) -> bytes:
    """Replace the sealed package of ``launch`` by its contents; gives the key for compiled code of this package.

    The workload is not shown the key among its secrets. Raises what `Certifier.obtain`, `find_key`, `unseal` and
    `Launch.open_package` do, and MalformedError.
    """
    sealed, launch.sealed = launch.sealed or bytearray(), None
    header = envelope.parse_header(sealed)
    header.check_total(len(sealed))
    keys = find_key(header, certifier.obtain().secrets)
    certifier.withheld = frozenset((keys.name,))
    launch.open_package(unseal(sealed, header, keys), manifest)
    return keys.cache


def find_key(header: Header, secrets: Mapping[str, bytes]) -> PackageKeys:
    """The keys of the package with ``header``, from the one of ``secrets`` that its key id commits to.

    EvidenceError (``package-key``) when none of them is its key.
    """
    for name, secret in secrets.items():
        if len(secret) == envelope.KEY_BYTES:
            found = _derive(secret, header.salt, envelope.KEY_ID_INFO, envelope.KEY_ID_BYTES)
            if hmac.compare_digest(found, header.key_id):
                content = _derive(secret, header.salt, header.content_info(), CONTENT_KEY_BYTES)
                return PackageKeys(
                    name, content, _derive(secret, header.salt, envelope.CACHE_INFO, envelope.CACHE_BYTES)
                )
    raise EvidenceError(
        f"the Steward released no key that opens this package: none of {len(secrets)} secrets has its key id, "
        f"{header.key_id.hex()[:16]}...",
        code="package-key",
        hint="add the key that `enarx package build` wrote with `enarx steward secret add`, for this workload",
    )


def unseal(sealed: bytearray, header: Header, keys: PackageKeys) -> bytearray:
    """The archive in an encrypted package, which ``header`` begins: ``sealed`` itself, of which nothing else is left.

    In place, because fresh memory for the plaintext would cost several times what its decryption does.
    MalformedError (``package-truncated``, ``package-trailing``) for another length than the header promises;
    AuthenticityError (``package-chunk``) when a chunk is not what was sealed in its place.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header.check_total(len(sealed))
    cipher = AESGCM(keys.content)
    with memoryview(sealed) as view:
        for index in range(header.chunks):
            offset, size = header.chunk(index)
            start = index * header.chunk_bytes
            nonce = envelope.nonce(index, header.is_final(index))
            with view[offset : offset + size] as chunk, chunk[: -envelope.TAG_BYTES] as plain:
                try:
                    cipher.decrypt_into(nonce, chunk, None, plain)
                except InvalidTag as error:
                    raise AuthenticityError(
                        f"the package was changed: chunk {index} of {header.chunks} is not what was sealed there",
                        code="package-chunk",
                        hint="get the package again from where it was published; nothing of it was used",
                    ) from error
                view[start : start + len(plain)] = plain
    del sealed[header.length :]
    return sealed


def _derive(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt, info).derive(secret)
