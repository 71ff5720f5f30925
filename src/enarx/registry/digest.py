"""Digests as OCI writes them, and JSON from the network read with bounds.

SHA-256 is the one algorithm taken: it is the one that every registry has, and the one that manifests of Keeps and
policies name. Source: OCI image specification 1.1, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Final

from enarx.errors import RegistryError

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """``sha256:`` and 64 lower-case hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(text: object) -> bool:
    """Whether ``text`` is a digest in the one form that is accepted."""
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None


def hexadecimal(digest: str) -> str:
    """The 64 digits of a digest."""
    return digest.removeprefix("sha256:")


def parse_json(data: bytes, what: str, code: str) -> dict[str, object]:
    """One JSON object, UTF-8, without repeated names; RegistryError with ``code``. The caller has bounded its size.

    A repeated name is refused because readers differ in which of the two they take. The text itself never gets into
    the error: it may hold credentials.
    """
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RegistryError(f"{what} is not a JSON object", code=code, hint="whoever made it made it wrong") from None
    return found


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
