"""References: ``oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]``.

Source of the grammar: OCI distribution specification 1.1, "Pulling manifests", and the reference grammar of the
Docker registry. Two of Docker's defaults are not taken, because they lead to places that nobody wrote down: a
reference without a host, and ``library/`` before a short name. ``latest`` is taken where neither tag nor digest is
given; what it stands for is resolved to a digest and shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from enarx.errors import UsageError
from enarx.registry.digest import is_digest
from enarx.registry.urls import split_authority

SCHEME: Final = "oci://"
DEFAULT_TAG: Final = "latest"
REFERENCE_MAX_CHARS: Final = 1024
REPOSITORY_MAX_CHARS: Final = 255
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One artifact. ``host`` has the port, if one was given; ``tag`` or ``digest`` may be empty, not both."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def target(self) -> str:
        """What names the manifest: the digest, where there is one. The tag is then a remark, and never asked for."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """The same, pinned to the manifest with ``digest``."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.host}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """The reference that ``text`` is; UsageError ``reference`` with what is wrong about it."""
    if len(text) > REFERENCE_MAX_CHARS:
        raise _bad(text, f"it is longer than {REFERENCE_MAX_CHARS} characters")
    if not text.startswith(SCHEME):
        raise _bad(text, f"it does not begin with {SCHEME}")
    authority, slash, rest = text.removeprefix(SCHEME).partition("/")
    if "_" in authority or split_authority(authority) is None:
        raise _bad(text, f"{_shown(authority)} is not a host, or host and port")
    if not slash or not rest:
        raise _bad(text, "it names a host and no repository")
    rest, at, digest = rest.partition("@")
    if at and not is_digest(digest):
        raise _bad(text, "what follows @ is not sha256: and 64 lower-case hexadecimal digits")
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _bad(text, f"{_shown(tag)} is not a tag")
    if len(repository) > REPOSITORY_MAX_CHARS or not _REPOSITORY.fullmatch(repository):
        raise _bad(text, f"{_shown(repository)} is not a repository's name, which is in lower case")
    return Reference(authority.lower(), repository, tag or ("" if digest else DEFAULT_TAG), digest)


def _bad(text: str, reason: str) -> UsageError:
    return UsageError(
        f"{_shown(text)} is not a reference: {reason}",
        code="reference",
        hint="write oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]",
    )


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 100 else f"{text[:100]}...")
