"""The formats of a Drawbridge, the registry of the published Enarx: slugs, digests, entries and directories.

Source: drawbridge 0.4.3 and enarx 0.7.1, whose error texts are kept where a user could look for them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from enarx.errors import RegistryError, UsageError
from enarx.registry.digest import parse_json
from enarx.registry.urls import Url, parse_url, split_authority

DEFAULT_HOST: Final = "store.profian.com"
API_VERSION: Final = "0.1.0"
DIRECTORY: Final = "application/vnd.drawbridge.directory.v1+json"
ENTRY: Final = "application/vnd.drawbridge.entry.v1+json"
JOSE: Final = "application/jose+json"
TOML: Final = "application/toml"
MODULE_NAME: Final = "main.wasm"
CONFIG_NAME: Final = "Enarx.toml"
MODULE_MAX_BYTES: Final = 100_000_000
CONFIG_MAX_BYTES: Final = 1_000_000
DOCUMENT_MAX_BYTES: Final = 1_000_000
"""Largest entry or directory (bytes)."""
SLUG_MAX_CHARS: Final = 512
ALGORITHMS: Final = {name: name.replace("-", "") for name in ("sha-224", "sha-256", "sha-384", "sha-512")}
"""Names of digests, and hashlib's names for them."""
_USER: Final = re.compile(r"[0-9A-Za-z]+")
_REPOSITORY: Final = re.compile(r"[0-9A-Za-z-]+")
_PRERELEASE: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_TAG: Final = re.compile(  # https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string
    rf"(?:(?:0|[1-9][0-9]*)\.){{2}}(?:0|[1-9][0-9]*)(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_NAME: Final = re.compile(r"[0-9A-Za-z._:-]+")
_DIGEST_ITEM: Final = re.compile(r"([A-Za-z0-9-]+)=:([A-Za-z0-9+/=]+):")
_DIGEST_HEADER_MAX_CHARS: Final = 4096

Digests = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Meta:
    """What an entry says of its content: every digest, the length in bytes, and the media type."""

    digests: Digests
    length: int
    media_type: str


def parse_slug(text: str) -> Url:
    """The URL of the tag that ``[HOST/]USER/REPO:TAG`` names; UsageError ``slug``."""
    if len(text) > SLUG_MAX_CHARS or not text.isascii():
        raise _bad_slug(f"{text[:80]!a} is not a slug")
    head, colon, tag = text.rpartition(":")
    if not colon:
        raise _bad_slug(f"Missing `:` in tag specification: {text}")
    place, slash, repository = head.rpartition("/")
    if not slash:
        raise _bad_slug(f"Missing `/` in repository specification: {head}")
    host, slash, user = place.rpartition("/")
    host = host if slash else DEFAULT_HOST
    names = _USER.fullmatch(user) and _REPOSITORY.fullmatch(repository) and _TAG.fullmatch(tag)
    if not names or split_authority(host) is None:
        raise _bad_slug(f"{text!a} is not a slug: a user, a repository, and a version such as 1.0.0")
    return parse_url(f"https://{host}/api/v{API_VERSION}/{user}/{repository}/_tag/{tag}")


def parse_content_digest(headers: Iterable[str]) -> dict[str, bytes]:
    """The digests in ``Content-Digest`` headers, by algorithm; RegistryError ``drawbridge-digest``.

    ``alg=:BASE64:`` separated by commas. An algorithm that is not known is refused: it would not be checked.
    """
    found: dict[str, bytes] = {}
    for header in headers:
        if len(header) > _DIGEST_HEADER_MAX_CHARS:
            raise _bad_digest("it is too long")
        for item in header.split(","):
            match = _DIGEST_ITEM.fullmatch(item.strip(" \t"))
            if match is None:
                raise _bad_digest("it is malformed")
            _add_digest(found, match[1].lower(), match[2])
    return found


def parse_entry(data: bytes) -> Meta:
    """A tag's entry; RegistryError ``drawbridge-entry``. Fields that are not known are somebody's own."""
    return _meta(parse_json(data, "the tag", "drawbridge-entry"))


def parse_directory(data: bytes) -> dict[str, Meta]:
    """A directory's entries by name; RegistryError ``drawbridge-entry``."""
    found: dict[str, Meta] = {}
    for name, entry in parse_json(data, "the directory", "drawbridge-entry").items():
        if not _NAME.fullmatch(name) or not isinstance(entry, dict):
            raise _bad_entry("a name in a directory, or what it names, is not right")
        found[name] = _meta(entry)
    return found


class Checker:
    """Checks content against every digest that it is said to have, and its length."""

    def __init__(self, digests: Digests, length: int | None) -> None:
        self._expected = digests
        self._length = length
        self._count = 0
        self.hashes = {name: hashlib.new(ALGORITHMS[name]) for name in digests}

    def update(self, view: bytes | memoryview) -> None:
        self._count += len(view)
        for one in self.hashes.values():
            one.update(view)

    def check(self, what: str) -> None:
        """RegistryError ``drawbridge-hash-mismatch``."""
        right = self._length in (None, self._count)
        if not right or any(one.digest() != self._expected[name] for name, one in self.hashes.items()):
            raise RegistryError(
                f"hash mismatch: {what} is not what it is said to be",
                code="drawbridge-hash-mismatch",
                hint="the server, or something before it, changes what it holds: do not use it",
            )


def _meta(entry: Mapping[str, object]) -> Meta:
    digest, length, media_type = entry.get("digest"), entry.get("length"), entry.get("type")
    if not isinstance(digest, dict) or not digest or not isinstance(media_type, str):
        raise _bad_entry("an entry has no digest, or no type")
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length < 2**63:
        raise _bad_entry("an entry has no length")
    digests: dict[str, bytes] = {}
    for name, value in digest.items():
        if not isinstance(value, str):
            raise _bad_entry("a digest is not text")
        _add_digest(digests, name.lower(), value)
    return Meta(digests, length, media_type.lower())


def _add_digest(found: dict[str, bytes], algorithm: str, text: str) -> None:
    if algorithm not in ALGORITHMS or algorithm in found:
        raise _bad_digest("its algorithm is not known, or is there twice")
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad_digest("it is not base64") from None
    if len(value) != hashlib.new(ALGORITHMS[algorithm]).digest_size:
        raise _bad_digest("it has not the algorithm's length")
    found[algorithm] = value


def _bad_slug(message: str) -> UsageError:
    return UsageError(message, code="slug", hint="write [HOST/]USER/REPO:TAG, or a URL")


def _bad_digest(reason: str) -> RegistryError:
    return RegistryError(
        f"a digest cannot be used: {reason}", code="drawbridge-digest", hint="what answers there is no Drawbridge"
    )


def _bad_entry(reason: str) -> RegistryError:
    return RegistryError(
        f"what answers is no Drawbridge: {reason}", code="drawbridge-entry", hint="check the URL, or the slug"
    )
