"""A Steward's CA as clients name it: the digest of its key, or its certificate."""

from __future__ import annotations

import re
from typing import Final

from enarx.errors import UsageError

CA_MAX_BYTES: Final = 1 << 16
"""Largest certificate of a CA (bytes of PEM)."""
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")


def authority_digest(option: str, text: str) -> str:
    """``sha256:...`` as manifests pin it, of ``sha256:...`` or of the PEM file with that name. Raises UsageError.

    ``option`` is what the message calls it.
    """
    if text.startswith("sha256:"):
        if not _DIGEST.fullmatch(text):
            raise UsageError(
                f"{option} {text[:80]} is no digest",
                code="ca-digest",
                hint="`sha256:` and 64 lower-case hexadecimal digits, as `enarx steward init` prints them",
            )
        return text
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from enarx.manifest import digest_of
    from enarx.tenant.keepchain import UNREADABLE

    try:
        with Path(text).open("rb") as file:
            data = file.read(CA_MAX_BYTES + 1)
        if len(data) > CA_MAX_BYTES:
            raise ValueError("too long")
        key = x509.load_pem_x509_certificate(data).public_key()
    except OSError as error:
        raise UsageError(
            f"{option} {text}: {error.strerror}", code="file-unreadable", hint="`sha256:...`, or a certificate in PEM"
        ) from error
    except UNREADABLE as error:
        raise UsageError(
            f"{option} {text} is no certificate in PEM", code="ca-certificate", hint="ca.pem of the Steward"
        ) from error
    return digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def authority_bytes(option: str, text: str | None) -> bytes | None:
    """The same as 32 bytes; None for an option that was not given."""
    return None if text is None else bytes.fromhex(authority_digest(option, text).removeprefix("sha256:"))
