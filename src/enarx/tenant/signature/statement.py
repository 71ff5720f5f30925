"""What is signed: a digest, and what kind of bytes it is of. Canonical JSON (RFC 8785), so that one has one encoding.

::

    {"digest":"sha256:...","mediaType":"application/vnd.enarx.package.v1+tar"}

The media type is signed because it decides how the Keep reads the bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from enarx.errors import MalformedError
from enarx.tenant.signature import strictjson

PAYLOAD_TYPE: Final = "application/vnd.enarx.package-signature.v1+json"

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_RESTRICTED_NAME: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"  # RFC 6838 4.2
_MEDIA_TYPE: Final = re.compile(f"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}")


@dataclass(frozen=True, slots=True)
class Statement:
    """A digest as ``sha256:...`` and a media type. Making one that no manifest can have raises MalformedError."""

    digest: str
    media_type: str

    def __post_init__(self) -> None:
        if not (isinstance(self.digest, str) and _DIGEST.fullmatch(self.digest)):
            raise _bad("its digest is not sha256: and 64 lower-case hexadecimal digits")
        if not (isinstance(self.media_type, str) and _MEDIA_TYPE.fullmatch(self.media_type)):
            raise _bad("its media type is not one in lower case")

    def __str__(self) -> str:
        return f"{self.digest} ({self.media_type})"

    def encode(self) -> bytes:
        """The canonical encoding."""
        return json.dumps({"digest": self.digest, "mediaType": self.media_type}, separators=(",", ":")).encode()


def parse(payload: bytes) -> Statement:
    """Read a statement; MalformedError (``statement``) for anything but its canonical encoding."""
    try:
        value = strictjson.loads(payload)
    except ValueError as error:
        raise _bad("it is not JSON") from error
    if not isinstance(value, dict) or value.keys() != {"digest", "mediaType"}:
        raise _bad("it does not have exactly the keys digest and mediaType")
    found = Statement(value["digest"], value["mediaType"])
    if found.encode() != payload:
        raise _bad("it is not in the canonical encoding of RFC 8785")
    return found


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"what was signed is not a package: {what}",
        code="statement",
        hint="sign with `enarx package sign`",
    )
